"""A real redis-server for the tests: on a Unix socket, without persistence, gone afterwards."""

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import redis as redis_py

from tests.redis_binary import is_before_redis_7, redis_binary
from tests.waiting import START_SECONDS


class RedisServer:
    """One server process, listening on `socket` and on no port.

    `options` are its settings, as `redis-server` takes them: `RedisServer("--appendonly", "no")`.
    `binary` is the one that `redis_binary` chooses by default. `environment` comes on top of our own.
    """

    def __init__(self, *options: str, binary: str | None = None, **environment: str) -> None:
        binary = binary or redis_binary()
        # Not pytest's tmp_path: a socket's path may be 107 bytes long, no more.
        self._directory = tempfile.TemporaryDirectory(prefix="redis-")
        self.socket = str(Path(self._directory.name, "redis.sock"))
        self._command = [
            *(binary, "--port", "0", "--unixsocket", self.socket, "--dir", self._directory.name),
            *("--save", "", "--appendonly", "no"),
            # Before Redis 7, DEBUG is always allowed.
            *(() if is_before_redis_7(binary) else ("--enable-debug-command", "yes")),
            *options,
        ]
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, *options: str) -> None:
        """Start, or start again after `kill()`, with more options; returns when it answers."""
        self._process = subprocess.Popen(
            [*self._command, *options], stdout=subprocess.DEVNULL, env=self._environment
        )
        deadline = time.monotonic() + START_SECONDS
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis_py.ConnectionError:
                    if time.monotonic() > deadline or self._process.poll() is not None:
                        self.close()
                        raise RuntimeError(f"redis-server did not start: {self._command}") from None
                    time.sleep(0.01)

    def client(self, **options: Any) -> redis_py.Redis:
        """A new client with its own connections. Close it, or use it in a `with`."""
        return redis_py.Redis(
            unix_socket_path=self.socket, **{"decode_responses": True, "socket_timeout": 20, **options}
        )

    def kill(self) -> None:
        """End the process as a crash would; all data is gone."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def signal(self, number: int) -> None:
        """SIGSTOP makes it hang, SIGCONT go on."""
        if self._process:
            self._process.send_signal(number)

    def close(self) -> None:
        self.kill()
        self._directory.cleanup()

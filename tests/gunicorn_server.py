"""The service as it is run: gunicorn in a process of its own, on a free port."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.api.client import PREFIX, SETTINGS, token
from tests.waiting import START_SECONDS

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "record_presence.server.gunicorn_config"
OURS = ("PRESENCE_", "REDIS_URL", "WEB_CONCURRENCY", "DATABASE_URL", "FLASK_", "HOST", "PORT")


class GunicornServer:
    """One gunicorn with its workers, started in `directory` with these settings and a `config` module.

    `logs()` is what it has written, line by line. `start_seconds` says how busy the machine is.
    """

    def __init__(
        self,
        directory: Path = ROOT,
        *,
        config: str = "record_presence.server.gunicorn_config",
        **settings: str,
    ) -> None:
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - as long as we live
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", f"python:{config}", "wsgi:app"],
            cwd=directory,
            env={**inherited, "SECRET_KEY": SETTINGS.secret_key, "PORT": "0", **settings},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        started = time.monotonic()
        self.url = self._wait_until_it_answers()
        self.start_seconds = time.monotonic() - started

    def _wait_until_it_answers(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            for line in self.logs():
                if line.startswith("Record Presence is on "):
                    url = line.split()[4]
                    try:
                        requests.get(f"{url}/health/live", timeout=START_SECONDS)
                    except requests.ConnectionError:  # a busy machine: its head may have come too late
                        break
                    except requests.RequestException:
                        self.close()
                        raise
                    return url
            time.sleep(0.02)
        logs = self.logs()
        self.close()
        raise RuntimeError(f"gunicorn did not start: {logs}")

    def logs(self) -> list[str]:
        # Not by seek(): the server shares the file's position, and would write over what it has written.
        file = self._output.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode("utf-8", "replace").splitlines()

    def entries(self) -> list[dict[str, Any]]:
        """The lines that are JSON, which is all but the greeting."""
        return [json.loads(line) for line in self.logs() if not line.startswith("Record Presence is on ")]

    def call(self, method: str, path: str, *, user: int = 42, headers: Any = None, **options: Any) -> Any:
        """A call of a user with a bearer token, on a connection of its own."""
        return requests.request(
            method,
            f"{self.url}{PREFIX}/{path}",
            headers={"Authorization": f"Bearer {token(user, f'User {user}')}", **(headers or {})},
            timeout=START_SECONDS,
            **options,
        )

    def heartbeat(self, tab_id: str = "t1", *, user: int = 42, record: str = "flow/12") -> Any:
        body = {"tab_id": tab_id, "mode": "view", "dirty": False}
        return self.call("POST", f"{record}/heartbeat", user=user, json=body)

    def send(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Raw bytes to the server; status, headers and body of what comes back."""
        address = urlsplit(self.url)
        with socket.create_connection((address.hostname, address.port), timeout=START_SECONDS) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while received := connection.recv(65_536):
                answer += received
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), {name.lower(): text for name, text in headers.items()}, body

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def worker_pids(self) -> list[int]:
        """Its processes, without the one that only starts them."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def signal(self, number: int) -> None:
        """SIGHUP reloads it."""
        self._process.send_signal(number)

    def stop(self) -> tuple[int, float]:
        """SIGTERM, as an operator ends it; its exit code, and how many seconds it took."""
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(START_SECONDS), time.monotonic() - started

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._output.close()

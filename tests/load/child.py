"""A process that has many sockets of a service, and one that asks it: one JSON line there, one back.

Raw sockets in one epoll, and as little Python a byte as can be: what is
measured is the service, and its generator must not stand in its way. Times
are those of the machine's monotonic clock, which all processes share.
"""

import json
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 60.0
RECEIVED = 65_536


class Process:
    """The parent's side of a `Child` that is the main program of `module`."""

    def __init__(self, module: str, url: str) -> None:
        address = urlsplit(url)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, address.hostname or "", str(address.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **command: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(command), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{command['do']}: the process has ended with {self._process.wait()}")
        answer = json.loads(answer)
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{command['do']}: {answer['error']}")
        return answer

    def send(self, requests: Iterable[bytes], **command: Any) -> Any:
        with tempfile.NamedTemporaryFile(prefix="bench-") as file:
            file.write(b"\0".join(requests))
            file.flush()
            return self.ask(requests=file.name, **command)

    def close(self) -> None:
        """End the process, and with it all its connections."""
        self._process.kill()
        self._process.communicate()


class Child:
    """The other side: commands from stdin, sockets of the service, one epoll for all."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.epoll = select.epoll()
        self.epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        self.commands: dict[str, Callable[..., Any]] = {"cpu": time.process_time}
        self.sockets: dict[int, socket.socket] = {}

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self.address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self.sockets[connection.fileno()] = connection
        self.epoll.register(connection.fileno(), select.EPOLLIN)
        return connection

    def run(self) -> None:
        """Until stdin ends. What goes wrong between two commands is the answer to the next one."""
        stdin = sys.stdin.fileno()
        failure: Exception | None = None
        while True:
            try:
                if not failure and self.turn(self.seconds_to_wait()) != stdin:
                    continue
            except (RuntimeError, OSError) as error:
                failure = error
            line = sys.stdin.readline()
            if not line:
                return
            command = json.loads(line)
            try:
                if failure:
                    raise failure
                answer = self.commands[command.pop("do")](**command)
            except (RuntimeError, OSError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)

    def turn(self, seconds: float) -> int | None:
        """Read what there is. Returns stdin's number when there is a command."""
        command = None
        select.select([self.epoll], [], [], seconds)  # epoll itself knows whole milliseconds alone
        for number, _ in self.epoll.poll(0):
            connection = self.sockets.get(number)
            if connection is None:
                command = number
            else:
                self.receive(number, connection)
        return command

    def seconds_to_wait(self) -> float:
        """Seconds until there is something to do."""
        return TIMEOUT_SECONDS

    def receive(self, number: int, connection: socket.socket) -> None:
        raise NotImplementedError

    def wait_until(self, is_true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not is_true():
            if time.monotonic() > deadline:
                raise RuntimeError(f"never happened: {what}")
            for number, _ in self.epoll.poll(1):
                if number in self.sockets:
                    self.receive(number, self.sockets[number])


def main(kind: type[Child]) -> None:
    """The child's main program: `HOST PORT`."""
    host, port = sys.argv[1:]
    with suppress(KeyboardInterrupt, BrokenPipeError):
        kind((host, int(port))).run()

"""Readers of event streams by the thousand, and tabs that beat at a pace, each in a process of its own.

Raw sockets in one epoll, and as little Python a byte as can be: what is
measured is the service, and its generator must not stand in its way. Times
are those of the machine's monotonic clock, which all processes share.
"""

import argparse
import json
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.gunicorn_server import ROOT

TIMEOUT_SECONDS = 60.0
MARK = "mark-"  # begins the name of a field that somebody edits, so that the event of the edit is recognized
_OPENING = 50  # streams that may wait for their first answer
_RECEIVED = 65_536


class Arrival(NamedTuple):
    """When an event with this mark came to the first and to the last stream of its record."""

    first: float
    last: float


class _Process:
    """The parent's side: one JSON line there, one back."""

    def __init__(self, kind: str, url: str) -> None:
        address = urlsplit(url)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.load.readers", kind, address.hostname or "", str(address.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self, **command: Any) -> Any:
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

    def _send(self, requests: Iterable[bytes], **command: Any) -> Any:
        with tempfile.NamedTemporaryFile(prefix="bench-") as file:
            file.write(b"\0".join(requests))
            file.flush()
            return self._ask(requests=file.name, **command)

    def close(self) -> None:
        """End the process, and with it all its connections."""
        self._process.kill()
        self._process.communicate()


class Readers(_Process):
    """Any number of open streams."""

    def __init__(self, url: str) -> None:
        super().__init__("streams", url)

    def open(self, requests: Sequence[bytes]) -> None:
        """Open a stream a request; returns when each has had its first snapshot.

        Raises RuntimeError when one is refused.
        """
        self._send(requests, do="open")

    def arrival(self, mark: str, streams: int) -> Arrival:
        """Wait until the event with this mark has come to so many; each mark can be asked for once."""
        return Arrival(*self._ask(do="arrival", mark=mark, streams=streams))

    def events(self) -> list[int]:
        """How many events each stream has had since this was last asked."""
        return self._ask(do="events")

    def shown(self) -> list[int]:
        """The `total` that each stream was told last."""
        return self._ask(do="shown")

    def cpu_seconds(self) -> float:
        """CPU time of this process of readers."""
        return self._ask(do="cpu")


class Beating(NamedTuple):
    """What tabs that beat at a pace have seen."""

    answered: int
    late: int  # beats that found no free connection at their time
    p50_ms: float
    p99_ms: float


class Beaters(_Process):
    """Tabs that beat at a steady pace in the background, until they are asked what they saw."""

    def __init__(self, url: str) -> None:
        super().__init__("beats", url)

    def start(self, requests: Sequence[bytes], a_second: float) -> None:
        """Send the requests in turn, over and over. Any answer but 200 ends it."""
        self._send(requests, do="start", a_second=a_second)

    def seen(self) -> Beating:
        """What was seen since the last time."""
        return Beating(*self._ask(do="seen"))


class _Child:
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
        stdin = sys.stdin.fileno()
        while True:
            if self.turn(self.seconds_to_wait()) != stdin:
                continue
            line = sys.stdin.readline()
            if not line:
                return
            command = json.loads(line)
            try:
                answer = self.commands[command.pop("do")](**command)
            except (RuntimeError, OSError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)

    def turn(self, seconds: float) -> int | None:
        """Read what there is. Returns stdin's number when there is a command."""
        command = None
        for number, _ in self.epoll.poll(seconds):
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


class _Streams(_Child):
    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address)
        self._tails: dict[int, bytes] = {}  # of what has not arrived whole
        self._waiting: set[int] = set()
        self._counts: dict[int, int] = {}
        self._totals: dict[int, int] = {}
        self._arrivals: dict[bytes, list[float]] = {}  # mark -> how often, first, last
        self._lost: str | None = None
        self.commands |= {
            "open": self.open,
            "arrival": self.arrival,
            "events": self.events,
            "shown": lambda: list(self._totals.values()),
        }

    def open(self, requests: str) -> int:
        for request in Path(requests).read_bytes().split(b"\0"):
            self.wait_until(lambda: len(self._waiting) < _OPENING, "a first snapshot")
            connection = self.connect()
            self._waiting.add(connection.fileno())
            self._counts[connection.fileno()] = self._totals[connection.fileno()] = 0
            connection.sendall(request)
        self.wait_until(lambda: not self._waiting, "the first snapshot of all")
        return len(self.sockets)

    def receive(self, number: int, connection: socket.socket) -> None:
        try:
            data = connection.recv(_RECEIVED)
        except BlockingIOError:
            return
        now = time.monotonic()
        if not data:
            raise RuntimeError(f"a stream has ended: {self._tails.get(number, b'')[:300]!r}")
        if number in self._tails:
            data = self._tails.pop(number) + data
        if not data.endswith(b"\n\n\r\n"):  # the end of an event, and of its chunk
            self._tails[number] = data
            return
        if number in self._waiting:
            if not data.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"a stream was refused: {data[:300]!r}")
            if b"event: snapshot" not in data:
                self._tails[number] = data
                return
            self._waiting.discard(number)
        self._counts[number] += data.count(b"event: ")
        total = data.rfind(b'"total":')
        if total >= 0:
            self._totals[number] = int(data[total + 8 : data.index(b",", total)])
        mark = data.rfind(b'"mark-')
        if mark >= 0:
            self._note(data[mark + 1 : data.index(b'"', mark + 1)], now)

    def _note(self, mark: bytes, now: float) -> None:
        arrival = self._arrivals.get(mark)
        if arrival is None:
            arrival = self._arrivals[mark] = [0, now, now]
        arrival[0] += 1
        arrival[2] = now

    def arrival(self, mark: str, streams: int) -> list[float]:
        name = mark.encode()
        self.wait_until(
            lambda: name in self._arrivals and self._arrivals[name][0] == streams, f"{mark} on all streams"
        )
        return self._arrivals.pop(name)[1:]

    def events(self) -> list[int]:
        counts = list(self._counts.values())
        self._counts = dict.fromkeys(self._counts, 0)
        return counts


class _Beats(_Child):
    CONNECTIONS = 16

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address)
        self._requests: list[bytes] = []
        self._interval = self._next_at = float("inf")
        self._turn = 0
        self._free: list[int] = []
        self._sent_at: dict[int, float] = {}
        self._seconds: list[float] = []
        self._late = 0
        self._answers: dict[int, bytes] = {}
        self.commands |= {"start": self.start, "seen": self.seen}

    def start(self, requests: str, a_second: float) -> int:
        self._requests = Path(requests).read_bytes().split(b"\0")
        while len(self.sockets) < self.CONNECTIONS:
            self._free.append(self.connect().fileno())
        self._interval, self._next_at = 1 / a_second, time.monotonic()
        return len(self._requests)

    def seconds_to_wait(self) -> float:
        now = time.monotonic()
        while self._next_at <= now:
            self._next_at += self._interval
            if not self._free:
                self._late += 1
                continue
            number = self._free.pop()
            self._turn = (self._turn + 1) % len(self._requests)
            self._sent_at[number] = now
            self.sockets[number].sendall(self._requests[self._turn])
        return max(0.0, min(TIMEOUT_SECONDS, self._next_at - now))

    def receive(self, number: int, connection: socket.socket) -> None:
        answer = self._answers.pop(number, b"") + connection.recv(_RECEIVED)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"a heartbeat was refused: {answer[:300]!r}")
        if not answer.endswith(b"}"):
            self._answers[number] = answer
            return
        self._seconds.append(time.monotonic() - self._sent_at.pop(number))
        self._free.append(number)

    def seen(self) -> list[float]:
        self.wait_until(lambda: bool(self._seconds), "an answered heartbeat")
        seconds, late = sorted(self._seconds), self._late
        self._seconds, self._late = [], 0
        middle, high = (1000 * seconds[int(share * len(seconds))] for share in (0.5, 0.99))
        return [len(seconds), late, middle, high]


def main() -> None:
    parser = argparse.ArgumentParser(description="The other side of Readers and Beaters.")
    parser.add_argument("kind", choices=("streams", "beats"))
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    child = {"streams": _Streams, "beats": _Beats}[options.kind]((options.host, options.port))
    with suppress(KeyboardInterrupt, BrokenPipeError):
        child.run()


if __name__ == "__main__":
    main()

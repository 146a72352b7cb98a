"""Readers of event streams by the thousand, in a process of their own."""

import random
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.load.child import RECEIVED, Child, Process, main
from tests.load.latency import Latency

MARK = "mark-"  # begins the name of a field that somebody edits, so that the event of the edit is recognized
_OPENING = 50  # streams that may wait for their first answer


class Arrival(NamedTuple):
    """When an event with this mark came to the first and to the last stream of its record."""

    first: float
    last: float


class Readers(Process):
    """Any number of open streams."""

    def __init__(self, url: str) -> None:
        super().__init__("tests.load.readers", url)

    def open(self, requests: Sequence[bytes]) -> None:
        """Open a stream a request; returns when each has had its first snapshot.

        Raises RuntimeError when one is refused.
        """
        self.send(requests, do="open")

    def arrive(self, requests: Sequence[bytes], a_second: float) -> Latency:
        """Open a stream a request, at random times; how long each waited for its first snapshot, since it
        was due."""
        return Latency.decode(self.send(requests, do="arrive", a_second=a_second))

    def arrival(self, mark: str, streams: int) -> Arrival:
        """Wait until the event with this mark has come to so many; each mark can be asked for once."""
        return Arrival(*self.ask(do="arrival", mark=mark, streams=streams))

    def events(self) -> list[int]:
        """How many events each stream has had since this was last asked."""
        return self.ask(do="events")

    def shown(self) -> list[int]:
        """The `total` that each stream was told last."""
        return self.ask(do="shown")

    def cpu_seconds(self) -> float:
        """CPU time of this process of readers."""
        return self.ask(do="cpu")


class _Streams(Child):
    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address)
        self._tails: dict[int, bytes] = {}  # of what has not arrived whole
        self._waiting: dict[int, float] = {}  # since when for a first snapshot
        self._waited: list[float] = []
        self._counts: dict[int, int] = {}
        self._totals: dict[int, int] = {}
        self._arrivals: dict[bytes, list[float]] = {}  # mark -> how often, first, last
        self.commands |= {
            "open": self.open,
            "arrive": self.arrive,
            "arrival": self.arrival,
            "events": self.events,
            "shown": lambda: list(self._totals.values()),
        }

    def open(self, requests: str) -> int:
        for request in Path(requests).read_bytes().split(b"\0"):
            self.wait_until(lambda: len(self._waiting) < _OPENING, "a first snapshot")
            self._open(request, time.monotonic())
        self.wait_until(lambda: not self._waiting, "the first snapshot of all")
        return len(self.sockets)

    def arrive(self, requests: str, a_second: float) -> str:
        self._waited.clear()
        due, chance = time.monotonic(), random.Random(1)
        for request in Path(requests).read_bytes().split(b"\0"):
            due += chance.expovariate(a_second)
            while (seconds := due - time.monotonic()) > 0:
                self.turn(seconds)
            self._open(request, due)
        self.wait_until(lambda: not self._waiting, "the first snapshot of all")
        return Latency(self._waited).encode()

    def _open(self, request: bytes, due: float) -> None:
        connection = self.connect()
        self._waiting[connection.fileno()] = due
        self._counts[connection.fileno()] = self._totals[connection.fileno()] = 0
        connection.sendall(request)

    def receive(self, number: int, connection: socket.socket) -> None:
        try:
            data = connection.recv(RECEIVED)
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
            self._waited.append(now - self._waiting.pop(number))
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


if __name__ == "__main__":
    main(_Streams)

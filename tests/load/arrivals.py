"""The open-model load generator: calls that arrive at a rate, whether or not those before are answered.

A closed loop, such as wrk's, sends the next call when the last one is answered. Where the service hangs for
a second it sends nothing, and counts one slow call where a thousand users would have waited: coordinated
omission. Here each call has a time at which it is due, drawn beforehand, and its latency counts from then,
also where it had to wait for a connection.
"""

import random
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.load.child import RECEIVED, TIMEOUT_SECONDS, Child, Process, main
from tests.load.latency import Latency

CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of the calls that were due in some seconds."""

    seconds: float
    latency: Latency  # from the time at which a call was due: what its user waits
    from_sending: Latency  # what a closed loop would have seen of the same calls
    sent_late: Latency  # the rest: no connection was free, or the generator itself was not in time

    @property
    def a_second(self) -> float:
        return self.latency.count / self.seconds


class Arrivals(Process):
    """Calls at a rate, in the background, until one asks what was seen."""

    def __init__(self, url: str) -> None:
        super().__init__("tests.load.arrivals", url)

    def start(self, requests: Sequence[bytes], a_second: float) -> None:
        """Send the requests in turn, over and over, at random times. Any answer but 200 ends it."""
        self.send(requests, do="start", a_second=a_second)

    def seen(self) -> Seen:
        """What was seen since the start, or since this was last asked; the load goes on."""
        return _seen(self.ask(do="seen"))

    def stop(self) -> Seen:
        """Let no more calls arrive, wait for those that have, and say what was seen."""
        return _seen(self.ask(do="stop"))

    def measure(self, requests: Sequence[bytes], a_second: float, seconds: float) -> Seen:
        """Send them for so long."""
        self.start(requests, a_second)
        time.sleep(seconds)
        return self.stop()


def _seen(answer: dict) -> Seen:
    return Seen(answer.pop("seconds"), **{name: Latency.decode(text) for name, text in answer.items()})


class _Arrivals(Child):
    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address)
        self._requests: list[bytes] = []
        self._turn = 0
        self._random = random.Random(1)
        self._a_second = 1.0
        self._next_at = self._since = float("inf")
        self._due: deque[float] = deque()  # times of calls that have not been sent
        # First in, first out: a connection belongs to one process of the service, and all are to be used.
        self._free: deque[int] = deque()
        self._sent: dict[int, tuple[float, float]] = {}  # when it was due, and when it was sent
        self._answered: list[tuple[float, float, float]] = []  # and when it was answered
        self._answers: dict[int, bytes] = {}
        self.commands |= {"start": self.start, "seen": self.seen, "stop": self.stop}

    def start(self, requests: str, a_second: float) -> int:
        self._requests = Path(requests).read_bytes().split(b"\0")
        while len(self.sockets) < CONNECTIONS:
            self._free.append(self.connect().fileno())
        self._answered, self._a_second = [], a_second
        self._since = self._next_at = time.monotonic()
        return len(self._requests)

    def seconds_to_wait(self) -> float:
        now = time.monotonic()
        while self._next_at <= now:
            self._due.append(self._next_at)
            # Independent users: a Poisson process.
            self._next_at += self._random.expovariate(self._a_second)
        self._send_due()
        return max(0.0, min(TIMEOUT_SECONDS, self._next_at - time.monotonic()))

    def _send_due(self) -> None:
        while self._due and self._free:
            number = self._free.popleft()
            self._turn = (self._turn + 1) % len(self._requests)
            self._sent[number] = self._due.popleft(), time.monotonic()
            self.sockets[number].sendall(self._requests[self._turn])

    def receive(self, number: int, connection: socket.socket) -> None:
        answer = self._answers.pop(number, b"") + connection.recv(RECEIVED)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"a call was refused: {answer[:300]!r}")
        if not answer.endswith(b"}"):
            self._answers[number] = answer
            return
        self._answered.append((*self._sent.pop(number), time.monotonic()))
        self._free.append(number)
        self._send_due()

    def seen(self) -> dict[str, float | str]:
        self.wait_until(lambda: bool(self._answered), "an answered call")
        now, answered = time.monotonic(), self._answered
        seconds, self._since, self._answered = now - self._since, now, []
        return {
            "seconds": seconds,
            "latency": Latency(end - due for due, _, end in answered).encode(),
            "from_sending": Latency(end - sent for _, sent, end in answered).encode(),
            "sent_late": Latency(sent - due for due, sent, _ in answered).encode(),
        }

    def stop(self) -> dict[str, float | str]:
        self._next_at = float("inf")
        self.wait_until(lambda: not self._due and not self._sent, "the answer to each call")
        return self.seen()


if __name__ == "__main__":
    main(_Arrivals)

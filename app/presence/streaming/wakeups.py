"""Wakes the readers of streams a few at a time, so that everything else has its turn in between."""

import heapq
import itertools
import math
import threading
import time
from collections import deque
from typing import Protocol

from ..greenlets import PAUSE_SECONDS

# At a time. Under gevent all that are woken run one after the other, and a heartbeat waits for the last.
SLICE_STREAMS = 50
SLICE_BYTES = 128 * 1024  # that these send together, about; a single one may send more
SHARE = 10  # of one record, before the next record has its turn
ALARM_SECONDS = 0.02  # alarms of so long go off together
NO_DEADLINE = float("inf")


class Sleeper(Protocol):
    """A reader that waits: a `Stream`."""

    wait_until: float  # on the monotonic clock
    alarm_at: float

    def wake(self, topic: None) -> None: ...

    def resume(self) -> None: ...

    def estimate_bytes(self) -> int: ...


class Wakeups:
    """Who is to be woken, record by record, and who has waited long enough.

    A change of a record that thousands read would otherwise keep the process from
    everything else for as long as it takes to send it to all of them. The readers
    have no timeouts of their own: under gevent each would take half a dozen objects,
    which the garbage collector scans while nobody is answered.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._waiting: dict[object, deque[Sleeper]] = {}  # by record; whose turn it is comes first
        self._alarms: list[tuple[float, int, Sleeper]] = []  # a heap
        self._sequence = itertools.count()  # so that no two alarms compare their sleepers
        self._changed = threading.Event()
        self._is_closed = False

    # The caller of these two holds the lock.

    def add(self, sleeper: Sleeper, record: object) -> None:
        """Wake the reader soon; `record` is why."""
        waiting = self._waiting.get(record)
        if waiting is not None:
            waiting.append(sleeper)
            return
        self._waiting[record] = deque((sleeper,))
        if len(self._waiting) == 1:
            self._changed.set()

    def set_alarm(self, sleeper: Sleeper, at: float) -> None:
        """Wake the reader at this time, on the monotonic clock, if it still waits for it then."""
        at = math.ceil(at / ALARM_SECONDS) * ALARM_SECONDS
        sleeper.wait_until = at
        if sleeper.alarm_at <= at:
            return  # one that goes off too early is set again
        sleeper.alarm_at = at
        heapq.heappush(self._alarms, (at, next(self._sequence), sleeper))
        if self._alarms[0][2] is sleeper:
            self._changed.set()

    def run(self) -> None:
        """Wake whoever is to be woken, until it is closed."""
        while True:
            self._ring(time.monotonic())
            if sleepers := self.pop_slice():
                for sleeper in sleepers:
                    sleeper.resume()
                time.sleep(PAUSE_SECONDS)
                continue
            if self._is_closed:
                return
            self._changed.wait(self._seconds_to_wait())
            self._changed.clear()

    def close(self) -> None:
        """End `run` when all have been woken."""
        self._is_closed = True
        self._changed.set()

    def _seconds_to_wait(self) -> float | None:
        with self._lock:
            if self._waiting:
                return 0.0
            return max(0.0, self._alarms[0][0] - time.monotonic()) if self._alarms else None

    def _ring(self, now: float) -> None:
        with self._lock:
            while self._alarms and self._alarms[0][0] <= now:
                at, _, sleeper = heapq.heappop(self._alarms)
                if at != sleeper.alarm_at:
                    continue  # an earlier one has taken its place
                sleeper.alarm_at = NO_DEADLINE
                if sleeper.wait_until <= now:
                    sleeper.wait_until = NO_DEADLINE
                    sleeper.wake(None)
                elif sleeper.wait_until < NO_DEADLINE:
                    self.set_alarm(sleeper, sleeper.wait_until)

    def pop_slice(self) -> list[Sleeper]:
        """Whose turn it is, of each record some, in the order in which they were added."""
        sleepers: list[Sleeper] = []
        size_bytes = 0
        with self._lock:
            while self._waiting and len(sleepers) < SLICE_STREAMS and size_bytes < SLICE_BYTES:
                record = next(iter(self._waiting))
                waiting = self._waiting.pop(record)
                for _ in range(min(SHARE, len(waiting))):
                    sleeper = waiting.popleft()
                    sleepers.append(sleeper)
                    size_bytes += sleeper.estimate_bytes()
                    if size_bytes >= SLICE_BYTES:
                        break
                if waiting:
                    self._waiting[record] = waiting
        return sleepers

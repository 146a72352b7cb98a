"""Wakes the readers of streams in small batches, so that other calls are answered in between."""

import heapq
import itertools
import math
import threading
import time
from collections import deque
from typing import Protocol

from ..greenlets import PAUSE_SECONDS

# In a batch. Under gevent all that are woken run one after the other, and a heartbeat waits for the last.
BATCH_STREAMS = 50
BATCH_BYTES = 128 * 1024  # that these send together, about; a single one may send more
BATCH_SHARE = 10  # of one record, before the next record comes
TIMER_RESOLUTION_SECONDS = 0.02  # deadlines this close together are one
MAX_STALE_TIMERS = 1000  # and one for each that is not
NO_DEADLINE = float("inf")


class Waiter(Protocol):
    """A reader that waits: a `Stream`. Both times are on the monotonic clock, and NO_DEADLINE for none."""

    deadline: float  # when it has waited for long enough
    timer_at: float  # of its next timer, which may be earlier

    def wake(self, topic: None) -> None: ...

    def resume(self) -> None: ...

    def estimate_bytes(self) -> int: ...


class Wakeups:
    """The readers that are to be woken, record by record, and the timeouts of those that wait.

    A change of a record that thousands read would otherwise keep the process from
    everything else for as long as it takes to send it to all of them. The readers
    have no timeouts of their own: under gevent each would take half a dozen objects,
    which the garbage collector scans while nobody is answered.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._waiting: dict[object, deque[Waiter]] = {}  # by record; the one that comes next is the first
        self._timers: list[tuple[float, int, Waiter]] = []  # a heap; stale where the waiter has another time
        self._max_timers = MAX_STALE_TIMERS  # before the stale ones are removed
        self._sequence = itertools.count()  # so that no two timers compare their waiters
        self._changed = threading.Event()
        self._is_closed = False

    # The caller of these three holds the lock.

    def add(self, waiter: Waiter, record: object) -> None:
        """Wake the reader soon; `record` is why."""
        waiting = self._waiting.get(record)
        if waiting is not None:
            waiting.append(waiter)
            return
        self._waiting[record] = deque((waiter,))
        if len(self._waiting) == 1:
            self._changed.set()

    def set_deadline(self, waiter: Waiter, at: float) -> None:
        """Wake the reader at this time, on the monotonic clock, if it still waits then."""
        at = math.ceil(at / TIMER_RESOLUTION_SECONDS) * TIMER_RESOLUTION_SECONDS
        waiter.deadline = at
        if waiter.timer_at <= at:
            return  # one that goes off too early is set again
        waiter.timer_at = at
        heapq.heappush(self._timers, (at, next(self._sequence), waiter))
        if len(self._timers) > self._max_timers:
            self._remove_stale_timers()
        if self._timers[0][2] is waiter:
            self._changed.set()

    def forget(self, waiter: Waiter) -> None:
        """The reader waits for nothing any more."""
        waiter.deadline = waiter.timer_at = NO_DEADLINE

    def run(self) -> None:
        """Wake readers until it is closed."""
        while True:
            self._wake_overdue(time.monotonic())
            if waiters := self.pop_batch():
                for waiter in waiters:
                    waiter.resume()
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
            return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _wake_overdue(self, now: float) -> None:
        with self._lock:
            while self._timers and self._timers[0][0] <= now:
                at, _, waiter = heapq.heappop(self._timers)
                if at != waiter.timer_at:
                    continue  # an earlier one has taken its place
                waiter.timer_at = NO_DEADLINE
                deadline = waiter.deadline  # once: a reader that was woken ends it without the lock
                if deadline <= now:
                    waiter.deadline = NO_DEADLINE
                    waiter.wake(None)
                elif deadline < NO_DEADLINE:
                    self.set_deadline(waiter, deadline)

    def _remove_stale_timers(self) -> None:
        """Those of readers that have closed, and of deadlines that an earlier one has replaced."""
        self._timers = [timer for timer in self._timers if timer[0] == timer[2].timer_at]
        heapq.heapify(self._timers)
        self._max_timers = 2 * len(self._timers) + MAX_STALE_TIMERS

    def pop_batch(self) -> list[Waiter]:
        """The readers to wake next: of each record some, in the order in which they were added."""
        waiters: list[Waiter] = []
        size_bytes = 0
        with self._lock:
            while self._waiting and len(waiters) < BATCH_STREAMS and size_bytes < BATCH_BYTES:
                record = next(iter(self._waiting))
                waiting = self._waiting.pop(record)
                for _ in range(min(BATCH_SHARE, len(waiting))):
                    waiter = waiting.popleft()
                    waiters.append(waiter)
                    size_bytes += waiter.estimate_bytes()
                    if size_bytes >= BATCH_BYTES:
                        break
                if waiting:
                    self._waiting[record] = waiting
        return waiters

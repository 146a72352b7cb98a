"""Wakes the readers of streams in small batches, so that other calls are answered in between."""

import heapq
import math
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from ..greenlets import PAUSE_SECONDS

# In a batch. Under gevent all that are woken run one after the other, and a heartbeat waits for the last.
BATCH_STREAMS = 50
BATCH_BYTES = 128 * 1024  # that these send together, about; a single one may send more
BATCH_SHARE = 10  # of one record, before the next record comes
TIMER_RESOLUTION_SECONDS = 0.02  # deadlines this close together are one
TIMERS_AT_A_TIME = 100  # thousands go off together, where thousands of streams were told something together
MAX_STALE_TIMERS = 1000  # and one for each that is not
NO_DEADLINE = float("inf")


class Waiter(Protocol):
    """A reader that waits: a `Stream`. Both times are on the monotonic clock, and NO_DEADLINE for none."""

    is_woken: bool  # or is about to be; the reader ends it
    deadline: float  # when it has waited for long enough
    timer_at: float  # of its next timer, which may be earlier

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
        self._timers: dict[float, list[Waiter]] = {}  # by time; stale where the waiter has another time
        self._times: list[float] = []  # of these: a heap
        self._timer_count = 0
        self._max_timers = MAX_STALE_TIMERS  # before the stale ones are removed
        self._changed = threading.Event()
        self._is_closed = False

    # The caller of these four holds the lock.

    def add(self, waiter: Waiter, record: object) -> None:
        """Wake the reader soon; `record` is why."""
        self.add_all((waiter,), record)

    def add_all(self, waiters: Iterable[Waiter], record: object) -> None:
        """Wake these readers soon; `record` is why. There may be thousands."""
        asleep = [waiter for waiter in waiters if not waiter.is_woken]
        if not asleep:
            return
        for waiter in asleep:
            waiter.is_woken = True
        if not self._waiting:
            self._changed.set()
        self._waiting.setdefault(record, deque()).extend(asleep)

    def set_deadline(self, waiter: Waiter, at: float) -> None:
        """Wake the reader at this time, on the monotonic clock, if it still waits then."""
        at = math.ceil(at / TIMER_RESOLUTION_SECONDS) * TIMER_RESOLUTION_SECONDS
        waiter.deadline = at
        if waiter.timer_at <= at:
            return  # one that goes off too early is set again
        waiter.timer_at = at
        self._timer_count += 1
        timers = self._timers.get(at)
        if timers is not None:
            timers.append(waiter)
        else:
            self._timers[at] = [waiter]
            heapq.heappush(self._times, at)
            if self._times[0] == at:
                self._changed.set()
        if self._timer_count > self._max_timers:
            self._remove_stale_timers()

    def forget(self, waiter: Waiter) -> None:
        """The reader waits for nothing any more."""
        waiter.deadline = waiter.timer_at = NO_DEADLINE

    def run(self) -> None:
        """Wake readers until it is closed."""
        while True:
            is_more_overdue = self._wake_overdue(time.monotonic())
            waiters = self.pop_batch()
            for waiter in waiters:
                waiter.resume()
            if waiters or is_more_overdue:
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
            return max(0.0, self._times[0] - time.monotonic()) if self._times else None

    def _wake_overdue(self, now: float) -> bool:
        """Wake some readers who have waited long enough; whether there are more timers to look at."""
        with self._lock:
            for _ in range(TIMERS_AT_A_TIME):
                if not self._times or self._times[0] > now:
                    return False
                at = self._times[0]
                timers = self._timers[at]
                waiter = timers.pop()
                self._timer_count -= 1
                if not timers:
                    heapq.heappop(self._times)
                    del self._timers[at]
                if at != waiter.timer_at:
                    continue  # an earlier one has taken its place
                waiter.timer_at = NO_DEADLINE
                deadline = waiter.deadline  # once: a reader that was woken ends it without the lock
                if deadline <= now:
                    waiter.deadline = NO_DEADLINE
                    self.add(waiter, None)
                elif deadline < NO_DEADLINE:
                    self.set_deadline(waiter, deadline)
            return True

    def _remove_stale_timers(self) -> None:
        """Those of readers that have closed, and of deadlines that an earlier one has replaced."""
        current = {
            at: [waiter for waiter in waiters if waiter.timer_at == at]
            for at, waiters in self._timers.items()
        }
        self._timers = {at: waiters for at, waiters in current.items() if waiters}
        self._times = sorted(self._timers)
        self._timer_count = sum(map(len, self._timers.values()))
        self._max_timers = 2 * self._timer_count + MAX_STALE_TIMERS

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

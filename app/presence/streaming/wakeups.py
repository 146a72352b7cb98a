"""Wakes the readers of streams a few at a time, so that everything else has its turn in between."""

import threading
import time
from collections import deque
from typing import Protocol

from ..greenlets import PAUSE_SECONDS

# At a time. Under gevent all that are woken run one after the other, and a heartbeat waits for the last.
SLICE_STREAMS = 32
SLICE_BYTES = 128 * 1024  # that these send together, about; a single one may send more
SHARE = 8  # of one record, before the next record has its turn


class Sleeper(Protocol):
    """A reader that waits: a `Stream`."""

    def resume(self) -> None: ...

    def estimate_bytes(self) -> int: ...


class Wakeups:
    """Who is to be woken, record by record.

    A change of a record that thousands read would otherwise keep the process from
    everything else for as long as it takes to send it to all of them.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._waiting: dict[object, deque[Sleeper]] = {}  # by record; whose turn it is comes first
        self._added = threading.Event()
        self._is_closed = False

    def add(self, sleeper: Sleeper, record: object) -> None:
        """Wake the reader soon; `record` is why. The caller holds the lock."""
        waiting = self._waiting.get(record)
        if waiting is not None:
            waiting.append(sleeper)
            return
        self._waiting[record] = deque((sleeper,))
        if len(self._waiting) == 1:
            self._added.set()

    def run(self) -> None:
        """Wake whoever is added, until it is closed."""
        while True:
            while sleepers := self.pop_slice():
                for sleeper in sleepers:
                    sleeper.resume()
                time.sleep(PAUSE_SECONDS)
            if self._is_closed:
                return
            self._added.wait()
            self._added.clear()

    def close(self) -> None:
        """End `run` when all have been woken."""
        self._is_closed = True
        self._added.set()

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

"""A stream: the queue of events of one reader."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ..errors import PresenceError
from ..versions import EMPTY_VERSION
from .events import Event, EventBatch, ViewerEntry
from .wakeups import NO_DEADLINE, Wakeups

# A reader that falls behind further gets snapshots instead.
MAX_PENDING_EVENTS = 100
MAX_PENDING_BYTES = 256 * 1024


class StreamEnded(PresenceError):
    """The process has ended the stream, through no fault of its client, which should open another.

    `reason` is `unavailable` (Redis can't confirm what was shown), `draining` (the
    process is stopping) or `full` (another tenant needs the place).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SnapshotSource(Protocol):
    """A record that a stream shows: a `Topic`."""

    published_entries: dict[str, ViewerEntry]
    published_version: str | None

    @property
    def is_confirmed(self) -> bool: ...

    def snapshot_for(self, user: str | None, limit: int) -> Event: ...

    def estimate_snapshot_bytes(self, limit: int) -> int: ...


class Stream:
    """The events of some records for one reader. Read it with `take`, and `close` it afterwards.

    `user` (JSON text of an id) is left out of what it shows. A snapshot lists at
    most `limit` viewers.
    """

    __slots__ = (
        "_ended",
        "_has_snapshots",
        "_is_woken",
        "_lock",
        "_needs_snapshot",
        "_observe",
        "_on_close",
        "_pending",
        "_pending_bytes",
        "_pending_count",
        "_seen_version",
        "_topics",
        "_wake",
        "_wakeups",
        "deadline",
        "limit",
        "timer_at",
        "user",
    )

    def __init__(
        self,
        user: str | None,
        limit: int,
        seen_version: str | None,
        *,
        lock: threading.RLock,
        wakeups: Wakeups,
        on_close: Callable[["Stream"], None],
        observe: Callable[[str], None],
    ) -> None:
        self._lock = lock
        self._wakeups = wakeups
        self._on_close = on_close
        self._observe = observe
        self.user = user
        self.limit = limit
        # The version of an empty record is always the same, whatever happened in between.
        self._seen_version = seen_version if seen_version != EMPTY_VERSION else None
        self._topics: list[SnapshotSource] = []
        self._needs_snapshot: dict[SnapshotSource, None] = {}  # a set that keeps its order
        self._pending: deque[EventBatch] = deque()
        self._pending_bytes = self._pending_count = 0
        self._wake = threading.Lock()  # released by `resume`, and acquired by the reader who waits for it
        self._wake.acquire()
        self._has_snapshots = False  # of a stream that has just been confirmed
        self._is_woken = False  # or is about to be: Wakeups has it
        self.deadline = self.timer_at = NO_DEADLINE  # of Wakeups alone
        self._ended: str | None = None

    def take(self, timeout_seconds: float) -> list[tuple[Event, int]]:
        """The events since the last call, each with the number of viewers after it.

        The number leaves out `user`. Waits until there is an event and `Wakeups` wakes
        the reader, or not at all if the timeout is 0; returns [] if there is none.
        Snapshots beyond MAX_PENDING_BYTES come with the next call. Raises StreamEnded.
        """
        if self._has_snapshots:
            self._has_snapshots = False
        else:
            self._wait(timeout_seconds)
        with self._lock:
            if self._ended:
                raise StreamEnded(self._ended)
            events: list[tuple[Event, int]] = []
            for batch in self._pending:
                events += batch.events
            size_bytes = self._pending_bytes
            self._clear_pending()
            for topic in [topic for topic in self._needs_snapshot if topic.is_confirmed]:
                if size_bytes > MAX_PENDING_BYTES:
                    self.wake(topic)
                    break
                del self._needs_snapshot[topic]
                if topic.published_version != self._seen_version:
                    snapshot = topic.snapshot_for(self.user, self.limit)
                    size_bytes += snapshot.size_bytes
                    events.append((snapshot, self.count_others(topic.published_entries)))
            if not self._needs_snapshot:
                self._seen_version = None
            return events

    def wait_until_confirmed(self, deadline: float) -> bool:
        """Whether every record was read before `deadline`, on the monotonic clock. Raises StreamEnded."""
        while not all(topic.is_confirmed for topic in self._topics):
            if not self._wait(deadline - time.monotonic()):
                return False
            if self._ended:
                raise StreamEnded(self._ended)
        self._has_snapshots = True
        return True

    def _wait(self, seconds: float) -> bool:
        """Wait until the reader is woken, or has waited for so long. False if there was no time to wait."""
        if not self._wake.acquire(blocking=False):
            if seconds <= 0:
                return False
            with self._lock:
                self._wakeups.set_deadline(self, time.monotonic() + seconds)
            self._wake.acquire()
        # Without the lock: whoever wakes the reader before this has queued its events already.
        self._is_woken, self.deadline = False, NO_DEADLINE
        return True

    def close(self) -> None:
        """Give up the stream's place. May be called more than once; whoever waits in `take` gets []."""
        with self._lock:
            if self.deadline < NO_DEADLINE:
                self.wake(None)
            self._wakeups.forget(self)
            # A timer may refer to the stream for a while, which refers to nothing large then.
            self._topics.clear()
            self._needs_snapshot.clear()
            self._clear_pending()
        self._on_close(self)

    # The caller of the methods below holds the lock.

    def add_topic(self, topic: SnapshotSource) -> None:
        self._topics.append(topic)
        self._needs_snapshot[topic] = None

    def count_others(self, entries: dict[str, ViewerEntry]) -> int:
        """How many viewers these are without the stream's own user."""
        return len(entries) - (self.user in entries)

    def push(self, batch: EventBatch, topic: SnapshotSource) -> None:
        """Queue events, unless a snapshot will contain them anyway."""
        if topic in self._needs_snapshot:
            return
        self._pending.append(batch)
        self._pending_bytes += batch.size_bytes
        self._pending_count += len(batch.events)
        if self._pending_count > MAX_PENDING_EVENTS or self._pending_bytes > MAX_PENDING_BYTES:
            self._clear_pending()
            self._needs_snapshot.update(dict.fromkeys(self._topics))
            self._observe("slow_reader")
        if not self._is_woken:  # as `wake` does, which takes a third of the time here
            self._is_woken = True
            self._wakeups.add(self, topic)

    def _clear_pending(self) -> None:
        self._pending.clear()
        self._pending_bytes = self._pending_count = 0

    def push_snapshot(self, topic: SnapshotSource) -> None:
        """Let the next `take` return a snapshot, which is made only then."""
        self._needs_snapshot[topic] = None
        if not self._is_woken:
            self.wake(topic)

    def end(self, reason: str) -> None:
        self._ended = self._ended or reason
        self.wake(None)

    def wake(self, topic: SnapshotSource | None) -> None:
        """Let the reader take what there is of the topic, with the others of it; None: of no certain one."""
        if not self._is_woken:
            self._is_woken = True
            self._wakeups.add(self, topic)

    def estimate_bytes(self) -> int:
        """About what the next `take` returns."""
        size_bytes = self._pending_bytes
        for topic in self._needs_snapshot:
            if size_bytes > MAX_PENDING_BYTES:
                break
            size_bytes += topic.estimate_snapshot_bytes(self.limit)
        return size_bytes

    # Called without the lock as well.

    def resume(self) -> None:
        """Let the reader go on, now; once for each time that it was woken."""
        self._wake.release()

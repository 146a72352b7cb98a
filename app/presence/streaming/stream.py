"""A stream: what one reader has taken of its records, and has yet to take."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from ..errors import PresenceError
from ..greenlets import new_auto_reset_event
from ..versions import EMPTY_VERSION
from . import event_log
from .event_log import EventLog, Place
from .events import Event, ViewerEntry
from .wakeups import NO_DEADLINE, Wakeups


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

    log: EventLog
    published_entries: dict[str, ViewerEntry]
    published_version: str | None

    @property
    def is_confirmed(self) -> bool: ...

    def snapshot_for(self, user: str | None, limit: int) -> Event: ...

    def estimate_snapshot_bytes(self, limit: int) -> int: ...


class _Position:
    """Up to which place the reader has taken a record's events, and whether its user is a viewer there.

    Not a tuple: that of each stream would be a new one with each event.
    """

    __slots__ = ("is_viewer", "place")

    def __init__(self, place: Place, is_viewer: bool) -> None:
        self.place = place
        self.is_viewer = is_viewer


class Stream:
    """The events of some records for one reader. Read it with `take`, and `close` it afterwards.

    `user` (JSON text of an id) is left out of what it shows. A snapshot lists at
    most `limit` viewers.
    """

    __slots__ = (
        "_ended",
        "_has_snapshots",
        "_lock",
        "_needs_snapshot",
        "_observe",
        "_on_close",
        "_positions",
        "_resumed",
        "_seen_version",
        "_wakeups",
        "deadline",
        "is_woken",
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
        # Each of its records is in one of these two.
        self._positions: dict[SnapshotSource, _Position] = {}
        self._needs_snapshot: dict[SnapshotSource, None] = {}  # a set that keeps its order
        self._resumed = new_auto_reset_event()
        self._has_snapshots = False  # of a stream that has just been confirmed
        self.is_woken = False  # or is about to be: Wakeups has it
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
            events, size_bytes = self._take_pending()
            for topic in [topic for topic in self._needs_snapshot if topic.is_confirmed]:
                if size_bytes > event_log.MAX_PENDING_BYTES:
                    self.wake(topic)
                    break
                del self._needs_snapshot[topic]
                self._positions[topic] = _Position(topic.log.end, self.user in topic.published_entries)
                if topic.published_version != self._seen_version:
                    snapshot = topic.snapshot_for(self.user, self.limit)
                    size_bytes += snapshot.size_bytes
                    events.append((snapshot, self.count_others(topic.published_entries)))
            if not self._needs_snapshot:
                self._seen_version = None
            return events

    def _take_pending(self) -> tuple[list[tuple[Event, int]], int]:
        """The events that the logs have for the stream, and about their bytes."""
        events: list[tuple[Event, int]] = []
        size_bytes = 0
        for topic, position in list(self._positions.items()):
            if position.place is topic.log.end:
                continue
            batches = topic.log.read(position.place)
            if batches is None:
                self._request_snapshot(topic, is_slow=position.place.is_lost)
                continue
            is_viewer = position.is_viewer
            needs_snapshot = False
            for batch in batches:
                events += batch.events_for(self.user, is_viewer=is_viewer)
                size_bytes += batch.size_bytes
                needs_snapshot |= batch.moves_up(self.limit, is_viewer=is_viewer)
                is_viewer = batch.makes_viewer(self.user, is_viewer=is_viewer)
            position.place, position.is_viewer = topic.log.end, is_viewer
            if needs_snapshot:
                self._request_snapshot(topic)
        if len(events) > event_log.MAX_PENDING_EVENTS or size_bytes > event_log.MAX_PENDING_BYTES:
            for topic in list(self._positions):
                self._request_snapshot(topic)
            self._observe("slow_reader")
            return [], 0
        return events, size_bytes

    def _request_snapshot(self, topic: SnapshotSource, *, is_slow: bool = False) -> None:
        del self._positions[topic]
        self._needs_snapshot[topic] = None
        if is_slow:
            self._observe("slow_reader")

    def wait_until_confirmed(self, deadline: float) -> bool:
        """Whether every record was read before `deadline`, on the monotonic clock. Raises StreamEnded."""
        while not all(topic.is_confirmed for topic in list(self._needs_snapshot)):
            if not self._wait(deadline - time.monotonic()):
                return False
            if self._ended:
                raise StreamEnded(self._ended)
        self._has_snapshots = True
        return True

    def _wait(self, seconds: float) -> bool:
        """Wait until the reader is woken, or has waited for so long. False if there was no time to wait."""
        if not self._resumed.is_set():
            if seconds <= 0:
                return False
            with self._lock:
                self._wakeups.set_deadline(self, time.monotonic() + seconds)
        self._resumed.wait()
        # Without the lock: whoever wakes the reader before this has queued its events already.
        self.is_woken, self.deadline = False, NO_DEADLINE
        return True

    def close(self) -> None:
        """Give up the stream's place. May be called more than once; whoever waits in `take` gets []."""
        with self._lock:
            if self.deadline < NO_DEADLINE:
                self.wake(None)
            self._wakeups.forget(self)
            # A timer may refer to the stream for a while, which refers to nothing large then.
            self._positions.clear()
            self._needs_snapshot.clear()
        self._on_close(self)

    # The caller of the methods below holds the lock.

    def add_topic(self, topic: SnapshotSource) -> None:
        self._needs_snapshot[topic] = None

    def count_others(self, entries: dict[str, ViewerEntry]) -> int:
        """How many viewers these are without the stream's own user."""
        return len(entries) - (self.user in entries)

    def end(self, reason: str) -> None:
        self._ended = self._ended or reason
        self.wake(None)

    def wake(self, topic: SnapshotSource | None) -> None:
        """Let the reader take what there is of the topic, with the others of it; None: of no certain one."""
        self._wakeups.add(self, topic)

    def estimate_bytes(self) -> int:
        """About what the next `take` returns. Of a record's events only the first batch counts."""
        size_bytes = 0
        for topic, position in self._positions.items():
            place = position.place
            if place.batch is not None:
                size_bytes += place.batch.size_bytes
            elif place is not topic.log.end:
                size_bytes += topic.estimate_snapshot_bytes(self.limit)
        for topic in self._needs_snapshot:
            if size_bytes > event_log.MAX_PENDING_BYTES:
                break
            size_bytes += topic.estimate_snapshot_bytes(self.limit)
        return size_bytes

    # Called without the lock as well.

    def resume(self) -> None:
        """Let the reader go on, now; once for each time that it was woken."""
        self._resumed.set()

"""A topic: a record that streams of this process show, and what they have been sent of it."""

import itertools
from typing import NamedTuple

from ..conflicts import ConflictState
from ..records import Record
from .event_log import EventLog
from .events import Event, EventBatch, ViewerEntry
from .replica import Replica
from .stream import Stream
from .sync_state import SyncState
from .token_bucket import Rate, TokenBucket
from .wakeups import Wakeups

CROWD_SIZE = 50  # with more viewers, a record publishes less often and its streams share snapshots
PUBLISH_RATE = Rate(per_second=20.0, burst=1.0)
# The burst of two lets the second of two changes in quick succession out without a wait.
CROWD_PUBLISH_RATE = Rate(per_second=3.0, burst=2.0)
MAX_EVENTS_PER_PUBLISH = 8  # a snapshot replaces more than that
MAX_SNAPSHOT_BYTES = 1_000_000  # of its viewers
MAX_SHARED_SNAPSHOTS = 4  # of different limits
ENTRY_BYTES = 250  # about what a viewer takes in a snapshot


class SharedSnapshot(NamedTuple):
    """A snapshot for every stream of a crowd with the same limit, except those of the `users` it lists."""

    event: Event
    users: frozenset[str]


class Topic:
    """A record, its replica, and its streams.

    The replica follows Redis; the attributes `published_…` follow the replica, as
    often as the rate allows: they hold what all streams have been sent, or find in
    the `log`. The caller holds the lock.
    """

    __slots__ = (
        "_bucket",
        "_shared_snapshots",
        "_wakeups",
        "log",
        "published_conflicts",
        "published_entries",
        "published_version",
        "record",
        "replica",
        "streams",
        "sync",
    )

    def __init__(self, record: Record, replica: Replica, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self.record = record
        self.replica = replica
        self.sync = SyncState()
        self.streams: set[Stream] = set()
        self.log = EventLog()
        self.published_entries: dict[str, ViewerEntry] = {}  # by user, first arrival first
        self.published_version: str | None = None  # None before the first snapshot
        self.published_conflicts = ConflictState()
        self._shared_snapshots: dict[int, SharedSnapshot] = {}  # by limit
        self._bucket = TokenBucket()

    @property
    def is_confirmed(self) -> bool:
        return self.sync.is_confirmed

    def may_publish(self, now: float) -> bool:
        """Whether changes may be published now; takes a token if so."""
        return self._bucket.consume(self._rate(), now)

    def may_publish_at(self) -> float:
        """When `may_publish` will be true, on the monotonic clock."""
        return self._bucket.available_at(self._rate())

    def _rate(self) -> Rate:
        return CROWD_PUBLISH_RATE if len(self.replica.entries) > CROWD_SIZE else PUBLISH_RATE

    def snapshot_for(self, user: str | None, limit: int) -> Event:
        """What has been published, with the first `limit` viewers except `user`, up to MAX_SNAPSHOT_BYTES."""
        shared = self._shared_snapshot(limit)
        if shared is not None and user not in shared.users:
            return shared.event
        first = itertools.islice(self.published_entries.items(), limit + 1)
        others = [(other, entry) for other, entry in first if other != user]
        return self._snapshot(_fit(others[:limit]))

    def estimate_snapshot_bytes(self, limit: int) -> int:
        """About how long a snapshot of at most `limit` viewers is."""
        return min(MAX_SNAPSHOT_BYTES, ENTRY_BYTES * min(limit, len(self.published_entries)))

    def _shared_snapshot(self, limit: int) -> SharedSnapshot | None:
        """The snapshot for everyone except the viewers that it lists; None unless there is a crowd.

        Without it, a crowd whose streams open at once would be listed and encoded
        once for each of them.
        """
        if len(self.published_entries) <= CROWD_SIZE:
            return None
        shared = self._shared_snapshots.get(limit)
        if shared is None:
            entries = _fit(list(itertools.islice(self.published_entries.items(), limit)))
            shared = SharedSnapshot(self._snapshot(entries), frozenset(user for user, _ in entries))
            if len(self._shared_snapshots) < MAX_SHARED_SNAPSHOTS:
                self._shared_snapshots[limit] = shared
        return shared

    def _snapshot(self, entries: list[tuple[str, ViewerEntry]]) -> Event:
        is_unconfirmed = self.replica.grace_ends_at is not None
        return Event(
            "snapshot",
            self.record,
            version=self.published_version,
            is_partial=is_unconfirmed,
            is_unconfirmed=is_unconfirmed,
            entries=entries,
            conflicts=self.published_conflicts,
        )

    def publish(self) -> None:
        """Send the streams what has changed since the last time."""
        if self.replica.needs_snapshot:
            self.publish_snapshot()
            return
        events = self._unpublished_events()
        if len(events) > MAX_EVENTS_PER_PUBLISH:
            self.publish_snapshot()
        else:
            self._publish_events(events)

    def publish_snapshot(self) -> None:
        """Bring every stream up to date, whatever it was sent before."""
        self.published_entries = self.replica.entries.copy()
        self._mark_as_published()
        self.log = EventLog()  # in which no stream has a place
        self.wake_streams()

    def push(self, batch: EventBatch) -> None:
        """Let all streams have these events."""
        self.log.append(batch)
        self.wake_streams()

    def wake_streams(self) -> None:
        """Let all readers take what there is."""
        self._wakeups.add_all(self.streams, self)

    def _unpublished_events(self) -> list[Event]:
        """Leaves come first, and joins in the order of arrival.

        A client that applies them one by one thus keeps its list in our order.
        """
        is_in_grace_period = self.replica.grace_ends_at is not None
        leaves, updates, joins = [], [], []
        for user, reason in self.replica.changed_users.items():
            before, after = self.published_entries.get(user), self.replica.entries.get(user)
            if before and after and (before.arrival == after.arrival or is_in_grace_period):
                if before.viewer != after.viewer:
                    updates.append(Event("update", self.record, user, entry=after))
                continue
            if before:
                leaves.append(Event("leave", self.record, user, entry=before, reason=reason))
            if after:
                joins.append((after.arrival, user, Event("join", self.record, user, entry=after)))
        joins.sort(key=lambda join: join[:2])
        return [*leaves, *updates, *(event for _, _, event in joins), *self.replica.conflict_events]

    def _publish_events(self, events: list[Event]) -> None:
        # Without events, a user came and went in between, which no stream has to show. A client
        # that reconnects with the older version gets a snapshot.
        is_in_grace_period = self.replica.grace_ends_at is not None
        viewers_before = len(self.published_entries)
        total, counted = viewers_before, []
        for event in events:
            # Only the last one completes the version. While users are unconfirmed, none does.
            is_last = event is events[-1]
            event.is_partial = not is_last or is_in_grace_period
            event.version = self.replica.version if is_last else self.published_version
            total += {"join": 1, "leave": -1}.get(event.kind, 0)
            counted.append((event, total))
        for event in events:
            if event.kind == "leave" and event.user is not None:
                self.published_entries.pop(event.user)
            elif event.user is not None and event.entry is not None:
                self.published_entries[event.user] = event.entry
        self._mark_as_published()
        if counted:
            self.push(EventBatch(counted, viewers_before=viewers_before))

    def _mark_as_published(self) -> None:
        self.replica.clear_unpublished_changes()
        self._shared_snapshots.clear()
        self.published_version = self.replica.version
        self.published_conflicts = self.replica.conflicts


def _fit(entries: list[tuple[str, ViewerEntry]]) -> list[tuple[str, ViewerEntry]]:
    """The first of these viewers, as many as a snapshot may hold; its total says that there are more."""
    sizes = itertools.accumulate(entry.size_bytes for _, entry in entries)
    return [item for item, size_bytes in zip(entries, sizes, strict=True) if size_bytes <= MAX_SNAPSHOT_BYTES]

"""What the streams of a process are told: events, topics and the streams themselves.

All of it is guarded by the lock of the Broadcast (app/presence/broadcast.py),
which alone talks to Redis.
"""

import itertools
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from app.presence.conflicts import Notes, decode_claims, decode_save
from app.presence.errors import PresenceError
from app.presence.records import Record, Viewer, decode_viewer

MAX_PENDING = 100  # events that a stream may be behind
MAX_SHARED = 4  # snapshots of different length that a record keeps
MOST_SAVES = 50  # that a snapshot tells
MAX_EVENTS = 8  # of one record at a time; more are told by a snapshot
CROWD = 50  # viewers; from here on a record tells its changes less often
CHANGES_A_SECOND = 20.0
CROWD_CHANGES_A_SECOND = 3.0

_EMPTY = "0"  # the version of a record that nobody has open
_VERSION = re.compile(r"0|[0-9]{1,20}-[0-9a-z]{1,32}", re.ASCII)
_ANNOUNCEMENT = re.compile(r"[a-z_]{1,32}", re.ASCII)


class StreamEnded(PresenceError):
    """The stream is over, through no fault of its reader, who should open another.

    `reason` is `unavailable` (Redis can't confirm what was shown) or `draining`
    (the process stops).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Seat:
    """A viewer at one moment; `text` is for whoever renders her, to do it once.

    Raises ValueError for what is no seat; so does everything that reads messages here.
    """

    __slots__ = ("arrival", "text", "viewer")

    def __init__(self, user: str, packed: list[Any]) -> None:
        counts = packed[1:5]
        names = packed[5:]
        if names and type(names[-1]) is list:
            names = [*names[:-1], *names[-1]]
        texts = [packed[0], *names[::2]]
        if not all(type(count) is int for count in counts) or not all(type(text) is str for text in texts):
            raise ValueError(f"not a seat: {packed}")
        self.viewer: Viewer = decode_viewer(user, packed)
        if type(self.viewer["id"]) not in (int, str):
            raise ValueError(f"not a user: {user}")
        self.arrival: int = packed[1]
        self.text: str | None = None


@dataclass(slots=True, eq=False)
class Event:
    """What happened to a record, the same for all of its streams.

    `kind` is `snapshot`, `join`, `update`, `leave`, `saved`, `claims` or another
    word that was published with `announce`. `user` (JSON text) is whom it is about. `version`
    is the record's after it; the earlier one where more is to follow, which
    `is_partial` says. `seats`
    of a snapshot are the first to have arrived, each with her user; `notes` what
    else it tells. `texts` is
    for whoever renders it, to do it once.
    """

    kind: str
    record: Record
    user: str | None = None
    version: str | None = None
    seat: Seat | None = None
    reason: str | None = None
    data: dict[str, Any] | None = None
    is_partial: bool = False
    is_unconfirmed: bool = False  # of a snapshot: it lists some who have not come back yet
    seats: list[tuple[str, Seat]] | None = None
    notes: Notes | None = None
    texts: dict[Any, bytes] = field(default_factory=dict)


def announced(record: Record, message: dict[str, Any]) -> Event:
    """The event of a message that is not about who is there. Raises ValueError."""
    kind, user, data = message["announce"], message.get("user"), message.get("data")
    if (
        not isinstance(kind, str)
        or not _ANNOUNCEMENT.fullmatch(kind)
        or not isinstance(user, str | None)
        or not isinstance(data, dict | None)
    ):
        raise ValueError("not an announcement")
    return Event(kind, record, user=user, data=data)


class SharedSnapshot(NamedTuple):
    """The snapshot of all streams of a crowd but those of the `users` that it lists."""

    event: Event
    users: frozenset[str]


class Topic:
    """A record that streams of this process show."""

    __slots__ = (
        "allowance",
        "allowed_at",
        "backlog",
        "changed",
        "current",
        "failing_since",
        "held",
        "is_confirmed",
        "is_overtaken",
        "is_reading",
        "is_subscribed",
        "needs_read",
        "needs_snapshot",
        "next_at",
        "noted",
        "notes",
        "queued_at",
        "record",
        "settles_at",
        "shown",
        "shown_notes",
        "shown_version",
        "snapshots",
        "streams",
        "suspect",
        "version",
    )

    def __init__(self, record: Record) -> None:
        self.record = record
        self.streams: set[Stream] = set()
        self.current: dict[str, Seat] = {}  # by user, first arrival first
        self.version: str | None = None  # None until the first read
        self.notes = Notes()
        self.shown: dict[str, Seat] = {}  # what the streams were told
        self.shown_version: str | None = None
        self.snapshots: dict[int, SharedSnapshot] = {}  # by limit, of a crowd at `shown_version`
        self.shown_notes = self.notes
        self.changed: dict[str, str | None] = {}  # not told yet: user -> why she left, if she did
        self.noted: list[Event] = []  # not told yet: saves, and claims
        self.is_subscribed = False
        self.is_confirmed = False  # nothing can have been missed since it was read
        self.needs_snapshot = False
        self.needs_read = False
        self.is_reading = False
        self.is_overtaken = False  # by a subscription, while it is read
        self.backlog: list[dict[str, Any]] = []
        self.next_at: float | None = None  # when to sweep
        self.queued_at: float | None = None  # the earliest entry in the keeper's heap
        # When to look whether the version, which was the first, has reached the second.
        self.suspect: tuple[float, str | None, str | None] | None = None
        self.failing_since: float | None = None
        self.held: set[str] = set()  # users whom Redis has lost and who may come back
        self.settles_at: float | None = None  # until when they may
        self.allowance = 1.0  # changes that may be told at once
        self.allowed_at = 0.0

    def may_tell(self, now: float) -> bool:
        """Whether a change may be told now; takes from the allowance when it may."""
        self.allowance = min(self._burst(), self.allowance + (now - self.allowed_at) * self._rate())
        self.allowed_at = now
        if self.allowance < 1:
            return False
        self.allowance -= 1
        return True

    def tell_at(self) -> float:
        """When the allowance will be enough."""
        return self.allowed_at + (1 - self.allowance) / self._rate()

    def _rate(self) -> float:
        return CROWD_CHANGES_A_SECOND if self._is_crowd() else CHANGES_A_SECOND

    def _burst(self) -> float:
        # In a crowd, the second change of two quick ones would wait for long.
        return 2.0 if self._is_crowd() else 1.0

    def _is_crowd(self) -> bool:
        return len(self.current) > CROWD

    def apply(self, message: dict[str, Any]) -> bool:
        """Carry out one message, or nothing of it. False when something before it is missing.

        Raises what a message of a wrong shape leads to.
        """
        version, previous = message["version"], message.get("previous")
        if previous is None or version == self.version:
            return True
        if not _VERSION.fullmatch(version) or not _VERSION.fullmatch(previous):
            raise ValueError(f"not a version: {version} {previous}")
        if previous != self.version or message.get("reset"):
            # Older than what we have, or there is a gap.
            return self.has_reached(version if version != _EMPTY else previous, is_after=version == _EMPTY)
        changes: list[tuple[str, Seat | None, str | None]] = []
        for kind, user, what in message["changes"]:
            if kind not in ("join", "update", "leave") or not isinstance(user, str):
                raise ValueError(f"not a change: {kind} {user}")
            if kind == "leave":
                changes.append((user, None, what if isinstance(what, str) else None))
            else:
                changes.append((user, Seat(user, what), None))
        noted = self._read_notes(message)
        for user, seat, reason in changes:
            self.held.discard(user)
            if seat is None:
                self.current.pop(user, None)
                self.changed[user] = reason
            else:
                self.current[user] = seat
                self.changed.setdefault(user)
        self.notes = noted
        self.version = version
        if self.settles_at is not None and not self.held:
            self.settle()
        return True

    def _read_notes(self, message: dict[str, Any]) -> Notes:
        """The notes after a message. Raises ValueError."""
        saves, claims, noted = self.notes.saves, self.notes.claims, []
        if row := message.get("saved"):
            saves = sorted([*saves, decode_save(row)], key=lambda save: save["lock_version"])[-MOST_SAVES:]
            noted.append(Event("saved", self.record, data={"record": self.record.name, **decode_save(row)}))
        if "claims" in message:
            claims = decode_claims(message["claims"] or [])
        elif message["version"] == _EMPTY:
            claims = {}  # they went with the last tab
        if claims != self.notes.claims:
            data = {"record": self.record.name, "claims": claims}
            noted.append(Event("claims", self.record, data=data))
        self.noted += noted
        if message["version"] == _EMPTY:
            return Notes()  # nothing is remembered of an empty record
        return Notes(saves, claims, self.notes.remembered_since)

    @property
    def is_to_tell(self) -> bool:
        """Whether the streams don't know something."""
        return bool(self.needs_snapshot or self.changed or self.noted)

    def has_reached(self, version: str | None, *, is_after: bool = False) -> bool:
        """Whether what we have is this version or came after it (`is_after`: after it).

        Never true when in doubt.
        """
        if version is None or self.version is None:
            return False
        if version == self.version:
            return not is_after
        if _EMPTY in (version, self.version):
            return False
        return _microseconds(version) < _microseconds(self.version)

    def replace(
        self, version: str, current: dict[str, Seat], notes: Notes, opened_ms: int, settles_at: float | None
    ) -> None:
        """Take over what Redis said. The streams get a snapshot, unless they have it.

        Where the record was opened after what we know of it, Redis has lost it (or
        everybody has left, unheard). Whoever is missing then stays until
        `settles_at`, when all have had the time to beat once; None keeps nobody.
        """
        if version == self.version:
            return
        missing = self.current.keys() - current.keys()
        if settles_at is not None and missing and self._is_lost(version, opened_ms):
            self.held, self.settles_at = missing, settles_at
        else:
            self.held &= missing
        if not self.held:
            self.settles_at = None
        # In the order that is shown. Redis has another one, of who came back first.
        kept = {user: seat for user, seat in self.current.items() if user in self.held or user in current}
        self.current = {**kept, **current} if self.held else current
        self.notes = notes
        self.version = version
        self.changed.clear()
        self.noted.clear()
        self.needs_snapshot = True

    def _is_lost(self, version: str, opened_ms: int) -> bool:
        if self.version in (None, _EMPTY):
            return False
        return version == _EMPTY or opened_ms * 1000 > _microseconds(self.version)

    def settle(self) -> None:
        """Whoever could come back has come: the streams get a snapshot, in Redis's order."""
        there = [(user, seat) for user, seat in self.current.items() if user not in self.held]
        self.current = dict(sorted(there, key=lambda entry: entry[1].arrival))
        self.held, self.settles_at = set(), None
        self.needs_snapshot = True

    def snapshot(self, seats: list[tuple[str, Seat]]) -> Event:
        """What the streams were told so far, with these viewers of it."""
        return Event(
            "snapshot",
            self.record,
            version=self.shown_version,
            is_partial=self.settles_at is not None,
            is_unconfirmed=self.settles_at is not None,
            seats=seats,
            notes=self.shown_notes,
        )

    def snapshot_of_crowd(self, limit: int) -> SharedSnapshot | None:
        """What all but the first have in common; None where there is no crowd.

        Without it, a crowd whose streams open or come back together would be
        listed and put into words once for each of them.
        """
        if len(self.shown) <= CROWD:
            return None
        shared = self.snapshots.get(limit)
        if shared is None:
            seats = list(itertools.islice(self.shown.items(), limit))
            event = self.snapshot(seats)
            shared = SharedSnapshot(event, frozenset(user for user, _ in seats))
            if len(self.snapshots) < MAX_SHARED:
                self.snapshots[limit] = shared
        return shared

    def tell(self) -> None:
        """Tell the streams what has changed since the last time."""
        if self.needs_snapshot:
            self.tell_by_snapshot()
        else:
            self._tell_by_events()

    def tell_by_snapshot(self) -> None:
        """Bring every stream up to date, whatever it was told before."""
        self.needs_snapshot = False
        self.changed.clear()
        self.noted.clear()
        self.shown = self.current.copy()
        self.shown_version = self.version
        self.snapshots.clear()
        self.shown_notes = self.notes
        for stream in self.streams:
            stream.push_snapshot(self)

    def _tell_by_events(self) -> None:
        # Those who leave come first, and those who join in the order of their
        # arrival: so the order of a list that is kept by these events is ours.
        leaves, updates, joins = [], [], []
        for user, reason in self.changed.items():
            before, after = self.shown.get(user), self.current.get(user)
            if before and after and (before.arrival == after.arrival or self.settles_at is not None):
                if before.viewer != after.viewer:
                    updates.append(Event("update", self.record, user, seat=after))
                continue
            if before:
                leaves.append(Event("leave", self.record, user, seat=before, reason=reason))
            if after:
                joins.append((after.arrival, user, Event("join", self.record, user, seat=after)))
        joins.sort(key=lambda join: join[:2])
        events = [*leaves, *updates, *(event for _, _, event in joins), *self.noted]
        if len(events) > MAX_EVENTS:
            self.tell_by_snapshot()
            return
        # Somebody moves up into the part of the list that they show.
        moved = [stream for stream in self.streams if leaves and stream.count(self.shown) > stream.limit]
        for event in events:
            # Only the last one says that this version is complete, which it is not while somebody is held.
            is_last = event is events[-1]
            event.is_partial = not is_last or self.settles_at is not None
            event.version = self.version if is_last else self.shown_version
            if event.kind == "leave":
                self.shown.pop(event.user)
            elif event.seat:
                self.shown[event.user] = event.seat
            for stream in self.streams:
                stream.push(event, self, stream.count(self.shown))
        # Where there are no events, somebody came and went in between, which nobody
        # has to know. A stream that holds the older version gets a snapshot when it
        # comes back.
        self.changed.clear()
        self.snapshots.clear()
        self.noted.clear()
        self.shown_version = self.version
        self.shown_notes = self.notes
        for stream in moved:
            stream.push_snapshot(self)


class Stream:
    """What one reader is told of some records. Read it with `take`; `close` it afterwards.

    `user` (JSON text of an id) is left out of what it shows. `limit` is how many
    viewers a snapshot lists.
    """

    __slots__ = (
        "_behind",
        "_ended",
        "_forget",
        "_is_woken",
        "_lock",
        "_observe",
        "_pending",
        "_seen_version",
        "_topics",
        "_wake",
        "limit",
        "user",
    )

    def __init__(
        self,
        user: str | None,
        limit: int,
        seen_version: str | None,
        *,
        lock: threading.RLock,
        forget: Callable[["Stream"], None],
        observe: Callable[[str], None],
    ) -> None:
        self._lock = lock
        self._forget = forget
        self._observe = observe
        self.user = user
        self.limit = limit
        self._seen_version = seen_version if seen_version != _EMPTY else None
        self._topics: list[Topic] = []
        self._behind: dict[Topic, None] = {}  # topics to be told by a snapshot, in order
        self._pending: deque[tuple[Event, int]] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._is_woken = False
        self._ended: str | None = None

    def take(self, timeout_seconds: float) -> list[tuple[Event, int]]:
        """What has happened since the last call: events, each with how many viewers there are.

        The number leaves `user` out. Waits for something to happen; returns []
        after the timeout. Raises StreamEnded.
        """
        try:
            self._wake.get(timeout=timeout_seconds)
        except Empty:
            return []
        with self._lock:
            self._is_woken = False
            if self._ended:
                raise StreamEnded(self._ended)
            events = list(self._pending)
            self._pending.clear()
            for topic in [topic for topic in self._behind if topic.is_confirmed]:
                del self._behind[topic]
                if topic.shown_version != self._seen_version:
                    events.append((self._snapshot(topic), self.count(topic.shown)))
            if not self._behind:
                self._seen_version = None
            return events

    def _snapshot(self, topic: Topic) -> Event:
        shared = topic.snapshot_of_crowd(self.limit)
        if shared is not None and self.user not in shared.users:
            return shared.event
        seats = itertools.islice(topic.shown.items(), self.limit + 1)
        others = [(user, seat) for user, seat in seats if user != self.user]
        return topic.snapshot(others[: self.limit])

    def count(self, seats: dict[str, Seat]) -> int:
        """How many these are, without the stream's own user."""
        return len(seats) - (self.user in seats)

    def close(self) -> None:
        """Stop listening."""
        self._forget(self)

    def wait_until_confirmed(self, deadline: float) -> bool:
        """Whether every record was read before `deadline`, on the monotonic clock."""
        while not all(topic.is_confirmed for topic in self._topics):
            try:
                self._wake.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return False
            with self._lock:
                self._is_woken = False
                if self._ended:
                    raise StreamEnded(self._ended)
        with self._lock:
            self.wake()
        return True

    # What follows is for the broadcast, which holds the lock.

    def follow(self, topic: Topic) -> None:
        self._topics.append(topic)
        self._behind[topic] = None
        topic.streams.add(self)

    def push(self, event: Event, topic: Topic, total: int) -> None:
        if topic in self._behind:
            return
        self._pending.append((event, total))
        if len(self._pending) > MAX_PENDING:
            self._pending.clear()
            self._behind.update(dict.fromkeys(self._topics))
            self._observe("slow_reader")
        self.wake()

    def push_snapshot(self, topic: Topic) -> None:
        self._behind[topic] = None
        self.wake()

    def end(self, reason: str) -> None:
        self._ended = self._ended or reason
        self.wake()

    def wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._wake.put(None)

    @property
    def topics(self) -> Sequence[Topic]:
        return self._topics


def _microseconds(version: str) -> int:
    return int(version.partition("-")[0])

"""The replica of a record: what Redis holds of it, as far as this process knows."""

from typing import Any

from ..codec import decode_claims, decode_save
from ..conflicts import ConflictState
from ..limits import MAX_SAVES
from ..records import Record
from ..versions import EMPTY_VERSION, VERSION_PATTERN, microseconds_of
from .events import Event, ViewerEntry


class Replica:
    """The viewers, saves and claims of one record at one version, and what is not published yet.

    Messages change it step by step (`apply`), reads as a whole (`replace`). The
    caller holds the lock.

    If Redis has lost its data, everyone who was shown before stays among the
    entries for a grace period, as one of the `unconfirmed_users`, until they come
    back.
    """

    __slots__ = (
        "changed_users",
        "conflict_events",
        "conflicts",
        "entries",
        "grace_ends_at",
        "needs_snapshot",
        "opened_ms",
        "record",
        "unconfirmed_users",
        "version",
    )

    def __init__(self, record: Record) -> None:
        self.record = record
        self.entries: dict[str, ViewerEntry] = {}  # by user, first arrival first
        self.version: str | None = None  # None before the first read
        self.opened_ms: int | None = None  # since the epoch; None while nobody has the record open
        self.conflicts = ConflictState()
        self.unconfirmed_users: set[str] = set()
        self.grace_ends_at: float | None = None  # on the monotonic clock; None outside a grace period
        # Not published yet:
        self.changed_users: dict[str, str | None] = {}  # and the reason if they left
        self.conflict_events: list[Event] = []
        self.needs_snapshot = False

    @property
    def has_unpublished_changes(self) -> bool:
        return bool(self.needs_snapshot or self.changed_users or self.conflict_events)

    def clear_unpublished_changes(self) -> None:
        self.changed_users.clear()
        self.conflict_events.clear()
        self.needs_snapshot = False

    def apply(self, message: dict[str, Any]) -> bool:
        """Apply one message. False if a message before it is missing, or does not say when the record opened.

        A malformed message changes nothing and raises ValueError, LookupError,
        TypeError, AttributeError or RecursionError.
        """
        version, previous = message["version"], message.get("previous")
        if previous is None or version == self.version:
            return True
        if not VERSION_PATTERN.fullmatch(version) or not VERSION_PATTERN.fullmatch(previous):
            raise ValueError(f"not a version: {version} {previous}")
        if previous != self.version or message.get("reset"):
            # Either the message is older than the replica, or one before it is missing. The version
            # of an empty record says nothing about time, so the one before it is compared.
            is_empty = version == EMPTY_VERSION
            return self.has_reached(previous if is_empty else version, only_later=is_empty)
        opened_ms = self.opened_ms
        if "opened_ms" in message:  # only of the first one after the record was empty
            opened_ms = int(message["opened_ms"])
        if opened_ms is None and version != EMPTY_VERSION:
            return False  # that one was published by an earlier release
        changes = _decode_changes(message["changes"], opened_ms or 0)
        conflicts, events = self._decode_conflicts(message)
        # From here on nothing can fail.
        for user, entry, reason in changes:
            self.unconfirmed_users.discard(user)
            if entry is None:
                self.entries.pop(user, None)
                self.changed_users[user] = reason
            else:
                self.entries[user] = entry
                self.changed_users.setdefault(user)
        self.conflicts = conflicts
        self.conflict_events += events
        self.version = version
        self.opened_ms = opened_ms if version != EMPTY_VERSION else None
        if self.grace_ends_at is not None and not self.unconfirmed_users:
            self.end_grace_period()
        return True

    def _decode_conflicts(self, message: dict[str, Any]) -> tuple[ConflictState, list[Event]]:
        """The saves and claims after a message, and the events that it causes."""
        saves, claims, events = self.conflicts.saves, self.conflicts.claims, []
        if row := message.get("saved"):
            save = decode_save(row)
            saves = sorted([*saves, save], key=lambda save: save["lock_version"])[-MAX_SAVES:]
            events.append(Event("saved", self.record, data={"record": self.record.name, **save}))
        is_empty = message["version"] == EMPTY_VERSION
        if "claims" in message:
            claims = decode_claims(message["claims"] or [], message.get("waiting") or [])
        elif is_empty:
            claims = {}  # they ended with the last tab
        if claims != self.conflicts.claims:
            data = {"record": self.record.name, "claims": claims}
            events.append(Event("claims", self.record, data=data))
        if is_empty:
            return ConflictState(), events  # nothing is remembered of an empty record
        return ConflictState(saves, claims, self.conflicts.remembered_since), events

    def has_reached(self, version: str | None, *, only_later: bool = False) -> bool:
        """Whether the replica is at this version or a later one; with `only_later`, at a later one.

        False if in doubt.
        """
        if version is None or self.version is None:
            return False
        if version == self.version:
            return not only_later
        if EMPTY_VERSION in (version, self.version):
            return False
        return microseconds_of(version) < microseconds_of(self.version)

    def replace(
        self,
        version: str,
        entries: dict[str, ViewerEntry],
        conflicts: ConflictState,
        *,
        opened_ms: int,
        grace_ends_at: float | None,
    ) -> None:
        """Take over what was read from Redis. The streams need a snapshot, unless nothing is new.

        If the record was opened (`opened_ms`, since the epoch) after the version
        known here, Redis has lost its data, or everybody has left unnoticed. Then
        those who are missing stay until `grace_ends_at`, when every tab has had time
        for a heartbeat. With None they are dropped at once.
        """
        if version == self.version:
            return
        missing = self.entries.keys() - entries.keys()
        if grace_ends_at is not None and missing and self._was_lost(version, opened_ms):
            self.unconfirmed_users, self.grace_ends_at = missing, grace_ends_at
        else:
            self.unconfirmed_users &= missing
        if not self.unconfirmed_users:
            self.grace_ends_at = None
            self.entries = entries
        else:
            # Keeps the order that is shown. In Redis it is the order in which users came back.
            kept = {
                user: entry
                for user, entry in self.entries.items()
                if user in self.unconfirmed_users or user in entries
            }
            self.entries = {**kept, **entries}
        self.conflicts = conflicts
        self.version = version
        self.opened_ms = opened_ms or None
        self.clear_unpublished_changes()
        self.needs_snapshot = True

    def _was_lost(self, version: str, opened_ms: int) -> bool:
        if self.version is None or self.version == EMPTY_VERSION:
            return False
        return version == EMPTY_VERSION or opened_ms * 1000 > microseconds_of(self.version)

    def end_grace_period(self) -> None:
        """Drop the users who have not come back, and restore Redis's order."""
        confirmed = [
            (user, entry) for user, entry in self.entries.items() if user not in self.unconfirmed_users
        ]
        self.entries = dict(sorted(confirmed, key=lambda item: item[1].arrival))
        self.unconfirmed_users, self.grace_ends_at = set(), None
        self.needs_snapshot = True


def _decode_changes(
    rows: list[list[Any]], opened_ms: int
) -> list[tuple[str, ViewerEntry | None, str | None]]:
    """Users with their new entries, or None and the reason if they left. Raises ValueError."""
    changes: list[tuple[str, ViewerEntry | None, str | None]] = []
    for kind, user, detail in rows:
        if kind not in ("join", "update", "leave") or not isinstance(user, str):
            raise ValueError(f"not a change: {kind} {user}")
        if kind == "leave":
            changes.append((user, None, detail if isinstance(detail, str) else None))
        else:
            changes.append((user, ViewerEntry(user, detail, opened_ms), None))
    return changes

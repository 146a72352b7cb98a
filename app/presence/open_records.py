"""Which records of a tenant are open: indexes that are written when somebody comes, and checked when read.

There is one index for each type of record, and one for each user. All of a tenant's are in one slot of a
Cluster, and a record's script may touch no key outside the record's own: so they are written by a command of
their own, after the heartbeat that it is about. They say which records may be open; whether one is, only the
record itself knows.
"""

import json
import logging
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from .codec import encode_user_id
from .errors import PresenceError, StoreUnavailable
from .limits import (
    MAX_OPEN_RECORDS_OF_TYPE,
    MAX_OPEN_RECORDS_OF_USER,
    MAX_UNNOTED_RECORDS,
)
from .records import Record, quote_tenant, quote_user
from .scripts import Scripts
from .validation import check_open_cursor
from .versions import new_nonce
from .viewers import AgentId, UserId

# A tab that stays open is noted again about so often, so that neither the end of an index's key nor its loss
# makes it disappear for good. By chance, because then a heartbeat need remember nothing: within a day it
# happens with all but 1 of 100,000 tabs.
REFRESH_SECONDS = 7_200
KEPT_SECONDS = 2 * 86_400  # that an index keeps a record without being told of it; a timeline may last longer
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 1.0, 30.0  # after Redis did not take a note; doubled each time
MAX_NOTES_PER_CALL = 100
MIN_YOUNG_INTERVAL_SECONDS = 3_600.0  # whoever makes up types must not keep all others busy
MAX_NOTED = 100_000  # users with records that a process remembers while an index is young
NOTES_PER_CHECK = 8  # one of so many notes looks at records that may be open no longer
RECORDS_PER_CHECK = 16  # twice as many as come: so those that are gone don't pile up

log = logging.getLogger("presence.open_records")


class Noted(NamedTuple):
    """A record of an index, by its id or its name, and when it was last known to be open, in µs."""

    record: str
    noted_us: int


class Page(NamedTuple):
    """Records that may be open; `next` is the cursor of the rest, None at the end."""

    found: list[Noted]
    next: str | None


class OpenRecords:
    """The indexes of one tenant. `note` never raises: what Redis does not take is noted later."""

    def __init__(
        self,
        redis: Any,
        scripts: Scripts,
        tenant: str,
        *,
        lease_ms: int,
        timeline_ms: int,
        heartbeat_seconds: float,
    ) -> None:
        self._redis = redis
        self._scripts = scripts
        self._tenant = tenant
        self._lease_ms = lease_ms
        self._timeline_ms = timeline_ms
        # What is erased of a user is found by their index, so it lasts as long as a timeline.
        self._kept_ms = max(KEPT_SECONDS * 1000, timeline_ms + KEPT_SECONDS * 500)
        self._refresh_chance = min(1.0, heartbeat_seconds / REFRESH_SECONDS)
        self._unnoted: dict[tuple[Record, str], UserId] = {}
        self._retry_at = 0.0  # monotonic seconds
        self._retry_seconds = 0.0  # the last wait, 0 where Redis took the last note
        self._notes = 0
        # While an index is young: until when (monotonic seconds), and what this process has noted in it.
        self._young_until = self._young_again_at = 0.0
        self._noted: set[tuple[Record, str]] = set()
        # That an unchanged heartbeat is to be looked at: 1 while notes wait, or an index is young.
        self.chance = self._refresh_chance

    def type_key(self, record_type: str) -> str:
        """The index of the records of a type; as for all keys here, the braces are literal."""
        return f"{self._prefix}type:{record_type}"

    def user_key(self, user_id: UserId) -> str:
        """The index of a user. What their agents have open is in it too."""
        person_id = user_id.person_id if type(user_id) is AgentId else user_id
        return f"{self._prefix}user:{quote_user(encode_user_id(person_id))}"

    @property
    def _prefix(self) -> str:
        tenant = quote_tenant(self._tenant)
        return f"tenant_{tenant}_record_presence_open:{{{tenant}}}:"

    def note(self, record: Record, user_id: UserId) -> None:
        """Note that the user has the record open, now or as soon as Redis takes it."""
        self._unnoted[record, encode_user_id(user_id)] = user_id
        self._write_notes()

    def note_by_chance(self, record: Record, user_id: UserId) -> None:
        """For the heartbeats without a change that `chance` picks: usually few."""
        if self._young_until and time.monotonic() >= self._young_until:
            self._young_until = 0.0
            self._noted.clear()
        is_young = self._young_until and len(self._noted) < MAX_NOTED
        is_unknown = is_young and (record, encode_user_id(user_id)) not in self._noted
        # Where every heartbeat is looked at, none has been picked yet.
        is_picked = self.chance < 1 or random.random() < self._refresh_chance  # noqa: S311
        if is_unknown or is_picked:
            self.note(record, user_id)
        elif self._unnoted:
            self._write_notes()
        else:
            self._set_chance()

    def _set_chance(self) -> None:
        self.chance = 1.0 if self._unnoted or self._young_until else self._refresh_chance

    def note_later(self, record: Record, user_id: UserId) -> None:
        """For a call of which nobody knows whether it was carried out."""
        self._unnoted[record, encode_user_id(user_id)] = user_id
        self.chance = 1.0

    def _write_notes(self) -> None:
        if time.monotonic() < self._retry_at:
            self.chance = 1.0
            self._drop_notes_beyond_bound()
            return
        notes = self._take_notes()
        if not notes:
            self._set_chance()
            return
        try:
            age_ms, due = self._add([(record, user_id) for (record, _), user_id in notes])
        except BaseException as error:
            for key, user_id in notes:
                self._unnoted.setdefault(key, user_id)
            self.chance = 1.0
            if not isinstance(error, PresenceError):  # a greenlet that is ended while it waits
                raise
            self._postpone(error)
            return
        self._retry_seconds = 0.0
        now = time.monotonic()
        if age_ms < self._lease_ms and now >= self._young_again_at:
            self._young_until = now + 2 * self._lease_ms / 1000
            self._young_again_at = now + MIN_YOUNG_INTERVAL_SECONDS
        if self._young_until:
            self._noted.update(key for key, _ in notes)
        self._set_chance()
        for record_type, found in due:
            with suppress(StoreUnavailable):  # there will be other checks
                self._check(record_type, found)

    def _take_notes(self) -> list[tuple[tuple[Record, str], UserId]]:
        """Notes that this call alone writes: of a crowd that comes at once, each would write all of them."""
        notes: list[tuple[tuple[Record, str], UserId]] = []
        with suppress(KeyError):
            while len(notes) < MAX_NOTES_PER_CALL:
                notes.append(self._unnoted.popitem())
        return notes

    def _postpone(self, error: PresenceError) -> None:
        if not self._retry_seconds:
            log.warning("index of open records unavailable", extra={"error": str(error)})
        now = time.monotonic()
        if now >= self._retry_at:  # otherwise another call of the same crowd has failed, and set it
            self._retry_seconds = min(MAX_RETRY_SECONDS, 2 * self._retry_seconds or MIN_RETRY_SECONDS)
            self._retry_at = now + self._retry_seconds
        self.chance = 1.0
        self._drop_notes_beyond_bound()

    def _drop_notes_beyond_bound(self) -> None:
        while len(self._unnoted) > MAX_UNNOTED_RECORDS:
            self._unnoted.pop(next(iter(self._unnoted)), None)

    def _add(self, notes: Sequence[tuple[Record, UserId]]) -> tuple[int, list[tuple[str, list[Noted]]]]:
        """Write the notes; returns the age of the youngest index (ms), and what is to be checked, by type."""
        calls = [self._addition(record, user_id) for record, user_id in notes]
        if len(calls) == 1:
            replies = [self._scripts.run(self._redis, "open_add", *calls[0])]
        else:
            replies = self._scripts.run_many(self._redis, "open_add", calls)
        due = [
            (record.type, _decode_noted(reply[2:]))
            for (record, _), reply in zip(notes, replies, strict=True)
            if len(reply) > 2
        ]
        return min(reply[1] for reply in replies), due

    def _addition(self, record: Record, user_id: UserId) -> tuple[tuple[str, str], tuple[Any, ...]]:
        self._notes += 1
        is_check_due = self._notes % NOTES_PER_CHECK == 0
        return (self.type_key(record.type), self.user_key(user_id)), (
            record.id,
            record.name,
            self._kept_ms,
            MAX_OPEN_RECORDS_OF_TYPE,
            MAX_OPEN_RECORDS_OF_USER,
            self._lease_ms,
            RECORDS_PER_CHECK if is_check_due else 0,
        )

    def _check(self, record_type: str, found: list[Noted]) -> None:
        """Look at records that were noted long ago: those that are still open were noted now."""
        records = [Record(self._tenant, record_type, noted.record) for noted in found]
        replies = self.summarize(records, max_bytes=0)
        rows = [
            (noted, reply[1] > 0)
            for noted, reply in zip(found, replies, strict=True)
            if reply[0] != "SWEEP_FIRST"
        ]
        self.tell(self.type_key(record_type), rows)

    def summarize(self, records: Sequence[Record], *, user: str = "", max_bytes: int) -> list[list[Any]]:
        """The reply of the script `summary` for each record, in one round trip; some are SWEEP_FIRST."""
        calls = [(record.keys, self.summary_arguments(user, max_bytes)) for record in records]
        return self._scripts.run_many(self._redis, "summary", calls) if calls else []

    def summary_arguments(self, user: str, max_bytes: int) -> tuple[Any, ...]:
        """The arguments of the script `summary`."""
        return user, self._lease_ms, new_nonce(), self._timeline_ms, max_bytes

    def tell(self, key: str, rows: Sequence[tuple[Noted, bool]]) -> None:
        """Tell an index which of its records are open. One that was noted since they were read stays."""
        if rows:
            texts = [[noted.record, str(noted.noted_us), int(is_open)] for noted, is_open in rows]
            self._scripts.run(self._redis, "open_check", (key,), (json.dumps(texts),))

    def tell_if_possible(self, key: str, rows: Sequence[tuple[Noted, bool]]) -> None:
        """The same, for a caller who needs no answer."""
        with suppress(StoreUnavailable):
            self.tell(key, rows)

    def page_of_type(self, record_type: str, after: str, limit: int) -> Page:
        """Records of a type that may be open, by id, those first that were noted longest ago."""
        cursor = _decode_cursor(after)
        found = self._list(self.type_key(record_type), cursor, limit + 1)
        return _page(found, limit)

    def page_of_user(self, user_id: UserId, after: str, limit: int) -> Page:
        """Records that a user may have open, by name, those first that were noted last."""
        cursor = _decode_cursor(after)
        found = self.all_of_user(user_id)
        found.sort(key=lambda noted: (noted.noted_us, noted.record), reverse=True)
        if cursor:
            found = [
                noted for noted in found if (noted.noted_us, noted.record) < (cursor.noted_us, cursor.record)
            ]
        return _page(found, limit)

    def all_of_user(self, user_id: UserId) -> list[Noted]:
        """All records in a user's index, by name: at most 2,000."""
        return self._list(self.user_key(user_id), None, MAX_OPEN_RECORDS_OF_USER)

    def _list(self, key: str, after: Noted | None, limit: int) -> list[Noted]:
        place = (after.noted_us, after.record) if after else ("-inf", "")
        return _decode_noted(self._scripts.run(self._redis, "open_list", (key,), (*place, limit))[1:])


def _decode_noted(rows: Sequence[str]) -> list[Noted]:
    return [Noted(record, int(float(score))) for record, score in zip(rows[::2], rows[1::2], strict=True)]


def _page(found: list[Noted], limit: int) -> Page:
    return Page(found[:limit], _encode_cursor(found[limit - 1]) if len(found) > limit else None)


def _encode_cursor(noted: Noted) -> str:
    return f"{noted.noted_us}-{noted.record}"


def _decode_cursor(text: str) -> Noted | None:
    """None for the start. Raises InvalidPresence."""
    check_open_cursor("after", text)
    if not text:
        return None
    noted_us, _, record = text.partition("-")
    return Noted(record, int(noted_us))

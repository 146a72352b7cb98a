"""How much of Redis a user and a tenant take up, as far as this process knows.

The calls of a minute are limited exactly, but what they leave behind adds up: timelines and saves are
kept for hours. And a tenant has any number of users.
"""

import time
from typing import NamedTuple

from ..presence import json_codec
from ..presence.codec import encode_user_id
from ..presence.errors import TooMuchKept
from ..presence.limits import MAX_USER_NAME_LENGTH
from .caller import Caller

# Of timelines, saves and claims that a user causes.
MAX_BURST_BYTES = 1_048_576  # that may be kept at once
MAX_BYTES_PER_DAY = 2_097_152  # beyond that
MAX_USERS = 10_000  # that a process remembers; those who wrote longest ago are forgotten first
MAX_TENANTS = 10_000  # the same

# What comes has to go, and its end is written down as well.
ENTRY_COPIES = 2
SAVE_OVERHEAD_BYTES = 600  # of a save or a claim with its entries in the timeline, besides ids and names
# Of the names of its fields, and of who did it: a claim, its start and its end.
SAVE_COPIES, CLAIM_COPIES = 2, 3
TAB_BYTES = 2_000  # of a tab without fields and of its record, as Redis stores it
FIELD_COPIES = 4  # of the names of its fields: in the tab, in its user's entry, and in a timeline
# Of an unsaved field in the index of a record with many viewers, besides its name and its user's id.
UNSAVED_INDEX_BYTES = 150
ALLOCATED = 1.25  # what Redis's allocator takes for a text, at most, by what the text has

OPEN_INDEX_BYTES = 500  # of a user and a record in the indexes of open records, which last for days

_DAY_SECONDS = 86_400


def bytes_of_save(caller: Caller, field_bytes: int) -> int:
    """What a save of fields whose names have so many bytes leaves behind."""
    return SAVE_OVERHEAD_BYTES + SAVE_COPIES * (field_bytes + _identity_bytes(caller))


def bytes_of_claim(caller: Caller, field_bytes: int) -> int:
    """What a claim leaves behind, with its end."""
    return SAVE_OVERHEAD_BYTES + CLAIM_COPIES * (field_bytes + _identity_bytes(caller))


def bytes_of_unsaved(caller: Caller, fields: int, field_bytes: int) -> int:
    """What the index of unsaved fields takes for so many, whose names have so many bytes together."""
    stored_bytes = field_bytes + fields * _id_bytes(caller)
    return fields * UNSAVED_INDEX_BYTES + int(stored_bytes * ALLOCATED)


def _identity_bytes(caller: Caller) -> int:
    """Of the id and the name, beside which a save or a claim is kept: up to 4 KB."""
    return _id_bytes(caller) + len(caller.user_name[:MAX_USER_NAME_LENGTH].encode("utf-8", "replace"))


def _id_bytes(caller: Caller) -> int:
    """Of the id as rows have it: its JSON text, as a string of JSON. A control character takes seven."""
    return len(json_codec.encode_text(encode_user_id(caller.user_id)).encode())


class Usage(NamedTuple):
    """Some bytes at a time, on the monotonic clock."""

    kept_bytes: float
    at: float


class _LeakyBuckets:
    """One bucket for each key; the bytes in it drain away evenly."""

    def __init__(self, drained_bytes_per_second: float, max_keys: int) -> None:
        self._rate = drained_bytes_per_second
        self._max_keys = max_keys
        self._buckets: dict[object, Usage] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def level(self, key: object) -> float:
        """The bytes that are in the bucket now."""
        bucket = self._buckets.get(key)
        return max(0.0, bucket.kept_bytes - (time.monotonic() - bucket.at) * self._rate) if bucket else 0.0

    def add(self, key: object, added_bytes: int) -> None:
        level = self.level(key) + added_bytes
        self._buckets.pop(key, None)  # so that it comes last
        self._buckets[key] = Usage(level, time.monotonic())
        if len(self._buckets) > self._max_keys:
            del self._buckets[next(iter(self._buckets))]


class KeptBytesLimit:
    """What the timelines, saves and claims of each user may take: 1 MiB, and 2 MiB a day."""

    def __init__(self) -> None:
        self._rate = MAX_BYTES_PER_DAY / _DAY_SECONDS
        self._buckets = _LeakyBuckets(self._rate, MAX_USERS)

    def has_room(self, caller: Caller) -> bool:
        """Whether more of this user may be kept."""
        return self._seconds_until_room(caller) <= 0

    def check(self, caller: Caller) -> None:
        """Raises TooMuchKept where nothing more of this user may be kept."""
        if (seconds := self._seconds_until_room(caller)) > 0:
            raise TooMuchKept(seconds)

    def add(self, caller: Caller, kept_bytes: int) -> None:
        self._buckets.add((caller.tenant, caller.user_id), kept_bytes)

    def _seconds_until_room(self, caller: Caller) -> float:
        if not len(self._buckets):
            return 0
        return (self._buckets.level((caller.tenant, caller.user_id)) - MAX_BURST_BYTES) / self._rate


class TenantMemory:
    """An estimate of what each tenant takes up: the tabs that beat, and what its timelines keep.

    A tab counts with each of its heartbeats of the last lease, so the estimate of tabs is rather too
    high: three times the truth where a lease lasts three heartbeats.
    """

    def __init__(self, max_bytes: int, lease_seconds: float, timeline_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._lease_seconds = lease_seconds
        self._kept = _LeakyBuckets(max_bytes / max(1.0, timeline_seconds), MAX_TENANTS)
        self._window_ends_at = 0.0
        self._beaten: dict[str, int] = {}  # tenant -> bytes, since the window began
        self._beaten_before: dict[str, int] = {}  # in the window before

    def count_tab(self, tenant: str, field_bytes: int, index_bytes: int = 0) -> None:
        """Count a heartbeat of a tab whose fields have names of so many bytes together.

        `index_bytes`: what they take up once more in an index, if the record has one; that is not known
        here, and so always counted.
        """
        now = time.monotonic()
        if now >= self._window_ends_at:
            is_next = now < self._window_ends_at + self._lease_seconds
            self._beaten_before = self._beaten if is_next else {}
            self._beaten = {}
            self._window_ends_at = now + self._lease_seconds
        tab_bytes = TAB_BYTES + FIELD_COPIES * field_bytes + index_bytes
        self._beaten[tenant] = self._beaten.get(tenant, 0) + tab_bytes

    def add(self, tenant: str, kept_bytes: int) -> None:
        """Count what was added to timelines and saves."""
        self._kept.add(tenant, kept_bytes)

    def is_full(self, tenant: str) -> bool:
        """Whether the tenant takes up all that it may."""
        beaten = max(self._beaten.get(tenant, 0), self._beaten_before.get(tenant, 0))
        return beaten + (self._kept.level(tenant) if len(self._kept) else 0) > self._max_bytes

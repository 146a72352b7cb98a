"""Records, their keys in Redis, and the two things found there: tabs and viewers."""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypedDict
from urllib.parse import quote

import orjson

from app.presence.errors import InvalidPresence

RECORD_TYPE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z", re.ASCII)
RECORD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
TAB_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}\Z", re.ASCII)
MODES = ("view", "edit")
LONGEST_USER_ID = 255  # characters, or digits
LONGEST_USER_NAME = 200  # characters; what is longer is cut
LONGEST_ACTIVE_FIELD = 128  # characters
MOST_FIELDS = 100  # in a list of names

UserId = int | str
NO_USER_ID = f"Must be an integer, or a string of whole characters, of up to {LONGEST_USER_ID}."

_TOO_LARGE = 10**LONGEST_USER_ID  # to be a user id
_LEFT_OUT: tuple[Any, ...] = (0, "", {})  # of a state: it views, in no field

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class _Viewing(TypedDict, total=False):
    dirty_fields: list[str]  # where there are any


class Tab(_Viewing):
    """One live tab, as `get_presence` and `GET …/tabs` show it."""

    user_id: UserId
    user_name: str
    mode: str
    dirty: bool
    active_field: str | None
    last_seen_at: str  # ISO 8601, UTC


class Viewer(_Viewing):
    """One user with at least one live tab."""

    id: UserId
    name: str
    tabs: int
    mode: str
    has_dirty_tab: bool
    active_fields: list[str]


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a tenant, and the keys that hold its presence.

    Other systems read `tabs_key`. The braces of the siblings are literal: they
    keep all keys of a record in one Cluster slot.
    """

    tenant: str
    type: str
    id: str
    tabs_key: str = field(init=False)
    seen_key: str = field(init=False)
    viewers_key: str = field(init=False)
    order_key: str = field(init=False)
    timeline_key: str = field(init=False)

    def __post_init__(self) -> None:
        tabs_key = f"tenant_{quote_tenant(self.tenant)}_record_presence:{self.type}:{self.id}"
        object.__setattr__(self, "tabs_key", tabs_key)
        object.__setattr__(self, "seen_key", f"{{{tabs_key}}}:seen")
        object.__setattr__(self, "viewers_key", f"{{{tabs_key}}}:viewers")
        object.__setattr__(self, "order_key", f"{{{tabs_key}}}:order")
        object.__setattr__(self, "timeline_key", f"{{{tabs_key}}}:timeline")

    @property
    def keys(self) -> tuple[str, str, str, str, str]:
        """What every script takes, in the order of their headers."""
        return self.tabs_key, self.seen_key, self.viewers_key, self.order_key, self.timeline_key

    @property
    def channel(self) -> str:
        """Where the scripts publish; channels have a name space of their own."""
        return self.tabs_key

    @property
    def name(self) -> str:
        """`type:id`, as the batch call and record patterns spell it."""
        return f"{self.type}:{self.id}"


def tenant_text(tenant: int | str) -> str:
    """The tenant as text: 7 and "7" are one tenant. Raises InvalidPresence for what names none."""
    if isinstance(tenant, str) and tenant:
        return tenant
    if isinstance(tenant, int) and not isinstance(tenant, bool):
        return str(tenant)
    # None would otherwise become a tenant called None, which all who have none share.
    raise InvalidPresence({"tenant": ["Must be an integer or a string that is not empty."]})


@lru_cache(maxsize=1024)
def quote_tenant(tenant: str) -> str:
    """Percent-encode what could end the tenant's part of a key, or the hash tag.

    Raises InvalidPresence for an empty tenant.
    """
    tenant = tenant_text(tenant)
    return quote(tenant, safe="", errors="surrogatepass")


def record_errors(record_type: Any, record_id: Any) -> dict[str, list[str]]:
    """Say what is wrong with the two parts of a record's name."""
    errors = {}
    if not isinstance(record_type, str) or not RECORD_TYPE.match(record_type):
        errors["type"] = ["Must be a lower-case letter and up to 63 of a-z, 0-9 and _."]
    if not isinstance(record_id, str) or not RECORD_ID.match(record_id):
        errors["id"] = ["Must be 1 to 64 of A-Z, a-z, 0-9, _ and -."]
    return errors


def is_user_id(value: Any) -> bool:
    """Whether a user can be called so: an integer or a string, neither empty nor endless."""
    if isinstance(value, str):
        # Half a character replaced, as in a name, it would be another user's id.
        return 0 < len(value) <= LONGEST_USER_ID and is_well_formed(value)
    return isinstance(value, int) and not isinstance(value, bool) and -_TOO_LARGE < value < _TOO_LARGE


def user_key(user_id: UserId) -> str:
    """The id as JSON text: it keeps its type, and an integer all its digits."""
    if not is_user_id(user_id):
        raise InvalidPresence({"user_id": [NO_USER_ID]})
    return _encode(user_id) if isinstance(user_id, str) else str(user_id)


def encode_state(
    user: str, name: str, mode: str, dirty: bool, active_field: str | None, extras: dict[str, Any]
) -> str:
    """A tab's field in the hash: `[user, name, doing?, active_field?, extras?]`.

    `doing` is 1 for edit, plus 2 for unsaved changes. What is usual is left out at
    the end. A heartbeat whose text equals the stored one has changed nothing, so
    one state has one text, and `extras` holds only what is out of the ordinary.
    """
    state: list[Any] = [user, name]
    doing = (mode == "edit") + 2 * dirty
    if extras:
        state += (doing, active_field or "", extras)
    elif active_field:
        state += (doing, active_field)
    elif doing:
        state.append(doing)
    return _encode(state)


def decode_tab(state: str, lease_end_ms: int, lease_ms: int) -> Tab:
    """Read a tab's field; `lease_ms` is the usual lease, for tabs that name none."""
    user, name, *rest = json.loads(state)
    doing, active_field, extras = (*rest, *_LEFT_OUT[len(rest) :])[:3]
    own_lease_ms = extras.get("lease_ms") if isinstance(extras, dict) else None
    if isinstance(own_lease_ms, int) and 0 < own_lease_ms < lease_ms:
        lease_ms = own_lease_ms
    tab: Tab = {
        "user_id": json.loads(user),
        "user_name": name,
        "mode": MODES[int(doing) & 1],  # somebody else may have written 1.0
        "dirty": doing >= 2,
        "active_field": active_field or None,
        "last_seen_at": iso_time(lease_end_ms - lease_ms),
    }
    dirty_fields = extras.get("dirty_fields") if isinstance(extras, dict) else None
    if isinstance(dirty_fields, list) and dirty_fields:
        tab["dirty_fields"] = [name for name in dirty_fields if isinstance(name, str)]
    return tab


def iso_time(milliseconds: int) -> str:
    """ISO 8601 in UTC, of milliseconds since the epoch."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def decode_viewers(pairs: list[str], *, without: str | None = None) -> list[Viewer]:
    """Turn `user, seat, user, seat, …` into viewers, first arrival first.

    `without` is left out, the JSON text of an id.
    """
    seats = decode_seats(pairs)
    if without is not None:
        seats = [seat for seat in seats if seat[0] != without]
    user_ids = _decode_all([user for user, _ in seats])
    return [_viewer(user_id, seat) for user_id, (_, seat) in zip(user_ids, seats, strict=True)]


def decode_seats(pairs: list[str]) -> list[tuple[str, list[Any]]]:
    """Turn them into pairs of a user (JSON text of the id) and an unpacked seat, first arrival first."""
    # orjson, since a list of viewers is long; not for the ids, whose integers may be longer than 64 bits.
    seats = list(zip(pairs[::2], orjson.loads(f"[{','.join(pairs[1::2])}]"), strict=True))
    seats.sort(key=lambda seat: (seat[1][1], seat[0]))
    return seats


def decode_viewer(user: str, seat: list[Any]) -> Viewer:
    """One viewer, of the JSON text of the user's id and her unpacked seat."""
    return _viewer(json.loads(user), seat)


def _viewer(user_id: UserId, seat: list[Any]) -> Viewer:
    fields, dirty_fields = (seat[5:-1], seat[-1]) if isinstance(seat[-1], list) else (seat[5:], None)
    viewer: Viewer = {
        "id": user_id,
        "name": seat[0],
        "tabs": seat[2],
        "mode": "edit" if seat[3] else "view",
        "has_dirty_tab": seat[4] > 0,
        "active_fields": fields[::2],
    }
    if dirty_fields:
        viewer["dirty_fields"] = dirty_fields[::2]
    return viewer


def _decode_all(texts: list[str]) -> list[Any]:
    """Each is JSON; as one document they take a third of the time."""
    return json.loads(f"[{','.join(texts)}]")


def clean_name(name: str) -> str:
    """A name that can be stored and shown: well-formed, not endless.

    Raises InvalidPresence for what is no text.
    """
    if not isinstance(name, str):
        raise InvalidPresence({"user_name": ["Must be a string."]})
    return _well_formed(name[:LONGEST_USER_NAME])


def is_well_formed(text: str) -> bool:
    """Whether the text has no half of a surrogate pair, so that it has a UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _well_formed(text: str) -> str:
    """Lone surrogates, which JSON can spell, have no UTF-8 and become `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")

"""Record presence for one tenant: who has a record open right now."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import getrandbits
from typing import Any

from app.presence.conflicts import Claim, Forecast, Notes, decode_claim, decode_notes, forecast
from app.presence.errors import InvalidPresence, TabOwnedByAnotherUser, TooManyCalls
from app.presence.inspection import Inspection, inspect
from app.presence.records import (
    LONGEST_ACTIVE_FIELD,
    MODES,
    MOST_FIELDS,
    TAB_ID,
    Record,
    Tab,
    UserId,
    Viewer,
    clean_name,
    decode_tab,
    decode_viewers,
    encode_state,
    record_errors,
    tenant_text,
    user_key,
)
from app.presence.scripts import Scripts
from app.presence.timeline import Entry, decode_entry

DEFAULT_TTL_SECONDS = 90
DEFAULT_LIMIT = 100  # viewers in an answer
NO_LIMIT = 2**31
GREATEST_LOCK_VERSION = 2**53 - 1  # what JavaScript counts without a gap
LONGEST_SECONDS = 366 * 86_400  # that anything is kept
REASONS = ("left", "evicted")  # of a removal

_VERSION = re.compile(r"([0-9]{1,20})-", re.ASCII)
ENTRY_ID = re.compile(r"[0-9]{1,16}-[0-9]{1,16}\Z", re.ASCII)
# Controls, blanks but the space, what is invisible or turns the direction of writing, private use. Not
# `str.isprintable`, which knows the letters of its Python's year, and which no other language has.
UNPRINTABLE = (
    r"\x00-\x1f\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000"
    "\\ue000-\\uf8ff\\ufeff\\ufff0-\\ufffb\U000e0000-\U0010ffff"
)
_UNPRINTABLE = re.compile(rf"[{UNPRINTABLE}\ud800-\udfff]")
_NEVER, _ALWAYS = "", "?"  # in the place of a known version


@dataclass(frozen=True, slots=True)
class ViewerList:
    """The viewers of a record at one version.

    `viewers` and the rest are None where the asker already knows this version;
    `forecast` also where no base version was named. `is_unconfirmed`: Redis has
    lost what the asker knew, and others may not have had the time to come back.
    """

    version: str
    viewers: list[Viewer] | None = None
    total: int | None = None
    notes: Notes | None = None
    forecast: Forecast | None = None
    is_unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class ClaimAnswer:
    """Whether a tab has the field now, and who has it; None for nobody."""

    is_granted: bool
    claim: Claim | None


@dataclass(frozen=True, slots=True)
class TimelinePage:
    """Some entries of a timeline, oldest first; `next` is the id to go on from, None at the end."""

    entries: list[Entry]
    next: str | None


@dataclass(frozen=True, slots=True)
class Quota:
    """How often a user may call: `limit` calls in each window, counted at `key`."""

    key: str
    limit: int
    window_ms: int


class RecordPresenceService:
    """Presence of one tenant's records, on any redis-py client.

    Needs no Flask. Every call is one atomic script on Redis and takes its time
    from Redis. A tab lives `ttl_seconds` after its last `update_presence`. What
    happened to a record is kept for `timeline_seconds`, 0 keeps nothing. For
    `settle_seconds` after a loss of all data lists are said to be unconfirmed.

    Every method raises InvalidPresence for names and values outside the
    contract (before Redis is asked) and StoreUnavailable when Redis can't say.

    >>> service = RecordPresenceService(redis.Redis(), tenant_id=1)
    >>> service.update_presence("flow", 12, "tab-1", user_id=42, user_name="Alice", mode="edit")
    >>> service.get_unique_viewers("flow", 12)
    [{'id': 42, 'name': 'Alice', 'tabs': 1, 'mode': 'edit', ...}]
    """

    def __init__(
        self,
        redis: Any,
        tenant_id: int | str,
        *,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        timeline_seconds: float = 0,
        settle_seconds: float = 0,
        scripts: Scripts | None = None,
    ) -> None:
        for name, seconds in (
            ("ttl_seconds", ttl_seconds),
            ("timeline_seconds", timeline_seconds),
            ("settle_seconds", settle_seconds),
        ):
            if not _is_number(seconds) or not 0 <= seconds <= LONGEST_SECONDS:
                raise InvalidPresence({name: [f"Must be a number of seconds, up to {LONGEST_SECONDS}."]})
        if ttl_seconds == 0:
            raise InvalidPresence({"ttl_seconds": ["Must be greater than 0."]})
        self._redis = redis
        self._tenant = tenant_text(tenant_id)
        self._lease_ms = max(1, round(ttl_seconds * 1000))
        self._timeline_ms = round(timeline_seconds * 1000)
        self._settle_ms = round(settle_seconds * 1000)
        self._scripts = scripts or _shared_scripts()

    def update_presence(
        self,
        record_type: str,
        record_id: str | int,
        tab_id: str,
        user_id: UserId,
        user_name: str,
        mode: str = "view",
        dirty: bool = False,
        *,
        active_field: str | None = None,
        dirty_fields: Sequence[str] = (),
        base_version: int | None = None,
        visible: bool = True,
        known_version: str | None = None,
        list_viewers: bool = False,
        limit: int = DEFAULT_LIMIT,
        lease_seconds: float | None = None,
        quota: Quota | None = None,
    ) -> ViewerList:
        """Register a tab or renew its lease, with what it is doing.

        With `list_viewers` the answer carries the other viewers, unless
        `known_version` is still the version of the record; and with the
        `base_version` that the tab has loaded, a forecast of what saving its
        `dirty_fields` would run into. `lease_seconds`
        shortens this lease, for an identity that ends sooner. `quota` is counted
        in the same script; not on a Cluster, where it lies in another slot.

        Raises TabOwnedByAnotherUser and TooManyCalls.
        """
        record = self._record(record_type, record_id)
        _check_tab(tab_id, mode, active_field)
        _check_fields("dirty_fields", dirty_fields)
        _check_limit(limit)
        if base_version is not None:
            _check_lock_version("base_version", base_version)
        user = user_key(user_id)
        lease_ms = self._lease_ms
        extras: dict[str, Any] = {}
        if lease_seconds is not None:
            if not _is_number(lease_seconds):
                raise InvalidPresence({"lease_seconds": ["Must be a number of seconds."]})
            if lease_seconds * 1000 < lease_ms:
                lease_ms = extras["lease_ms"] = max(1, int(lease_seconds * 1000))
        if not visible:
            extras["hidden"] = True
        if dirty_fields:
            extras["dirty_fields"] = sorted(set(dirty_fields))
        state = encode_state(user, clean_name(user_name), mode, bool(dirty), active_field, extras)
        reply = self._run(
            "heartbeat",
            _with_quota(record, quota),
            (
                tab_id,
                state,
                lease_ms,
                self._lease_ms,
                _known(known_version) if list_viewers else _NEVER,
                limit + 1,  # one is the asker, who is left out
                new_nonce(),
                self._timeline_ms,
                *_counted(quota),
            ),
            tab_id,
        )
        if len(reply) == 2:
            return ViewerList(reply[1])
        _, version, total, opened_ms, saves, claims, *pairs = reply
        others = decode_viewers(pairs, without=user)
        notes = decode_notes(opened_ms, saves, claims)
        ahead = None
        if base_version is not None:
            unsaved = extras.get("dirty_fields", ())
            whose = {"tab_id": tab_id, "user_id": user_id}
            ahead = forecast(notes, others, **whose, base_version=base_version, dirty_fields=unsaved)
        is_unconfirmed = self._is_settling(known_version, version, int(opened_ms))
        return ViewerList(version, others[:limit], total - 1, notes, ahead, is_unconfirmed)

    def _is_settling(self, known_version: str | None, version: str, opened_ms: int) -> bool:
        """Whether a record was opened anew a moment ago that somebody knew before.

        Where a tab was lost, this very heartbeat has made the version, by Redis's clock.
        """
        known = _VERSION.match(known_version or "")
        if not known:
            return False
        known_ms, now_ms = int(known[1]) // 1000, int(version.partition("-")[0]) // 1000
        return known_ms < opened_ms and now_ms - opened_ms < self._settle_ms

    def remove_presence(
        self,
        record_type: str,
        record_id: str | int,
        tab_id: str,
        user_id: UserId | None = None,
        *,
        reason: str = "left",
    ) -> bool:
        """Remove a tab at once; True when it was there.

        With `user_id`, raises TabOwnedByAnotherUser for a live tab of somebody
        else; without, the tab is removed whoever owns it. The `reason` (`left`
        or `evicted`) is announced when it was the user's last.
        """
        record = self._record(record_type, record_id)
        _check_tab(tab_id, "view", None)
        if reason not in REASONS:
            raise InvalidPresence({"reason": [f"Must be one of: {', '.join(REASONS)}."]})
        reply = self._run(
            "leave",
            record.keys,
            (
                tab_id,
                "" if user_id is None else user_key(user_id),
                reason,
                self._lease_ms,
                new_nonce(),
                self._timeline_ms,
            ),
            tab_id,
        )
        return reply[0] == "OK"

    def record_saved(
        self,
        record_type: str,
        record_id: str | int,
        lock_version: int,
        fields: Sequence[str],
        user_id: UserId,
        user_name: str,
        tab_id: str | None = None,
    ) -> bool:
        """Tell the record's viewers that the user has saved this version, and which fields of it.

        False when nobody has it open; then only the timeline has it. A version
        is told once, however often this is called. `tab_id` is where it was
        saved; that tab need not be live any more. Raises TabOwnedByAnotherUser.
        """
        record = self._record(record_type, record_id)
        if tab_id is not None:
            _check_tab(tab_id, "view", None)
        _check_fields("fields", fields)
        _check_lock_version("lock_version", lock_version)
        names = sorted(set(fields))
        row = [str(lock_version), user_key(user_id), clean_name(user_name), tab_id or "", "", *names]
        reply = self._run(
            "saved",
            record.keys,
            (json.dumps(row, ensure_ascii=False), self._lease_ms, new_nonce(), self._timeline_ms),
            tab_id,
        )
        return reply[0] == "OK"

    def claim_field(
        self,
        record_type: str,
        record_id: str | int,
        tab_id: str,
        user_id: UserId,
        field: str,
        *,
        take_over: bool = False,
    ) -> ClaimAnswer:
        """Say that a tab works on a field; it lasts as long as the tab, or until it is released.

        A field that another tab has claimed is only given with `take_over`;
        everybody is told from whom. Not granted to a tab that is not live, nor
        where 100 fields are claimed. Raises TabOwnedByAnotherUser.
        """
        return self._claim(record_type, record_id, tab_id, user_id, field, "take" if take_over else "claim")

    def release_field(
        self, record_type: str, record_id: str | int, tab_id: str, user_id: UserId, field: str
    ) -> None:
        """End the tab's claim on a field, if it has one. Raises TabOwnedByAnotherUser."""
        self._claim(record_type, record_id, tab_id, user_id, field, "release")

    def _claim(
        self, record_type: str, record_id: str | int, tab_id: str, user_id: UserId, field: str, action: str
    ) -> ClaimAnswer:
        record = self._record(record_type, record_id)
        _check_tab(tab_id, "view", None)
        _check_fields("field", [field])
        reply = self._run(
            "claim",
            record.keys,
            (tab_id, user_key(user_id), field, action, self._lease_ms, new_nonce(), self._timeline_ms),
            tab_id,
        )
        row = reply[1] if len(reply) > 1 else ""
        return ClaimAnswer(reply[0] == "OK", decode_claim(json.loads(row))[1] if row else None)

    def get_timeline(
        self, record_type: str, record_id: str | int, *, since: str | None = None, limit: int = DEFAULT_LIMIT
    ) -> TimelinePage:
        """What happened to the record after the entry `since`, oldest first.

        At most 1,000 entries are kept, for `timeline_seconds`.
        """
        record = self._record(record_type, record_id)
        _check_limit(limit)
        if since is not None and not (isinstance(since, str) and ENTRY_ID.match(since)):
            raise InvalidPresence({"since": ["Must be the id of an entry."]})
        reply = self._run(
            "timeline",
            record.keys,
            (since or "", limit + 1, self._lease_ms, new_nonce(), self._timeline_ms),
        )
        entries = [decode_entry(reply[i], reply[i + 1]) for i in range(1, len(reply), 2)]
        return TimelinePage(entries[:limit], entries[limit - 1]["id"] if len(entries) > limit else None)

    def inspect(self, record_type: str, record_id: str | int) -> Inspection:
        """Why is she shown? All that Redis holds of the record, with each tab's lease. Changes nothing."""
        record = self._record(record_type, record_id)
        reply = self._run("inspect", record.keys[:3], ())
        return inspect(reply[1:], self._lease_ms)

    def send_signal(
        self,
        record_type: str,
        record_id: str | int,
        tab_id: str,
        user_id: UserId,
        user_name: str,
        kind: str,
        data: Any = None,
        *,
        quota: Quota | None = None,
    ) -> bool:
        """Pass on to the record's streams what a tab is doing just now; nothing of it is kept.

        False when the tab is not registered: then nobody was told. Raises
        TabOwnedByAnotherUser and TooManyCalls.
        """
        record = self._record(record_type, record_id)
        _check_tab(tab_id, "view", None)
        user = user_key(user_id)
        signal = {
            "record": record.name,
            "tab_id": tab_id,
            "user": {"id": user_id, "name": clean_name(user_name)},
            "kind": kind,
            "data": data,
        }
        try:
            message = json.dumps({"announce": "signal", "user": user, "data": signal}, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise InvalidPresence({"data": ["Must be JSON."]}) from None
        reply = self._run(
            "signal",
            _with_quota(record, quota),
            (
                tab_id,
                user,
                message,
                self._lease_ms,
                *_counted(quota),
            ),
            tab_id,
        )
        return reply[0] == "OK"

    def get_presence(self, record_type: str, record_id: str | int) -> dict[str, Tab]:
        """Every live tab, by tab id."""
        record = self._record(record_type, record_id)
        arguments = (self._lease_ms, new_nonce(), self._timeline_ms)
        reply = self._run("tabs", record.keys, arguments)
        return {
            reply[i]: decode_tab(reply[i + 2], int(float(reply[i + 1])), self._lease_ms)
            for i in range(1, len(reply), 3)
        }

    def get_unique_viewers(self, record_type: str, record_id: str | int) -> list[Viewer]:
        """The users with at least one live tab, first arrival first."""
        return self.list_viewers(record_type, record_id, limit=NO_LIMIT).viewers or []

    def list_viewers(
        self,
        record_type: str,
        record_id: str | int,
        *,
        without_user: UserId | None = None,
        known_version: str | None = None,
        limit: int = DEFAULT_LIMIT,
        quota: Quota | None = None,
    ) -> ViewerList:
        """The viewers of a record; None in their place when `known_version` is current.

        `quota` as in `update_presence`, but where Redis is full the call passes uncounted.
        Raises TooManyCalls.
        """
        record = self._record(record_type, record_id)
        arguments = self._list_arguments(without_user, known_version, limit, quota)
        reply = self._run("viewers", _with_quota(record, quota), arguments)
        return _read_viewers(reply, without_user, limit)

    def list_viewers_of(
        self,
        records: Sequence[tuple[str, str | int]],
        *,
        without_user: UserId | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[ViewerList]:
        """The viewers of many records, in one round trip; the order is that of `records`."""
        if not records:
            return []
        calls = [
            (_with_quota(self._record(*name), None), self._list_arguments(without_user, None, limit, None))
            for name in records
        ]
        replies = self._scripts.run_many(self._redis, "viewers", calls)
        return [_read_viewers(reply, without_user, limit) for reply in replies]

    def _run(
        self, name: str, keys: Sequence[str], arguments: Sequence[Any], tab_id: str | None = None
    ) -> list[Any]:
        """The reply of a script. A refusal is raised; `tab_id` is the one that it may be about."""
        reply = self._scripts.run(self._redis, name, keys, arguments)
        if reply[0] == "TAB_TAKEN":
            raise TabOwnedByAnotherUser(tab_id)
        if reply[0] == "THROTTLED":
            raise TooManyCalls(reply[1] / 1000)
        if reply[0] == "TOO_MANY_FIELDS":
            raise InvalidPresence({"dirty_fields": ["All tabs of yours name too many different ones."]})
        return reply

    def _record(self, record_type: str, record_id: str | int) -> Record:
        if isinstance(record_id, int) and not isinstance(record_id, bool):
            record_id = str(record_id)
        if errors := record_errors(record_type, record_id):
            raise InvalidPresence(errors)
        return Record(self._tenant, record_type, record_id)

    def _list_arguments(
        self, without_user: UserId | None, known_version: str | None, limit: int, quota: Quota | None
    ) -> tuple[Any, ...]:
        _check_limit(limit)
        user = "" if without_user is None else user_key(without_user)
        return (
            _known(known_version),
            limit + (user != ""),
            user,
            self._lease_ms,
            new_nonce(),
            self._timeline_ms,
            *_counted(quota),
        )


def _with_quota(record: Record, quota: Quota | None) -> tuple[str, ...]:
    """The keys of a script that counts calls; where there is nothing to count it touches no sixth key."""
    return (*record.keys, quota.key if quota else record.tabs_key)


def _counted(quota: Quota | None) -> tuple[int, int]:
    """The last two arguments of such a script; a limit of 0 counts nothing."""
    return (quota.limit, quota.window_ms) if quota else (0, 0)


def _read_viewers(reply: list[Any], without_user: UserId | None, limit: int) -> ViewerList:
    if reply[0] == "UNCHANGED":
        return ViewerList(reply[1])
    _, version, is_viewing, total, opened_ms, saves, claims, *pairs = reply
    user = None if without_user is None else user_key(without_user)
    viewers = decode_viewers(pairs, without=user)[:limit]
    return ViewerList(version, viewers, total - is_viewing, decode_notes(opened_ms, saves, claims))


def _check_tab(tab_id: str, mode: str, active_field: str | None) -> None:
    errors: dict[str, list[str]] = {}
    if not isinstance(tab_id, str) or not TAB_ID.match(tab_id):
        errors["tab_id"] = ["Must be 1 to 128 of A-Z, a-z, 0-9, _, ., : and -."]
    if mode not in MODES:
        errors["mode"] = ["Must be one of: view, edit."]
    if active_field is not None and not is_field_name(active_field):
        errors["active_field"] = [f"Must be 1 to {LONGEST_ACTIVE_FIELD} printable characters."]
    if errors:
        raise InvalidPresence(errors)


def _check_fields(name: str, fields: Sequence[str]) -> None:
    try:
        if not isinstance(fields, str) and len(fields) <= MOST_FIELDS and all(map(is_field_name, fields)):
            return
    except TypeError:  # no sequence at all
        pass
    each = f"1 to {LONGEST_ACTIVE_FIELD} printable characters"
    raise InvalidPresence({name: [f"Must be up to {MOST_FIELDS} names of {each}."]})


def _check_lock_version(name: str, version: int) -> None:
    if type(version) is not int or not 0 <= version <= GREATEST_LOCK_VERSION:
        raise InvalidPresence({name: [f"Must be an integer, 0 to {GREATEST_LOCK_VERSION}."]})


def _check_limit(limit: int) -> None:
    if type(limit) is not int or not 1 <= limit <= NO_LIMIT:
        raise InvalidPresence({"limit": ["Must be an integer of at least 1."]})


def _is_number(value: Any) -> bool:
    """Whether it is a number; NaN is none."""
    return isinstance(value, (int, float)) and value == value


def is_field_name(text: Any) -> bool:
    """A form field's name: printable, so that it can be shown and stored anywhere."""
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_ACTIVE_FIELD:
        return False
    return text.isprintable() if text.isascii() else not _UNPRINTABLE.search(text)


def _known(version: str | None) -> str:
    """What a script compares with the record's version; ours are ASCII."""
    return version if version and version.isascii() else _ALWAYS


def new_nonce() -> str:
    """Makes a version differ from all others though Redis's clock was set back."""
    return f"{getrandbits(32):08x}"


_scripts: Scripts | None = None


def _shared_scripts() -> Scripts:
    global _scripts
    if _scripts is None:
        _scripts = Scripts()
    return _scripts

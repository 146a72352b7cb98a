"""The formats that Redis holds and the Lua scripts exchange, to Python values and back."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from . import json_codec
from .conflicts import Claim, ConflictState, Save, Waiting, overlap
from .errors import InvalidPresence
from .field_check import Holders
from .greenlets import Turn
from .limits import MAX_USER_ID_LENGTH
from .timeline import Entry, Kind
from .validation import USER_ID_RULE, is_user_id
from .viewers import MODES, AgentId, PackedViewerEntry, Person, Tab, User, UserId, Viewer

# Of an arrival, the seconds after the record was opened; see lua/lib/viewer_entries.lua.
PLACES_PER_SECOND = 10_000
ROWS_AT_A_TIME = 200  # of a list that are decoded before others may have their turn
MAX_TIME_MS = 253_402_300_799_999  # the last that ISO 8601 has four digits for

_DEFAULTS: tuple[Any, ...] = (0, "", {})  # of what a state leaves out: flags, active field, extras


@lru_cache(maxsize=4096)  # a list repeats those of the last one
def iso_time(milliseconds: int) -> str:
    """ISO 8601 in UTC, of milliseconds since the epoch."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


# Users

_INTEGER = re.compile(rf"(0|-?[1-9][0-9]{{0,{MAX_USER_ID_LENGTH - 1}}})\Z", re.ASCII)
_AGENT_PREFIX = '"agent\\u0020'  # then the JSON text of [agent, user's id], and the closing quote


def encode_user_id(user_id: UserId) -> str:
    """The id as JSON text, which keeps its type, and every digit of an integer. Raises InvalidPresence.

    That of an agent is the text of a string that no user's id is encoded as, because of its escaped space.
    """
    if not is_user_id(user_id):
        raise InvalidPresence({"user_id": [USER_ID_RULE]})
    if type(user_id) is AgentId:
        names = json_codec.encode_text([str(user_id), user_id.person_id])
        return _AGENT_PREFIX + json_codec.encode_text(names)[1:]
    return json_codec.encode_text(user_id) if isinstance(user_id, str) else str(user_id)


def parse_user_id(text: str) -> UserId:
    """The id that somebody has typed: digits are an integer, unless they stand in double quotes.

    Raises InvalidPresence for more than 255 characters, and for none.
    """
    user_id: Any = text
    if not is_user_id(text):
        raise InvalidPresence({"user": [USER_ID_RULE]})
    if _INTEGER.match(text):
        user_id = int(text)
    elif text.startswith('"'):
        with suppress(ValueError):
            quoted = json.loads(text)
            user_id = quoted if isinstance(quoted, str) and is_user_id(quoted) else text
    return user_id  # type: ignore[no-any-return]


def agent_id_end(person_id: UserId) -> str:
    """How the JSON text of the id of every agent ends that works for this user."""
    return encode_user_id(AgentId("x", person_id)).partition("x")[2]


def decode_user_id(user: str) -> UserId:
    """The id of a user, or of an agent, of its JSON text."""
    user_id: UserId = json.loads(user)
    return _agent_id(user_id) if user.startswith(_AGENT_PREFIX) else user_id


def _agent_id(text: Any) -> AgentId:
    agent, person_id = json.loads(text.removeprefix("agent "))
    return AgentId(agent, person_id)


def user_of(user_id: UserId, name: str) -> User:
    """What is shown of a user, or an agent, who has done something."""
    user: User = {"id": user_id, "name": name}
    if type(user_id) is AgentId:
        user["agent"] = {"for": {"id": user_id.person_id}}
    return user


def _decode_user(user: str, name: str) -> User:
    return user_of(decode_user_id(user), name)


# Tabs: fields of the hash, `[user, name, flags?, active_field?, extras?]`


def encode_state(
    user: str, name: str, mode: str, dirty: bool, active_field: str | None, extras: dict[str, Any]
) -> str:
    """The state of a tab; `user` is the JSON text of an id.

    `flags` is 1 for edit, plus 2 for unsaved changes. Defaults are left out at the
    end, and `extras` holds only what differs from its default: a heartbeat whose
    text equals the stored one has changed nothing, so one state must have one text.
    """
    state: list[Any] = [user, name]
    flags = (mode == "edit") + 2 * dirty
    if extras:
        state += (flags, active_field or "", extras)
    elif active_field:
        state += (flags, active_field)
    elif flags:
        state.append(flags)
    return json_codec.dumps(state).decode()


def decode_tab(state: str, lease_end_ms: int, default_lease_ms: int) -> Tab:
    """Read the state of a tab, which may name a lease of its own.

    Raises ValueError, TypeError, IndexError or KeyError for what another system wrote in its place.
    """
    user, name, *rest = json.loads(state)
    flags, active_field, extras = (*rest, *_DEFAULTS[len(rest) :])[:3]
    if not isinstance(extras, dict):
        extras = {}
    lease_ms = extras.get("lease_ms")
    if not isinstance(lease_ms, int) or not 0 < lease_ms < default_lease_ms:
        lease_ms = default_lease_ms
    tab: Tab = {
        "user_id": decode_user_id(user),
        "user_name": name,
        "mode": MODES[int(flags) & 1],  # another system may have written 1.0
        "dirty": flags >= 2,
        "active_field": active_field or None,
        "last_seen_at": iso_time(lease_end_ms - lease_ms),
    }
    dirty_fields = extras.get("dirty_fields")
    if not is_active(extras):
        tab["away"] = True
    if isinstance(dirty_fields, list) and dirty_fields:
        tab["dirty_fields"] = [name for name in dirty_fields if isinstance(name, str)]
    return tab


def is_active(extras: dict[str, Any]) -> bool:
    """Whether somebody looks at the tab with these extras; the same as in lua/lib/tab_state.lua."""
    active = extras.get("active")
    return active if isinstance(active, bool) else extras.get("hidden") is not True


# Viewers


def decode_viewer_page(
    pairs: list[str], limit: int | None, opened_ms: int, *, without: str | None = None
) -> tuple[list[Viewer], int | None, bool]:
    """Turn `user, entry, user, entry, …` into at most `limit` viewers, first arrival first.

    Also returns the arrival of the last of them, if any, and whether some were cut off.
    `without` is the JSON text of a user's id who is left out; `opened_ms` is when the record
    was opened, since the epoch.
    """
    entries = decode_viewer_entries(pairs)
    if without is not None:
        entries = [entry for entry in entries if entry[0] != without]
    shown = entries if limit is None else entries[:limit]
    return _viewers(shown, opened_ms), shown[-1][1][1] if shown else None, len(shown) < len(entries)


def _viewers(entries: list[tuple[str, PackedViewerEntry]], opened_ms: int) -> list[Viewer]:
    turn = Turn()
    viewers: list[Viewer] = []
    for first in range(0, len(entries), ROWS_AT_A_TIME):
        if first:
            turn.pause_if_over()
        viewers += _some_viewers(entries[first : first + ROWS_AT_A_TIME], opened_ms)
    return viewers


def _some_viewers(entries: list[tuple[str, PackedViewerEntry]], opened_ms: int) -> list[Viewer]:
    # As one document, the ids take a third of the time that they take one by one.
    user_ids = json.loads(f"[{','.join([user for user, _ in entries])}]")
    return [
        _viewer(_agent_id(user_id) if user.startswith(_AGENT_PREFIX) else user_id, entry, opened_ms)
        for user_id, (user, entry) in zip(user_ids, entries, strict=True)
    ]


def decode_viewer_entries(pairs: list[str]) -> list[tuple[str, PackedViewerEntry]]:
    """Turn them into pairs of a user (JSON text of the id) and a decoded entry, first arrival first."""
    entries = list(zip(pairs[::2], json_codec.loads(f"[{','.join(pairs[1::2])}]"), strict=True))
    entries.sort(key=lambda entry: (entry[1][1], entry[0]))
    return entries


def decode_holders(names: Sequence[str], text: str, pairs: list[str]) -> dict[str, Holders]:
    """By field, who has it unsaved; of what `append` of lua/lib/unsaved_fields.lua returns for these names.

    `since` of these viewers says nothing.
    """
    if not text:
        return {}
    entries = list(zip(pairs[::2], map(json_codec.loads, pairs[1::2]), strict=True))
    viewers = [decode_viewer(user, entry, 0) for user, entry in entries]
    holders = {}
    for name, numbers in zip(names, text.split(","), strict=True):
        if numbers:
            total, *places = map(int, numbers.split())
            by_arrival = sorted(places, key=lambda place: entries[place - 1][1][1])
            holders[name] = Holders(total, [viewers[place - 1] for place in by_arrival])
    return holders


def tabs_of(pairs: list[str], user: str) -> tuple[int, frozenset[str]]:
    """How many tabs this user (JSON text of the id) has, and what several of them have unsaved.

    From pairs as above. (0, nothing) for a user who is not among them.
    """
    text = next((pairs[place + 1] for place in range(0, len(pairs), 2) if pairs[place] == user), None)
    if text is None:
        return 0, frozenset()
    entry = json_codec.loads(text)
    counts = entry[-1] if isinstance(entry[-1], list) else []
    names = (name for name, count in zip(counts[::2], counts[1::2], strict=True) if count > 1)
    return entry[2], frozenset(names)


def decode_viewer(user: str, entry: PackedViewerEntry, opened_ms: int) -> Viewer:
    """One viewer, of the JSON text of the user's id and the decoded entry."""
    return _viewer(decode_user_id(user), entry, opened_ms)


def _viewer(user_id: UserId, entry: PackedViewerEntry, opened_ms: int) -> Viewer:
    fields, dirty_fields = (entry[5:-1], entry[-1]) if isinstance(entry[-1], list) else (entry[5:], None)
    away, profile = 0, {}
    if fields and fields[0] == "":  # the field without a name: how many tabs are away, and the profile
        away, fields = fields[1], fields[2:]
        if isinstance(away, str):
            count, _, text = away.partition(" ")
            away, profile = int(count), json_codec.loads(text)
    viewer: Viewer = {
        "id": user_id,
        "name": entry[0],
        "tabs": entry[2],
        "mode": "edit" if entry[3] else "view",
        "has_dirty_tab": entry[4] > 0,
        "active_fields": fields[::2],
        "away": away >= entry[2],
        "since": iso_time(min(opened_ms + entry[1] // PLACES_PER_SECOND * 1000, MAX_TIME_MS)),
    }
    if dirty_fields:
        viewer["dirty_fields"] = dirty_fields[::2]
    if profile:
        _show_profile(viewer, profile)
    if type(user_id) is AgentId:
        person: Person = {"id": user_id.person_id, "name": str(profile.get("for", ""))}
        viewer["agent"] = {"for": person}
    return viewer


def _show_profile(viewer: Viewer, profile: dict[str, Any]) -> None:
    if isinstance(picture := profile.get("picture"), str):
        viewer["picture"] = picture
    if isinstance(about := profile.get("about"), dict):
        viewer["about"] = about


# Saves and claims: rows of strings. Each function raises ValueError for anything else.


def encode_save(
    lock_version: int, user: str, user_name: str, tab_id: str | None, fields: Iterable[str]
) -> str:
    """The row of a save, without its time, which Redis adds."""
    row = [str(lock_version), user, user_name, tab_id or "", "", *sorted(set(fields))]
    return json_codec.encode_text(row)


def decode_conflict_state(
    remembered_since_ms: str, saves: str, claims: str, waiting: str = ""
) -> ConflictState:
    """Read a record's saves, claims and those who wait: JSON arrays of rows, each of which may be empty."""
    return ConflictState(
        [decode_save(row) for row in json.loads(saves or "[]")],
        decode_claims(json.loads(claims or "[]"), json.loads(waiting or "[]")),
        iso_time(int(remembered_since_ms)) if remembered_since_ms != "0" else "",
    )


def decode_save(row: list[str]) -> Save:
    """One save, `[lock_version, user, name, tab_id, saved_ms, field, …]`."""
    version, user, name, tab_id, saved_ms, *fields = _strings(row)
    return {
        "lock_version": int(version),
        "fields": fields,
        "user": _decode_user(user, name),
        "tab_id": tab_id or None,
        "saved_at": iso_time(int(saved_ms)),
    }


def decode_claims(rows: Iterable[list[str]], waiting_rows: Iterable[list[str]] = ()) -> dict[str, Claim]:
    """Claims by field, the oldest first; whoever waits stands at the claim that is in their way.

    Rows of those who wait, as lua/lib/claims.lua has them.
    """
    claims = dict(map(decode_claim, rows))
    for row in waiting_rows:
        wanted, tab_id, user, name, since_ms, _, holder_tab_id, passes_at_ms, *_ = _strings(row)
        for field_name, claim in claims.items():
            if claim["tab_id"] != tab_id and overlap(field_name, wanted):
                waiting: Waiting = {
                    "user": _decode_user(user, name),
                    "tab_id": tab_id,
                    "since": iso_time(int(since_ms)),
                }
                if wanted != field_name:
                    waiting["field"] = wanted
                claim.setdefault("waiting", []).append(waiting)
                if passes_at_ms and holder_tab_id == claim["tab_id"]:
                    passes_at = iso_time(int(passes_at_ms))
                    claim["passes_at"] = min(passes_at, claim.get("passes_at", passes_at))
                break
    return claims


def decode_claim(row: list[str]) -> tuple[str, Claim]:
    """A field and the claim on it, `[field, tab_id, user, name, since_ms, from_user?, from_name?]`."""
    field_name, tab_id, user, name, since_ms, *from_user = _strings(row)
    claim: Claim = {"user": _decode_user(user, name), "tab_id": tab_id, "since": iso_time(int(since_ms))}
    if from_user:
        claim["passed_from" if since_ms.startswith("00") else "taken_from"] = _decode_user(*from_user)
    return field_name, claim


def _strings(row: Any) -> list[str]:
    if not isinstance(row, list) or not all(isinstance(text, str) for text in row):
        raise ValueError(f"not a row of strings: {row}")
    return row


# Timeline: entries of the stream, `[kind, user, name, …]`


def decode_entries(
    pairs: Sequence[str], *, earlier: int = 0, max_bytes: int = sys.maxsize
) -> tuple[list[Entry], bool]:
    """Read `id, entry, id, entry, …` as lua/lib/timeline_entries.lua writes them.

    An entry that only says what has changed becomes an update with all that is shown
    after it, as far as the entries before it tell: so entries grow when they are read.
    The first `earlier` ones are read for that alone. Returns the others, up to
    `max_bytes` of JSON but at least one, and whether that has left any out.
    """
    entries: list[Entry] = []
    since: dict[str, str] = {}
    shown: dict[str, _ShownFields] = {}
    size = 0
    turn = Turn()
    for place, (entry_id, text) in enumerate(zip(pairs[::2], pairs[1::2], strict=True)):
        if place % ROWS_AT_A_TIME == ROWS_AT_A_TIME - 1:
            turn.pause_if_over()
        kind, *rest = json.loads(text)
        at = iso_time(int(entry_id.partition("-")[0]))
        entry: dict[str, Any] = {"id": entry_id, "at": at, "kind": "update" if kind == "changed" else kind}
        if rest:
            user, name, *values = rest
            entry["user"] = _decode_user(user, name)
            if kind == "changed":
                entry.update(_changed_members(values, shown.setdefault(user, _ShownFields())))
            else:
                entry.update(_entry_members(kind, values))
            if kind == "join":
                since[user] = at
            if kind in _VIEWER_KINDS and user in since:
                entry["since"] = since[user]
            if kind in ("join", "update"):
                shown[user] = _ShownFields(set(entry["active_fields"]), set(entry["dirty_fields"]))
            elif kind == "leave":
                shown.pop(user, None)
                since.pop(user, None)
        elif kind == "reset":
            shown.clear()
            since.clear()
        if place < earlier:
            continue
        size += len(json_codec.dumps(entry)) + len(",")
        if size > max_bytes and entries:
            return entries, True
        entries.append(entry)  # type: ignore[arg-type]
    return entries, False


_VIEWER_KINDS = frozenset({"join", "update", "changed", "leave"})


@dataclass(slots=True)
class _ShownFields:
    """The fields of a viewer after an entry."""

    active: set[str] = field(default_factory=set)
    dirty: set[str] = field(default_factory=set)


def _changed_members(values: list[Any], shown: _ShownFields) -> dict[str, Any]:
    tabs, editing, dirty, *counts = values[:6]
    names = iter(values[6:])
    active_added, active_removed, dirty_added = (list(islice(names, int(count))) for count in counts)
    shown.active = (shown.active | set(active_added)) - set(active_removed)
    shown.dirty = (shown.dirty | set(dirty_added)) - set(names)
    return {
        "tabs": int(tabs),
        "mode": "edit" if editing else "view",
        "has_dirty_tab": bool(dirty),
        "active_fields": sorted(shown.active),
        "dirty_fields": sorted(shown.dirty),
        "away": isinstance(editing, bool),
    }


def _entry_members(kind: Kind, values: list[Any]) -> dict[str, Any]:
    match kind:
        case "join" | "update":
            tabs, editing, dirty, active, *names = values
            return {
                "tabs": int(tabs),
                "mode": "edit" if editing else "view",
                "has_dirty_tab": bool(dirty),
                "active_fields": names[: int(active)],
                "dirty_fields": names[int(active) :],
                "away": isinstance(editing, bool),
            }
        case "leave":
            return {"reason": values[0]}
        case "saved":
            tab_id, lock_version, *fields = values
            more = {"more_fields": fields.pop()} if fields and isinstance(fields[-1], int) else {}
            return {"tab_id": tab_id or None, "lock_version": int(lock_version), "fields": fields, **more}
    members: dict[str, Any] = {"tab_id": values[0], "field": values[1]}
    if len(values) > 2:
        is_passed = len(values) > 4
        members["passed_from" if is_passed else "taken_from"] = _decode_user(values[2], values[3])
    return members

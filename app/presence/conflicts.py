"""Conflicts told before they happen: who saved what, who holds which field, what collides."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

from app.presence.records import UserId, Viewer, iso_time, user_key


class User(TypedDict):
    """Somebody, by id and name."""

    id: UserId
    name: str


class Save(TypedDict):
    """Somebody saved a version of the record."""

    lock_version: int
    fields: list[str]
    user: User
    tab_id: str | None  # None: told by a server, which knows no tab
    saved_at: str  # ISO 8601, UTC


class Claim(TypedDict):
    """A tab has said that it works on a field. Nobody is kept from anything by that."""

    user: User
    tab_id: str
    since: str  # ISO 8601, UTC
    taken_from: NotRequired[User]


class MissedSave(Save):
    """A save that a tab had not loaded, and which of its unsaved fields it touches."""

    own: bool  # another tab of the same user made it
    touches: list[str]


class Forecast(TypedDict):
    """What saving would run into.

    `saves` are the versions after `base_version` that another tab made;
    `collisions` those of the unsaved fields that they touch; `contested` says
    who else has unsaved changes in the same field at this moment.
    `remembered_since` (ISO 8601, UTC): no save after it is missing here. A tab
    that loaded the record before must look at the record itself.
    """

    base_version: int
    saves: list[MissedSave]
    collisions: list[str]
    contested: dict[str, list[User]]
    remembered_since: str


@dataclass(frozen=True, slots=True)
class Notes:
    """What a record's viewers are told besides who is there."""

    saves: list[Save] = field(default_factory=list)  # by lock_version
    claims: dict[str, Claim] = field(default_factory=dict)  # by field
    remembered_since: str = ""  # ISO 8601, UTC; "" where nobody has the record open


def decode_notes(opened_ms: str, saves: str, claims: str) -> Notes:
    """Read the two texts of a record's notes, as lua/lib/notes.lua writes them."""
    return Notes(
        [decode_save(row) for row in json.loads(saves or "[]")],
        decode_claims(json.loads(claims or "[]")),
        iso_time(int(opened_ms)) if opened_ms != "0" else "",
    )


def decode_save(row: list[str]) -> Save:
    """One save. Raises ValueError for what is none."""
    version, user, name, tab_id, saved_ms, *fields = _texts(row)
    return {
        "lock_version": int(version),
        "fields": fields,
        "user": _user(user, name),
        "tab_id": tab_id or None,
        "saved_at": iso_time(int(saved_ms)),
    }


def decode_claims(rows: Iterable[list[str]]) -> dict[str, Claim]:
    """Claims by field. Raises ValueError."""
    return dict(map(decode_claim, rows))


def decode_claim(row: list[str]) -> tuple[str, Claim]:
    """A field and the claim on it. Raises ValueError."""
    name_of_field, tab_id, user, name, since_ms, *taken_from = _texts(row)
    claim: Claim = {"user": _user(user, name), "tab_id": tab_id, "since": iso_time(int(since_ms))}
    if taken_from:
        claim["taken_from"] = _user(*taken_from)
    return name_of_field, claim


def _texts(row: Any) -> list[str]:
    if not isinstance(row, list) or not all(isinstance(text, str) for text in row):
        raise ValueError(f"not a row: {row}")
    return row


def _user(user: str, name: str) -> User:
    return {"id": json.loads(user), "name": name}


def forecast(
    notes: Notes,
    others: Iterable[Viewer],
    *,
    tab_id: str,
    user_id: UserId,
    base_version: int,
    dirty_fields: Collection[str],
) -> Forecast:
    """What saving `dirty_fields` of the version `base_version` would run into.

    Never misses a collision with a save that is remembered, and names no field
    that nobody else has touched.
    """
    user = user_key(user_id)
    unsaved = set(dirty_fields)
    missed: list[MissedSave] = [
        {
            **save,
            "own": user_key(save["user"]["id"]) == user,
            "touches": [name for name in save["fields"] if name in unsaved],
        }
        for save in notes.saves
        if save["lock_version"] > base_version and save["tab_id"] != tab_id
    ]
    touched = {name for save in missed for name in save["touches"]}
    contested: dict[str, list[User]] = {}
    for viewer in others:
        for name in viewer.get("dirty_fields", ()):
            if name in unsaved:
                contested.setdefault(name, []).append({"id": viewer["id"], "name": viewer["name"]})
    return {
        "base_version": base_version,
        "saves": missed,
        "collisions": [name for name in dirty_fields if name in touched],
        "contested": {name: contested[name] for name in dirty_fields if name in contested},
        "remembered_since": notes.remembered_since,
    }

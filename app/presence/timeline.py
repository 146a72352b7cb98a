"""What happened to a record, in order, as lua/lib/timeline.lua writes it."""

import json
from typing import Any, Literal, NotRequired, TypedDict

from app.presence.conflicts import User
from app.presence.records import iso_time

Kind = Literal["join", "update", "leave", "saved", "claimed", "released", "reset"]


class Entry(TypedDict):
    """One thing that happened. Which members there are depends on `kind`.

    `join` and `update` tell what the user shows from now on: tabs, mode,
    has_dirty_tab, active_fields, dirty_fields. `leave` has a reason. `saved` has
    lock_version, fields and tab_id; `claimed` and `released` have field, tab_id and
    perhaps taken_from. `reset` has no user: all who are there join anew.
    """

    id: str
    at: str  # ISO 8601, UTC
    kind: Kind
    user: NotRequired[User]
    tabs: NotRequired[int]
    mode: NotRequired[str]
    has_dirty_tab: NotRequired[bool]
    active_fields: NotRequired[list[str]]
    dirty_fields: NotRequired[list[str]]
    reason: NotRequired[str]
    lock_version: NotRequired[int]
    fields: NotRequired[list[str]]
    field: NotRequired[str]
    tab_id: NotRequired[str | None]
    taken_from: NotRequired[User]


def decode_entry(entry_id: str, text: str) -> Entry:
    """Read an entry of the stream."""
    kind, *rest = json.loads(text)
    entry: dict[str, Any] = {
        "id": entry_id,
        "at": iso_time(int(entry_id.partition("-")[0])),
        "kind": kind,
    }
    if rest:
        entry["user"] = {"id": json.loads(rest[0]), "name": rest[1]}
        entry.update(_members(kind, rest[2:]))
    return entry  # type: ignore[return-value]


def _members(kind: Kind, values: list[Any]) -> dict[str, Any]:
    match kind:
        case "join" | "update":
            tabs, editing, dirty, active, *names = values
            return {
                "tabs": int(tabs),
                "mode": "edit" if editing else "view",
                "has_dirty_tab": bool(dirty),
                "active_fields": names[: int(active)],
                "dirty_fields": names[int(active) :],
            }
        case "leave":
            return {"reason": values[0]}
        case "saved":
            return {"tab_id": values[0] or None, "lock_version": int(values[1]), "fields": values[2:]}
    members: dict[str, Any] = {"tab_id": values[0], "field": values[1]}
    if len(values) > 2:
        members["taken_from"] = {"id": json.loads(values[2]), "name": values[3]}
    return members

"""What happened to a record: the entries of its timeline."""

from typing import Literal, NotRequired, TypedDict

from .viewers import User

Kind = Literal["join", "update", "leave", "saved", "claimed", "released", "reset"]


class Entry(TypedDict):
    """One event. Which members it has depends on `kind`.

    `join` and `update` tell what is shown of the user from now on: tabs, mode,
    has_dirty_tab, active_fields, dirty_fields, away. Like `leave`, they have `since`, where
    the timeline tells when the user came. `leave` has a reason. `saved` has
    lock_version, fields and tab_id, and where an entry has no room for all fields,
    how many more_fields there were; `claimed` and `released` have field, tab_id and
    possibly taken_from or passed_from. `reset` has no user: the earlier list can't be trusted, and
    everyone still present is logged as a new `join`.
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
    away: NotRequired[bool]
    since: NotRequired[str]  # ISO 8601, UTC
    reason: NotRequired[str]
    lock_version: NotRequired[int]
    fields: NotRequired[list[str]]
    more_fields: NotRequired[int]
    field: NotRequired[str]
    tab_id: NotRequired[str | None]
    taken_from: NotRequired[User]
    passed_from: NotRequired[User]

"""What saving would run into: missed saves, and colleagues with unsaved changes in the same fields."""

from collections.abc import Collection, Iterable, Mapping
from typing import TypedDict

from .codec import encode_user_id
from .conflicts import ConflictState, Save
from .field_check import MAX_NAMED_BYTES, Holders, name_contenders
from .json_codec import encode_text
from .viewers import User, UserId, Viewer


class MissedSave(Save):
    """A save that a tab has not loaded, and which of its unsaved fields it touches."""

    own: bool  # another tab of the same user made it
    touches: list[str]


class Forecast(TypedDict):
    """What saving would run into.

    `saves` are the versions after `base_version` that another tab made;
    `collisions`, those of the unsaved fields that they touch; `contested` says
    who else has unsaved changes in the same field at this moment, and
    `own_contested` in which of them one of the user's `own_tabs` other tabs has.
    `remembered_since` (ISO 8601, UTC): no save after it is missing here. A tab
    that loaded the record earlier must look at the record itself.
    """

    base_version: int
    saves: list[MissedSave]
    collisions: list[str]
    contested: dict[str, list[User]]
    own_tabs: int
    own_contested: list[str]
    remembered_since: str


def forecast(
    conflicts: ConflictState,
    others: Iterable[Viewer],
    *,
    tab_id: str,
    user_id: UserId,
    base_version: int,
    dirty_fields: Collection[str],
    own_tabs: int = 0,
    own_fields: Collection[str] = (),
    holders: Mapping[str, Holders] | None = None,
) -> Forecast:
    """What saving `dirty_fields` of the version `base_version` would run into.

    `holders` say who else has these fields unsaved, where `others` are not all there are.
    `own_tabs` is how many other tabs the user has, and `own_fields` what several of the user's
    tabs have unsaved.

    Never misses a collision with a save that is remembered, and names only
    fields that somebody else has touched.
    """
    user = encode_user_id(user_id)
    unsaved = set(dirty_fields)
    missed: list[MissedSave] = [
        {
            **save,
            "own": encode_user_id(save["user"]["id"]) == user,
            "touches": [name for name in save["fields"] if name in unsaved],
        }
        for save in conflicts.saves
        if save["lock_version"] > base_version and save["tab_id"] != tab_id
    ]
    touched = {name for save in missed for name in save["touches"]}
    contested = _contested(others, unsaved) if holders is None else _named(holders)
    return {
        "base_version": base_version,
        "saves": missed,
        "collisions": [name for name in dirty_fields if name in touched],
        "contested": {name: contested[name] for name in dirty_fields if name in contested},
        "own_tabs": own_tabs,
        "own_contested": [name for name in dirty_fields if name in own_fields],
        "remembered_since": conflicts.remembered_since,
    }


def _contested(others: Iterable[Viewer], unsaved: set[str]) -> dict[str, list[User]]:
    """Who else has unsaved changes in each of these fields, in order of arrival.

    Beyond MAX_NAMED_BYTES a field names only the first of them: a hundred users with the same
    hundred fields would fill megabytes.
    """
    contested: dict[str, list[User]] = {}
    size = 0
    for viewer in others:
        names = unsaved & set(viewer.get("dirty_fields", ()))
        if not names:
            continue
        user: User = {"id": viewer["id"], "name": viewer["name"]}
        user_bytes = len(encode_text(user).encode("utf-8", "replace"))
        for name in names:
            if name not in contested or size + user_bytes <= MAX_NAMED_BYTES:
                contested.setdefault(name, []).append(user)
                size += user_bytes
    return contested


def _named(holders: Mapping[str, Holders]) -> dict[str, list[User]]:
    contested, _ = name_contenders(holders)
    return {
        name: [{"id": contender["id"], "name": contender["name"]} for contender in contenders]
        for name, contenders in contested.items()
    }

"""Open records, each summed up: how many people, who edits, who has unsaved work."""

from typing import Any, Literal, TypedDict

from . import json_codec
from .codec import decode_user_id, decode_viewer, decode_viewer_entries, encode_user_id, iso_time, user_of
from .viewers import User, UserId


class OpenViewer(TypedDict):
    """What a user does with a record that they have open."""

    id: UserId
    name: str
    tabs: int
    mode: str
    has_dirty_tab: bool
    since: str  # ISO 8601, UTC


class _OpenRecordOptions(TypedDict, total=False):
    more: Literal[True]  # not everybody is named who edits or has unsaved changes
    viewer: OpenViewer  # the user who was asked for


class OpenRecord(_OpenRecordOptions):
    """A record that somebody has open, and who. Agents are not people."""

    record: str  # type:id
    people: int
    agents: int
    editing: list[User]
    unsaved: list[User]
    since: str  # ISO 8601, UTC: when the record was opened


def decode_summary(name: str, reply: list[Any], user_id: UserId | None = None) -> OpenRecord:
    """Read the reply of lua/summary.lua about the record `name` (`type:id`), without its status word.

    `user_id` is the user whom the script has looked for.
    """
    total, agents, opened_ms, is_cut, head, *pairs = reply
    named = [(user_of(decode_user_id(user), entry[0]), entry) for user, entry in decode_viewer_entries(pairs)]
    record: OpenRecord = {
        "record": name,
        "people": total - agents,
        "agents": agents,
        "editing": [user for user, entry in named if entry[3] > 0],
        "unsaved": [user for user, entry in named if entry[4] > 0],
        "since": iso_time(int(opened_ms)),
    }
    if is_cut:
        record["more"] = True
    if user_id is not None and head:
        viewer = decode_viewer(encode_user_id(user_id), json_codec.loads(head), int(opened_ms))
        record["viewer"] = {
            "id": viewer["id"],
            "name": viewer["name"],
            "tabs": viewer["tabs"],
            "mode": viewer["mode"],
            "has_dirty_tab": viewer["has_dirty_tab"],
            "since": viewer["since"],
        }
    return record

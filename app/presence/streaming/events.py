"""Events: what happened to a record. All streams that show the record share them."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..codec import decode_viewer
from ..conflicts import ConflictState
from ..records import Record
from ..viewers import AgentId, Viewer

ENVELOPE_BYTES = 160  # about what a viewer or a message has besides its names

Events = tuple[tuple["Event", int], ...]  # each with the number of viewers after it

_ANNOUNCEMENT_KIND = re.compile(r"[a-z_]{1,32}", re.ASCII)


class ViewerEntry:
    """A viewer as of one version of the record.

    `arrival` orders the viewers. `size_bytes` is roughly the size of the viewer in a
    message. `viewer_json` caches the viewer's JSON text for the code that sends it. `opened_ms`
    is when the record was opened, since the epoch.

    Raises ValueError if `packed` is not a viewer entry as Redis holds it.
    """

    __slots__ = ("arrival", "size_bytes", "viewer", "viewer_json")

    def __init__(self, user: str, packed: list[Any], opened_ms: int) -> None:
        counts = packed[1:5]
        names = packed[5:]
        if names and type(names[-1]) is list:
            names = [*names[:-1], *names[-1]]
        texts = [packed[0], *names[::2]]
        if not all(type(count) is int for count in counts) or not all(type(text) is str for text in texts):
            raise ValueError(f"not a viewer entry: {packed}")
        self.viewer: Viewer = decode_viewer(user, packed, opened_ms)
        if type(self.viewer["id"]) not in (int, str, AgentId):
            raise ValueError(f"not a user: {user}")
        self.arrival: int = packed[1]
        if names[:1] == [""] and type(names[1]) is str:
            texts.append(names[1])  # the profile
        self.size_bytes = ENVELOPE_BYTES + sum([len(text.encode(errors="replace")) + 3 for text in texts])
        self.viewer_json: str | None = None


@dataclass(slots=True, eq=False)
class Event:
    """What happened to a record.

    `kind` is `snapshot`, `join`, `update`, `leave`, `saved`, `claims`, or the kind
    of an announcement. `user` (JSON text of an id) is the user it is about.

    `version` is the record's version after the event. While more events of the
    same version follow, `is_partial` is set and `version` is the one before.

    `entries` of a snapshot are pairs of user and entry, first arrival first;
    `conflicts` are its saves and claims. `size_bytes` is roughly what the event adds
    to a stream's queue. `encoded` caches the event's bytes, by the number of viewers
    that they state, for the code that sends it.
    """

    kind: str
    record: Record
    user: str | None = None
    version: str | None = None
    entry: ViewerEntry | None = None
    reason: str | None = None  # of a `leave`
    data: dict[str, Any] | None = None
    is_partial: bool = False
    is_unconfirmed: bool = False  # of a snapshot: some of its viewers have yet to come back
    entries: list[tuple[str, ViewerEntry]] | None = None
    conflicts: ConflictState | None = None
    encoded: dict[int, bytes] = field(default_factory=dict)
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.size_bytes = ENVELOPE_BYTES
        if self.entry:
            self.size_bytes += self.entry.size_bytes
        if self.data:
            self.size_bytes += len(json.dumps(self.data))
        if self.entries:
            self.size_bytes += sum([entry.size_bytes for _, entry in self.entries])


class EventBatch:
    """Events of a record that streams are sent together, each with the number of viewers after it.

    `viewers_before` is the number of viewers before the first of them.
    """

    __slots__ = ("_for_viewers", "_moving_users", "events", "size_bytes", "viewers_before")

    def __init__(self, events: Iterable[tuple[Event, int]], *, viewers_before: int = 0) -> None:
        self.events: Events = tuple(events)
        self.viewers_before = viewers_before
        self.size_bytes = sum([event.size_bytes for event, _ in self.events])
        self._moving_users = {event.user for event, _ in self.events if event.kind in ("join", "leave")}
        self._for_viewers: Events | None = None

    def events_for(self, user: str | None, *, is_viewer: bool) -> "Events":
        """The events, with this user left out of the numbers; whether they are a viewer before them."""
        if user in self._moving_users:
            return self._without(user, is_viewer=is_viewer)
        if not is_viewer:
            return self.events
        if self._for_viewers is None:  # the same for all of them: there may be thousands
            self._for_viewers = self._without(user, is_viewer=True)
        return self._for_viewers

    def _without(self, user: str | None, *, is_viewer: bool) -> "Events":
        events = []
        for event, total in self.events:
            if event.user == user and event.kind in ("join", "leave"):
                is_viewer = event.kind == "join"
            events.append((event, total - is_viewer))
        return tuple(events)

    def makes_viewer(self, user: str | None, *, is_viewer: bool) -> bool:
        """Whether the user is a viewer after the events."""
        if user in self._moving_users:
            for event, _ in self.events:
                if event.user == user and event.kind in ("join", "leave"):
                    is_viewer = event.kind == "join"
        return is_viewer

    def moves_up(self, limit: int, *, is_viewer: bool) -> bool:
        """Whether somebody leaves, and viewers beyond the limit move up into what a stream shows."""
        has_leaves = bool(self.events) and self.events[0][0].kind == "leave"
        return has_leaves and self.viewers_before - is_viewer > limit


class AnnouncementBatch(EventBatch):
    """An announcement, for all streams but those of the user who sent it. It states no number of viewers."""

    def __init__(self, event: Event) -> None:
        super().__init__([(event, 0)])

    def events_for(self, user: str | None, *, is_viewer: bool) -> "Events":
        """The event; none for its sender."""
        event, _ = self.events[0]
        return () if user is not None and user == event.user else self.events


def announcement_event(record: Record, message: dict[str, Any]) -> Event:
    """The event of an announcement, such as a signal, which changes no version.

    Raises ValueError for a malformed message.
    """
    kind, user, data = message["announce"], message.get("user"), message.get("data")
    if (
        not isinstance(kind, str)
        or not _ANNOUNCEMENT_KIND.fullmatch(kind)
        or not isinstance(user, str | None)
        or not isinstance(data, dict | None)
    ):
        raise ValueError("not an announcement")
    return Event(kind, record, user=user, data=data)

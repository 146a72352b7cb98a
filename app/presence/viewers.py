"""What is shown of the people who have a record open: users, their tabs, and the viewers they make up."""

from typing import Any, Literal, NotRequired, TypedDict


class AgentId(str):
    """The id of a program that works on behalf of a user.

    It is shown as a viewer of its own. It equals no user's id, even if the text is the same, and no
    id of the same program working for somebody else.
    """

    __slots__ = ("person_id", "person_name")

    person_id: "int | str"
    person_name: str  # not part of the identity

    def __new__(cls, agent: str, person_id: "int | str", person_name: str = "") -> "AgentId":
        self = super().__new__(cls, agent)
        self.person_id = person_id
        self.person_name = person_name
        return self

    def _identity(self) -> "tuple[str, type, int | str]":
        return str(self), type(self.person_id), self.person_id

    def __eq__(self, other: object) -> bool:
        return type(other) is AgentId and self._identity() == other._identity()

    def __ne__(self, other: object) -> bool:  # str has one of its own
        return not self == other

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        return f"AgentId({str(self)!r}, {self.person_id!r})"


UserId = int | str  # also an AgentId
MODES = ("view", "edit")

# What Redis holds of a viewer, decoded: `[name, arrival, tabs, editing, dirty, ("", away)?, field, count, …,
# [dirty_field, count, …]?]`. See lua/lib/viewer_entries.lua.
PackedViewerEntry = list[Any]


class _WithDirtyFields(TypedDict, total=False):
    dirty_fields: list[str]  # left out when empty


class Person(TypedDict):
    """The user on whose behalf an agent works."""

    id: UserId
    name: NotRequired[str]  # of a viewer


# By functional syntax, since `for` is a keyword.
Agent = TypedDict("Agent", {"for": Person})


class _UserOptions(TypedDict, total=False):
    agent: Agent  # only of a program


class User(_UserOptions):
    """A user, or an agent, by id and name."""

    id: UserId
    name: str


class _ViewerOptions(_WithDirtyFields, _UserOptions, total=False):
    picture: str  # an https URL
    about: dict[str, str]


class _TabOptions(_WithDirtyFields, total=False):
    away: Literal[True]  # nobody looks at it; left out of an active tab


class Tab(_TabOptions):
    """One live tab, as `get_presence` and `GET …/tabs` show it."""

    user_id: UserId
    user_name: str
    mode: str
    dirty: bool
    active_field: str | None
    last_seen_at: str  # ISO 8601, UTC


class Viewer(_ViewerOptions):
    """One user with at least one live tab."""

    id: UserId
    name: str
    tabs: int
    mode: str
    has_dirty_tab: bool
    active_fields: list[str]
    away: bool  # none of their tabs is active
    since: str  # ISO 8601, UTC, to the second: when they came; since then they have always had a live tab


class LeftOut(TypedDict, total=False):
    """What of a heartbeat was not recorded, because the user's tabs together name too many fields."""

    active_field: str
    dirty_fields: list[str]  # at most 8 KB of names
    more: int  # how many names of `dirty_fields` are missing here

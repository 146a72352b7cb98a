"""The data from which colliding edits are forecast: who saved which version, and who claims which field."""

from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from .viewers import User


class Save(TypedDict):
    """A version of the record that somebody saved."""

    lock_version: int
    fields: list[str]
    user: User
    tab_id: str | None  # None: reported by a server that knows no tab
    saved_at: str  # ISO 8601, UTC


class Waiting(TypedDict):
    """A tab that waits for a claim to end. It gets the field as soon as nothing else is in its way."""

    user: User
    tab_id: str
    since: str  # ISO 8601, UTC
    field: NotRequired[str]  # what it waits for, where that is not the field of the claim


class Claim(TypedDict):
    """A tab's statement that it works on a field. A claim is advisory: it blocks nobody."""

    user: User
    tab_id: str
    since: str  # ISO 8601, UTC
    taken_from: NotRequired[User]
    passed_from: NotRequired[User]  # who had it while this one waited
    waiting: NotRequired[list[Waiting]]  # in their order; left out when empty
    passes_at: NotRequired[str]  # ISO 8601, UTC; while somebody waits and its user is away
    field: NotRequired[str]  # in answers, where that is not the field that was asked for


def overlap(field_name: str, other: str) -> bool:
    """Whether claims of these two fields exclude each other; `*` is the whole record."""
    return field_name == other or "*" in (field_name, other)


@dataclass(frozen=True, slots=True)
class ConflictState:
    """The saves and claims of a record, which its viewers are sent along with the list of viewers."""

    saves: list[Save] = field(default_factory=list)  # by lock_version
    claims: dict[str, Claim] = field(default_factory=dict)  # by field
    remembered_since: str = ""  # ISO 8601, UTC; "" where nobody has the record open

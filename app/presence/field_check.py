"""What writing some fields would run into: for jobs, imports and agents, before they write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from .conflicts import Claim, ConflictState, overlap
from .json_codec import encode_text
from .viewers import Agent, User, UserId, Viewer

WHOLE_RECORD = "*"
MAX_NAMED_BYTES = 65_536  # of the viewers that are named more than once, as JSON


class Contender(TypedDict):
    """A viewer who has unsaved changes in a field."""

    id: UserId
    name: str
    away: bool  # none of their tabs is active
    agent: NotRequired[Agent]


class StaleField(TypedDict):
    """The last save of a field after the version that the asker has loaded."""

    lock_version: int
    user: User
    saved_at: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class Holders:
    """Who has unsaved changes in a field: how many they are, and as many of them as were named."""

    total: int
    viewers: list[Viewer]  # first arrival first


@dataclass(frozen=True, slots=True)
class FieldCheck:
    """What writing would run into, at one version of the record.

    A field stands in each of `stale`, `contested` and `claimed` that holds for it, and in `clear` if none
    does. `more`: of how many viewers a field is contested who are not named. No save after
    `remembered_since` (ISO 8601, UTC) is missing; None while nobody has the record open, when no save is
    known: whoever has loaded it earlier must look at the record itself.
    """

    clear: list[str]
    stale: dict[str, StaleField]
    contested: dict[str, list[Contender]]
    claimed: dict[str, Claim]
    more: dict[str, int]
    remembered_since: str | None
    version: str


def field_check(
    version: str,
    conflicts: ConflictState,
    holders: Mapping[str, Holders],
    fields: Sequence[str],
    *,
    base_version: int | None,
    tab_id: str | None,
) -> FieldCheck:
    """Put together what is known of these fields; `holders` are those of other tabs."""
    stale: dict[str, StaleField] = {}
    claimed: dict[str, Claim] = {}
    names = list(dict.fromkeys(fields))
    for save in conflicts.saves if base_version is not None else ():
        if save["lock_version"] <= (base_version or 0) or save["tab_id"] == (tab_id or ""):
            continue
        for name in names:
            if name in save["fields"] or name == WHOLE_RECORD:
                stale[name] = {
                    "lock_version": save["lock_version"],
                    "user": save["user"],
                    "saved_at": save["saved_at"],
                }
    for name in names:
        for claimed_field, claim in conflicts.claims.items():
            if claim["tab_id"] != tab_id and overlap(claimed_field, name):
                claimed[name] = _shown_claim(claimed_field, claim, name)
                break
    contested, more = name_contenders(holders)
    return FieldCheck(
        [name for name in names if not (name in stale or name in contested or name in claimed)],
        {name: stale[name] for name in names if name in stale},
        {name: contested[name] for name in names if name in contested},
        claimed,
        more,
        conflicts.remembered_since or None,
        version,
    )


def _shown_claim(claimed_field: str, claim: Claim, asked: str) -> Claim:
    shown: Claim = {**claim}
    shown.pop("waiting", None)
    shown.pop("passes_at", None)
    if claimed_field != asked:
        shown["field"] = claimed_field
    return shown


def name_contenders(holders: Mapping[str, Holders]) -> tuple[dict[str, list[Contender]], dict[str, int]]:
    """Who has unsaved changes in each field, and how many more who are not named.

    The first of each field is named; further ones as far as MAX_NAMED_BYTES allow.
    """
    contested: dict[str, list[Contender]] = {}
    more: dict[str, int] = {}
    size = 0
    for name, held in holders.items():
        for viewer in held.viewers:
            contender: Contender = {"id": viewer["id"], "name": viewer["name"], "away": viewer["away"]}
            if "agent" in viewer:
                contender["agent"] = viewer["agent"]
            contender_bytes = len(encode_text(contender).encode("utf-8", "replace"))
            if name not in contested or size + contender_bytes <= MAX_NAMED_BYTES:
                contested.setdefault(name, []).append(contender)
                size += contender_bytes
        if unnamed := held.total - len(contested.get(name, ())):
            more[name] = unnamed
    return contested, more

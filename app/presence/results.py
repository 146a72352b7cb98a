"""What the calls of the service return."""

from dataclasses import dataclass, field
from typing import Literal

from .conflicts import Claim, ConflictState
from .field_check import Contender
from .forecast import Forecast
from .open_summary import OpenRecord
from .timeline import Entry
from .viewers import LeftOut, Tab, Viewer


@dataclass(frozen=True, slots=True)
class ViewerList:
    """The viewers of a record at one version.

    All but `version` are None where the caller already knows this version, and
    `forecast` also where no base version was given. `is_unconfirmed`: Redis has
    lost the viewers that the caller knew, and the others may not have had time
    for a heartbeat since. `next`: where to go on from, None at the end of the
    list. `left_out`, with or without viewers: what of the tab's
    fields was not recorded. `timeline_bytes`: how many a heartbeat has added to the timeline.
    `has_joined`: the user was no viewer before this heartbeat, as far as is known.
    """

    version: str
    viewers: list[Viewer] | None = None
    total: int | None = None
    conflicts: ConflictState | None = None
    forecast: Forecast | None = None
    is_unconfirmed: bool = False
    left_out: LeftOut | None = None
    next: int | None = None
    timeline_bytes: int = 0
    has_joined: bool = False


SaveRefusal = Literal["nobody_there", "not_editing", "already_told", "version_too_old", "version_too_far"]
ClaimRefusal = Literal["not_editing", "too_many", "taken_recently"]


@dataclass(frozen=True, slots=True)
class SaveResult:
    """Whether the viewers were told of the save, by this call or by the same one before; if not, why.

    True in a condition exactly if they were.

    `touched` are those who have unsaved changes in the saved fields, by field, in other tabs than the one
    that saved; in `more`, how many of a field are not named. Of a save without a tab, nothing of its user
    counts. Known only of a save that was announced.
    """

    is_announced: bool
    reason: SaveRefusal | None = None
    touched: dict[str, list[Contender]] = field(default_factory=dict)
    more: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.is_announced


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """Whether the tab has the field now, and the claim on it, or in its way; None where there is none.

    `place` is the tab's place among those who wait: 1 is the next to have it; None where it does
    not wait. `reason` says why it was not granted, unless the claim itself does. A list of this
    `version` or a later one shows the result; None where the tab is not live.
    """

    is_granted: bool
    claim: Claim | None
    reason: ClaimRefusal | None = None
    version: str | None = None
    place: int | None = None


@dataclass(frozen=True, slots=True)
class DeclineResult:
    """How many were sent away who waited for the tab's claim. `version` as in ClaimResult."""

    declined: int
    version: str | None = None


@dataclass(frozen=True, slots=True)
class TimelinePage:
    """Some entries of a timeline, oldest first; `next` is the id to go on from, None at the end."""

    entries: list[Entry]
    next: str | None


@dataclass(frozen=True, slots=True)
class TabsPage:
    """Some live tabs, by tab id; `next` is where to go on from, None at the end."""

    tabs: dict[str, Tab]
    next: str | None


@dataclass(frozen=True, slots=True)
class OpenPage:
    """Some open records, perhaps none; `next` is where to go on from, None at the end."""

    records: list[OpenRecord]
    next: str | None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased of a user, in how many records.

    Of `saves` and `claims`, also those that stay and tell no longer who the user was.
    """

    records: int
    tabs: int
    saves: int
    claims: int
    entries: int  # of timelines

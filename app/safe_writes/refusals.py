"""A save, and why one was refused. Nothing is written by a save that raises one of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..presence.field_check import FieldCheck


@dataclass(frozen=True, slots=True)
class Saved:
    """A version right after it was saved; `fields` are those that this save changed.

    `check` is what Redis knew of these fields just before; None where nobody asked, nothing was
    changed, or Redis was away.
    """

    lock_version: int
    fields: list[str]
    data: dict[str, Any]
    check: FieldCheck | None = None


class RecordChanged(Exception):
    """The row was saved by somebody else after the version that the caller had loaded. Nothing was written.

    `current` is what is stored now, as the model's `as_data` returns it; `fields`
    are those in which it differs from what was to be saved.
    """

    def __init__(
        self,
        *,
        current: dict[str, Any],
        lock_version: int,
        saved_by: str,
        saved_at: datetime,
        fields: list[str],
    ) -> None:
        super().__init__(f"{saved_by or 'Somebody'} saved version {lock_version} in the meantime.")
        self.current = current
        self.lock_version = lock_version
        self.saved_by = saved_by
        self.saved_at = saved_at
        self.fields = fields

    def as_data(self) -> dict[str, Any]:
        """What a page needs to let its user choose: keep mine, take theirs, or compare."""
        return {
            "current": self.current,
            "lock_version": self.lock_version,
            "saved_by": self.saved_by,
            "saved_at": self.saved_at.isoformat(),
            "fields": self.fields,
        }


class RecordDeleted(Exception):
    """Somebody deleted the row since it was loaded."""

    def __init__(self) -> None:
        super().__init__("Somebody deleted this record in the meantime.")


class FieldsHeld(Exception):
    """Somebody else is at work on fields that were to be saved. Nothing was written.

    `fields` are those that refuse the save, in their order; `check` says who is on them, and who on
    the others; `lock_version` is the version that is stored.
    """

    def __init__(
        self, what: str, fields: Sequence[str], users: Sequence[str], check: FieldCheck, lock_version: int
    ) -> None:
        has = "has" if len(set(users)) == 1 else "have"
        super().__init__(f"{_enumerate(users)} {has} {what} {_enumerate(fields)}.")
        self.fields = list(fields)
        self.check = check
        self.lock_version = lock_version

    def as_data(self) -> dict[str, Any]:
        """What a page needs to show who is on which field, and what could be saved without them."""
        data: dict[str, Any] = {
            "fields": self.fields,
            "clear": self.check.clear,
            "contested": self.check.contested,
            "claimed": self.check.claimed,
            "lock_version": self.lock_version,
            "version": self.check.version,
        }
        if self.check.more:
            data["more"] = self.check.more
        return data


class FieldsClaimed(FieldsHeld):
    """Another tab has claimed fields that were to be saved."""

    def __init__(self, check: FieldCheck, lock_version: int) -> None:
        users = [claim["user"]["name"] for claim in check.claimed.values()]
        super().__init__("claimed", list(check.claimed), users, check, lock_version)

    def as_data(self) -> dict[str, Any]:
        """As the other; `claim` is the one on the first of the fields, and names its field."""
        name, claim = next(iter(self.check.claimed.items()))
        return {"claim": {"field": name, **claim}, **super().as_data()}


class FieldsContested(FieldsHeld):
    """Somebody has unsaved changes in fields that were to be saved."""

    def __init__(self, check: FieldCheck, lock_version: int) -> None:
        users = [viewer["name"] for viewers in check.contested.values() for viewer in viewers]
        super().__init__("unsaved changes in", list(check.contested), users, check, lock_version)


def _enumerate(names: Sequence[str], most: int = 3) -> str:
    """Each name once, and how many more there are."""
    different = [name or "Somebody" for name in dict.fromkeys(names)]
    shown, more = different[:most], len(different) - most
    if more > 0:
        shown.append(f"{more} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"

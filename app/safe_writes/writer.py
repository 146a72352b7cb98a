"""Who writes a record, and what they ask before they do: one script call, which changes nothing."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..presence.conflicts import Claim
from ..presence.errors import PresenceError
from ..presence.field_check import Contender, FieldCheck, StaleField
from ..presence.results import SaveResult
from ..presence.service import RecordPresenceService
from ..presence.viewers import UserId
from .announcement_queue import Announcement, AnnouncementQueue
from .refusals import FieldsClaimed, FieldsContested, Saved

Policy = Literal["refuse", "advise"]
POLICIES = ("refuse", "advise")

announcements = AnnouncementQueue()  # of a process without a Flask application

log = logging.getLogger("presence.versioned")


@dataclass(frozen=True, slots=True)
class Writer:
    """A user, an agent or a job that is about to write a record.

    A page gives its `tab_id`, so that its own claims and unsaved changes are not held against it; a
    job has none. Without one, nothing of the user's own tabs is left out either.
    """

    service: RecordPresenceService
    record_type: str
    record_id: str | int
    user_id: UserId
    user_name: str
    tab_id: str | None = None

    def check(self, fields: Iterable[str], base_version: int | None = None) -> FieldCheck:
        """`check_fields` of the service, in the name of the writer. Raises PresenceError."""
        return self.service.check_fields(
            self.record_type,
            self.record_id,
            list(fields),
            base_version=base_version,
            user_id=self.user_id,
            tab_id=self.tab_id,
        )

    def announcement(self, lock_version: int, fields: list[str]) -> Announcement:
        """The call that tells the viewers of a save."""
        save = (self.record_type, self.record_id, lock_version, fields)
        return Announcement(self.service, *save, self.user_id, self.user_name, self.tab_id)

    def announce(self, saved: Saved) -> SaveResult:
        """Tell the viewers of a save, and learn whose unsaved fields it touched: `touched` of the result.

        False in a condition if nobody has heard of it yet. Never raises PresenceError.
        If Redis is unavailable, this process tries again for five minutes, as long as it runs. In a Flask
        application use `record_presence.versioned.announce`.
        """
        if not saved.fields:
            return SaveResult(False)
        return announcements.announce(self.announcement(saved.lock_version, saved.fields))


@dataclass(frozen=True, slots=True)
class HeldField:
    """A value that is not clear to be written, and who is on its field.

    `unnamed`: how many more have unsaved changes in it.
    """

    value: Any
    claim: Claim | None
    contenders: list[Contender]
    unnamed: int
    newer_save: StaleField | None

    @property
    def names(self) -> list[str]:
        """Whom it would hit, each once: who has claimed it, has it unsaved, or has saved it since."""
        users = [self.claim["user"]["name"]] if self.claim else []
        users += [viewer["name"] for viewer in self.contenders]
        users += [self.newer_save["user"]["name"]] if self.newer_save else []
        return list(dict.fromkeys(users))


@dataclass(frozen=True, slots=True)
class SaveCheck:
    """The values that nobody else is on, to be saved now, and the rest with the people on them."""

    clear: dict[str, Any]
    held: dict[str, HeldField]
    found: FieldCheck


def check_before_save(
    writer: Writer, values: Mapping[str, Any], *, base_version: int | None = None
) -> SaveCheck:
    """Ask whom writing these values (1 to 100 fields) would hit, in one script call; nothing is written.

    With `base_version`, the version that they were made from, a field that was saved after it is held
    as well. Exact for any number of viewers, at the moment of the call: who comes after it is not in
    it. Raises StoreUnavailable where Redis can't say, and
    InvalidPresence and TabOwnedByAnotherUser as `check_fields` does.
    """
    found = writer.check(values, base_version)
    held = {
        name: HeldField(
            value,
            found.claimed.get(name),
            found.contested.get(name, []),
            found.more.get(name, 0),
            found.stale.get(name),
        )
        for name, value in values.items()
        if name not in found.clear
    }
    return SaveCheck({name: values[name] for name in found.clear}, held, found)


def check_policies(writer: Writer | None, claims: Policy, contested: Policy) -> None:
    """Raise ValueError for a word that is no policy, and for one that needs a writer where there is none."""
    for name, policy in (("claims", claims), ("contested", contested)):
        if policy not in POLICIES:
            raise ValueError(f"{name} must be one of {', '.join(POLICIES)}.")
        if policy == "refuse" and writer is None:
            raise ValueError(f'{name}="refuse" needs a writer.')


def ask(
    writer: Writer | None, fields: list[str], lock_version: int, *, claims: Policy, contested: Policy
) -> FieldCheck | None:
    """What is known of the fields that a save is about to change.

    Raises FieldsClaimed and FieldsContested where the policies say so, and PresenceError where one of them
    is "refuse" and Redis can't say. With "advise" no error of Redis keeps a save from being done: then None.
    """
    if writer is None or not fields:
        return None
    try:
        check = writer.check(fields)
    except PresenceError as error:
        if "refuse" in (claims, contested):
            raise
        record = f"{writer.record_type}:{writer.record_id}"
        log.warning("a save was not checked", extra={"record": record, "error": str(error)})
        return None
    if claims == "refuse" and check.claimed:
        raise FieldsClaimed(check, lock_version)
    if contested == "refuse" and check.contested:
        raise FieldsContested(check, lock_version)
    return check

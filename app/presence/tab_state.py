"""What a tab reports of itself with a heartbeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .codec import encode_state
from .errors import InvalidPresence
from .validation import check_field_names, check_tab, clean_name, is_number
from .viewers import UserId


@dataclass(slots=True)
class TabState:
    """A tab, its user and what they are doing in it."""

    tab_id: str
    user_id: UserId
    user_name: str
    mode: str
    dirty: bool
    active_field: str | None
    dirty_fields: Sequence[str]
    visible: bool
    active: bool | None  # None: as `visible`
    lease_seconds: float | None  # None: the service's own
    profile_digest: str | None = None  # None: the user has no profile
    is_logged: bool = True  # whether the timeline tells of the tab

    def check(self) -> None:
        """Raises InvalidPresence. Does not look at the user."""
        check_tab(self.tab_id, self.mode, self.active_field)
        check_field_names("dirty_fields", self.dirty_fields)
        if self.lease_seconds is not None and not is_number(self.lease_seconds):
            raise InvalidPresence({"lease_seconds": ["Must be a number of seconds."]})

    def encode(self, user: str, default_lease_ms: int) -> tuple[str, int]:
        """The text that Redis holds, and the lease in ms. `user` is the JSON text of the id.

        Raises InvalidPresence for a name that is not a string.
        """
        lease_ms = default_lease_ms
        extras: dict[str, Any] = {}
        if self.active is not None and self.active is not self.visible:
            extras["active"] = self.active
        if not self.visible:
            extras["hidden"] = True
        if self.lease_seconds is not None and self.lease_seconds * 1000 < lease_ms:
            lease_ms = extras["lease_ms"] = max(1, int(self.lease_seconds * 1000))
        if self.profile_digest:
            extras["profile"] = self.profile_digest
        if not self.is_logged:
            extras["unlogged"] = True
        if self.dirty_fields:
            extras["dirty_fields"] = sorted(set(self.dirty_fields))
        name = clean_name(self.user_name)
        state = encode_state(user, name, self.mode, bool(self.dirty), self.active_field, extras)
        return state, lease_ms

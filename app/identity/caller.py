"""The caller, as their proof of identity names them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ..presence.profile import Profile, make_profile
from ..presence.records import tenant_text
from ..presence.viewers import AgentId, UserId


class Unauthenticated(Exception):
    """There is no proof of identity, or no valid one. The message is for the caller."""


class KeysUnavailable(Exception):
    """The keys needed to verify a proof can't be fetched. Try again."""


class UnknownKey(KeysUnavailable):
    """A token names a key that was not among those last fetched. The issuer may have added it since."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("an unknown key")
        self.retry_after_seconds = retry_after_seconds


class Forbidden(Exception):
    """The proof is valid and does not cover this. The message is for the caller."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A user of a tenant.

    `records` are patterns such as `flow:*` or `flow:12`; None covers every
    record of the tenant. `expires_at` (seconds since the epoch) is when the
    proof expires, None if it never does. `needs_csrf_token` is true for a proof
    that a browser sends by itself. `role` is `operator` (may inspect and evict),
    `service` (may announce saves on any user's behalf), one of those that the setting
    `hidden_roles` names (sees others and is not seen) or None.

    The `user_id` of a program that works on behalf of a user is an AgentId, and `user_name` the
    program's own. `picture` (an https URL of at most 512 characters) and `about` (up to 8 strings
    by name, 512 bytes in all) are shown to the viewers; where they are anything else, they are
    left out.
    """

    user_id: UserId
    user_name: str
    tenant: str
    records: tuple[str, ...] | None = None
    expires_at: float | None = None
    needs_csrf_token: bool = True
    role: str | None = None
    picture: str | None = None
    about: Mapping[str, str] | None = None
    profile: Profile | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Raises InvalidPresence (a ValueError) for a caller without a tenant; hosts make callers too."""
        object.__setattr__(self, "tenant", tenant_text(self.tenant))
        object.__setattr__(self, "profile", make_profile(self.user_id, self.picture, self.about))

    @property
    def is_agent(self) -> bool:
        """Whether this is a program that works on behalf of a user."""
        return type(self.user_id) is AgentId

    def may_see(self, record_name: str) -> bool:
        """Whether the proof covers the record `type:id`."""
        return self.records is None or any(fnmatchcase(record_name, pattern) for pattern in self.records)

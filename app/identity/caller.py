"""The caller, as her proof names her."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from app.presence.records import UserId, tenant_text


class Unauthenticated(Exception):
    """There is no proof of identity, or none that holds. The message is for the caller."""


class KeysUnavailable(Exception):
    """The keys that would tell whether a proof holds can't be fetched. Try again."""


class Forbidden(Exception):
    """The proof holds and does not cover this. The message is for the caller."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A user of a tenant.

    `records` are patterns such as `flow:*` or `flow:12`; None covers every
    record of the tenant. `expires_at` (seconds since the epoch) is when the
    proof ends, None when it has no end. `needs_csrf_token` is true for a proof
    that a browser sends by itself. `role` is `operator` (may inspect and evict),
    `service` (may tell of saves in anybody's name) or None.
    """

    user_id: UserId
    user_name: str
    tenant: str
    records: tuple[str, ...] | None = None
    expires_at: float | None = None
    needs_csrf_token: bool = True
    role: str | None = None

    def __post_init__(self) -> None:
        """Hosts make callers too; raises InvalidPresence (a ValueError) for one without a tenant."""
        object.__setattr__(self, "tenant", tenant_text(self.tenant))

    def may_see(self, record_name: str) -> bool:
        """Whether the proof covers the record `type:id`."""
        return self.records is None or any(fnmatchcase(record_name, pattern) for pattern in self.records)

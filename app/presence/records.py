"""Records of a tenant, and their keys in Redis."""

from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote

from .errors import InvalidPresence


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a tenant, and the keys that hold its presence.

    Other systems read `tabs_key`. The braces of the siblings are literal: they
    keep all keys of a record in one Cluster slot.
    """

    tenant: str
    type: str
    id: str
    tabs_key: str = field(init=False)
    seen_key: str = field(init=False)
    viewers_key: str = field(init=False)
    order_key: str = field(init=False)
    timeline_key: str = field(init=False)
    unsaved_key: str = field(init=False)
    left_key: str = field(init=False)

    def __post_init__(self) -> None:
        tabs_key = f"tenant_{quote_tenant(self.tenant)}_record_presence:{self.type}:{self.id}"
        object.__setattr__(self, "tabs_key", tabs_key)
        object.__setattr__(self, "seen_key", f"{{{tabs_key}}}:seen")
        object.__setattr__(self, "viewers_key", f"{{{tabs_key}}}:viewers")
        object.__setattr__(self, "order_key", f"{{{tabs_key}}}:order")
        object.__setattr__(self, "timeline_key", f"{{{tabs_key}}}:timeline")
        object.__setattr__(self, "unsaved_key", f"{{{tabs_key}}}:unsaved")
        object.__setattr__(self, "left_key", f"{{{tabs_key}}}:left")

    @property
    def keys(self) -> tuple[str, str, str, str, str, str]:
        """The keys that every script takes, in the order of the script headers."""
        tabs_and_index = self.tabs_key, self.seen_key, self.viewers_key, self.order_key
        return *tabs_and_index, self.timeline_key, self.unsaved_key

    @property
    def channel(self) -> str:
        """The channel that the scripts publish on; channels have a namespace of their own."""
        return self.tabs_key

    @property
    def name(self) -> str:
        """`type:id`, as the batch call and record patterns spell it."""
        return f"{self.type}:{self.id}"


def tenant_text(tenant: int | str) -> str:
    """The tenant as text: 7 and "7" are one tenant. Raises InvalidPresence for anything else."""
    if isinstance(tenant, str) and tenant:
        return tenant
    if isinstance(tenant, int) and not isinstance(tenant, bool):
        return str(tenant)
    # None would otherwise become a tenant called "None", shared by every caller without a tenant.
    raise InvalidPresence({"tenant": ["Must be an integer or a non-empty string."]})


@lru_cache(maxsize=1024)
def quote_tenant(tenant: str) -> str:
    """Percent-encode every character that could end the tenant's part of a key, or the hash tag.

    Raises InvalidPresence for an empty tenant.
    """
    tenant = tenant_text(tenant)
    return quote(tenant, safe="", errors="surrogatepass")


def quote_user(user: str) -> str:
    """The JSON text of a user's id as a part of a key."""
    return quote(user, safe="")

"""Which streams a process accepts, so that no user or tenant can use up the streams of all others."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from ..errors import TooManyStreams, TooManyStreamsOfUser
from .stream import Stream


class Owner(NamedTuple):
    """The user whose client reads a stream."""

    tenant: str
    user: str  # JSON text of the id


class Admission:
    """Counts the open streams of each user and tenant. Not thread-safe: the broadcast's lock guards it.

    A user has at most `max_per_user` streams, and the process at most `max_streams`.
    A tenant may have all of them until another tenant wants one. Once the process is
    full, a new stream of a tenant with fewer streams replaces the newest stream of
    the tenant with the most.
    """

    def __init__(self, max_streams: int, max_per_user: int, observe: Callable[[str], None]) -> None:
        self._max_streams = max_streams
        self._max_per_user = max_per_user
        self._observe = observe
        self._owners: dict[Stream, Owner] = {}
        self._by_tenant: dict[str, dict[Stream, None]] = {}  # each a set that keeps its order
        self._by_user: Counter[Owner] = Counter()

    def add(self, stream: Stream, owner: Owner) -> None:
        """Count a stream, and end another one for it if need be.

        Raises TooManyStreamsOfUser and TooManyStreams.
        """
        if self._by_user[owner] >= self._max_per_user:
            self._observe("full")
            raise TooManyStreamsOfUser(f"You have {self._max_per_user} streams open in this process already.")
        if len(self._owners) >= self._max_streams:
            self._observe("full")
            self._make_room_for(owner.tenant)
        self._owners[stream] = owner
        self._by_tenant.setdefault(owner.tenant, {})[stream] = None
        self._by_user[owner] += 1

    def remove(self, stream: Stream) -> None:
        """Give up the stream's place, if it still has one."""
        owner = self._owners.pop(stream, None)
        if owner is None:
            return
        of_tenant = self._by_tenant[owner.tenant]
        del of_tenant[stream]
        if not of_tenant:
            del self._by_tenant[owner.tenant]
        self._by_user[owner] -= 1
        if not self._by_user[owner]:
            del self._by_user[owner]

    def _make_room_for(self, tenant: str) -> None:
        # Costs O(tenants), only in a full process. With a difference of one, two tenants would take turns.
        largest = max(self._by_tenant.values(), key=len)
        if len(largest) <= len(self._by_tenant.get(tenant, ())) + 1:
            raise TooManyStreams("This process has no room for another stream.")
        newest = next(reversed(largest))
        self.remove(newest)
        newest.end("full")

"""How many invalid tokens an address may send: to find one invalid costs more than all else about it."""

import time
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from limits import RateLimitItem

from ..presence.errors import TooManyCalls

MAX_ADDRESSES = 10_000  # that a process remembers; those that failed longest ago are forgotten first
IPV6_PREFIX_BITS = 64  # a client has a whole network of that size


class FailedAuthenticationLimit:
    """A token bucket for each address, in this process.

    For tokens whose signature would have to be checked. One that was found to be valid in the last
    minute passes, so that others behind the same address go on working.
    """

    def __init__(self, limit: RateLimitItem) -> None:
        self._capacity = limit.amount
        self._refill_per_second = limit.amount / limit.get_expiry()
        self._buckets: dict[str, tuple[float, float]] = {}  # address -> what is left, at a monotonic time

    def check(self, address: str | None) -> None:
        """Raises TooManyCalls for an address that has used up its bucket; None has no limit."""
        if address in self._buckets and (left := self._left(address)) < 1:
            raise TooManyCalls((1 - left) / self._refill_per_second)

    def count_failure(self, address: str | None) -> None:
        """Take one from the bucket of this address."""
        if address is None:
            return
        left = self._left(address) - 1
        self._buckets.pop(address, None)  # so that it comes last
        self._buckets[address] = left, time.monotonic()
        if len(self._buckets) > MAX_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]

    def _left(self, address: str) -> float:
        left, at = self._buckets.get(address, (self._capacity, 0.0))
        return min(self._capacity, left + (time.monotonic() - at) * self._refill_per_second)


def client_address(environ: Mapping[str, Any], *, trusts_forwarded_for: bool) -> str | None:
    """The address of the client, or its network for IPv6; None where it can't be told from others.

    The peer of the connection is the client only if its address is a public one; any other may be a
    proxy. X-Forwarded-For is believed only where the operator says that the proxy sets it: then its
    last address is the client's.
    """
    try:
        if trusts_forwarded_for:
            address = ip_address(environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip())
        else:
            address = ip_address(environ.get("REMOTE_ADDR", ""))
            if not address.is_global:
                return None
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, IPV6_PREFIX_BITS), strict=False))
    return str(address)

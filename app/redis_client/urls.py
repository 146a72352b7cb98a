"""Taking a REDIS_URL apart."""

import re
from urllib.parse import SplitResult, urlsplit


def split_redis_url(url: str) -> tuple[SplitResult, list[str]]:
    """A REDIS_URL without its hosts, and the hosts. Raises ValueError.

    Since CVE-2025-0938, in Debian too, urlsplit refuses a list of hosts with an IPv6 address in it.
    """
    start, slashes, rest = url.partition("://")
    netloc, rest = re.fullmatch(r"([^/?#]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    credentials, at, hosts = netloc.rpartition("@")
    return urlsplit(f"{start}{slashes}{credentials}{at}{rest}"), hosts.split(",")


def addresses_of(url: str, default_port: int) -> list[tuple[str, int]]:
    """Host and port of every host that the URL names. Raises ValueError."""
    addresses = [urlsplit(f"//{host}") for host in split_redis_url(url)[1]]
    return [(address.hostname or "localhost", address.port or default_port) for address in addresses]

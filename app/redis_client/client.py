"""REDIS_URL to a client: single, Sentinel, Cluster or embedded."""

from importlib.util import find_spec
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from ..presence.greenlets import runs_greenlets
from ..settings import SettingError
from .cluster import LazyCluster
from .connection import (
    SELF_ENDING,
    SentinelTcpConnection,
    SentinelTlsConnection,
    TcpConnection,
    UnixConnection,
)
from .embedded import connect_embedded
from .options import (
    ANSWER_TIMEOUT_SECONDS,
    RETRY_DELAY_SECONDS,
    check_options,
    default_options,
    options_of_hosts,
)
from .pool import UncheckedPool
from .urls import addresses_of, split_redis_url

SENTINEL_TIMEOUT_SECONDS = 0.25
POOL_TIMEOUT_SECONDS = 0.5  # how long a caller waits for a connection while all are in use
MAX_CONNECTIONS = 64  # of a process
_MAX_SENTINEL_CONNECTIONS = 10_000  # there is no pool for Sentinel that waits: it must be large enough

_WITHOUT_TLS = (TcpConnection, UnixConnection)


def connect(url: str | None) -> Any:
    """A client for `url`; None is the embedded default. Does not connect yet.

    Raises SettingError for an option that no connection has, for unreadable certificates,
    and where the embedded Redis is not installed.
    """
    if url is None:
        return connect_embedded()
    scheme = split_redis_url(url)[0].scheme
    try:
        if scheme.endswith("+sentinel"):
            return _sentinel(url)
        if scheme.endswith("+cluster"):
            return LazyCluster(url)
        return _single(url)
    except (TypeError, ValueError, redis.RedisError) as error:
        raise SettingError(f"REDIS_URL: {error}") from None


def _single(url: str) -> Any:
    pool = UncheckedPool.from_url(
        url, max_connections=MAX_CONNECTIONS, timeout=POOL_TIMEOUT_SECONDS, **default_options()
    )
    pool.connection_class = SELF_ENDING[pool.connection_class]
    check_options(pool.connection_class, pool.connection_kwargs)
    # Not with TLS, which may have to write in order to read.
    if pool.connection_class in _WITHOUT_TLS and runs_greenlets() and find_spec("hiredis"):
        # Imported here: a process without gevent needs neither it nor hiredis.
        from .pipelining import PipeliningRedis

        return PipeliningRedis(
            pool, answer_timeout_seconds=ANSWER_TIMEOUT_SECONDS, retry_delay_seconds=RETRY_DELAY_SECONDS
        )
    return redis.Redis(connection_pool=pool)


def _sentinel(url: str) -> Any:
    parts, _ = split_redis_url(url)
    master, _, database = parts.path.strip("/").partition("/")
    # All Sentinels are asked in turn, twice, within the time of one call; by default each is tried ten times.
    sentinel_options = {
        **default_options(),
        "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    sentinel: Any = Sentinel(addresses_of(url, 26379), sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    options = {
        "max_connections": _MAX_SENTINEL_CONNECTIONS,
        "db": int(database or 0),
        **options_of_hosts(url),
    }
    has_tls = options.pop("ssl", False)
    options["connection_class"] = SentinelTlsConnection if has_tls else SentinelTcpConnection
    return sentinel.master_for(master, **options)

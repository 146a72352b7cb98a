"""REDIS_URL to a client: single, Sentinel, Cluster or embedded.

redis-py's own defaults can hang a call for a minute and refuse the 101st
caller. Here a call that gets no answer ends within two seconds, retry
included, and callers wait for a connection instead of failing.
"""

import ssl
from queue import Empty
from typing import Any
from urllib.parse import urlsplit

import redis
from gevent.monkey import is_module_patched
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from app.redis_pipelining import PipeliningRedis
from app.settings import SettingError, split_redis_url

CONNECT_TIMEOUT_SECONDS = 0.3
ANSWER_TIMEOUT_SECONDS = 0.45  # four of them fit into two seconds: a call may ask twice, and each is retried
SENTINEL_TIMEOUT_SECONDS = 0.25
POOL_TIMEOUT_SECONDS = 0.5  # wait for a connection that is in use
MAX_CONNECTIONS = 64  # a process
RETRIES = 1  # scripts may be replayed
RETRY_PAUSE_SECONDS = 0.04

_PLAIN = (redis.Connection, redis.UnixDomainSocketConnection)  # TLS may have to write in order to read


def connect(url: str | None) -> Any:
    """A client for `url`; None is the embedded default. Does not connect yet.

    Raises SettingError for an option in the URL that no connection has, and for certificates that
    can't be read.
    """
    if url is None:
        return _embedded()
    scheme = split_redis_url(url)[0].scheme
    try:
        if scheme.endswith("+sentinel"):
            return _sentinel(url)
        if scheme.endswith("+cluster"):
            return LazyCluster(url)
        pool = _Pool.from_url(
            url, max_connections=MAX_CONNECTIONS, timeout=POOL_TIMEOUT_SECONDS, **_timeouts()
        )
        _try_options(pool.connection_class, pool.connection_kwargs)
    except (TypeError, ValueError, redis.RedisError) as error:
        raise SettingError(f"REDIS_URL: {error}") from None
    if is_module_patched("socket") and pool.connection_class in _PLAIN:
        return PipeliningRedis(
            pool, answer_timeout_seconds=ANSWER_TIMEOUT_SECONDS, pause_seconds=RETRY_PAUSE_SECONDS
        )
    return redis.Redis(connection_pool=pool)


class _Pool(redis.BlockingConnectionPool):
    """Lends an idle connection as it is.

    The library polls each one first, which under gevent takes as long as half
    the call; one that was closed in the meantime fails and is retried anyway,
    and one that was interrupted while it read is closed by the read.
    """

    def get_connection(self, *_: Any, **__: Any) -> Any:
        self._checkpid()
        try:
            connection = self.pool.get(timeout=self.timeout)
        except Empty:
            raise redis.ConnectionError("no connection is free") from None
        if connection is None:
            connection = self.make_connection()
        try:
            connection.connect()  # unless it is
        except BaseException:
            self.release(connection)
            raise
        return connection

    def release(self, connection: Any) -> None:
        if self.pid == connection.pid and not connection.should_reconnect():
            self.pool.put_nowait(connection)
        else:
            super().release(connection)


def _timeouts() -> dict[str, Any]:
    return {
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": ANSWER_TIMEOUT_SECONDS,
        "retry": Retry(ExponentialBackoff(cap=0.1, base=0.02), RETRIES),
        "protocol": 2,  # no handshake beyond what 6.2 knows; a third less work a call
    }


def _embedded() -> Any:
    # Imported here: with a real Redis the process needs neither it nor Lua.
    import fakeredis

    return fakeredis.FakeRedis(server=fakeredis.FakeServer())


def _addresses(url: str, default_port: int) -> list[tuple[str, int]]:
    addresses = [urlsplit(f"//{host}") for host in split_redis_url(url)[1]]
    return [(address.hostname or "localhost", address.port or default_port) for address in addresses]


def _try_options(kind: type, options: dict[str, Any]) -> None:
    """Make a connection that connects to nothing, and read its certificates.

    Raises TypeError, ValueError and redis-py's own errors, whose messages name what is wrong.
    """
    kind(**options)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authorities = options.get("ssl_ca_certs"), options.get("ssl_ca_path"), options.get("ssl_ca_data")
        if any(authorities):
            context.load_verify_locations(*authorities)
        if certificate := options.get("ssl_certfile"):
            # A password, though there be none: else the terminal is asked for it.
            password = options.get("ssl_password") or ""
            context.load_cert_chain(certificate, options.get("ssl_keyfile"), password)
    except OSError as error:
        raise ValueError(f"can't read the certificates ({error.strerror or error})") from None


def _options(url: str) -> dict[str, Any]:
    """What a URL of many hosts says of each connection. Raises as `_try_options` does."""
    parts, _ = split_redis_url(url)
    transport, proof = parts.scheme.partition("+")[0], parts.netloc.rpartition("@")[0]
    options = parse_url(f"{transport}://{proof}@localhost?{parts.query}")
    kind = options.pop("connection_class", redis.Connection)
    options = {**_timeouts(), **options}
    _try_options(kind, options)
    del options["host"]
    return {**options, "ssl": True} if kind is redis.SSLConnection else options


def _sentinel(url: str) -> Any:
    parts, _ = split_redis_url(url)
    master, _, database = parts.path.strip("/").partition("/")
    # All are asked in turn, twice, within the time of one call; by default each would be tried ten times.
    asked = {**_timeouts(), "socket_timeout": SENTINEL_TIMEOUT_SECONDS, "retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel(_addresses(url, 26379), sentinel_kwargs=asked)
    # A pool that waits does not exist for Sentinel; so it must be large enough.
    return sentinel.master_for(
        master, **{"max_connections": 10_000, "db": int(database or 0), **_options(url)}
    )


class LazyCluster:
    """A Cluster client that is made by its first call.

    RedisCluster asks for the slots when it is made, so that a service could
    not start while its Redis is away.
    """

    def __init__(self, url: str) -> None:
        """Raises as `_try_options` does, and ValueError for a database: a Cluster has only one."""
        self._addresses = _addresses(url, 6379)
        self._options = _options(url)
        if self._options.pop("db", 0) or split_redis_url(url)[0].path.strip("/0"):
            raise ValueError("a Cluster has no database but 0")
        self._cluster: redis.RedisCluster | None = None

    def __getattr__(self, name: str) -> Any:
        if self._cluster is None:
            self._cluster = redis.RedisCluster(
                startup_nodes=[ClusterNode(*address) for address in self._addresses], **self._options
            )
        return getattr(self._cluster, name)

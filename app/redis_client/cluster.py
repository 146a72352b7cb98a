"""A Cluster client that does not need its Cluster in order to be made."""

import threading
from time import monotonic
from typing import Any

import redis
from redis.cluster import ClusterNode

from .options import options_of_hosts
from .urls import addresses_of, split_redis_url


class LazyCluster:
    """A Cluster client that is made by its first call.

    RedisCluster asks for the slots when it is made, so that a service could
    not start while its Redis is unavailable.
    """

    def __init__(self, url: str) -> None:
        """Raises as `check_options` does, and ValueError for a database: a Cluster has only one."""
        self._addresses = addresses_of(url, 6379)
        self._options = options_of_hosts(url)
        if self._options.pop("db", 0) or split_redis_url(url)[0].path.strip("/0"):
            raise ValueError("a Cluster has no database but 0")
        self._cluster: redis.RedisCluster | None = None
        self._lock = threading.Lock()
        self._failure: tuple[float, Exception] | None = None  # when it failed last, on the monotonic clock

    def get_node_from_key(self, key: str, *options: Any, **more: Any) -> Any:
        """Here, so that whoever asks whether this is a Cluster's client does not connect."""
        return self.__getattr__("get_node_from_key")(key, *options, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster or self._make(), name)

    def _make(self) -> redis.RedisCluster:
        """Once for all callers, since it takes many calls and much work; they share a failure as well."""
        asked_at = monotonic()
        with self._lock:
            if self._cluster is None:
                if self._failure and self._failure[0] >= asked_at:
                    raise redis.ConnectionError(str(self._failure[1])) from self._failure[1]
                nodes = [ClusterNode(*address) for address in self._addresses]  # type: ignore[no-untyped-call]
                try:
                    self._cluster = redis.RedisCluster(startup_nodes=nodes, **self._options)
                except Exception as error:
                    self._failure = monotonic(), error
                    raise
            return self._cluster

"""A Cluster client that does not need its Cluster in order to be made."""

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

    def get_node_from_key(self, key: str, *options: Any, **more: Any) -> Any:
        """Here, so that whoever asks whether this is a Cluster's client does not connect."""
        return self.__getattr__("get_node_from_key")(key, *options, **more)

    def __getattr__(self, name: str) -> Any:
        if self._cluster is None:
            nodes = [ClusterNode(*address) for address in self._addresses]  # type: ignore[no-untyped-call]
            self._cluster = redis.RedisCluster(startup_nodes=nodes, **self._options)
        return getattr(self._cluster, name)

"""Fixtures for the tests of the domain."""

from collections.abc import Iterator

import pytest

from tests.redis_cluster import RedisCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """A Cluster of three primaries, for all tests of a module: nothing empties it in between."""
    cluster = RedisCluster()
    yield cluster
    cluster.close()

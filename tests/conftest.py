"""Fixtures for all tests."""

from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
import redis as redis_py

from tests.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real server for this process (with pytest-xdist: one a worker)."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def real_redis(redis_server: RedisServer) -> Iterator[redis_py.Redis]:
    """A client of the real server, which is empty."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture(params=["fakeredis", "redis-server"])
def redis(request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty Redis: the embedded one, then a real one."""
    if request.param == "redis-server":
        yield request.getfixturevalue("real_redis")
        return
    # A server of its own: one script that sets a global breaks all later ones.
    with fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True) as client:
        yield client

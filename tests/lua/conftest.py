"""A strict Redis and a full one; both are real servers."""

from contextlib import contextmanager

import pytest

from tests.lua.commands import RECORD


@pytest.fixture
def strict_user(redis_server, real_redis):
    """Connects as one who may touch the keys of RECORD and publish on its channel, nothing else.

    `strict_user(key, …)` allows these keys in their place.
    """

    @contextmanager
    def connect(*keys):
        allowed = [f"~{key}" for key in keys or RECORD.keys]
        real_redis.execute_command(
            *("ACL", "SETUSER", "strict", "reset", "resetchannels", "on", ">secret", "+@all"),
            *(f"&{RECORD.channel}", *allowed),
        )
        with redis_server.client(username="strict", password="secret") as client:
            yield client

    yield connect
    real_redis.acl_deluser("strict")


@pytest.fixture
def full_redis(real_redis):
    """Filled past its memory limit when `fill()` is called; evicts nothing."""

    def fill():
        real_redis.config_set("maxmemory-policy", "noeviction")
        real_redis.config_set("maxmemory", 1)  # an empty Redis 6.2 takes less than a megabyte

    yield real_redis, fill
    real_redis.config_set("maxmemory", "0")

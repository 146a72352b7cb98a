"""ready: may Redis be written to?"""

import pytest

from record_presence.presence.errors import StoreUnavailable
from tests.lua.commands import scripts

PROBE = "presence_ready"


def ready(redis):
    return scripts.run(redis, "ready", (PROBE,), ())


def test_redis_in_order_is_ready_and_keeps_nothing_of_the_question(redis):
    assert ready(redis) == ["OK"]
    assert 0 < redis.pttl(PROBE) <= 1_000


def test_full_redis_is_not_ready(full_redis):
    redis, fill = full_redis
    fill()

    with pytest.raises(StoreUnavailable):
        ready(redis)


def test_replica_is_not_ready(real_redis):
    real_redis.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreUnavailable):
            ready(real_redis)
    finally:
        real_redis.replicaof("NO", "ONE")


def test_ready_touches_only_the_key_that_it_declares(strict_user):
    with strict_user(PROBE) as redis:
        assert ready(redis) == ["OK"]

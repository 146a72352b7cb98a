"""probe: a message to a process's own channel, from a server that takes writes."""

import pytest

from record_presence.presence.errors import StoreUnavailable
from tests.lua.commands import scripts

KEY, CHANNEL = "presence_ready", "presence_stream:00c0ffee"


def probe(redis):
    return scripts.run(redis, "probe", (KEY,), (CHANNEL,))


@pytest.fixture
def listener(real_redis):
    with real_redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(CHANNEL)
        pubsub.get_message(timeout=1)
        yield lambda seconds=20: pubsub.get_message(timeout=seconds)


def test_probe_reaches_its_channel_and_leaves_no_key(real_redis, listener):
    assert probe(real_redis) == ["OK"]
    assert listener()["data"] == "1"
    assert real_redis.dbsize() == 0


def test_embedded_redis_answers_a_probe(redis):
    assert probe(redis) == ["OK"]


def test_full_redis_answers_a_probe(full_redis, listener):
    redis, fill = full_redis
    fill()

    assert probe(redis) == ["OK"]
    assert listener()["data"] == "1"


def test_redis_that_lacks_replicas_answers_a_probe(real_redis, listener):
    real_redis.config_set("min-replicas-to-write", 1)
    try:
        assert probe(real_redis) == ["OK"]
        assert listener()["data"] == "1"
    finally:
        real_redis.config_set("min-replicas-to-write", 0)


def test_replica_publishes_no_probe(real_redis, listener):
    real_redis.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreUnavailable):
            probe(real_redis)
        assert listener(0.3) is None
    finally:
        real_redis.replicaof("NO", "ONE")

"""sign_out: a session that was signed out is known to be, as long as its cookie may come back."""

import pytest

from record_presence.presence.errors import StoreUnavailable
from tests.lua.commands import scripts

SIGNED_OUT = "tenant_1_presence_signed_out:s1"
LIFETIME_MS = 60_000


def sign_out(redis, lifetime_ms=LIFETIME_MS, key=SIGNED_OUT):
    return scripts.run(redis, "sign_out", (key,), (lifetime_ms,))


def was_signed_out(redis, key=SIGNED_OUT):
    return sign_out(redis, 0, key) == ["OK"]


def test_session_is_remembered_for_its_lifetime(redis):
    assert not was_signed_out(redis)
    assert sign_out(redis) == ["OK"]

    assert was_signed_out(redis)
    assert 0 < redis.pttl(SIGNED_OUT) <= LIFETIME_MS


def test_look_leaves_nothing(redis):
    was_signed_out(redis)

    assert redis.keys() == []


def test_sessions_are_known_apart(redis):
    sign_out(redis)

    assert not was_signed_out(redis, f"{SIGNED_OUT}2")


def test_full_redis_remembers_nobody_and_can_be_asked(full_redis):
    redis, fill = full_redis
    sign_out(redis)
    fill()

    with pytest.raises(StoreUnavailable):
        sign_out(redis, key=f"{SIGNED_OUT}2")
    assert was_signed_out(redis)


def test_sign_out_touches_only_the_key_that_it_declares(strict_user):
    with strict_user(SIGNED_OUT) as redis:
        assert sign_out(redis) == ["OK"]
        assert was_signed_out(redis)

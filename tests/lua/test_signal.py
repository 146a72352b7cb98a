"""signal: passed on to whoever streams the record, and never stored."""

import pytest

from tests.lua.commands import (
    RECORD,
    Listener,
    age,
    contents,
    heartbeat,
    signal,
    stored_keys,
)

CALLS = "calls-of-42"


def test_signal_of_a_live_tab_is_passed_on_as_it_is_and_changes_nothing(redis):
    heartbeat(redis, "t1", 42)
    before = contents(redis)
    with Listener(redis) as listener:
        assert signal(redis) == ["OK"]
        assert listener.messages() == [{"announce": "signal", "data": {"kind": "typing"}}]
    assert contents(redis) == before
    assert set(stored_keys(redis)) <= set(RECORD.keys)


def test_signal_of_a_tab_that_is_not_registered_is_told_to_nobody(redis):
    with Listener(redis) as listener:
        assert signal(redis) == ["ABSENT"]
        assert listener.messages() == []
    assert stored_keys(redis) == []


def test_signal_of_a_tab_whose_lease_is_over_is_told_to_nobody(redis):
    heartbeat(redis, "t1", 42)
    age(redis, "t1")
    before = contents(redis)
    with Listener(redis) as listener:
        assert signal(redis) == ["ABSENT"]
        assert listener.messages() == []
    assert contents(redis) == before


@pytest.mark.parametrize("user", [43, "42"])
def test_signal_from_another_users_tab_is_refused(redis, user):
    heartbeat(redis, "t1", 42)
    with Listener(redis) as listener:
        assert signal(redis, user=user) == ["TAB_TAKEN"]
        assert listener.messages() == []


def test_record_whose_leases_are_over_is_left_for_a_sweep_to_announce(redis):
    heartbeat(redis, "t1", 42)
    age(redis, "t1")
    with Listener(redis) as listener:
        assert signal(redis) == ["ABSENT"]
        assert listener.messages() == []
    assert redis.exists(RECORD.viewers_key)


def test_signals_are_counted_and_refused_beyond_the_limit(redis):
    heartbeat(redis, "t1", 42)
    with Listener(redis) as listener:
        answers = [signal(redis, calls=CALLS, calls_limit=2) for _ in range(4)]
        assert len(listener.messages()) == 2

    assert [answer[0] for answer in answers] == ["OK", "OK", "THROTTLED", "THROTTLED"]
    assert 0 < answers[2][1] <= 60_000
    assert 0 < redis.pttl(CALLS) <= 60_000


def test_signals_that_reach_nobody_are_counted_too(redis):
    answers = [signal(redis, calls=CALLS, calls_limit=1)[0] for _ in range(2)]

    assert answers == ["ABSENT", "THROTTLED"]


# A real server only


def test_signal_passes_when_redis_is_full(full_redis):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42)
    fill()

    assert signal(redis) == ["OK"]


def test_signal_passes_uncounted_when_redis_is_full(full_redis):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42)
    fill()

    assert signal(redis, calls=CALLS, calls_limit=5) == ["OK"]
    assert redis.get(CALLS) is None

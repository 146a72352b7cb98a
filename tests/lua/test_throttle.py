"""throttle: so many calls in each window, exactly."""

from threading import Thread

import pytest

from record_presence.presence.errors import StoreUnavailable
from tests.lua.commands import scripts

CALLS = "tenant_1_presence_calls:42"
WINDOW_MS = 60_000


def take(redis, limit=3, key=CALLS, window_ms=WINDOW_MS, cost=1):
    return scripts.run(redis, "throttle", (key,), (limit, window_ms, cost))


def test_as_many_calls_as_the_limit_pass(redis):
    assert [take(redis)[0] for _ in range(5)] == ["OK", "OK", "OK", "THROTTLED", "THROTTLED"]


def test_call_that_costs_more_uses_up_as_much_of_the_limit(redis):
    assert [take(redis, limit=10, cost=cost)[0] for cost in (4, 6, 1)] == ["OK", "OK", "THROTTLED"]


def test_window_that_a_dear_call_opens_ends_like_any_other(redis):
    take(redis, limit=10, cost=4)

    assert 0 < redis.pttl(CALLS) <= WINDOW_MS


def test_refusal_says_how_long_the_window_lasts(redis):
    take(redis, limit=1)

    status, retry_after_ms = take(redis, limit=1)

    assert status == "THROTTLED"
    assert WINDOW_MS - 5_000 < retry_after_ms <= WINDOW_MS


def test_window_starts_with_its_first_call_and_is_not_lengthened(redis):
    take(redis)
    redis.pexpire(CALLS, 10_000)
    for _ in range(5):
        take(redis)

    assert redis.pttl(CALLS) <= 10_000


def test_next_window_starts_anew(redis):
    for _ in range(4):
        take(redis)
    redis.delete(CALLS)  # what its end does

    assert take(redis) == ["OK"]
    assert 0 < redis.pttl(CALLS) <= WINDOW_MS


def test_users_are_counted_apart(redis):
    take(redis, limit=1)

    assert take(redis, limit=1, key=f"{CALLS}0") == ["OK"]


def test_lower_limit_counts_at_once(redis):
    take(redis, limit=10)
    take(redis, limit=10)

    assert take(redis, limit=2)[0] == "THROTTLED"


def test_clock_set_back_does_not_lengthen_the_window(redis):
    take(redis, limit=1)
    redis.pexpire(CALLS, WINDOW_MS + 3_600_000)

    assert take(redis, limit=1) == ["THROTTLED", WINDOW_MS]
    assert redis.pttl(CALLS) <= WINDOW_MS


def test_count_without_an_end_throttles_nobody_for_ever(redis):
    redis.set(CALLS, 1_000)

    assert take(redis) == ["THROTTLED", WINDOW_MS]
    assert 0 < redis.pttl(CALLS) <= WINDOW_MS


def test_limit_is_exact_with_many_callers_at_once(redis_server, real_redis):
    passed = []

    def call():
        with redis_server.client() as client:
            passed.extend(take(client, limit=50)[0] for _ in range(20))

    callers = [Thread(target=call) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert passed.count("OK") == 50
    assert len(passed) == 120


def test_full_redis_refuses_a_count_whole(full_redis):
    redis, fill = full_redis
    take(redis)
    fill()

    with pytest.raises(StoreUnavailable):
        take(redis)
    assert redis.get(CALLS) == "1"


def test_throttle_touches_only_the_key_that_it_declares(strict_user):
    with strict_user(CALLS) as redis:
        assert [take(redis, limit=1)[0] for _ in range(2)] == ["OK", "THROTTLED"]

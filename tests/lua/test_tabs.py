"""tabs: every live tab of a record."""

from itertools import combinations

import pytest

from tests.lua.commands import (
    LEASE_MS,
    RECORD,
    Listener,
    age,
    call,
    contents,
    heartbeat,
    leases,
    leave,
    names,
    set_clock_back,
    state_of,
    tabs,
)

SIBLINGS = ("tabs", "seen", "viewers", "order")


def test_record_that_nobody_has_open_has_no_tabs_and_writes_nothing(redis):
    assert tabs(redis) == {}
    assert redis.keys("*") == []


def test_every_tab_is_listed_with_its_state_and_the_end_of_its_lease(redis):
    heartbeat(redis, "t1", 42, mode="edit", dirty=True, field="title")
    heartbeat(redis, "t2", 43, name="Bob", hidden=True)
    age(redis, "t2", by_ms=30_000)

    reply = call(redis, "tabs", RECORD, lease_ms=LEASE_MS, nonce="0")

    assert reply[0] == "OK"
    assert reply[1::3] == ["t2", "t1"]
    assert [float(end) for end in reply[2::3]] == [redis.zscore(RECORD.seen_key, tab) for tab in ("t2", "t1")]
    assert reply[3::3] == [
        state_of(43, "Bob", hidden=True),
        state_of(42, mode="edit", dirty=True, field="title"),
    ]


def test_stale_tab_is_not_listed_and_its_departure_announced_once(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t1")
    with Listener(redis) as listener:
        assert list(tabs(redis)) == ["t2"]
        assert list(tabs(redis)) == ["t2"]
        assert listener.changes() == [["leave", 42, "expired"]]


def test_listing_a_record_in_order_writes_nothing(redis):
    heartbeat(redis, "t1", 42)
    before = contents(redis)
    tabs(redis)

    assert contents(redis) == before


def test_tabs_agree_with_viewers_after_leaving_and_expiring(redis):
    for number in range(12):
        heartbeat(redis, f"t{number}", number % 4)
    for number in range(0, 12, 3):
        leave(redis, f"t{number}", number % 4)
    for number in range(1, 12, 3):
        age(redis, f"t{number}")

    assert sorted(tabs(redis)) == ["t11", "t2", "t5", "t8"]


def test_clock_set_back_makes_no_tab_immortal(redis):
    heartbeat(redis, "t1", 42)
    set_clock_back(redis)

    assert list(tabs(redis)) == ["t1"]
    assert leases(redis)["t1"] <= LEASE_MS


@pytest.mark.parametrize("lost", [*combinations(SIBLINGS, 1), *combinations(SIBLINGS, 2)], ids="+".join)
def test_listing_repairs_a_record_that_lost_some_of_its_keys(redis, lost):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    redis.delete(*(getattr(RECORD, f"{name}_key") for name in lost))

    assert set(tabs(redis)) == (set() if {"tabs", "seen"} & set(lost) else {"t1", "t2"})
    assert redis.zcard(RECORD.seen_key) == redis.hlen(RECORD.tabs_key) == len(tabs(redis))


@pytest.mark.parametrize(
    "garbage",
    ["no JSON", "", "null", "42", "{}", "[]", '["42","Alice","view"]', '["x","Alice"]'],
)
@pytest.mark.parametrize("has_lease", [False, True], ids=["without a lease", "with a lease"])
def test_garbage_never_shows(redis, garbage, has_lease):
    heartbeat(redis, "t1", 42)
    redis.hset(RECORD.tabs_key, "__proto__", garbage)
    if has_lease:
        redis.zadd(RECORD.seen_key, {"__proto__": redis.zscore(RECORD.seen_key, "t1")})

    assert list(tabs(redis)) == ["t1"]
    assert redis.hkeys(RECORD.tabs_key) == ["t1"]


@pytest.mark.parametrize("garbage", ["no JSON", "", "null", "[]", '["x","Alice"]'])
def test_garbage_in_place_of_a_live_tab_hides_that_tab_and_its_viewer_only(redis, garbage):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    redis.hset(RECORD.tabs_key, "t1", garbage)

    assert list(tabs(redis)) == ["t2"]
    assert names(redis) == ["Bob"]
    age(redis, "t1")
    assert list(tabs(redis)) == ["t2"]
    assert names(redis) == ["Bob"]


def test_listing_works_when_redis_is_full(full_redis):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t2")
    fill()

    assert list(tabs(redis)) == ["t1"]


def test_tabs_touches_only_the_keys_that_it_declares(real_redis, strict_user):
    heartbeat(real_redis, "t1", 42)
    heartbeat(real_redis, "t2", 43)
    age(real_redis, "t2")
    with strict_user() as redis:
        assert list(tabs(redis)) == ["t1"]
        redis.delete(RECORD.viewers_key)
        assert list(tabs(redis)) == ["t1"]
    assert set(real_redis.keys("*")) <= set(RECORD.keys)

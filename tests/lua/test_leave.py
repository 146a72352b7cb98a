"""leave: a page says goodbye."""

from itertools import combinations

import pytest

from tests.lua.commands import (
    LEASE_MS,
    MOST_BEYOND_MS,
    RECORD,
    Listener,
    age,
    beyond_leases_ms,
    contents,
    heartbeat,
    leases,
    leave,
    names,
    set_clock_back,
    state_of,
    tabs,
    version,
    viewers,
)

SIBLINGS = ("tabs", "seen", "viewers", "order")


def test_leaving_removes_the_tab_and_its_user_from_the_list(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")

    assert leave(redis, "t1", 42) == "OK"
    assert names(redis) == ["Bob"]
    assert list(tabs(redis)) == ["t2"]


def test_user_stays_while_another_of_her_tabs_is_open(redis):
    heartbeat(redis, "t1", 42, mode="edit", dirty=True, field="title")
    heartbeat(redis, "t2", 42)
    with Listener(redis) as listener:
        leave(redis, "t1", 42)

        assert listener.changes() == [["update", 42, ["Alice", 1, 1, 0, 0]]]
    assert viewers(redis) == [
        {"id": 42, "name": "Alice", "tabs": 1, "mode": "view", "has_dirty_tab": False, "active_fields": []}
    ]


def test_nothing_is_left_behind_when_the_last_tab_leaves(redis):
    heartbeat(redis, "t1", 42, mode="edit")
    heartbeat(redis, "t2", 43)
    leave(redis, "t1", 42)
    leave(redis, "t2", 43)

    assert redis.keys("*") == []


@pytest.mark.parametrize("reason", ["left", "evicted"])
def test_departure_is_announced_once_with_its_reason(redis, reason):
    heartbeat(redis, "t1", 42)
    with Listener(redis) as listener:
        assert leave(redis, "t1", 42, reason=reason) == "OK"
        assert leave(redis, "t1", 42, reason=reason) == "ABSENT"
        version(redis)

        assert listener.changes() == [["leave", 42, reason]]


def test_leaving_twice_is_harmless(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    leave(redis, "t1", 42)
    before = contents(redis)

    assert leave(redis, "t1", 42) == "ABSENT"
    assert contents(redis) == before


def test_leaving_a_record_that_nobody_has_open_writes_nothing(redis):
    with Listener(redis) as listener:
        assert leave(redis, "t1", 42) == "ABSENT"
        assert listener.messages() == []
    assert redis.keys("*") == []


def test_leave_refuses_another_users_tab(redis):
    heartbeat(redis, "t1", 42)
    before = contents(redis)

    assert leave(redis, "t1", 43) == "TAB_TAKEN"
    assert leave(redis, "t1", "42") == "TAB_TAKEN"
    assert contents(redis) == before


def test_leave_for_nobody_in_particular_removes_anybodys_tab(redis):
    heartbeat(redis, "t1", 42)

    assert leave(redis, "t1", None) == "OK"
    assert redis.keys("*") == []


def test_late_goodbye_of_a_stale_tab_counts_as_expired(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t1")
    with Listener(redis) as listener:
        assert leave(redis, "t1", 42) == "ABSENT"
        assert listener.changes() == [["leave", 42, "expired"]]


def test_leaving_sweeps_who_is_gone_without_a_word(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    heartbeat(redis, "t3", 44, name="Cem")
    age(redis, "t2")
    with Listener(redis) as listener:
        leave(redis, "t1", 42)

        assert sorted(listener.changes()) == [["leave", 42, "left"], ["leave", 43, "expired"]]
    assert names(redis) == ["Cem"]


def test_last_to_leave_takes_the_stale_ones_along(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t2")
    leave(redis, "t1", 42)

    assert redis.keys("*") == []


def test_record_lives_as_long_as_the_tabs_that_stay(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, lease_ms=20_000)
    leave(redis, "t1", 42)

    for key in redis.keys("*"):
        assert redis.pttl(key) > 15_000, key
    assert list(leases(redis)) == ["t2"]


def test_leaving_after_the_clock_was_set_back_reins_in_the_leases(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    set_clock_back(redis)

    assert leave(redis, "t1", 42) == "OK"
    assert max(leases(redis).values()) <= LEASE_MS
    assert max(beyond_leases_ms(redis, key) for key in redis.keys("*")) <= MOST_BEYOND_MS


@pytest.mark.parametrize("lost", [*combinations(SIBLINGS, 1), *combinations(SIBLINGS, 2)], ids="+".join)
def test_leaving_a_record_that_lost_keys_leaves_the_others_right(redis, lost):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    redis.delete(*(getattr(RECORD, f"{name}_key") for name in lost))

    leave(redis, "t1", 42)

    assert "t1" not in tabs(redis)
    assert set(names(redis)) <= {"Bob"}
    heartbeat(redis, "t2", 43, name="Bob")
    assert [(viewer["name"], viewer["tabs"]) for viewer in viewers(redis)] == [("Bob", 1)]
    leave(redis, "t2", 43)
    assert redis.keys("*") == []


@pytest.mark.parametrize(
    "garbage", ["no JSON", "null", "[]", '["#","x"]', state_of(99, field="never active")]
)
def test_garbage_in_place_of_the_tab_that_leaves_breaks_nothing(redis, garbage):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    redis.hset(RECORD.tabs_key, "t1", garbage)

    leave(redis, "t1", None)

    assert list(tabs(redis)) == ["t2"]
    assert names(redis) == ["Bob"]


# A real server only


@pytest.mark.parametrize("lost", [None, "tabs", "seen", "viewers"])
def test_leaving_works_when_redis_is_full(full_redis, lost):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    heartbeat(redis, "t3", 44)
    age(redis, "t3")
    if lost:
        redis.delete(getattr(RECORD, f"{lost}_key"))
    fill()

    assert leave(redis, "t1", 42) == ("ABSENT" if lost in ("tabs", "seen") else "OK")
    assert leave(redis, "t2", 43) == ("ABSENT" if lost in ("tabs", "seen") else "OK")
    assert redis.keys("*") == []


def test_leave_touches_only_the_keys_that_it_declares(real_redis, strict_user):
    heartbeat(real_redis, "t1", 42)
    heartbeat(real_redis, "t2", 43)
    heartbeat(real_redis, "t3", 44)
    age(real_redis, "t3")
    with strict_user() as redis:
        assert leave(redis, "t1", 42) == "OK"
        redis.delete(RECORD.seen_key)
        leave(redis, "t2", 43)
    assert set(real_redis.keys("*")) <= set(RECORD.keys)

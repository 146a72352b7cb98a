"""viewers: who has the record open."""

import json
from itertools import combinations

import pytest

from app.presence.errors import ScriptFault
from tests.lua.commands import (
    LEASE_MS,
    MOST_BEYOND_MS,
    RECORD,
    SHORT_LEASE_MS,
    Listener,
    age,
    beyond_leases_ms,
    contents,
    heartbeat,
    leases,
    leave,
    names,
    read_viewers,
    set_clock_back,
    state_of,
    version,
    viewers,
)

SIBLINGS = ("tabs", "seen", "viewers", "order")
CROWD = 129  # one more than are listed without an index


def key_named(name):
    return getattr(RECORD, f"{name}_key")


def test_record_that_nobody_has_open_has_no_viewers_and_writes_nothing(redis):
    with Listener(redis) as listener:
        assert read_viewers(redis) == ["OK", "0", 0, 0, "0", "", ""]
        assert read_viewers(redis, known="0") == ["UNCHANGED", "0"]
        assert listener.messages() == []
    assert redis.keys("*") == []


def test_known_version_is_answered_without_a_list(redis):
    now = heartbeat(redis, "t1")[1]

    assert read_viewers(redis, known=now) == ["UNCHANGED", now]
    assert read_viewers(redis, known="1-gone")[:2] == ["OK", now]


def test_asker_learns_whether_she_is_among_the_viewers(redis):
    heartbeat(redis, "t1", 42)

    assert read_viewers(redis, user=42)[2] == 1
    assert read_viewers(redis, user="42")[2] == 0
    assert read_viewers(redis, user=43)[2] == 0
    assert read_viewers(redis)[2] == 0


def test_reading_sweeps_who_is_gone_and_announces_it_once(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    age(redis, "t1")
    with Listener(redis) as listener:
        assert names(redis) == ["Bob"]
        assert names(redis) == ["Bob"]
        assert listener.changes() == [["leave", 42, "expired"]]


def test_nothing_is_left_behind_when_the_last_tab_expires(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t1")
    age(redis, "t2")
    with Listener(redis) as listener:
        assert read_viewers(redis) == ["OK", "0", 0, 0, "0", "", ""]
        assert sorted(listener.changes()) == [["leave", 42, "expired"], ["leave", 43, "expired"]]
    assert redis.keys("*") == []


def test_lease_is_over_at_its_very_last_millisecond(redis):
    heartbeat(redis, "t1", 42)
    age(redis, "t1", by_ms=LEASE_MS)

    assert names(redis) == []


def test_reading_a_record_in_order_writes_nothing(redis):
    heartbeat(redis, "t1", 42)
    for key in redis.keys("*"):
        redis.pexpire(key, 5_000)
    before = contents(redis)
    with Listener(redis) as listener:
        read_viewers(redis)
        read_viewers(redis, lease_ms=LEASE_MS * 2)

        assert listener.messages() == []
    assert contents(redis) == before
    assert max(redis.pttl(key) for key in redis.keys("*")) <= 5_000


def test_reader_does_not_lengthen_the_leases_of_a_record(redis):
    heartbeat(redis, "t1", 42, lease_ms=SHORT_LEASE_MS)
    before = contents(redis)
    read_viewers(redis, lease_ms=2 * LEASE_MS)

    assert contents(redis) == before
    assert max(beyond_leases_ms(redis, key) for key in redis.keys("*")) <= MOST_BEYOND_MS


def test_clock_set_back_makes_nobody_immortal(redis):
    heartbeat(redis, "t1", 42)
    set_clock_back(redis)

    assert names(redis) == ["Alice"]
    assert leases(redis)["t1"] <= LEASE_MS
    assert max(beyond_leases_ms(redis, key) for key in redis.keys("*")) <= MOST_BEYOND_MS
    age(redis, "t1")
    assert names(redis) == []


@pytest.mark.parametrize("lost", [*combinations(SIBLINGS, 1), *combinations(SIBLINGS, 2)], ids="+".join)
def test_reading_repairs_a_record_that_lost_some_of_its_keys(redis, lost):
    heartbeat(redis, "t1", 42, mode="edit", field="title")
    heartbeat(redis, "t2", 43, name="Bob")
    whole = viewers(redis)
    redis.delete(*(key_named(name) for name in lost))

    found = viewers(redis)

    if {"tabs", "seen"} & set(lost):
        assert found == []
        assert redis.keys("*") == []
    else:
        assert sorted(found, key=lambda viewer: viewer["id"]) == whole
        assert viewers(redis) == found


@pytest.mark.parametrize("lost", ["tabs", "seen", "viewers"])
def test_repair_is_announced_once_as_a_reset(redis, lost):
    heartbeat(redis, "t1", 42)
    redis.delete(key_named(lost))
    with Listener(redis) as listener:
        now = version(redis)
        version(redis)
        [message] = listener.messages()

    assert message["reset"] is True
    assert message["version"] == now


def test_lost_viewers_key_changes_the_version(redis):
    before = heartbeat(redis, "t1", 42)[1]
    redis.delete(RECORD.viewers_key)

    assert read_viewers(redis, known=before)[0] == "OK"


def test_field_without_a_lease_never_shows(redis):
    heartbeat(redis, "t1", 42)
    redis.hset(RECORD.tabs_key, "t9", state_of(99, name="Ghost"))

    assert names(redis) == ["Alice"]
    assert redis.hkeys(RECORD.tabs_key) == ["t1"]


def test_lease_without_a_field_never_shows(redis):
    heartbeat(redis, "t1", 42)
    redis.zadd(RECORD.seen_key, {"t9": redis.zscore(RECORD.seen_key, "t1")})

    assert names(redis) == ["Alice"]
    assert redis.zrange(RECORD.seen_key, 0, -1) == ["t1"]


@pytest.mark.parametrize("garbage", ["no JSON", "", "null", "[]", '["#","x"]'])
def test_garbage_never_shows(redis, garbage):
    heartbeat(redis, "t1", 42)
    redis.hset(RECORD.tabs_key, "t9", garbage)
    redis.zadd(RECORD.seen_key, {"t9": redis.zscore(RECORD.seen_key, "t1")})

    assert names(redis) == ["Alice"]
    assert redis.hkeys(RECORD.tabs_key) == ["t1"]


# Crowds


def crowd(redis, size=CROWD):
    for user in range(size):
        heartbeat(redis, f"t{user}", user, name=f"user {user}")


def test_index_is_made_for_crowds_only(redis):
    crowd(redis, CROWD - 1)
    assert len(viewers(redis)) == CROWD - 1
    assert redis.exists(RECORD.order_key) == 0

    heartbeat(redis, "one more", 1000)
    assert len(viewers(redis)) == CROWD
    assert redis.zcard(RECORD.order_key) == CROWD
    assert 0 < beyond_leases_ms(redis, RECORD.order_key) <= MOST_BEYOND_MS


@pytest.mark.parametrize("limit", [1, 100, CROWD - 1, CROWD, 1000, 2**31])
def test_crowd_is_cut_at_the_limit_first_arrivals_first(redis, limit):
    crowd(redis)

    reply = read_viewers(redis, limit=limit)

    assert reply[3] == CROWD
    assert reply[7::2] == [str(user) for user in range(min(limit, CROWD))]
    assert [json.loads(seat)[0] for seat in reply[8::2]] == [
        f"user {user}" for user in range(min(limit, CROWD))
    ]


def test_crowd_that_shrinks_keeps_its_order(redis):
    crowd(redis)
    read_viewers(redis)
    for user in range(0, CROWD, 2):
        leave(redis, f"t{user}", user)
    for user in range(1, CROWD // 2, 2):
        age(redis, f"t{user}")

    assert [viewer["id"] for viewer in viewers(redis)] == [
        user for user in range(1, CROWD, 2) if user >= CROWD // 2
    ]
    assert redis.exists(RECORD.order_key) == 0


def test_crowd_that_grows_again_is_indexed_again(redis):
    crowd(redis)
    read_viewers(redis)
    for user in range(100):
        leave(redis, f"t{user}", user)
    for user in range(100):
        heartbeat(redis, f"t{user}", user, name=f"user {user}")

    assert read_viewers(redis)[7::2] == [str(user) for user in [*range(100, CROWD), *range(100)]]


@pytest.mark.parametrize("lost", SIBLINGS)
def test_crowd_is_read_right_after_a_key_was_lost(redis, lost):
    crowd(redis)
    read_viewers(redis)
    redis.delete(key_named(lost))

    listed = sorted(int(user) for user in read_viewers(redis)[7::2])

    assert listed == ([] if lost in ("tabs", "seen") else list(range(CROWD)))


def test_crowd_that_expires_at_once_leaves_nothing_behind(redis):
    crowd(redis)
    read_viewers(redis)
    for user in range(CROWD):
        age(redis, f"t{user}")

    assert names(redis) == []
    assert redis.keys("*") == []


def test_index_that_lost_somebody_is_made_anew(redis):
    crowd(redis)
    read_viewers(redis)
    redis.zrem(RECORD.order_key, "7")

    assert read_viewers(redis)[7::2] == [str(user) for user in range(CROWD)]


def test_more_tabs_than_lua_can_unpack_are_counted_listed_and_swept(real_redis):
    redis, size = real_redis, 9_000
    heartbeat(redis, "stays", 1)
    end = redis.zscore(RECORD.seen_key, "stays")
    redis.hset(RECORD.tabs_key, mapping={f"t{number}": state_of(number) for number in range(size)})
    redis.zadd(RECORD.seen_key, {f"t{number}": end for number in range(size)})

    assert read_viewers(redis, limit=2**31)[3] == size
    assert len(read_viewers(redis, limit=2**31)) == 7 + 2 * size

    redis.zadd(RECORD.seen_key, {f"t{number}": end - LEASE_MS - 1 for number in range(size)})
    assert [(viewer["id"], viewer["tabs"]) for viewer in viewers(redis)] == [(1, 1)]


# How often


def test_reads_are_counted_and_refused_beyond_the_limit_without_a_sweep(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t1")
    limits = {"calls": "calls", "calls_limit": 1}
    assert read_viewers(redis, **limits)[3] == 1
    age(redis, "t2")
    before = contents(redis)

    status, retry_after_ms = read_viewers(redis, **limits)

    assert status == "THROTTLED"
    assert 0 < retry_after_ms <= 60_000
    assert contents(redis) == before


# A real server only


def test_reading_passes_uncounted_when_redis_is_full(full_redis):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42)
    fill()

    assert [read_viewers(redis, calls="calls", calls_limit=1)[3] for _ in range(3)] == [1, 1, 1]
    assert not redis.exists("calls")


def test_reading_with_a_count_that_is_none_says_what_is_wrong(real_redis):
    real_redis.set("calls", "many")

    with pytest.raises(ScriptFault, match="not an integer"):
        read_viewers(real_redis, calls="calls", calls_limit=1)


@pytest.mark.parametrize("lost", [None, "tabs", "seen", "viewers"])
def test_reading_works_when_redis_is_full(full_redis, lost):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, lease_ms=SHORT_LEASE_MS)
    heartbeat(redis, "t3", 44)
    age(redis, "t3")
    if lost:
        redis.delete(key_named(lost))
    fill()

    assert {viewer["id"] for viewer in viewers(redis)} == (set() if lost in ("tabs", "seen") else {42, 43})


def test_reading_works_when_redis_is_full_and_leases_are_shorter_than_the_readers(full_redis):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42, lease_ms=SHORT_LEASE_MS)
    fill()

    assert read_viewers(redis, lease_ms=LEASE_MS * 5)[3] == 1


def test_reading_works_when_redis_is_full_and_its_clock_was_set_back(full_redis):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42)
    set_clock_back(redis)
    fill()

    assert names(redis) == ["Alice"]
    assert leases(redis)["t1"] <= LEASE_MS


def test_reading_works_when_redis_is_full_and_a_crowd_has_no_index(full_redis):
    redis, fill = full_redis
    crowd(redis)
    fill()

    assert len(viewers(redis)) == CROWD


def test_viewers_touches_only_the_keys_that_it_declares(real_redis, strict_user):
    crowd(real_redis)
    age(real_redis, "t0")
    with strict_user() as redis:
        assert len(viewers(redis)) == CROWD - 1
        redis.delete(RECORD.viewers_key)
        assert len(viewers(redis)) == CROWD - 1
        heartbeat(redis, "t0", 0)
        assert len(viewers(redis)) == CROWD
    assert set(real_redis.keys("*")) == {*RECORD.keys} - {RECORD.timeline_key}

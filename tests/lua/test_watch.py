"""watch: what a stream asks for, and the sweep that tells of those who went without a word."""

import json

import pytest

from tests.lua.commands import (
    LEASE_MS,
    MOST_BEYOND_MS,
    NONCE,
    RECORD,
    SHORT_LEASE_MS,
    Listener,
    age,
    beyond_leases_ms,
    call,
    contents,
    heartbeat,
    names,
    pass_time,
    version,
)

CROWD = 129  # one more than are listed without an index
SIBLINGS = ("tabs", "seen", "viewers", "order")


def watch(redis, known="?", limit=1000, lease_ms=LEASE_MS):
    return call(redis, "watch", RECORD, known_version=known, limit=limit, lease_ms=lease_ms, nonce=NONCE)


def crowd(redis, size=CROWD):
    for user in range(size):
        heartbeat(redis, f"t{user}", user, name=f"user {user}")


def test_record_that_nobody_has_open_is_empty_and_stays_unwritten(redis):
    with Listener(redis) as listener:
        assert watch(redis) == ["OK", "0", -1, 0, "0", "", ""]
        assert watch(redis, known="0") == ["UNCHANGED", "0", -1]
        assert listener.messages() == []
    assert redis.keys("*") == []


def test_reply_lists_the_viewers_and_when_the_next_lease_ends(redis):
    now = heartbeat(redis, "t1", 42)[1]
    heartbeat(redis, "t2", 42, lease_ms=SHORT_LEASE_MS)

    status, found, next_ms, total, _, _, _, user, seat = watch(redis)

    assert (status, total, user, json.loads(seat)[2]) == ("OK", 1, "42", 2)
    assert found > now
    assert SHORT_LEASE_MS - 5_000 < next_ms <= SHORT_LEASE_MS
    assert watch(redis, known=found)[:2] == ["UNCHANGED", found]


@pytest.mark.parametrize("size", [1, CROWD])
def test_sweep_lists_nobody_however_many_there_are(redis, size):
    crowd(redis, size)
    before = contents(redis)

    reply = watch(redis, limit=0)

    assert len(reply) == 3
    assert contents(redis) == before


def test_watching_a_record_in_order_writes_and_announces_nothing(redis):
    heartbeat(redis, "t1", 42)
    before = contents(redis)
    with Listener(redis) as listener:
        watch(redis)
        watch(redis, lease_ms=2 * LEASE_MS)
        assert listener.messages() == []
    assert contents(redis) == before
    assert max(beyond_leases_ms(redis, key) for key in redis.keys("*")) <= MOST_BEYOND_MS


def test_sweep_announces_who_is_gone_once_and_when_to_look_again(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    age(redis, "t1")
    with Listener(redis) as listener:
        first, second = watch(redis), watch(redis)
        [message] = listener.messages()

    assert message["changes"] == [["leave", "42", "expired"]]
    assert LEASE_MS - 5_000 < message["next_ms"] <= LEASE_MS
    assert first[1] == second[1] == message["version"]
    assert first[7::2] == ["43"]


def test_sweep_of_the_last_tab_leaves_nothing_behind(redis):
    known = heartbeat(redis, "t1", 42)[1]
    age(redis, "t1")
    with Listener(redis) as listener:
        assert watch(redis, known=known, limit=0) == ["OK", "0", -1]
        [message] = listener.messages()

    assert (message["previous"], message["version"]) == (known, "0")
    assert message["changes"] == [["leave", "42", "expired"]]
    assert "next_ms" not in message
    assert redis.keys("*") == []


def test_heartbeat_with_a_shorter_lease_tells_when_to_look_and_nothing_else(redis):
    heartbeat(redis, "t1", 42)
    now = version(redis)
    with Listener(redis) as listener:
        heartbeat(redis, "t1", 42, lease_ms=SHORT_LEASE_MS)
        [message] = listener.messages()

    assert set(message) == {"version", "next_ms"}
    assert message["version"] == now
    assert SHORT_LEASE_MS - 5_000 < message["next_ms"] <= SHORT_LEASE_MS


# Records that nobody beats for any more


@pytest.mark.parametrize("late_ms", [1, LEASE_MS - 1_000])
@pytest.mark.parametrize("size", [1, 3, CROWD])
def test_record_whose_leases_are_all_over_is_announced_as_expired_once(redis, size, late_ms):
    crowd(redis, size)
    watch(redis)
    known = version(redis)
    pass_time(redis, LEASE_MS + late_ms)
    with Listener(redis) as listener:
        assert watch(redis, known=known) == ["OK", "0", -1, 0, "0", "", ""]
        assert watch(redis, known="0") == ["UNCHANGED", "0", -1]
        [message] = listener.messages()

    assert (message["previous"], message["version"]) == (known, "0")
    if size < CROWD:
        assert sorted(message["changes"]) == sorted(["leave", str(user), "expired"] for user in range(size))
    else:
        assert message["reset"] is True
    assert redis.keys("*") == []


def test_record_that_nobody_asks_for_is_gone_two_leases_after_its_last_heartbeat(redis):
    heartbeat(redis, "t1", 42)
    pass_time(redis, LEASE_MS + MOST_BEYOND_MS)

    assert redis.keys("*") == []


def test_user_who_returns_before_anybody_asked_has_never_left(redis):
    heartbeat(redis, "t1", 42)
    pass_time(redis, LEASE_MS + 1)
    with Listener(redis) as listener:
        heartbeat(redis, "t1", 42)
        assert listener.messages() == []
    assert names(redis) == ["Alice"]


def test_user_who_returns_changed_is_updated_and_keeps_her_place(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    pass_time(redis, LEASE_MS + 1)
    with Listener(redis) as listener:
        heartbeat(redis, "t9", 43, name="Bob", mode="edit")
        [message] = listener.messages()

    assert sorted(message["changes"]) == [["leave", "42", "expired"], ["update", "43", ["Bob", 2, 1, 1, 0]]]
    assert names(redis) == ["Bob"]


def test_newcomer_joins_and_those_whose_leases_are_over_leave(redis):
    known = heartbeat(redis, "t1", 42)[1]
    pass_time(redis, LEASE_MS + 1)
    with Listener(redis) as listener:
        heartbeat(redis, "t9", 44, name="Cem")
        [message] = listener.messages()

    assert message["previous"] == known
    assert sorted(change[:2] for change in message["changes"]) == [["join", "44"], ["leave", "42"]]
    assert names(redis) == ["Cem"]


@pytest.mark.parametrize("lost", SIBLINGS)
def test_watching_repairs_a_record_that_lost_a_key_and_says_so_once(redis, lost):
    crowd(redis)
    watch(redis)
    known = version(redis)
    redis.delete(getattr(RECORD, f"{lost}_key"))
    with Listener(redis) as listener:
        found = watch(redis, known=known)
        watch(redis, known=known)
        messages = listener.messages()

    if lost == "order":
        assert (found[0], messages) == ("UNCHANGED", [])
    else:
        assert [message["reset"] for message in messages] == [True]
        assert messages[0]["version"] == found[1] != known
        assert found[3] == (CROWD if lost == "viewers" else 0)


@pytest.mark.parametrize("limit", [1, 100, CROWD, 2**31])
def test_crowd_is_listed_up_to_the_limit_first_arrivals_first(redis, limit):
    crowd(redis)

    reply = watch(redis, limit=limit)

    assert reply[3] == CROWD
    assert reply[7::2] == [str(user) for user in range(min(limit, CROWD))]


# A real server only


def test_lease_that_ends_by_itself_is_announced(real_redis):
    heartbeat(real_redis, "t1", 42, lease_ms=60)
    with Listener(real_redis) as listener:
        while watch(real_redis, limit=0)[2] > 0:
            pass
        assert listener.changes() == [["leave", 42, "expired"]]
    assert real_redis.keys("*") == []


def test_sweep_works_when_redis_is_full(full_redis):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t1")
    fill()

    assert watch(redis)[7::2] == ["43"]


def test_watch_touches_only_the_keys_that_it_declares(real_redis, strict_user):
    crowd(real_redis)
    age(real_redis, "t0")
    with strict_user() as redis:
        assert watch(redis)[3] == CROWD - 1
        redis.delete(RECORD.viewers_key)
        assert watch(redis)[3] == CROWD - 1
        pass_time(redis, LEASE_MS + 1)
        assert watch(redis)[1] == "0"
        heartbeat(redis, "t0", 0)
        assert watch(redis)[3] == 1
    assert set(real_redis.keys("*")) <= set(RECORD.keys)

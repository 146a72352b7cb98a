"""Who is away, and since when they have been here."""

import json

import pytest

from record_presence.presence.codec import PLACES_PER_SECOND
from tests.lua.commands import (
    LEASE_MS,
    RECORD,
    Listener,
    age,
    contents,
    heartbeat,
    leave,
    names,
    read_viewers,
    save,
    set_clock_back,
    viewers,
)


def away(redis):
    """Whether each viewer is away, by name."""
    return {viewer["name"]: viewer["away"] for viewer in viewers(redis)}


def entry(redis, user="42"):
    return json.loads(redis.hget(RECORD.viewers_key, user))


def opened_earlier(redis, by_ms):
    """Let the record have been open for longer."""
    meta = redis.hget(RECORD.viewers_key, "#").split()
    redis.hset(RECORD.viewers_key, "#", " ".join([*meta[:5], str(int(meta[5]) - by_ms)]))


@pytest.mark.parametrize(
    ("extras", "is_away"),
    [
        ({}, False),
        ({"hidden": True}, True),
        ({"active": False}, True),
        ({"active": True, "hidden": True}, False),
        ({"active": "no"}, False),  # another system wrote it
        ({"hidden": 1}, False),
    ],
)
def test_tab_is_away_when_it_is_hidden_unless_it_says_so_itself(redis, extras, is_away):
    heartbeat(redis, "t1", **extras)

    assert away(redis) == {"Alice": is_away}


def test_user_is_away_only_when_none_of_their_tabs_is_active(redis):
    heartbeat(redis, "t1", hidden=True)
    with Listener(redis) as listener:
        heartbeat(redis, "t2", field="title")
        assert [kind for kind, *_ in listener.changes()] == ["update"]
        assert away(redis) == {"Alice": False}
        heartbeat(redis, "t1")
        heartbeat(redis, "t1", hidden=True)
        assert listener.messages() == []  # nothing that a list shows
        heartbeat(redis, "t2", field="title", active=False)
        assert [kind for kind, *_ in listener.changes()] == ["update"]
        leave(redis, "t2")
    [alice] = viewers(redis)
    assert (alice["away"], alice["tabs"], alice["active_fields"]) == (True, 1, [])


def test_user_whose_active_tab_expires_is_away(redis):
    heartbeat(redis, "t1", hidden=True)
    heartbeat(redis, "t2", field="title")
    age(redis, "t2")

    assert away(redis) == {"Alice": True}


def test_nobody_away_takes_no_room(redis):
    heartbeat(redis, "t1", field="title")
    before = contents(redis)[RECORD.viewers_key]["42"]
    heartbeat(redis, "t1", field="title", hidden=True)
    assert json.loads(contents(redis)[RECORD.viewers_key]["42"])[5:] == ["", 1, "title", 1]
    heartbeat(redis, "t1", field="title")

    assert contents(redis)[RECORD.viewers_key]["42"] == before == '["Alice",1,1,0,0,"title",1]'


def test_away_tabs_take_no_room_for_a_field(redis):
    for number in range(20):
        heartbeat(redis, f"t{number}", field=f"field {number}", hidden=True)

    [alice] = viewers(redis)
    assert (alice["away"], len(alice["active_fields"])) == (True, 20)


def test_entry_of_an_earlier_release_is_read_and_put_right_without_a_repair(redis):
    """It has counted a hidden tab, but not that it is away."""
    heartbeat(redis, "t1", hidden=True)
    redis.hset(RECORD.viewers_key, "42", '["Alice",1,1,0,0]')
    assert away(redis) == {"Alice": False}
    with Listener(redis) as listener:
        heartbeat(redis, "t1", mode="edit", hidden=True)
        assert [kind for kind, *_ in listener.changes()] == ["update"]
        assert away(redis) == {"Alice": True}
        redis.hset(RECORD.viewers_key, "42", '["Alice",1,1,1,0,"",7]')  # more than there are
        heartbeat(redis, "t1")
        heartbeat(redis, "t1", hidden=True)
        assert all("reset" not in message for message in listener.messages())
    assert entry(redis)[5:] == ["", 1]


def test_recount_knows_who_is_away(redis):
    heartbeat(redis, "t1", hidden=True)
    heartbeat(redis, "t2", 43, name="Bob")
    redis.delete(RECORD.viewers_key)

    assert away(redis) == {"Alice": True, "Bob": False}


def test_since_is_when_the_user_came_whatever_they_do_afterwards(redis):
    heartbeat(redis, "t1")
    opened_earlier(redis, 725_000)
    heartbeat(redis, "t2", 43, name="Bob")
    version = heartbeat(redis, "t3", mode="edit")[1]
    leave(redis, "t1")
    _, _, _, _, opened_ms, *_ = read_viewers(redis)

    alice, bob = viewers(redis)
    assert alice["since"] < bob["since"]
    seconds, place = divmod(entry(redis, "43")[1], PLACES_PER_SECOND)
    assert (place, seconds - 725 in (0, 1)) == (2, True)
    assert 0 <= int(version.partition("-")[0]) // 1000 - int(opened_ms) - seconds * 1000 < 5_000


def test_since_does_not_move_when_early_saves_are_forgotten(redis):
    heartbeat(redis, "t1")
    opened_earlier(redis, 60_000)
    before = viewers(redis)
    for lock_version in range(1, 53):
        save(redis, lock_version, "title")
    assert redis.hexists(RECORD.viewers_key, "#opened")
    heartbeat(redis, "t2", 43, name="Bob")

    assert viewers(redis)[0] == before[0]
    assert entry(redis, "43")[1] // PLACES_PER_SECOND >= 60


def test_clock_that_is_set_back_puts_nobody_before_those_who_came_earlier(redis):
    heartbeat(redis, "t1")
    version, *rest = redis.hget(RECORD.viewers_key, "#").split()
    ahead_us = int(version.partition("-")[0]) + 3_600_000_000
    redis.hset(RECORD.viewers_key, "#", " ".join([f"{ahead_us}-00c0ffee", *rest]))
    heartbeat(redis, "t2", 43, name="Bob")
    set_clock_back(redis, 60_000)
    heartbeat(redis, "t3", 44, name="Carol")

    assert names(redis) == ["Alice", "Bob", "Carol"]
    assert entry(redis, "43")[1] // PLACES_PER_SECOND >= 3_600


def test_recount_keeps_the_order_and_since_when_everybody_has_been_here(redis):
    heartbeat(redis, "t1")
    opened_earlier(redis, 600_000)
    heartbeat(redis, "t2", 43, name="Bob")
    before = viewers(redis)
    redis.hdel(RECORD.tabs_key, "t2")
    heartbeat(redis, "t3", 43, name="Bob")
    assert [viewer["id"] for viewer in viewers(redis)] == [42, 43]
    assert viewers(redis)[0]["since"] == before[0]["since"]
    redis.hdel(RECORD.viewers_key, "#")  # and with it when the record was opened
    heartbeat(redis, "t4", 44, name="Carol")

    assert names(redis) == ["Alice", "Bob", "Carol"]
    assert all(entry(redis, user)[1] < PLACES_PER_SECOND for user in ("42", "43"))


def test_meta_stays_short_enough_for_a_compact_hash(real_redis):
    heartbeat(real_redis, "t1", lease_ms=LEASE_MS)
    opened_earlier(real_redis, 30 * 86_400_000)
    for user in range(100, 130):
        heartbeat(real_redis, f"t{user}", user)

    assert len(real_redis.hget(RECORD.viewers_key, "#")) <= 64
    assert real_redis.object("encoding", RECORD.viewers_key) in ("listpack", "ziplist")

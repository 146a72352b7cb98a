"""heartbeat: what a user's tabs may say together, and what is left out of it."""

import json
import re

import pytest

from record_presence.presence import limits
from record_presence.presence.scripts import find_lua_directory
from tests.lua.commands import (
    DAY_MS,
    RECORD,
    Listener,
    age,
    contents,
    heartbeat,
    key_named,
    leave,
    read_viewers,
    state_of,
    tabs,
    timeline,
    version,
    viewers,
)


def fields(first, last):
    return [f"field-{number:04}" for number in range(first, last)]


def left_out_of(reply):
    assert reply[0] in ("OK", "TRIMMED")
    return json.loads(reply[2]) if reply[0] == "TRIMMED" else {}


def dirty_beat(redis, tab_id, names, user=42, **options):
    """What is left out of a heartbeat with these dirty fields."""
    return left_out_of(heartbeat(redis, tab_id, user, dirty=True, dirty_fields=names, **options))


def active_beat(redis, tab_id, name, user=42):
    return left_out_of(heartbeat(redis, tab_id, user, mode="edit", field=name))


def fill_dirty_fields(redis):
    assert dirty_beat(redis, "t1", fields(0, 100)) == {}
    assert dirty_beat(redis, "t2", fields(100, 200)) == {}


def fill_active_fields(redis):
    for number in range(20):
        assert active_beat(redis, f"a{number}", f"field-{number}") == {}


def test_limits_are_the_same_in_lua_and_python():
    source = (find_lua_directory() / "lib/viewer_budget.lua").read_text()
    constants = dict(re.findall(r"^local (MAX_\w+) = (\d+)", source, re.MULTILINE))
    del constants["MAX_LEFT_OUT_BYTES"]  # Lua alone needs it

    assert constants
    assert {name: int(value) for name, value in constants.items()} == {
        name: getattr(limits, name) for name in constants
    }


# Tabs


def fill_tabs(redis, user=42):
    for number in range(50):
        assert heartbeat(redis, f"t{number}", user)[0] == "OK"


def test_user_has_fifty_tabs_and_another_is_refused_and_changes_nothing(redis):
    fill_tabs(redis)
    before = contents(redis)
    with Listener(redis) as listener:
        assert heartbeat(redis, "one more", 42, known="?", field="title") == ["TOO_MANY_TABS"]
        assert listener.messages() == []

    assert contents(redis) == before
    assert heartbeat(redis, "t9", 43)[0] == "TAB_TAKEN"
    assert heartbeat(redis, "of another", 43)[0] == "OK"


def test_tab_that_lives_is_never_one_too_many(redis):
    fill_tabs(redis)

    assert heartbeat(redis, "t7", 42, mode="edit", field="title")[0] == "OK"
    assert heartbeat(redis, "t7", 42, mode="edit", field="title")[0] == "OK"


@pytest.mark.parametrize("freed_by", ["leaving", "expiring"])
def test_new_tab_is_registered_once_another_is_gone(redis, freed_by):
    fill_tabs(redis)
    if freed_by == "leaving":
        leave(redis, "t0", 42)
    else:
        age(redis, "t0")  # and nobody has swept it yet

    assert heartbeat(redis, "one more", 42)[0] == "OK"
    assert viewers(redis)[0]["tabs"] == 50


def test_tab_that_comes_back_after_its_lease_counts_as_new(redis):
    fill_tabs(redis)
    age(redis, "t0")
    heartbeat(redis, "one more", 42)

    assert heartbeat(redis, "t0", 42) == ["TOO_MANY_TABS"]
    age(redis, "t1")
    assert heartbeat(redis, "t1", 42)[0] == "OK"


@pytest.mark.parametrize("lost", ["viewers", "order"])
def test_lost_key_lets_nobody_have_more_tabs(redis, lost):
    fill_tabs(redis)
    redis.delete(key_named(lost))

    assert heartbeat(redis, "one more", 42) == ["TOO_MANY_TABS"]


# Dirty fields


def test_users_tabs_have_two_hundred_dirty_fields_together_and_the_rest_is_left_out_by_name(redis):
    fill_dirty_fields(redis)

    assert dirty_beat(redis, "t3", fields(198, 203)) == {"dirty_fields": fields(200, 203)}
    assert viewers(redis)[0]["dirty_fields"] == fields(0, 200)
    assert json.loads(tabs(redis)["t3"])[4]["dirty_fields"] == fields(198, 200)


def test_another_user_has_room_of_their_own(redis):
    fill_dirty_fields(redis)

    assert dirty_beat(redis, "t4", fields(200, 300), user=43) == {}


def test_tab_may_name_other_dirty_fields_in_the_place_of_its_own(redis):
    fill_dirty_fields(redis)

    assert dirty_beat(redis, "t2", fields(200, 300)) == {}
    assert viewers(redis)[0]["dirty_fields"] == fields(0, 100) + fields(200, 300)


def test_names_of_dirty_fields_have_eight_kilobytes_together(redis):
    names = [f"{number:02}" + "ü" * 63 for number in range(64)]  # of 128 bytes

    assert dirty_beat(redis, "t1", [*names, "z"]) == {"dirty_fields": ["z"]}
    assert dirty_beat(redis, "t2", ["z"]) == {"dirty_fields": ["z"]}
    assert dirty_beat(redis, "t2", names[:3]) == {}
    assert viewers(redis)[0]["dirty_fields"] == names


def test_names_left_out_are_told_to_eight_kilobytes_and_the_others_counted(redis):
    dirty_beat(redis, "t1", [f"{number:02}" + "x" * 126 for number in range(64)])

    left_out = dirty_beat(redis, "t2", [f"{number:02}" + "y" * 126 for number in range(100)])

    assert left_out["dirty_fields"] == [f"{number:02}" + "y" * 126 for number in range(64)]
    assert left_out["more"] == 36


def test_tab_without_room_for_its_dirty_fields_is_dirty_all_the_same(redis):
    fill_dirty_fields(redis)
    heartbeat(redis, "t3", 42)
    before = viewers(redis)

    dirty_beat(redis, "t3", fields(200, 300))

    assert tabs(redis)["t3"] == state_of(42, dirty=True)
    assert viewers(redis) == before


@pytest.mark.parametrize("freed_by", ["leaving", "expiring", "saving"])
def test_room_that_another_tab_frees_is_taken_by_the_next_heartbeat(redis, freed_by):
    fill_dirty_fields(redis)
    dirty_beat(redis, "t3", fields(200, 300))
    if freed_by == "leaving":
        leave(redis, "t1", 42)
    elif freed_by == "expiring":
        age(redis, "t1")  # and nobody has swept it yet
    else:
        heartbeat(redis, "t1", 42)

    assert dirty_beat(redis, "t3", fields(200, 300)) == {}
    assert viewers(redis)[0]["dirty_fields"] == fields(100, 300)


# Active fields


def test_users_tabs_are_in_twenty_fields_together_and_another_one_is_left_out_by_name(redis):
    fill_active_fields(redis)

    assert active_beat(redis, "b", "one more") == {"active_field": "one more"}
    assert tabs(redis)["b"] == state_of(42, mode="edit")
    assert active_beat(redis, "b", "field-7") == {}
    assert len(viewers(redis)[0]["active_fields"]) == 20
    assert active_beat(redis, "c", "one more", user=43) == {}


def test_tab_may_go_to_another_field_than_its_own(redis):
    fill_active_fields(redis)

    assert active_beat(redis, "a3", "one more") == {}
    assert "field-3" not in viewers(redis)[0]["active_fields"]


# What a heartbeat that is too much does and doesn't do


@pytest.mark.parametrize("known", ["", "current"])
def test_repeated_heartbeat_that_is_too_much_writes_logs_and_announces_nothing(redis, known):
    fill_dirty_fields(redis)
    state = {"mode": "edit", "field": "a/b", "dirty": True, "dirty_fields": [*fields(198, 299), 'q"/\\ü']}
    heartbeat(redis, "t3", 42, timeline_ms=DAY_MS, **state)
    for number in range(20):
        active_beat(redis, f"a{number}", f"field-{number}")
    heartbeat(redis, "t4", 42, timeline_ms=DAY_MS, **{**state, "field": "another"})
    before, entries = contents(redis), timeline(redis)
    del before[RECORD.seen_key]
    now = version(redis)
    with Listener(redis) as listener:
        reply = heartbeat(
            redis,
            "t4",
            42,
            timeline_ms=DAY_MS,
            known=now if known else "",
            **{**state, "field": "another"},
        )
        assert listener.messages() == []

    assert reply[:2] == ["TRIMMED", now]
    assert left_out_of(reply) == {"active_field": "another", "dirty_fields": [*fields(200, 299), 'q"/\\ü']}
    assert len(reply) == 3
    after = contents(redis)
    del after[RECORD.seen_key]
    assert after == before
    assert timeline(redis) == entries


def test_repeated_heartbeat_that_is_too_much_renews_its_lease_with_one_write(real_redis):
    redis = real_redis
    fill_dirty_fields(redis)
    dirty_beat(redis, "t3", fields(100, 201))
    age(redis, "t3", by_ms=30_000)
    redis.config_resetstat()

    dirty_beat(redis, "t3", fields(100, 201))

    calls = {
        name.removeprefix("cmdstat_"): stat["calls"] for name, stat in redis.info("commandstats").items()
    }
    assert calls["zadd"] == 1
    assert not {"hset", "hdel", "publish", "xadd", "pexpireat", "del"} & set(calls)
    assert redis.zscore(RECORD.seen_key, "t3") >= redis.zscore(RECORD.seen_key, "t1")


def test_list_of_viewers_follows_what_was_left_out(redis):
    heartbeat(redis, "b", 43, name="Bob")
    fill_dirty_fields(redis)

    reply = heartbeat(redis, "t3", 42, known="?", dirty=True, dirty_fields=fields(200, 201))

    assert left_out_of(reply) == {"dirty_fields": fields(200, 201)}
    assert reply[3:] == read_viewers(redis)[3:]


def test_tab_that_sends_just_what_was_kept_takes_the_fast_path(redis):
    fill_dirty_fields(redis)
    heartbeat(redis, "t3", 42, mode="edit", field="a/b", dirty=True, dirty_fields=fields(199, 201))

    kept = heartbeat(redis, "t3", 42, mode="edit", field="a/b", dirty=True, dirty_fields=fields(199, 200))

    assert kept == ["OK", version(redis)]
    assert tabs(redis)["t3"] == state_of(42, "Alice", "edit", True, "a/b", dirty_fields=fields(199, 200))


@pytest.mark.parametrize(
    ("extras", "user", "name"),
    [
        ({}, 42, "Alice"),
        ({"hidden": True}, "u/7", 'Zoë "/\\'),
        ({"hidden": True, "rank": 60_000}, "ü", "🦊"),
    ],
)
def test_rest_of_a_state_stays_as_it_was_sent(redis, extras, user, name):
    sent = {"dirty": True, "field": "title", **extras}
    for tab_id, first in (("t1", 0), ("t2", 100)):
        dirty_beat(redis, tab_id, fields(first, first + 100), user=user)

    dirty_beat(redis, "t3", fields(199, 201), user=user, name=name, field="title", **extras)

    stored = json.loads(tabs(redis)["t3"])
    assert stored == json.loads(state_of(user, name, dirty_fields=fields(199, 200), **sent))


@pytest.mark.parametrize("lost", ["tabs", "seen", "viewers"])
def test_lost_key_lets_nobody_say_more(redis, lost):
    fill_dirty_fields(redis)
    redis.delete(key_named(lost))

    left_out = dirty_beat(redis, "t3", fields(200, 250))

    assert left_out == ({"dirty_fields": fields(200, 250)} if lost == "viewers" else {})
    assert len(viewers(redis)[0]["dirty_fields"]) == (200 if lost == "viewers" else 50)


def test_garbage_in_the_place_of_a_stale_tab_lets_nobody_say_more(redis):
    fill_dirty_fields(redis)
    heartbeat(redis, "stale", 43)
    redis.hset(RECORD.tabs_key, "stale", "no JSON")
    age(redis, "stale")

    assert dirty_beat(redis, "t3", fields(199, 250)) == {"dirty_fields": fields(200, 250)}
    assert viewers(redis)[0]["dirty_fields"] == fields(0, 200)
    assert [viewer["id"] for viewer in viewers(redis)] == [42]


def test_user_whose_tabs_said_more_before_a_release_keeps_them_and_adds_nothing(redis):
    """Without the budget, an older release has stored what is too much."""
    for number in range(30):
        redis.hset(RECORD.tabs_key, f"t{number}", state_of(42, field=f"field-{number}"))
        redis.zadd(RECORD.seen_key, {f"t{number}": 10**13})
    assert len(viewers(redis)[0]["active_fields"]) == 30

    assert active_beat(redis, "new", "one more") == {"active_field": "one more"}
    assert active_beat(redis, "t3", "field-3") == {"active_field": "field-3"}
    assert len(viewers(redis)[0]["active_fields"]) == 29


def test_largest_entry_of_a_viewer_is_24_kilobytes(real_redis):
    redis = real_redis
    for number in range(25):
        name = f"{number:02}" + "🦊" * 126
        heartbeat(
            redis,
            f"t{number}",
            42,
            name="🦊" * 200,
            field=name,
            dirty_fields=[f"{name[:20]}{i}" for i in range(100)],
        )

    assert len(redis.hget(RECORD.viewers_key, "42").encode()) < 24_000

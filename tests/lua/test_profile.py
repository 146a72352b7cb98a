"""What is shown of a user besides their name: kept once, whatever tabs bring it."""

import json

from record_presence.presence.viewers import AgentId
from tests.lua.commands import (
    RECORD,
    Listener,
    contents,
    heartbeat,
    leave,
    read_viewers,
    tabs,
    viewers,
)

PICTURE = '{"picture":"https://example.com/a.png"}'
OTHER = '{"picture":"https://example.com/b.png"}'


def beat(redis, tab_id="t1", shown=PICTURE, digest="aa", **state):
    more = {"profile": digest} if digest else {}
    return heartbeat(redis, tab_id, **state, **more, shown=shown)


def pictures(redis):
    return [viewer.get("picture", "").removeprefix("https://example.com/") for viewer in viewers(redis)]


def test_profile_is_kept_once_for_all_tabs_of_a_user(redis):
    beat(redis, "t1")
    beat(redis, "t2")

    assert pictures(redis) == ["a.png"]
    assert str(contents(redis)).count("a.png") == 1
    leave(redis, "t1")
    assert pictures(redis) == ["a.png"]


def test_another_profile_is_an_update_and_an_old_one_does_not_come_back(redis):
    beat(redis, "t1")
    beat(redis, "t2")
    with Listener(redis) as listener:
        beat(redis, "t1", OTHER, "bb")
        assert [kind for kind, *_ in listener.changes()] == ["update"]
        beat(redis, "t2")
        beat(redis, "t2", mode="edit")
        beat(redis, "t1", OTHER, "bb")
        assert pictures(redis) == ["b.png"]
        beat(redis, "t1", "", None)
        assert pictures(redis) == [""]
        assert "reset" not in str(listener.messages())


def test_tab_without_a_profile_does_not_take_it_from_the_others(redis):
    beat(redis, "t1")
    beat(redis, "t2", "", None)

    assert pictures(redis) == ["a.png"]


def test_profile_stands_beside_away_and_fields(redis):
    beat(redis, hidden=True, field="title", dirty_fields=["body"])

    [alice] = viewers(redis)
    assert (alice["away"], alice["active_fields"], alice["dirty_fields"]) == (True, ["title"], ["body"])
    assert json.loads(redis.hget(RECORD.viewers_key, "42"))[5:7] == ["", f"1 {PICTURE}"]
    beat(redis, field="title", dirty_fields=["body"])
    assert [viewer["away"] for viewer in viewers(redis)] == [False]
    assert pictures(redis) == ["a.png"]


def test_recount_keeps_a_profile(redis):
    beat(redis, "t1")
    redis.hset(RECORD.tabs_key, "by hand", "no state")
    heartbeat(redis, "t2", 43, name="Bob")

    assert pictures(redis) == ["a.png", ""]


def test_profile_that_was_lost_comes_back_with_the_next_heartbeat(redis):
    beat(redis, "t1", mode="edit", field="title")
    beat(redis, "t2")
    redis.delete(RECORD.viewers_key)
    assert pictures(redis) == [""]
    beat(redis, "t1", mode="edit", field="title")

    assert pictures(redis) == ["a.png"]
    beat(redis, "t2")
    assert all('"profile":"aa"' in state for state in tabs(redis).values())


def test_heartbeat_whose_record_is_damaged_brings_its_profile(redis):
    heartbeat(redis, "t2", 43, name="Bob")
    redis.delete(RECORD.viewers_key)
    beat(redis, "t1")

    assert sorted(pictures(redis)) == ["", "a.png"]


def test_agent_is_another_viewer_for_each_user_and_no_user_of_that_name(redis):
    for number, user in enumerate(
        ["bot", AgentId("bot", 42), AgentId("bot", "42"), AgentId("bot", 43), AgentId('q"\\{} \U0001f600', 1)]
    ):
        heartbeat(redis, f"t{number}", user, name=f"n{number}")

    found = viewers(redis)
    assert [str(viewer["id"]) for viewer in found] == ["bot", "bot", "bot", "bot", 'q"\\{} \U0001f600']
    assert [viewer.get("agent", {}).get("for", {}).get("id") for viewer in found] == [None, 42, "42", 43, 1]
    assert read_viewers(redis, user=AgentId("bot", 42))[2] == 1
    assert read_viewers(redis, user=AgentId("bot", 44))[2] == 0
    assert leave(redis, "t1", "bot") == "TAB_TAKEN"
    assert leave(redis, "t1", AgentId("bot", 43)) == "TAB_TAKEN"
    assert leave(redis, "t1", AgentId("bot", 42)) == "OK"

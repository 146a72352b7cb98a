"""heartbeat: what a tab's "still here" does to its record, on the embedded and on a real Redis."""

import json

import pytest

from record_presence.presence.errors import StoreUnavailable
from tests.lua.commands import (
    GARBAGE,
    KEY_NAMES,
    LEASE_MS,
    MANY,
    MAX_BEYOND_MS,
    RECORD,
    SHORT_LEASE_MS,
    Listener,
    add_viewers,
    age,
    assert_chained,
    beyond_leases_ms,
    contents,
    heartbeat,
    key_named,
    leases,
    leave,
    names,
    pass_time,
    read_viewers,
    state_of,
    stored_keys,
    tabs,
    version,
    viewers,
)
from tests.viewers import viewer, without_seconds

SLACK_MS = 2_000  # that a test may take


# What a viewer list says


def test_first_heartbeat_makes_its_user_a_viewer(redis):
    heartbeat(redis, "t1", 42, name="Alice", mode="edit", dirty=True, field="title")

    assert viewers(redis) == [
        viewer(mode="edit", has_dirty_tab=True, active_fields=["title"]),
    ]


def test_two_tabs_of_a_user_are_one_viewer_with_what_either_does(redis):
    heartbeat(redis, "t1", 42, mode="edit", field="title")
    heartbeat(redis, "t2", 42, dirty=True, field="body")

    [alice] = viewers(redis)

    assert (alice["tabs"], alice["mode"], alice["has_dirty_tab"]) == (2, "edit", True)
    assert alice["active_fields"] == ["body", "title"]


def test_field_stays_active_while_another_tab_of_its_user_is_in_it(redis):
    heartbeat(redis, "t1", 42, mode="edit", field="title")
    heartbeat(redis, "t2", 42, mode="edit", field="title")

    heartbeat(redis, "t1", 42)
    assert viewers(redis)[0]["active_fields"] == ["title"]
    assert viewers(redis)[0]["mode"] == "edit"

    heartbeat(redis, "t2", 42)
    assert viewers(redis)[0]["active_fields"] == []
    assert viewers(redis)[0]["mode"] == "view"


def test_viewers_come_in_the_order_of_their_arrival_whoever_beats_last(redis):
    for user, name in ((9, "Zoe"), (1, "Bob"), (5, "Mia")):
        heartbeat(redis, f"t{user}", user, name=name)

    heartbeat(redis, "t9", 9, name="Zoe", mode="edit")
    heartbeat(redis, "t1", 1, name="Bob", dirty=True)

    assert names(redis) == ["Zoe", "Bob", "Mia"]


def test_second_tab_does_not_move_its_user_to_the_end(redis):
    heartbeat(redis, "a1", 1, name="Ann")
    heartbeat(redis, "b1", 2, name="Bob")
    heartbeat(redis, "a2", 1, name="Ann")
    leave(redis, "a1", 1)

    assert names(redis) == ["Ann", "Bob"]


def test_new_name_replaces_the_old_one(redis):
    heartbeat(redis, "t1", 42, name="Alice Old")
    heartbeat(redis, "t2", 42, name="Alice Old")
    heartbeat(redis, "t1", 42, name="Alice New")

    assert names(redis) == ["Alice New"]
    assert viewers(redis)[0]["tabs"] == 2


def test_new_name_comes_with_a_tab_that_was_of_somebody_of_that_name(redis):
    heartbeat(redis, "t1", 43, name="Alice New")
    heartbeat(redis, "t2", 42, name="Alice Old")
    age(redis, "t1")
    heartbeat(redis, "t1", 42, name="Alice New")

    assert names(redis) == ["Alice New"]


@pytest.mark.parametrize("somebody_was_stale", [False, True])
def test_tab_that_still_has_the_old_name_does_not_bring_it_back(redis, somebody_was_stale):
    heartbeat(redis, "t1", 42, name="Alice Old")
    heartbeat(redis, "t2", 42, name="Alice Old")
    heartbeat(redis, "t3", 43, name="Bob")
    heartbeat(redis, "t1", 42, name="Alice New")
    if somebody_was_stale:
        age(redis, "t3")

    heartbeat(redis, "t2", 42, name="Alice Old")

    assert "Alice New" in names(redis)


# Versions and announcements


def test_join_update_and_leave_are_announced_in_one_unbroken_chain(redis):
    start = version(redis)
    with Listener(redis) as listener:
        heartbeat(redis, "t1", 42)
        heartbeat(redis, "t2", 43, name="Bob")
        heartbeat(redis, "t1", 42, mode="edit")
        leave(redis, "t2", 43)
        leave(redis, "t1", 42)
        messages = listener.messages()

    assert without_seconds([change for message in messages for change in message["changes"]]) == [
        ["join", "42", ["Alice", 1, 1, 0, 0]],
        ["join", "43", ["Bob", 2, 1, 0, 0]],
        ["update", "42", ["Alice", 1, 1, 1, 0]],
        ["leave", "43", "left"],
        ["leave", "42", "left"],
    ]
    assert assert_chained(messages, start) == version(redis)


def test_unchanged_heartbeat_says_nothing_and_keeps_the_version(redis):
    _, first = heartbeat(redis, "t1")
    with Listener(redis) as listener:
        _, second = heartbeat(redis, "t1")

        assert second == first
        assert listener.messages() == []


def test_unchanged_heartbeat_renews_only_its_own_lease(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t1", by_ms=30_000)
    age(redis, "t2", by_ms=30_000)

    heartbeat(redis, "t1", 42)

    assert leases(redis)["t1"] > LEASE_MS - 5_000
    assert leases(redis)["t2"] < LEASE_MS - 25_000


def test_change_that_no_viewer_list_shows_keeps_the_version(redis):
    heartbeat(redis, "t1", mode="edit", field="title")
    _, before = heartbeat(redis, "t2", mode="edit", field="title")
    with Listener(redis) as listener:
        assert heartbeat(redis, "t2", mode="edit", field="title", hidden=True)[1] == before
        assert heartbeat(redis, "t2", field="title")[1] == before
        assert heartbeat(redis, "t2")[1] == before
        assert listener.messages() == []
    assert tabs(redis)["t2"] == state_of()


@pytest.mark.parametrize(
    "change",
    [{"mode": "edit"}, {"dirty": True}, {"field": "title"}, {"name": "Alicia"}],
    ids=lambda change: next(iter(change)),
)
def test_each_visible_change_is_a_new_version_and_one_update(redis, change):
    _, before = heartbeat(redis, "t1")
    with Listener(redis) as listener:
        _, after = heartbeat(redis, "t1", **change)

        assert after != before
        assert [kind for kind, *_ in listener.changes()] == ["update"]


def test_same_heartbeat_twice_counts_once(redis):
    """The client library sends a call again whose answer was lost."""
    with Listener(redis) as listener:
        first = heartbeat(redis, "t1", mode="edit", field="title", nonce="11111111")
        second = heartbeat(redis, "t1", mode="edit", field="title", nonce="11111111")

        assert second == first
        assert len(listener.messages()) == 1
    assert viewers(redis)[0]["tabs"] == 1


def test_more_than_a_hundred_changes_at_once_are_announced_as_a_reset(redis):
    for user in range(102):
        heartbeat(redis, f"t{user}", user)
    for user in range(1, 102):
        age(redis, f"t{user}")
    with Listener(redis) as listener:
        heartbeat(redis, "t0", 0)
        [message] = listener.messages()

    assert message["reset"] is True
    assert "changes" not in message


def test_version_after_the_record_was_empty_is_a_new_one(redis):
    seen = set()
    for round_ in range(5):
        seen.add(heartbeat(redis, "t1", nonce=f"{round_:08x}")[1])
        leave(redis, "t1")

    assert len(seen) == 5
    assert version(redis) not in seen


def test_version_after_redis_lost_everything_is_a_new_one(redis):
    before = heartbeat(redis, "t1", nonce="11111111")[1]
    redis.flushall()

    reply = heartbeat(redis, "t1", known=before, nonce="22222222")

    assert reply[1] != before
    assert len(reply) > 2


def test_version_grows_even_when_the_clock_stands_behind_it(redis):
    heartbeat(redis, "t1")
    meta = redis.hget(RECORD.viewers_key, "#")
    ahead = meta.split("-")[0]
    ahead_by_an_hour = str(int(ahead) + 3_600_000_000)
    redis.hset(RECORD.viewers_key, "#", meta.replace(ahead, ahead_by_an_hour))

    after = heartbeat(redis, "t1", mode="edit")[1]

    assert int(after.split("-")[0]) == int(ahead_by_an_hour) + 1


# The list in the answer


def test_answer_lists_viewers_only_to_a_caller_with_another_version(redis):
    now = heartbeat(redis, "t1", 42)[1]

    assert heartbeat(redis, "t1", 42, known="") == ["OK", now]
    assert heartbeat(redis, "t1", 42, known=now) == ["OK", now]
    assert heartbeat(redis, "t1", 42, known="?")[:3] == ["OK", now, 1]
    assert heartbeat(redis, "t1", 42, known="1-gone")[:3] == ["OK", now, 1]


def test_heartbeat_that_changes_the_record_lists_it_as_it_is_then(redis):
    before = heartbeat(redis, "t1", 42)[1]

    reply = heartbeat(redis, "t2", 43, name="Bob", known=before)

    assert reply[1] != before
    assert [reply[2], reply[8]] == [2, "42"]
    assert json.loads(reply[11])[0] == "Bob"


# Leases


def test_tab_expires_while_its_user_keeps_another_tab(redis):
    heartbeat(redis, "t1", 42, mode="edit", dirty=True, field="title")
    heartbeat(redis, "t2", 42)
    age(redis, "t1")
    with Listener(redis) as listener:
        heartbeat(redis, "t2", 42)

        assert [kind for kind, *_ in listener.changes()] == ["update"]
    assert viewers(redis) == [viewer()]
    assert list(tabs(redis)) == ["t2"]


def test_tab_that_is_back_after_its_lease_keeps_its_place(redis):
    """A laptop that slept: nobody was told that its user left, so they have not."""
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    age(redis, "t1")
    with Listener(redis) as listener:
        heartbeat(redis, "t1", 42)

        assert listener.messages() == []
    assert names(redis) == ["Alice", "Bob"]


def test_user_who_comes_back_in_a_new_tab_is_not_counted_twice(redis):
    heartbeat(redis, "t1", 42, dirty=True)
    age(redis, "t1")

    heartbeat(redis, "t2", 42)

    assert [(viewer["tabs"], viewer["has_dirty_tab"]) for viewer in viewers(redis)] == [(1, False)]


def test_every_key_outlives_the_last_lease_by_the_longest_one_at_most(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    heartbeat(redis, "t1", 42, mode="edit")
    heartbeat(redis, "t1", 42, mode="edit")

    for key in stored_keys(redis):
        assert -SLACK_MS < beyond_leases_ms(redis, key) <= MAX_BEYOND_MS, key


@pytest.mark.parametrize(
    "next_state",
    [{}, {"hidden": True}, {"mode": "edit"}],
    ids=["unchanged", "changed out of sight", "changed in sight"],
)
@pytest.mark.parametrize("others", [0, 3])
def test_every_heartbeat_keeps_its_record_in_redis_for_a_whole_lease(redis, others, next_state):
    heartbeat(redis, "t1", 42)
    for number in range(others):
        pass_time(redis, 7_000)
        heartbeat(redis, f"o{number}", 50 + number)

    for waited_ms in (30_000, 30_000, 29_000, 1_000, 55_000, 30_000, 1_000):
        pass_time(redis, waited_ms)
        for number in range(others):
            heartbeat(redis, f"o{number}", 50 + number)
        heartbeat(redis, "t1", 42, **next_state)

        assert leases(redis)["t1"] > LEASE_MS - 5_000
        for key in stored_keys(redis):
            assert -SLACK_MS < beyond_leases_ms(redis, key) <= MAX_BEYOND_MS, key


def test_lease_that_ends_is_noticed_by_the_next_unchanged_heartbeat(redis):
    heartbeat(redis, "t1", 42)
    pass_time(redis, 40_000)
    heartbeat(redis, "t2", 43, name="Bob")
    pass_time(redis, 40_000)
    heartbeat(redis, "t2", 43, name="Bob")
    pass_time(redis, 10_001)
    with Listener(redis) as listener:
        heartbeat(redis, "t2", 43, name="Bob")

        assert listener.changes() == [["leave", 42, "expired"]]


def test_unchanged_heartbeats_look_at_other_leases_once_in_a_while_only(real_redis):
    """What keeps them as cheap for 10,000 viewers as for 10."""
    redis = real_redis
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    redis.config_resetstat()
    for _ in range(8):  # 80 s
        pass_time(redis, 10_000)
        heartbeat(redis, "t1", 42)
        heartbeat(redis, "t2", 43)

    assert "cmdstat_zcount" not in redis.info("commandstats")
    pass_time(redis, 10_001)
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    assert redis.info("commandstats")["cmdstat_zcount"]["calls"] == 1


def test_short_lease_takes_no_other_tab_with_it(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, lease_ms=SHORT_LEASE_MS)
    heartbeat(redis, "t2", 43, lease_ms=SHORT_LEASE_MS)

    assert leases(redis)["t1"] > SHORT_LEASE_MS * 2
    for key in stored_keys(redis):
        assert redis.pttl(key) > SHORT_LEASE_MS * 2, key


def test_long_lease_joins_a_record_of_short_ones_unshortened(redis):
    heartbeat(redis, "t1", 42, lease_ms=SHORT_LEASE_MS)
    heartbeat(redis, "t2", 43, lease_ms=LEASE_MS)
    heartbeat(redis, "t1", 42, lease_ms=SHORT_LEASE_MS, mode="edit")

    assert leases(redis)["t2"] > LEASE_MS - 5_000
    assert leases(redis)["t1"] <= SHORT_LEASE_MS
    assert redis.pttl(RECORD.tabs_key) > LEASE_MS - 5_000


def test_lease_longer_than_usual_is_kept_by_those_with_the_usual_one(redis):
    """Two releases with different settings share a record while one replaces the other."""
    heartbeat(redis, "t1", 42, lease_ms=LEASE_MS * 3)
    heartbeat(redis, "t2", 43)
    heartbeat(redis, "t2", 43, mode="edit")
    viewers(redis)

    assert leases(redis)["t1"] > LEASE_MS * 2


def test_heartbeat_takes_the_fast_path_again_when_no_lease_of_a_longer_setting_is_left(redis):
    heartbeat(redis, "t1", 42, lease_ms=LEASE_MS * 3)
    heartbeat(redis, "t2", 43)
    leave(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    with Listener(redis) as listener:
        heartbeat(redis, "t2", 43)
        assert listener.messages() == []

    for key in stored_keys(redis):
        assert beyond_leases_ms(redis, key) > 0, key


def test_record_lives_as_long_as_a_lease_that_a_new_setting_has_lengthened(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t1", 42, lease_ms=LEASE_MS * 3)

    for key in stored_keys(redis):
        assert beyond_leases_ms(redis, key) > -SLACK_MS, key


@pytest.mark.parametrize("lost", KEY_NAMES)
def test_short_lease_takes_no_other_tab_with_it_after_an_eviction_either(redis, lost):
    heartbeat(redis, "t1", 42)
    redis.delete(key_named(lost))

    heartbeat(redis, "t2", 43, lease_ms=SHORT_LEASE_MS)

    assert leases(redis).get("t1", LEASE_MS) > SHORT_LEASE_MS * 2


# Redis's clock may be set back


# Whose tab


def test_heartbeat_refuses_another_users_tab(redis):
    heartbeat(redis, "t1", 42, mode="edit")
    before = contents(redis)

    assert heartbeat(redis, "t1", 43) == ["TAB_TAKEN"]
    assert contents(redis) == before


def test_string_and_number_are_different_users(redis):
    heartbeat(redis, "t1", 42)

    assert heartbeat(redis, "t1", "42") == ["TAB_TAKEN"]
    heartbeat(redis, "t2", "42", name="Alice of another kind")
    assert [viewer["id"] for viewer in viewers(redis)] == [42, "42"]


def test_stale_tab_may_be_taken_by_another_user(redis):
    """A browser profile is handed on and has kept its tab id."""
    heartbeat(redis, "t1", 42, mode="edit", dirty=True, field="title")
    age(redis, "t1")
    with Listener(redis) as listener:
        assert heartbeat(redis, "t1", 43, name="Bob")[0] == "OK"

        assert sorted(listener.changes()) == [
            ["join", 43, ["Bob", 2, 1, 0, 0]],
            ["leave", 42, "expired"],
        ]
    assert names(redis) == ["Bob"]


# Lost keys


def test_repair_keeps_the_order_of_arrival_where_the_entries_survived(redis):
    for user, name in ((1, "Ann"), (2, "Bob"), (3, "Cem")):
        heartbeat(redis, f"t{user}", user, name=name)
    heartbeat(redis, "t1", 1, name="Ann")
    redis.hset(RECORD.tabs_key, "written by hand", state_of(4))

    heartbeat(redis, "t4", 4, name="Dee")

    assert names(redis) == ["Ann", "Bob", "Cem", "Dee"]


def test_newcomer_arrives_last_though_the_counters_were_lost(redis):
    for user, name in ((9, "Ann"), (8, "Bob")):
        heartbeat(redis, f"t{user}", user, name=name)
    redis.hdel(RECORD.viewers_key, "#")

    heartbeat(redis, "t1", 1, name="Cem")

    assert names(redis) == ["Ann", "Bob", "Cem"]


def test_repair_gives_the_newest_name(redis):
    heartbeat(redis, "t1", 42, name="Alice Old")
    heartbeat(redis, "t2", 42, name="Alice Old")
    age(redis, "t1", by_ms=100)
    age(redis, "t2", by_ms=200)
    redis.delete(RECORD.viewers_key)

    heartbeat(redis, "t2", 42, name="Alice New")

    assert names(redis) == ["Alice New"]


# Fields that somebody else wrote


def test_garbage_in_place_of_a_live_tab_is_gone_with_its_next_heartbeat(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    for garbage in GARBAGE.values():
        redis.hset(RECORD.tabs_key, "t1", garbage)

        heartbeat(redis, "t1", 42)

        assert tabs(redis)["t1"] == state_of(42)
        assert [(viewer["name"], viewer["tabs"]) for viewer in viewers(redis)] == [("Alice", 1), ("Bob", 1)]


def test_state_that_another_system_changed_is_counted_as_the_next_heartbeat_says(redis):
    heartbeat(redis, "t1", 42)
    redis.hset(RECORD.tabs_key, "t1", state_of(42, mode="edit", field="title"))

    heartbeat(redis, "t1", 42, mode="edit", field="title", hidden=True)

    assert viewers(redis)[0]["active_fields"] == ["title"]


@pytest.mark.parametrize(
    "foreign",
    [
        state_of(99, name="Mallory"),
        state_of(42, field="a field that was never active"),
    ],
    ids=["of nobody", "with another field"],
)
def test_state_that_somebody_else_wrote_breaks_nothing(redis, foreign):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    redis.hset(RECORD.tabs_key, "t1", foreign)
    age(redis, "t1")

    assert heartbeat(redis, "t3", 44, name="Cem")[0] == "OK"
    assert heartbeat(redis, "t2", 43, name="Bob")[0] == "OK"
    assert [(viewer["name"], viewer["tabs"]) for viewer in viewers(redis)] == [("Bob", 1), ("Cem", 1)]


def test_field_without_a_lease_never_becomes_a_viewer(redis):
    redis.hset(RECORD.tabs_key, "t9", state_of(99, name="Ghost"))

    assert names(redis) == []

    redis.hset(RECORD.tabs_key, "t9", state_of(99, name="Ghost"))
    heartbeat(redis, "t1", 42)

    assert names(redis) == ["Alice"]
    assert list(tabs(redis)) == ["t1"]


# Names and ids


@pytest.mark.parametrize(
    "user",
    [
        0,
        -7,
        2**53 + 1,
        2**63,
        10**30,
        "42",
        "#",
        '"',
        "\\",
        "a'b\"c",
        "\x00\x01\x1f\x7f",
        "__proto__",
        "Ünïcödé",
        "日本語",
        "👩‍👩‍👧",
        "null",
        " ",
        "a/b",
        "x" * 255,
    ],
    ids=repr,
)
def test_user_id_comes_back_as_it_was(redis, user):
    heartbeat(redis, "t1", user)
    heartbeat(redis, "t2", user, mode="edit")

    [viewer] = viewers(redis)

    assert viewer["id"] == user
    assert type(viewer["id"]) is type(user)
    assert viewer["tabs"] == 2
    assert leave(redis, "t1", user) == leave(redis, "t2", user) == "OK"
    assert stored_keys(redis) == []


def test_ids_that_a_double_cannot_tell_apart_are_two_users(redis):
    heartbeat(redis, "t1", 2**53)
    heartbeat(redis, "t2", 2**53 + 1)

    assert [viewer["id"] for viewer in viewers(redis)] == [2**53, 2**53 + 1]


@pytest.mark.parametrize(
    "text",
    ['"; return 1 --', "]]", "\x00\x07\x1b[31m", "Zoë 🦊 \u202e", "</script>", "%s%d%n", "\u2028", "'"],
    ids=repr,
)
def test_name_and_field_come_back_as_they_were(redis, text):
    heartbeat(redis, "t1", 42, name=text, field=text)
    heartbeat(redis, "t2", 42, name=text, field=text)
    heartbeat(redis, "t2", 42, name=text)

    [viewer] = viewers(redis)

    assert viewer["name"] == text
    assert viewer["active_fields"] == [text]


@pytest.mark.parametrize("word", ["__proto__", "constructor", "#", "1", "length"])
def test_no_word_is_special_as_a_tab_or_a_field(redis, word):
    heartbeat(redis, word, 42, field=word)
    heartbeat(redis, "t2", 42, field=word)

    assert set(tabs(redis)) == {word, "t2"}
    assert viewers(redis)[0]["active_fields"] == [word]
    leave(redis, word, 42)
    leave(redis, "t2", 42)
    assert stored_keys(redis) == []


# The caller's quota

CALLS = "tenant_1_presence_calls:42"


def test_heartbeat_over_the_quota_is_refused_and_changes_nothing(redis):
    for _ in range(2):
        assert heartbeat(redis, "t1", 42, calls=CALLS, calls_limit=2)[0] == "OK"
    age(redis, "t1", by_ms=30_000)
    before = contents(redis)

    status, retry_after_ms = heartbeat(redis, "t1", 42, calls=CALLS, calls_limit=2, mode="edit")

    assert status == "THROTTLED"
    assert 55_000 < retry_after_ms <= 60_000
    assert contents(redis) == before


def test_quota_is_shared_by_the_tabs_of_a_user_and_ends_with_its_window(redis):
    heartbeat(redis, "t1", 42, calls=CALLS, calls_limit=2)
    heartbeat(redis, "t2", 42, calls=CALLS, calls_limit=2)
    assert heartbeat(redis, "t3", 42, calls=CALLS, calls_limit=2)[0] == "THROTTLED"
    assert 0 < redis.pttl(CALLS) <= 60_000

    redis.delete(CALLS)

    assert heartbeat(redis, "t3", 42, calls=CALLS, calls_limit=2)[0] == "OK"


def test_heartbeat_without_a_quota_counts_nothing(redis):
    heartbeat(redis, "t1", 42, calls=CALLS, calls_limit=0)

    assert redis.exists(CALLS) == 0


# A full Redis (a real server only)


@pytest.mark.parametrize(
    "beat",
    [
        {"tab_id": "t1", "user": 42},
        {"tab_id": "t1", "user": 42, "mode": "edit"},
        {"tab_id": "new", "user": 44},
        {"tab_id": "t3", "user": 45},
    ],
    ids=["renewed", "changed", "new", "passed on"],
)
def test_heartbeat_that_a_full_redis_refuses_is_not_counted(full_redis, beat):
    redis, fill = full_redis
    for user, tab_id in ((42, "t1"), (43, "t2"), (44, "t3")):
        heartbeat(redis, tab_id, user)
    age(redis, "t3")
    redis.set(CALLS, 5)
    before = contents(redis)
    fill()
    with Listener(redis) as listener:
        with pytest.raises(StoreUnavailable):
            heartbeat(redis, **beat, calls=CALLS, calls_limit=200)

        assert listener.messages() == []
    assert contents(redis) == before
    assert redis.get(CALLS) == "5"


# Long lists


def test_long_list_is_cut_at_the_limit_in_order_of_arrival(redis):
    add_viewers(redis)

    reply = heartbeat(redis, "t7", 7, name="user 7", known="?", limit=5)

    assert reply[2] == MANY
    assert reply[8::2] == ["0", "1", "2", "3", "4", "7"]  # the caller last, for their own other tabs


def test_long_list_keeps_its_order_as_people_come_and_go(redis):
    add_viewers(redis)
    read_viewers(redis)
    leave(redis, "t0", 0)
    age(redis, "t1")
    heartbeat(redis, "late", 1000, name="late")
    heartbeat(redis, "t3", 3, name="user 3", mode="edit")

    reply = read_viewers(redis, limit=1000)

    assert reply[3] == MANY - 1
    assert reply[9::2] == [*(str(user) for user in range(2, MANY)), "1000"]


def test_index_goes_when_few_viewers_are_left(redis):
    add_viewers(redis)
    read_viewers(redis)
    assert redis.zcard(RECORD.order_key) == MANY

    for user in range(1, MANY):
        leave(redis, f"t{user}", user)
        assert redis.zcard(RECORD.order_key) in (0, MANY - user)

    assert redis.exists(RECORD.order_key) == 0
    assert names(redis) == ["user 0"]


@pytest.mark.parametrize("lost", KEY_NAMES)
def test_long_list_survives_the_loss_of_a_key(redis, lost):
    add_viewers(redis)
    read_viewers(redis)
    redis.delete(key_named(lost))

    for user in range(MANY):
        heartbeat(redis, f"t{user}", user, name=f"user {user}")

    assert sorted(viewer["id"] for viewer in viewers(redis)) == list(range(MANY))
    assert redis.zcard(RECORD.order_key) == MANY


def test_index_that_names_somebody_who_is_not_there_is_made_anew(redis):
    add_viewers(redis)
    read_viewers(redis)
    redis.zrem(RECORD.order_key, "3")
    redis.zadd(RECORD.order_key, {"stranger": 4})

    assert [viewer["id"] for viewer in viewers(redis)] == list(range(MANY))
    assert redis.zscore(RECORD.order_key, "stranger") is None


def test_index_lives_as_long_as_its_viewers_beat(redis):
    add_viewers(redis)
    read_viewers(redis)
    for _ in range(4):
        pass_time(redis, LEASE_MS // 3)
        add_viewers(redis)

    assert redis.zcard(RECORD.order_key) == MANY
    assert redis.pttl(RECORD.order_key) > LEASE_MS - SLACK_MS

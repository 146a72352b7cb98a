"""saved: who saved which version of the record."""

import json

import pytest

from app.presence.errors import StoreUnavailable
from tests.lua.commands import (
    DAY_MS,
    LEASE_MS,
    MOST_BEYOND_MS,
    NONCE,
    RECORD,
    Listener,
    age,
    beyond_leases_ms,
    claim,
    contents,
    heartbeat,
    leave,
    names,
    notes,
    save,
    saved_versions,
    timeline,
    version,
)

MOST_SAVES = 50


def now_ms(redis):
    seconds, microseconds = redis.time()
    return seconds * 1000 + microseconds // 1000


def opened_ms(redis):
    """Since when no save is missing."""
    return int(redis.hget(RECORD.viewers_key, "#").rpartition(" ")[2])


def set_opened_ms(redis, moment):
    meta = redis.hget(RECORD.viewers_key, "#").rpartition(" ")[0]
    redis.hset(RECORD.viewers_key, "#", f"{meta} {moment}")


def test_save_is_remembered_with_its_fields_user_and_tab(redis):
    heartbeat(redis, "t1", 42)
    before = now_ms(redis)

    assert save(redis, 8, "name", "steps", user="u-7", name="Zoë", tab_id="b1") == "OK"
    [row] = json.loads(redis.hget(RECORD.viewers_key, "#saves"))
    [remembered] = notes(redis).saves
    assert before <= int(row[4]) <= now_ms(redis)
    assert remembered.pop("saved_at").endswith("+00:00")
    assert remembered == {
        "lock_version": 8,
        "fields": ["name", "steps"],
        "user": {"id": "u-7", "name": "Zoë"},
        "tab_id": "b1",
    }


def test_save_changes_the_version_and_is_announced(redis):
    heartbeat(redis, "t1", 42)
    known = version(redis)
    with Listener(redis) as listener:
        save(redis, 8, "name", user=43, name="Bob", tab_id="b1")
        [message] = listener.messages()

    assert (message["previous"], message["version"]) == (known, version(redis))
    assert message["version"] != known
    assert message["saved"][:4] == ["8", "43", "Bob", "b1"]
    assert message["saved"][5:] == ["name"]
    assert not message["changes"]


def test_server_that_knows_no_tab_names_none(redis):
    heartbeat(redis, "t1", 42)
    save(redis, 8, "name")

    assert notes(redis).saves[0]["tab_id"] is None


def test_save_without_fields_is_a_save(redis):
    heartbeat(redis, "t1", 42)

    assert save(redis, 8) == "OK"
    assert notes(redis).saves[0]["fields"] == []


def test_version_is_told_once_however_often_it_is_sent(redis):
    heartbeat(redis, "t1", 42)
    save(redis, 8, "name", timeline_ms=DAY_MS)
    before = contents(redis)
    with Listener(redis) as listener:
        assert save(redis, 8, "name", timeline_ms=DAY_MS) == "OK"
        assert save(redis, 8, "name", "steps", user=43, tab_id="b1", timeline_ms=DAY_MS) == "OK"
        assert listener.messages() == []
    assert contents(redis) == before
    assert [entry[0] for _, entry in timeline(redis)] == ["saved"]


def test_versions_stand_in_their_order_however_they_come(redis):
    heartbeat(redis, "t1", 42)
    largest = 2**53 - 1
    for lock_version in (10, 9, 100, largest, 0, 11, 9):
        save(redis, lock_version, "name")

    assert saved_versions(redis) == [0, 9, 10, 11, 100, largest]


def test_only_the_last_fifty_versions_are_remembered(redis):
    heartbeat(redis, "t1", 42)
    for lock_version in range(MOST_SAVES + 3):
        save(redis, lock_version, "name")

    assert saved_versions(redis) == list(range(3, MOST_SAVES + 3))


def test_memory_that_forgets_a_save_reaches_back_to_that_save(redis):
    heartbeat(redis, "t1", 42)
    set_opened_ms(redis, 1_000)
    save(redis, 1, "name")
    [first] = json.loads(redis.hget(RECORD.viewers_key, "#saves"))
    for lock_version in range(2, MOST_SAVES + 1):
        save(redis, lock_version, "name")
    assert opened_ms(redis) == 1_000

    save(redis, MOST_SAVES + 1, "name")
    assert opened_ms(redis) == int(first[4])


def test_version_older_than_all_that_are_remembered_shortens_the_memory_to_now(redis):
    heartbeat(redis, "t1", 42)
    for lock_version in range(10, MOST_SAVES + 10):
        save(redis, lock_version, "name")
    before = now_ms(redis)

    assert save(redis, 3, "name") == "OK"
    assert saved_versions(redis) == list(range(10, MOST_SAVES + 10))
    assert opened_ms(redis) >= before


def test_version_older_than_all_that_are_remembered_is_told_to_nobody(redis):
    heartbeat(redis, "t1", 42)
    for lock_version in range(100, 100 + MOST_SAVES):
        save(redis, lock_version, "name")
    with Listener(redis) as listener:
        for _ in range(2):
            save(redis, 5, "name")
        assert listener.messages() == []


def test_memory_begins_when_the_record_is_opened(redis):
    before = now_ms(redis)
    heartbeat(redis, "t1", 42)
    opened = opened_ms(redis)
    heartbeat(redis, "t2", 43)
    save(redis, 8, "name")

    assert before <= opened <= now_ms(redis)
    assert opened_ms(redis) == opened


# Ownership


def test_save_in_the_live_tab_of_somebody_else_is_refused(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    before = contents(redis)
    with Listener(redis) as listener:
        assert save(redis, 8, "name", user=43, tab_id="t1", timeline_ms=DAY_MS) == "TAB_TAKEN"
        assert save(redis, 8, "name", user="42", tab_id="t1", timeline_ms=DAY_MS) == "TAB_TAKEN"
        assert listener.messages() == []
    assert contents(redis) == before
    assert timeline(redis) == []


def test_tab_that_is_gone_or_never_was_may_have_saved(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t2")

    assert save(redis, 8, "name", user=42, tab_id="t2") == "OK"
    assert save(redis, 9, "name", user=42, tab_id="never") == "OK"
    assert saved_versions(redis) == [8, 9]


# Nobody there


def test_save_of_a_record_that_nobody_has_open_is_told_to_nobody(redis):
    with Listener(redis) as listener:
        assert save(redis, 8, "name") == "ABSENT"
        assert listener.messages() == []
    assert redis.keys("*") == []


def test_save_of_a_record_that_nobody_has_open_stands_in_the_timeline_once(redis):
    assert save(redis, 8, "name", timeline_ms=DAY_MS) == "ABSENT"
    assert save(redis, 8, "name", timeline_ms=DAY_MS) == "ABSENT"

    assert [entry for _, entry in timeline(redis)] == [["saved", "42", "Alice", "", "8", "name"]]
    assert redis.keys("*") == [RECORD.timeline_key]


def test_save_sent_again_after_many_others_stands_in_the_timeline_once(redis):
    for lock_version in [*range(8, 48), 8]:
        save(redis, lock_version, "name", timeline_ms=DAY_MS)

    assert len(timeline(redis)) == 40


def test_save_sent_again_after_all_have_left_stands_in_the_timeline_once(redis):
    heartbeat(redis, "t1", 42, timeline_ms=DAY_MS)
    save(redis, 8, "name", timeline_ms=DAY_MS)
    leave(redis, "t1", timeline_ms=DAY_MS)
    assert save(redis, 8, "name", timeline_ms=DAY_MS) == "ABSENT"

    assert [entry[0] for _, entry in timeline(redis)] == ["join", "saved", "leave"]


def test_save_sweeps_who_is_gone_and_says_so_once(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    age(redis, "t1")
    with Listener(redis) as listener:
        save(redis, 8, "name")
        [message] = listener.messages()

    assert message["changes"] == [["leave", "42", "expired"]]
    assert message["saved"][0] == "8"
    assert names(redis) == ["Bob"]


def test_save_when_the_last_lease_has_ended_leaves_nothing_behind(redis):
    heartbeat(redis, "t1", 42)
    age(redis, "t1")
    with Listener(redis) as listener:
        assert save(redis, 8, "name") == "ABSENT"
        [message] = listener.messages()

    assert message["changes"] == [["leave", "42", "expired"]]
    assert (message["version"], message["saved"][0]) == ("0", "8")
    assert redis.keys("*") == []


def test_saves_are_forgotten_with_the_last_tab(redis):
    heartbeat(redis, "t1", 42)
    save(redis, 8, "name")
    leave(redis, "t1", 42)
    heartbeat(redis, "t1", 42)

    assert saved_versions(redis) == []


# Eviction, expiry, memory, keys


@pytest.mark.parametrize("lost", ["viewers", "tabs", "seen"])
def test_save_after_an_eviction_is_remembered(redis, lost):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    save(redis, 7, "name")
    redis.delete(getattr(RECORD, f"{lost}_key"))
    before = now_ms(redis)

    status = save(redis, 8, "name")
    if lost == "viewers":  # and with it the save before; those who are there are counted anew
        assert (status, saved_versions(redis), names(redis)) == ("OK", [8], ["Alice", "Bob"])
        assert opened_ms(redis) >= before
    else:  # without leases, or without what they are of, nobody is there
        assert status == "ABSENT"
        assert redis.keys("*") == []


@pytest.mark.parametrize("lost", ["tabs", "seen"])
def test_saves_outlive_the_eviction_of_another_key(redis, lost):
    heartbeat(redis, "t1", 42)
    save(redis, 7, "name")
    opened = opened_ms(redis)
    redis.delete(getattr(RECORD, f"{lost}_key"))
    heartbeat(redis, "t1", 42, mode="edit")

    assert saved_versions(redis) == [7]
    assert opened_ms(redis) == opened


@pytest.mark.parametrize("wrong", ["no JSON", "7"])
def test_saves_that_can_not_be_read_are_as_if_there_were_none(redis, wrong):
    heartbeat(redis, "t1", 42)
    redis.hset(RECORD.viewers_key, "#saves", wrong)

    assert save(redis, 8, "name") == "OK"
    assert saved_versions(redis) == [8]


def test_every_key_of_a_record_with_saves_ends_by_itself(redis):
    heartbeat(redis, "t1", 42)
    save(redis, 8, "name", timeline_ms=2 * LEASE_MS)

    for key in (RECORD.tabs_key, RECORD.seen_key, RECORD.viewers_key):
        assert 0 <= beyond_leases_ms(redis, key) <= MOST_BEYOND_MS
    assert LEASE_MS < redis.pttl(RECORD.timeline_key) <= 2 * LEASE_MS
    assert len(redis.keys("*")) == 4


@pytest.mark.parametrize("lost", [None, "tabs"])
def test_full_redis_refuses_a_save_whole(full_redis, lost):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    claim(redis, "t1", user=42)
    age(redis, "t2")
    if lost:
        redis.delete(getattr(RECORD, f"{lost}_key"))
    before = contents(redis)
    fill()
    with Listener(redis) as listener:
        with pytest.raises(StoreUnavailable):
            save(redis, 8, "name", timeline_ms=DAY_MS)

        assert listener.messages() == []
    assert contents(redis) == before
    assert not redis.exists(RECORD.timeline_key)


def test_full_redis_refuses_to_write_the_timeline_of_an_empty_record(full_redis):
    redis, fill = full_redis
    fill()
    with pytest.raises(StoreUnavailable):
        save(redis, 8, "name", timeline_ms=DAY_MS)

    assert redis.keys("*") == []


def test_save_touches_only_the_keys_that_it_declares(real_redis, strict_user):
    with strict_user() as redis:
        assert save(redis, 7, "name", timeline_ms=DAY_MS) == "ABSENT"
        heartbeat(redis, "t1", 42)
        claim(redis, "t1")
        save(redis, 8, "name", timeline_ms=DAY_MS)
        redis.delete(RECORD.viewers_key)
        save(redis, 9, "name", timeline_ms=DAY_MS)
        age(redis, "t1")
        save(redis, 10, "name", timeline_ms=DAY_MS)
    assert set(real_redis.keys("*")) <= set(RECORD.keys)


def test_versions_never_repeat_with_one_nonce(redis):
    heartbeat(redis, "t1", 42)
    seen = {version(redis)}
    for lock_version in range(5):
        save(redis, lock_version, "name")
        seen.add(version(redis))

    assert len(seen) == 6
    assert all(text.endswith(NONCE) for text in seen)

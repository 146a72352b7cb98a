"""saved: who saved which version of the record."""

import json

import pytest

from record_presence.presence.errors import StoreUnavailable
from record_presence.presence.limits import MAX_SAVES, MAX_SAVES_BYTES, MAX_VERSION_STEP
from tests.lua.commands import (
    DAY_MS,
    LEASE_MS,
    MAX_BEYOND_MS,
    NONCE,
    RECORD,
    Listener,
    age,
    beyond_leases_ms,
    conflict_state,
    contents,
    heartbeat,
    key_named,
    leave,
    names,
    now_ms,
    read_viewers,
    save,
    saved_versions,
    stored_keys,
    timeline,
    version,
)

WIDE = "x" * 512  # as many bytes as the name of a field may have


def remembered_since_ms(redis):
    """Since when no save is missing."""
    return int(read_viewers(redis)[5])


def opened_ms(redis):
    """When the first of the tabs came that are there without a break since."""
    return int(read_viewers(redis)[4])


def set_remembered_since_ms(redis, moment):
    meta = redis.hget(RECORD.viewers_key, "#").rpartition(" ")[0]
    redis.hset(RECORD.viewers_key, "#", f"{meta} {moment}")


def edit(redis, tab_id="t1", user=42, name="Alice"):
    heartbeat(redis, tab_id, user, name=name, mode="edit")


def save_of_viewer(redis, lock_version, *fields, tab_id="t1", **told):
    return save(redis, lock_version, *(fields or ["name"]), tab_id=tab_id, told_by="viewer", **told)


def test_save_is_remembered_with_its_fields_user_and_tab(redis):
    heartbeat(redis, "t1", 42)
    before = now_ms(redis)

    assert save(redis, 8, "name", "steps", user="u-7", name="Zoë", tab_id="b1") == "OK"
    [row] = json.loads(redis.hget(RECORD.viewers_key, "#saves"))
    [remembered] = conflict_state(redis).saves
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

    assert conflict_state(redis).saves[0]["tab_id"] is None


def test_save_without_fields_is_a_save(redis):
    heartbeat(redis, "t1", 42)

    assert save(redis, 8) == "OK"
    assert conflict_state(redis).saves[0]["fields"] == []


def test_version_is_told_once_however_often_it_is_sent(redis):
    heartbeat(redis, "t1", 42)
    save(redis, 8, "name", timeline_ms=DAY_MS)
    before = contents(redis)
    with Listener(redis) as listener:
        assert save(redis, 8, "name", timeline_ms=DAY_MS) == "OK"
        assert listener.messages() == []
    assert contents(redis) == before
    assert [entry[0] for _, entry in timeline(redis)] == ["saved"]


def test_versions_stand_in_their_order_however_they_come(redis):
    edit(redis)
    for lock_version in (10, 9, 100, 1_100, 0, 11, 9):
        save_of_viewer(redis, lock_version)

    assert saved_versions(redis) == [0, 9, 10, 11, 100, 1_100]


def test_only_the_last_fifty_versions_are_remembered(redis):
    heartbeat(redis, "t1", 42)
    for lock_version in range(MAX_SAVES + 3):
        save(redis, lock_version, "name")

    assert saved_versions(redis) == list(range(3, MAX_SAVES + 3))


def test_memory_that_forgets_a_save_reaches_back_to_that_save(redis):
    heartbeat(redis, "t1", 42)
    set_remembered_since_ms(redis, 1_000)
    save(redis, 1, "name")
    [first] = json.loads(redis.hget(RECORD.viewers_key, "#saves"))
    for lock_version in range(2, MAX_SAVES + 1):
        save(redis, lock_version, "name")
    assert remembered_since_ms(redis) == 1_000

    save(redis, MAX_SAVES + 1, "name")
    assert remembered_since_ms(redis) == int(first[4])


def test_version_older_than_all_that_are_remembered_shortens_the_memory_to_now(redis):
    edit(redis)
    for lock_version in range(10, MAX_SAVES + 10):
        save_of_viewer(redis, lock_version)
    before = now_ms(redis)

    assert save_of_viewer(redis, 3) == "FORGOTTEN"
    assert saved_versions(redis) == list(range(10, MAX_SAVES + 10))
    assert remembered_since_ms(redis) >= before


def test_version_older_than_all_that_are_remembered_is_told_to_nobody(redis):
    edit(redis)
    for lock_version in range(100, 100 + MAX_SAVES):
        save_of_viewer(redis, lock_version)
    with Listener(redis) as listener:
        for _ in range(2):
            assert save_of_viewer(redis, 5) == "FORGOTTEN"
        assert save(redis, 99, "name") == "FORGOTTEN"  # the host told of the one after it before
        assert listener.messages() == []


def test_saves_are_remembered_up_to_a_number_of_bytes_the_newest(redis):
    edit(redis)
    for lock_version in range(10):
        save(redis, lock_version, *(f"{number}{WIDE[2:]}" for number in range(10)))
    remembered = saved_versions(redis)

    assert 5 <= len(remembered) < 10
    assert remembered == list(range(10 - len(remembered), 10))
    assert len(redis.hget(RECORD.viewers_key, "#saves").encode()) <= MAX_SAVES_BYTES
    assert remembered_since_ms(redis) > 0


def test_save_of_more_fields_than_can_be_remembered_sends_everybody_to_the_record(redis):
    edit(redis)
    set_remembered_since_ms(redis, 1_000)
    fields = [f"{number:02}{WIDE[2:]}" for number in range(100)]
    before = now_ms(redis)
    with Listener(redis) as listener:
        assert save(redis, 8, *fields) == save(redis, 8, *fields) == "OK"
        [message] = listener.messages()

    [remembered] = conflict_state(redis).saves
    assert 50 < len(remembered["fields"]) < 100
    assert remembered["fields"] == fields[: len(remembered["fields"])] == message["saved"][5:]
    assert remembered_since_ms(redis) >= before
    assert len(redis.hget(RECORD.viewers_key, "#saves").encode()) <= MAX_SAVES_BYTES


def test_saves_that_an_earlier_version_remembered_are_cut_to_the_bytes_there_are(redis):
    edit(redis)
    rows = [[str(number), "42", "Alice", "", "1700000000000", *[WIDE] * 100] for number in range(10)]
    redis.hset(RECORD.viewers_key, "#saves", json.dumps(rows))
    save(redis, 10, "name")

    assert saved_versions(redis) == [10]
    assert remembered_since_ms(redis) >= 1_700_000_000_000


def test_memory_begins_when_the_record_is_opened(redis):
    before = now_ms(redis)
    heartbeat(redis, "t1", 42)
    opened = remembered_since_ms(redis)
    heartbeat(redis, "t2", 43)
    save(redis, 8, "name")

    assert before <= opened <= now_ms(redis)
    assert remembered_since_ms(redis) == opened


def test_forgetting_saves_does_not_make_the_record_look_newly_opened(redis):
    edit(redis)
    set_remembered_since_ms(redis, 1_000)
    for lock_version in range(1, MAX_SAVES + 3):
        save(redis, lock_version, "name")
        assert opened_ms(redis) == 1_000

    assert remembered_since_ms(redis) > 1_000
    assert read_viewers(redis)[3] == 1  # what else is in the hash counts as no viewer
    redis.hset(RECORD.tabs_key, "by hand", "no state")
    names(redis)  # repairs the record
    assert opened_ms(redis) == 1_000
    leave(redis, "t1")
    edit(redis)
    assert opened_ms(redis) == remembered_since_ms(redis) > 1_000


def test_save_that_is_told_again_with_too_many_fields_shortens_the_memory_once(redis):
    edit(redis)
    fields = [f"{number:02}{WIDE[2:]}" for number in range(100)]
    save(redis, 8, *fields)
    before = contents(redis)

    assert save(redis, 8, *fields) == "OK"
    assert contents(redis) == before


def test_record_of_an_earlier_release_was_opened_when_its_memory_begins(redis):
    edit(redis)
    set_remembered_since_ms(redis, 1_000)  # all that it has of the two

    assert opened_ms(redis) == remembered_since_ms(redis) == 1_000


# Who may tell, and whose word wins


def test_viewer_tells_of_a_save_in_a_live_tab_that_edits(redis):
    edit(redis)

    assert save_of_viewer(redis, 8) == "OK"
    assert saved_versions(redis) == [8]


@pytest.mark.parametrize("tab_id", ["views", "expired", "never", ""])
def test_viewer_without_a_live_tab_that_edits_is_not_believed(redis, tab_id):
    edit(redis)
    heartbeat(redis, "views", 43, name="Mallory")
    edit(redis, "expired", 43, "Mallory")
    age(redis, "expired")
    before = contents(redis)
    with Listener(redis) as listener:
        told = save_of_viewer(redis, 8, tab_id=tab_id, user=43, timeline_ms=DAY_MS)
        assert (told, listener.messages()) == ("NOT_EDITING", [])
    assert contents(redis) == before
    assert not redis.exists(RECORD.timeline_key)


def test_viewer_who_tells_again_is_answered_alike_and_heard_once(redis):
    edit(redis)
    save_of_viewer(redis, 8, timeline_ms=DAY_MS)
    before = contents(redis)
    with Listener(redis) as listener:
        assert save_of_viewer(redis, 8, timeline_ms=DAY_MS) == "OK"
        assert listener.messages() == []
    assert contents(redis) == before
    assert [entry[0] for _, entry in timeline(redis)] == ["saved"]


@pytest.mark.parametrize("told_by", ["host", "viewer"])
def test_version_that_is_known_is_not_a_viewers_to_change(redis, told_by):
    edit(redis)
    edit(redis, "b1", 43, "Bob")
    save(redis, 8, "name", tab_id="t1", told_by=told_by)
    before = contents(redis)

    assert save_of_viewer(redis, 8, "steps", tab_id="b1", user=43) == "KNOWN"
    assert contents(redis) == before


def test_viewer_may_not_skip_more_than_a_thousand_versions(redis):
    edit(redis)
    save_of_viewer(redis, 8)
    before = contents(redis)

    assert save_of_viewer(redis, 8 + MAX_VERSION_STEP + 1) == "TOO_FAR"
    assert save_of_viewer(redis, 2**53 - 1) == "TOO_FAR"
    assert contents(redis) == before
    assert save_of_viewer(redis, 8 + MAX_VERSION_STEP) == "OK"
    assert save(redis, 2**53 - 1, "name") == "OK"


def test_host_corrects_what_a_viewer_has_told_of_a_version(redis):
    edit(redis)
    save_of_viewer(redis, 7, timeline_ms=DAY_MS)
    save_of_viewer(redis, 8, timeline_ms=DAY_MS)
    opened = remembered_since_ms(redis)
    with Listener(redis) as listener:
        told = save(redis, 8, "steps", user=43, name="Bob", timeline_ms=DAY_MS)
        [message] = listener.messages()

    assert (told, message["reset"], message["saved"][1]) == ("OK", True, "43")
    assert saved_versions(redis) == [7, 8]
    corrected = conflict_state(redis).saves[1]
    assert (corrected["user"]["name"], corrected["fields"]) == ("Bob", ["steps"])
    assert remembered_since_ms(redis) == opened  # nothing is missing
    assert timeline(redis)[-1][1][1:] == ["43", "Bob", "", "8", "steps"]


def test_host_that_says_the_same_as_the_page_adds_nothing(redis):
    edit(redis)
    save_of_viewer(redis, 8)
    before = contents(redis)

    assert save(redis, 8, "name") == "OK"
    assert contents(redis) == before


def test_host_that_knows_no_tab_leaves_the_one_of_its_user(redis):
    edit(redis)
    save_of_viewer(redis, 8, "name")
    save(redis, 8, "name", "steps")

    [remembered] = conflict_state(redis).saves
    assert (remembered["tab_id"], remembered["fields"]) == ("t1", ["name", "steps"])


def test_versions_that_a_viewer_made_up_are_gone_once_the_host_speaks(redis):
    edit(redis)
    for lock_version in range(8, 13):
        save_of_viewer(redis, lock_version, "made up")
    before = now_ms(redis)

    assert save(redis, 8, "name", user=43, name="Bob") == "OK"
    assert saved_versions(redis) == [8]
    assert remembered_since_ms(redis) >= before


def test_lower_version_told_by_the_host_forgets_the_others_as_after_a_restored_backup(redis):
    edit(redis)
    for lock_version in (57, 58, 60):
        save(redis, lock_version, "name", timeline_ms=DAY_MS)
    before = now_ms(redis)
    with Listener(redis) as listener:
        assert save(redis, 41, "name", timeline_ms=DAY_MS) == "OK"
        [message] = listener.messages()

    assert (message["reset"], message["saved"][0]) == (True, "41")
    assert saved_versions(redis) == [41]
    assert remembered_since_ms(redis) >= before
    assert [entry[4] for _, entry in timeline(redis)] == ["57", "58", "60", "41"]
    assert save(redis, 42, "name") == "OK"
    assert saved_versions(redis) == [41, 42]


def test_two_saves_that_the_host_tells_in_the_wrong_order_are_both_remembered(redis):
    edit(redis)
    opened = remembered_since_ms(redis)
    save(redis, 9, "name")
    with Listener(redis) as listener:
        save(redis, 8, "steps")
        [message] = listener.messages()

    assert "reset" not in message
    assert saved_versions(redis) == [8, 9]
    assert remembered_since_ms(redis) == opened


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
    assert stored_keys(redis) == []


def test_save_of_a_record_that_nobody_has_open_makes_no_timeline(redis):
    assert save(redis, 8, "name", timeline_ms=DAY_MS) == "ABSENT"

    assert stored_keys(redis) == []


def test_save_of_a_record_that_nobody_has_open_any_more_stands_in_its_timeline_once(redis):
    heartbeat(redis, "t1", 42, timeline_ms=DAY_MS)
    leave(redis, "t1", timeline_ms=DAY_MS)
    for _ in range(2):
        assert save(redis, 8, "name", timeline_ms=DAY_MS) == "ABSENT"

    assert [entry for _, entry in timeline(redis)][2:] == [["saved", "42", "Alice", "", "8", "name"]]
    assert stored_keys(redis) == [RECORD.timeline_key]


def test_save_sent_again_after_many_others_stands_in_the_timeline_once(redis):
    heartbeat(redis, "t1", 42, timeline_ms=DAY_MS)
    leave(redis, "t1", timeline_ms=DAY_MS)
    for lock_version in [*range(8, 48), 8]:
        save(redis, lock_version, "name", timeline_ms=DAY_MS)

    assert len(timeline(redis)) == 42


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
    assert stored_keys(redis) == []


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
    redis.delete(key_named(lost))
    before = now_ms(redis)

    status = save(redis, 8, "name")
    if lost == "viewers":  # and with it the save before; those who are there are counted anew
        assert (status, saved_versions(redis), names(redis)) == ("OK", [8], ["Alice", "Bob"])
        assert remembered_since_ms(redis) >= before
    else:  # without leases, or without what they are of, nobody is there
        assert status == "ABSENT"
        assert stored_keys(redis) == []


@pytest.mark.parametrize("lost", ["tabs", "seen"])
def test_saves_outlive_the_eviction_of_another_key(redis, lost):
    heartbeat(redis, "t1", 42)
    save(redis, 7, "name")
    opened = remembered_since_ms(redis)
    redis.delete(key_named(lost))
    heartbeat(redis, "t1", 42, mode="edit")

    assert saved_versions(redis) == [7]
    assert remembered_since_ms(redis) == opened


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
        assert 0 <= beyond_leases_ms(redis, key) <= MAX_BEYOND_MS
    assert LEASE_MS < redis.pttl(RECORD.timeline_key) <= 2 * LEASE_MS
    assert len(stored_keys(redis)) == 4


def test_full_redis_refuses_to_write_the_timeline_of_an_empty_record(full_redis):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42, timeline_ms=DAY_MS)
    leave(redis, "t1", timeline_ms=DAY_MS)
    before = redis.xlen(RECORD.timeline_key)
    fill()
    with pytest.raises(StoreUnavailable):
        save(redis, 8, "name", timeline_ms=DAY_MS)

    assert redis.xlen(RECORD.timeline_key) == before


def test_versions_never_repeat_with_one_nonce(redis):
    heartbeat(redis, "t1", 42)
    seen = {version(redis)}
    for lock_version in range(5):
        save(redis, lock_version, "name")
        seen.add(version(redis))

    assert len(seen) == 6
    assert all(text.endswith(NONCE) for text in seen)


# A restored backup


def make_older(redis, by_ms):
    """Let all saves have been told so much earlier."""
    rows = json.loads(redis.hget(RECORD.viewers_key, "#saves"))
    for row in rows:
        row[4] = str(int(row[4]) - by_ms)
    redis.hset(RECORD.viewers_key, "#saves", json.dumps(rows))


def test_same_save_that_is_made_again_long_after_higher_versions_is_of_a_restored_backup(redis):
    edit(redis)
    for lock_version in (6, 7, 8):
        save(redis, lock_version, "name", timeline_ms=DAY_MS)
    make_older(redis, 301_000)
    before = now_ms(redis)
    with Listener(redis) as listener:
        assert save(redis, 6, "name", timeline_ms=DAY_MS) == "OK"
        [message] = listener.messages()

    assert message["saved"][0] == "6"
    assert saved_versions(redis) == [6]
    assert remembered_since_ms(redis) >= before  # whoever has loaded 7 or 8 looks at the record
    assert [entry[4] for _, entry in timeline(redis) if entry[0] == "saved"] == ["6", "7", "8", "6"]


def test_same_save_that_is_told_again_at_once_forgets_no_higher_version(redis):
    edit(redis)
    for lock_version in (6, 7, 8):
        save(redis, lock_version, "name")

    assert save(redis, 6, "name") == "OK"
    assert saved_versions(redis) == [6, 7, 8]


def test_newest_save_that_is_told_again_long_after_changes_nothing(redis):
    edit(redis)
    save(redis, 8, "name")
    make_older(redis, 301_000)
    before = contents(redis)

    assert save(redis, 8, "name") == "OK"
    assert contents(redis) == before

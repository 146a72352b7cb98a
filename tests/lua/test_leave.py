"""leave: a page says goodbye."""

import time

import pytest

from record_presence.presence.limits import MAX_TOMBSTONES
from tests.lua.commands import (
    LEASE_MS,
    RECORD,
    Listener,
    age,
    contents,
    everything,
    heartbeat,
    leases,
    leave,
    names,
    state_of,
    stored_keys,
    tabs,
    version,
    viewers,
)
from tests.viewers import viewer


def test_leaving_removes_the_tab_and_its_user_from_the_list(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")

    assert leave(redis, "t1", 42) == "OK"
    assert names(redis) == ["Bob"]
    assert list(tabs(redis)) == ["t2"]


def test_user_stays_while_another_of_their_tabs_is_open(redis):
    heartbeat(redis, "t1", 42, mode="edit", dirty=True, field="title")
    heartbeat(redis, "t2", 42)
    with Listener(redis) as listener:
        leave(redis, "t1", 42)

        assert listener.changes() == [["update", 42, ["Alice", 1, 1, 0, 0]]]
    assert viewers(redis) == [viewer()]


def test_nothing_is_left_behind_when_the_last_tab_leaves(redis):
    heartbeat(redis, "t1", 42, mode="edit")
    heartbeat(redis, "t2", 43)
    leave(redis, "t1", 42)
    leave(redis, "t2", 43)

    assert stored_keys(redis) == []


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


def test_leave_refuses_another_users_tab(redis):
    heartbeat(redis, "t1", 42)
    before = contents(redis)

    assert leave(redis, "t1", 43) == "TAB_TAKEN"
    assert leave(redis, "t1", "42") == "TAB_TAKEN"
    assert contents(redis) == before


def test_leave_for_nobody_in_particular_removes_anybodys_tab(redis):
    heartbeat(redis, "t1", 42)

    assert leave(redis, "t1", None) == "OK"
    assert stored_keys(redis) == []


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

    assert stored_keys(redis) == []


def test_record_lives_as_long_as_the_tabs_that_stay(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, lease_ms=20_000)
    leave(redis, "t1", 42)

    for key in stored_keys(redis):
        assert redis.pttl(key) > 15_000, key
    assert list(leases(redis)) == ["t2"]


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


# A goodbye that was answered stays true


BEFORE, GOODBYE, AFTER = "1795887132000001", "1795887132000002", "1795887132000003"  # arrived_us


def test_late_heartbeat_does_not_bring_a_tab_back(redis):
    heartbeat(redis, "t2", 43, name="Bob")
    heartbeat(redis, "t1", 42, stamp=BEFORE)
    leave(redis, "t1", 42, stamp=GOODBYE)
    before = everything(redis)
    with Listener(redis) as listener:
        assert heartbeat(redis, "t1", 42, stamp=BEFORE, known="?") == ["TAB_LEFT"]
        assert heartbeat(redis, "t1", 42, stamp=GOODBYE) == ["TAB_LEFT"]

        assert listener.messages() == []
    assert everything(redis) == before
    assert names(redis) == ["Bob"]


def test_first_heartbeat_that_its_goodbye_has_overtaken_registers_nothing(redis):
    assert leave(redis, "t1", 42, stamp=GOODBYE) == "ABSENT"

    assert heartbeat(redis, "t1", 42, stamp=BEFORE) == ["TAB_LEFT"]
    assert stored_keys(redis) == []


def test_tab_that_registers_anew_after_its_goodbye_is_back_at_once(redis):
    heartbeat(redis, "t1", 42, stamp=BEFORE)
    leave(redis, "t1", 42, stamp=GOODBYE)

    assert heartbeat(redis, "t1", 42, stamp=AFTER)[0] == "OK"
    assert names(redis) == ["Alice"]
    assert heartbeat(redis, "t1", 42, stamp=AFTER)[0] == "OK"


@pytest.mark.parametrize("others", [0, 1])
def test_refused_late_heartbeat_renews_no_lease_that_is_over(redis, others):
    """The tab says what it said before, as heartbeats do that only renew their lease."""
    for number in range(others):
        heartbeat(redis, f"other {number}", 43, name="Bob")
    leave(redis, "t1", 42, stamp=GOODBYE)
    heartbeat(redis, "t1", 42, stamp=AFTER)
    age(redis, "t1")
    before = everything(redis)

    assert heartbeat(redis, "t1", 42, stamp=BEFORE) == ["TAB_LEFT"]
    assert everything(redis) == before
    assert heartbeat(redis, "t1", 42, stamp=AFTER)[0] == "OK"
    assert "Alice" in names(redis)


def test_late_heartbeat_changes_nothing_of_a_tab_that_has_come_back(redis):
    heartbeat(redis, "t1", 42, mode="edit", stamp=f"{BEFORE} 1000")
    leave(redis, "t1", 42, stamp=f"{GOODBYE} 1001")
    heartbeat(redis, "t1", 42, stamp=f"{AFTER} 1002")
    before = everything(redis)

    held = heartbeat(redis, "t1", 42, mode="edit", stamp=f"{AFTER} 1000")

    assert held == ["TAB_LEFT"]
    assert everything(redis) == before
    assert heartbeat(redis, "t1", 42, mode="edit", stamp=f"{AFTER} 1003")[0] == "OK"


@pytest.mark.parametrize("late", [GOODBYE, BEFORE, f"{AFTER} 999"])
def test_goodbye_that_is_repeated_or_late_removes_no_tab_that_has_come_back(redis, late):
    heartbeat(redis, "t1", 42)
    leave(redis, "t1", 42, stamp=f"{GOODBYE} 1000")
    heartbeat(redis, "t1", 42, stamp=f"{AFTER} 1001")

    assert leave(redis, "t1", 42, stamp=late) == "ABSENT"
    assert list(tabs(redis)) == ["t1"]
    assert leave(redis, "t1", 42, stamp=f"{AFTER} 1002") == "OK"


def test_goodbye_of_before_an_eviction_removes_no_tab_that_has_come_back(redis):
    heartbeat(redis, "t1", 42)
    leave(redis, "t1", None, reason="evicted", stamp=GOODBYE)
    heartbeat(redis, "t1", 42, stamp=AFTER)

    assert leave(redis, "t1", 42, stamp=BEFORE) == "ABSENT"
    assert list(tabs(redis)) == ["t1"]


def test_expiry_is_no_goodbye(redis):
    heartbeat(redis, "t1", 42, stamp=AFTER)
    heartbeat(redis, "t2", 43)
    age(redis, "t1")
    assert list(tabs(redis)) == ["t2"]

    assert heartbeat(redis, "t1", 42, stamp=BEFORE)[0] == "OK"  # it may even have been held for all that time


@pytest.mark.parametrize(
    ("sent", "goodbye", "is_late"),
    [
        (f"{AFTER} 1000", f"{GOODBYE} 1001", True),  # a proxy has held it, or sent it again
        (f"{BEFORE} 1001", f"{GOODBYE} 1000", False),  # the clock of the other process is behind
        (f"{BEFORE} 1000", f"{GOODBYE} 1000", True),  # in the same millisecond: the arrival decides
        (f"{AFTER} 1000", f"{GOODBYE} 1000", False),
        (f"{AFTER} 1000", GOODBYE, False),  # only where both say so
        (f"{BEFORE} 9007199254740991", GOODBYE, True),
        (f"{AFTER} 0", f"{GOODBYE} 9007199254740991", True),
        (AFTER, f"{GOODBYE} 9007199254740991", False),
    ],
)
def test_what_a_client_says_of_its_own_clock_decides_where_both_calls_say_it(redis, sent, goodbye, is_late):
    leave(redis, "t1", 42, stamp=goodbye)

    assert (heartbeat(redis, "t1", 42, stamp=sent) == ["TAB_LEFT"]) == is_late


def test_goodbye_of_one_user_keeps_no_other_user_with_this_tab_id_away(redis):
    leave(redis, "t1", 43, stamp=f"{AFTER} 9007199254740991")
    leave(redis, "t1", "42", stamp=AFTER)

    assert heartbeat(redis, "t1", 42, stamp=f"{BEFORE} 1")[0] == "OK"


def test_removal_of_anybodys_tab_holds_against_whoever_beats_late(redis):
    heartbeat(redis, "t1", 42, stamp=BEFORE)
    leave(redis, "t1", None, reason="evicted", stamp=GOODBYE)

    assert heartbeat(redis, "t1", 42, stamp=BEFORE) == ["TAB_LEFT"]
    assert heartbeat(redis, "t1", 43, stamp=BEFORE) == ["TAB_LEFT"]
    assert heartbeat(redis, "t1", 42, stamp=AFTER)[0] == "OK"  # the page is still open


def test_goodbye_that_comes_late_itself_does_not_take_back_a_newer_one(redis):
    leave(redis, "t1", 42, stamp=AFTER)
    leave(redis, "t1", 42, stamp=BEFORE)

    assert heartbeat(redis, "t1", 42, stamp=GOODBYE) == ["TAB_LEFT"]


def test_refused_goodbye_leaves_no_trace(redis):
    heartbeat(redis, "t1", 42)
    assert leave(redis, "t1", 43) == "TAB_TAKEN"

    assert redis.exists(RECORD.left_key) == 0


def test_goodbyes_are_forgotten_two_leases_after_the_last_one(redis):
    leave(redis, "t1", 42)
    redis.pexpire(RECORD.left_key, 1_000)
    leave(redis, "t2", 42)

    assert 2 * LEASE_MS - 5_000 < redis.pttl(RECORD.left_key) <= 2 * LEASE_MS


def test_of_a_thousand_goodbyes_the_newest_stay(redis):
    for number in range(MAX_TOMBSTONES + 1):
        leave(redis, f"t{number}", 42, stamp=f"{10**15 + number}")

    assert MAX_TOMBSTONES / 2 <= redis.hlen(RECORD.left_key) <= MAX_TOMBSTONES
    assert heartbeat(redis, f"t{MAX_TOMBSTONES}", 42, stamp=f"{10**15}") == ["TAB_LEFT"]
    assert heartbeat(redis, "t0", 42, stamp=f"{10**15}")[0] == "OK"


def test_unchanged_heartbeat_does_not_look_at_goodbyes(redis):
    heartbeat(redis, "t1", 42, stamp=AFTER)
    redis.hset(RECORD.left_key, "t1 42", "no stamp: reading it would fail")
    time.sleep(0.002)  # in the same millisecond the lease would not grow, and the heartbeat be a slow one

    assert heartbeat(redis, "t1", 42, stamp=AFTER)[0] == "OK"


# A real server only

"""timeline: what happened to a record, in order; and what the other commands write into it."""

import json

import pytest

from app.presence.errors import StoreUnavailable
from tests.lua.commands import (
    DAY_MS,
    LEASE_MS,
    RECORD,
    Listener,
    age,
    call,
    claim,
    heartbeat,
    leave,
    names,
    save,
    timeline,
)

MOST_ENTRIES = 1_000
HOUR_MS = 3_600_000


def beat(redis, tab_id="t1", user=42, **state):
    return heartbeat(redis, tab_id, user, **{"timeline_ms": DAY_MS, **state})


def entries(redis):
    return [entry for _, entry in timeline(redis)]


def kinds(redis):
    return [entry[0] for entry in entries(redis)]


def stored(redis):
    """The entries without a sweep."""
    return [json.loads(fields["e"]) for _, fields in redis.xrange(RECORD.timeline_key)]


def put_entry(redis, age_ms, name="long ago"):
    """An entry as it would have been written so long ago; before all others."""
    seconds, microseconds = redis.time()
    entry = json.dumps(["leave", "42", name, "left", 1])
    redis.xadd(RECORD.timeline_key, {"e": entry}, id=f"{seconds * 1000 + microseconds // 1000 - age_ms}-0")


# What is written


def test_visit_is_told_from_join_to_leave(redis):
    beat(redis)
    beat(redis, mode="edit", dirty=True, field="title", dirty_fields=["steps", "title"])
    beat(redis)
    leave(redis, "t1", timeline_ms=DAY_MS)

    assert entries(redis) == [
        ["join", "42", "Alice", 1, 0, 0, 0],
        ["update", "42", "Alice", 1, 1, 1, 1, "title", "steps", "title"],
        ["update", "42", "Alice", 1, 0, 0, 0],
        ["leave", "42", "Alice", "left", 1],
    ]


def test_heartbeat_that_changes_nothing_writes_nothing(redis):
    for visible in (True, True, False, False):
        beat(redis, mode="edit", dirty=True, field="title", **({} if visible else {"hidden": True}))
        beat(redis, mode="edit", dirty=True, field="title", **({} if visible else {"hidden": True}))

    assert kinds(redis) == ["join"]


def test_second_tab_of_a_user_is_an_update_of_hers(redis):
    beat(redis, "t1", mode="edit")
    beat(redis, "t2")
    beat(redis, "t2", mode="edit")  # she edits already
    leave(redis, "t1", timeline_ms=DAY_MS)

    assert entries(redis) == [
        ["join", "42", "Alice", 1, 1, 0, 0],
        ["update", "42", "Alice", 2, 1, 0, 0],
        ["update", "42", "Alice", 1, 1, 0, 0],
    ]


def test_new_name_is_an_update(redis):
    beat(redis)
    beat(redis, name="Alicia")

    assert entries(redis)[1][:3] == ["update", "42", "Alicia"]


@pytest.mark.parametrize("reason", ["left", "evicted"])
def test_leave_tells_why(redis, reason):
    beat(redis)
    beat(redis, "t2", 43, name="Bob")
    leave(redis, "t1", None, reason=reason, timeline_ms=DAY_MS)

    assert entries(redis)[-1] == ["leave", "42", "Alice", reason]


@pytest.mark.parametrize("sweeper", ["heartbeat", "leave", "viewers", "tabs", "watch", "timeline", "saved"])
def test_leave_of_a_tab_that_expired_is_told_by_whoever_sweeps_it(redis, sweeper):
    beat(redis)
    beat(redis, "t2", 43, name="Bob")
    age(redis, "t1")
    if sweeper == "heartbeat":
        beat(redis, "t2", 43, name="Bob")
    elif sweeper == "leave":
        leave(redis, "t3", 44, timeline_ms=DAY_MS)
    elif sweeper == "saved":
        save(redis, 8, timeline_ms=DAY_MS)
    elif sweeper == "timeline":
        timeline(redis)
    else:
        values = {"known_version": "?", "limit": 10, "user": "", "lease_ms": LEASE_MS, "nonce": "0"}
        call(redis, sweeper, RECORD, **values, timeline_ms=DAY_MS)

    assert ["leave", "42", "Alice", "expired"] in stored(redis)
    assert kinds(redis).count("leave") == 1


def test_last_tab_that_expired_is_told_though_nothing_else_is_left(redis):
    beat(redis)
    age(redis, "t1")

    assert kinds(redis) == ["join", "leave"]
    assert redis.keys("*") == [RECORD.timeline_key]


def test_viewers_whom_redis_forgot_unnoticed_are_not_told_as_still_there(redis):
    beat(redis)
    beat(redis, "t2", 43, name="Bob")
    leave(redis, "t2", 43, timeline_ms=DAY_MS)
    redis.delete(*RECORD.keys[:3])  # by itself, a lease after the last one
    assert kinds(redis) == ["join", "join", "leave", "reset"]
    assert kinds(redis) == ["join", "join", "leave", "reset"]

    beat(redis, "t3", 44, name="Cem")
    redis.delete(*RECORD.keys[:3])
    beat(redis, "t4", 45, name="Dee")
    assert kinds(redis)[4:] == ["join", "reset", "join"]


def test_forgotten_viewers_are_noticed_however_much_they_saved(redis):
    beat(redis)
    for lock_version in range(250):
        save(redis, lock_version, "name", timeline_ms=DAY_MS)
    redis.delete(*RECORD.keys[:3])
    beat(redis, "t2", 43, name="Bob")

    assert kinds(redis)[-2:] == ["reset", "join"]


def test_user_who_comes_back_before_anybody_noticed_has_not_left(redis):
    beat(redis)
    age(redis, "t1")
    beat(redis)

    assert kinds(redis) == ["join"]


def test_saves_and_claims_stand_after_what_was_noticed_with_them(redis):
    beat(redis)
    beat(redis, "b1", 43, name="Bob")
    age(redis, "b1")
    save(redis, 8, "name", "steps", tab_id="t1", timeline_ms=DAY_MS)
    claim(redis, "t1", "title", timeline_ms=DAY_MS)
    claim(redis, "t1", "title", action="release", timeline_ms=DAY_MS)

    assert entries(redis)[2:] == [
        ["leave", "43", "Bob", "expired"],
        ["saved", "42", "Alice", "t1", "8", "name", "steps"],
        ["claimed", "42", "Alice", "t1", "title"],
        ["released", "42", "Alice", "t1", "title"],
    ]


def test_claim_that_is_taken_over_tells_from_whom(redis):
    beat(redis)
    beat(redis, "b1", 43, name="Bob")
    claim(redis, "t1", timeline_ms=DAY_MS)
    claim(redis, "b1", user=43, action="take", timeline_ms=DAY_MS)

    assert entries(redis)[-1] == ["claimed", "43", "Bob", "b1", "title", "42", "Alice"]


def test_claim_that_ends_with_its_tab_is_released(redis):
    beat(redis, "t1")
    beat(redis, "t2")
    claim(redis, "t1", timeline_ms=DAY_MS)
    leave(redis, "t1", timeline_ms=DAY_MS)

    assert entries(redis)[-2:] == [
        ["released", "42", "Alice", "t1", "title"],
        ["update", "42", "Alice", 1, 0, 0, 0],
    ]


def test_claim_that_made_room_unnoticed_is_released_once(redis):
    beat(redis, "t1")
    beat(redis, "b1", 43, name="Bob")
    for number in range(100):
        claim(redis, "t1", f"field {number}")
    age(redis, "t1")
    claim(redis, "b1", "title", 43, timeline_ms=DAY_MS)

    assert kinds(redis).count("released") == 100
    assert entries(redis)[-2:] == [
        ["leave", "42", "Alice", "expired"],
        ["claimed", "43", "Bob", "b1", "title"],
    ]


def test_viewers_that_were_counted_anew_join_after_a_reset(redis):
    beat(redis)
    beat(redis, "b1", 43, name="Bob")
    redis.delete(RECORD.viewers_key)
    beat(redis, mode="edit")

    assert entries(redis)[2] == ["reset"]
    assert sorted(entry[:3] for entry in entries(redis)[3:]) == [
        ["join", "42", "Alice"],
        ["join", "43", "Bob"],
    ]


def test_names_of_any_script_are_kept(redis):
    beat(redis, "t1", "u-\u200b7", name='ليلى 🙂 \\"', field="日本")

    assert entries(redis)[0] == [
        "join",
        json.dumps("u-\u200b7", ensure_ascii=False),
        'ليلى 🙂 \\"',
        *[1, 0, 0, 1],
        "日本",
    ]


def test_refused_calls_write_nothing(redis):
    beat(redis)
    beat(redis, "t1", 43)
    leave(redis, "t1", 43, timeline_ms=DAY_MS)
    claim(redis, "t1", user=43, timeline_ms=DAY_MS)

    assert kinds(redis) == ["join"]


# How much and how long


def test_at_most_a_thousand_entries_are_kept_the_newest(redis):
    for number in range(MOST_ENTRIES):
        put_entry(redis, HOUR_MS - number, f"user {number}")
    for number in range(5):
        save(redis, number, timeline_ms=DAY_MS)

    kept = entries(redis)
    assert len(kept) == redis.xlen(RECORD.timeline_key) == MOST_ENTRIES
    assert [kept[0][2], kept[-1][4]] == ["user 5", "4"]


def test_change_with_more_entries_than_are_kept_keeps_the_last_with_what_was_done(real_redis):
    redis = real_redis
    for user in range(MOST_ENTRIES + 10):
        heartbeat(redis, f"t{user}", user, name=f"user {user}")
    redis.delete(RECORD.viewers_key)
    save(redis, 8, "name", timeline_ms=DAY_MS)

    assert redis.xlen(RECORD.timeline_key) <= MOST_ENTRIES
    assert stored(redis)[0] == ["reset"]
    assert stored(redis)[-1][0] == "saved"


def test_entries_that_are_too_old_are_trimmed_when_somebody_comes_or_goes(redis):
    put_entry(redis, 2 * HOUR_MS)
    put_entry(redis, HOUR_MS // 2, "lately")
    beat(redis, timeline_ms=HOUR_MS)

    assert [entry[2] for entry in stored(redis)] == ["lately", "Alice"]
    redis.delete(RECORD.timeline_key)
    put_entry(redis, 2 * HOUR_MS)
    leave(redis, "t1", timeline_ms=HOUR_MS)
    assert [entry[0] for entry in stored(redis)] == ["leave"]


def test_entries_that_are_too_old_are_not_shown_though_nobody_has_trimmed_them(redis):
    put_entry(redis, 2 * HOUR_MS)
    put_entry(redis, HOUR_MS // 2, "lately")
    long_ago = redis.xrange(RECORD.timeline_key)[0][0]

    for since in ("", long_ago, "0-1"):
        shown = timeline(redis, since=since, timeline_ms=HOUR_MS)
        assert [entry[2] for _, entry in shown] == ["lately"]
    assert redis.xlen(RECORD.timeline_key) == 2


def test_timeline_ends_with_its_last_entry(redis):
    beat(redis, timeline_ms=HOUR_MS)
    assert HOUR_MS - 5_000 < redis.pttl(RECORD.timeline_key) <= HOUR_MS

    redis.pexpire(RECORD.timeline_key, 10_000)
    beat(redis, timeline_ms=HOUR_MS)
    timeline(redis, timeline_ms=HOUR_MS)
    assert redis.pttl(RECORD.timeline_key) <= 10_000
    beat(redis, mode="edit", timeline_ms=HOUR_MS)
    assert redis.pttl(RECORD.timeline_key) > 10_000


def test_timeline_that_is_off_writes_and_shows_nothing(redis):
    beat(redis, timeline_ms=0)
    beat(redis, mode="edit", timeline_ms=0)
    save(redis, 8, timeline_ms=0)
    claim(redis, "t1", timeline_ms=0)
    leave(redis, "t1", timeline_ms=0)
    assert redis.keys("*") == []

    beat(redis)
    assert timeline(redis, timeline_ms=0) == []


# Reading


def test_pages_go_on_where_the_one_before_ended(redis):
    for number in range(7):
        save(redis, number, timeline_ms=DAY_MS)
    pages, since = [], ""
    while page := timeline(redis, since=since, limit=3):
        pages.append([entry[4] for _, entry in page])
        since = page[-1][0]

    assert pages == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


def test_page_goes_on_though_the_entry_before_it_was_trimmed(redis):
    for number in range(3):
        save(redis, number, timeline_ms=DAY_MS)
    first = timeline(redis)[0][0]
    redis.xdel(RECORD.timeline_key, first)

    assert [entry[4] for _, entry in timeline(redis, since=first)] == ["1", "2"]


@pytest.mark.parametrize("since", ["9999999999999999-9999999999999999", "9999999999999999-0"])
def test_nothing_is_after_what_has_not_happened(redis, since):
    beat(redis)

    assert timeline(redis, since=since) == []


def test_reading_a_record_in_order_writes_and_announces_nothing(redis):
    beat(redis)
    before = {key: redis.dump(key) for key in redis.keys("*")}
    with Listener(redis) as listener:
        timeline(redis)
        assert listener.messages() == []
    assert {key: redis.dump(key) for key in redis.keys("*")} == before


def test_record_that_nobody_had_open_has_an_empty_timeline(redis):
    assert timeline(redis) == []
    assert redis.keys("*") == []


# Eviction, memory, keys


def test_timeline_that_was_evicted_begins_anew(redis):
    beat(redis)
    redis.delete(RECORD.timeline_key)
    beat(redis, mode="edit")

    assert kinds(redis) == ["update"]
    assert names(redis) == ["Alice"]


def test_full_redis_refuses_a_change_and_its_entry_together(full_redis):
    redis, fill = full_redis
    beat(redis)
    before = {key: redis.dump(key) for key in redis.keys("*")}
    fill()
    with pytest.raises(StoreUnavailable):
        beat(redis, mode="edit")

    assert {key: redis.dump(key) for key in redis.keys("*")} == before


def test_full_redis_still_lets_people_go_and_tells_it(full_redis):
    redis, fill = full_redis
    beat(redis)
    fill()

    assert leave(redis, "t1", timeline_ms=DAY_MS) == "OK"
    assert kinds(redis) == ["join", "leave"]


def test_timeline_touches_only_the_keys_that_it_declares(real_redis, strict_user):
    with strict_user() as redis:
        beat(redis)
        beat(redis, "b1", 43, name="Bob")
        claim(redis, "t1", timeline_ms=DAY_MS)
        age(redis, "t1")
        assert len(timeline(redis)) == 5
        redis.delete(RECORD.viewers_key)
        timeline(redis)
    assert set(real_redis.keys("*")) <= set(RECORD.keys)

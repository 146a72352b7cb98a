"""timeline: what happened to a record, in order; and what the other commands write into it."""

import json

import pytest

from record_presence.presence.codec import decode_entries
from record_presence.presence.errors import StoreUnavailable
from record_presence.presence.limits import (
    MAX_TIMELINE_BYTES,
    MAX_TIMELINE_ENTRIES,
    MAX_TIMELINE_ENTRY_BYTES,
)
from tests.lua.commands import (
    DAY_MS,
    LEASE_MS,
    RECORD,
    Listener,
    age,
    claim,
    heartbeat,
    leave,
    names,
    save,
    stored_keys,
    timeline,
)

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


def stored_pairs(redis):
    return [(entry_id, fields["e"]) for entry_id, fields in redis.xrange(RECORD.timeline_key)]


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
    for active in (None, None, True, True):  # what the default is, and the same said
        beat(redis, mode="edit", dirty=True, field="title", **({} if active is None else {"active": active}))
        beat(redis, mode="edit", dirty=True, field="title", **({} if active is None else {"active": active}))

    assert kinds(redis) == ["join"]


def test_timeline_tells_when_a_user_goes_away_and_comes_back(redis):
    beat(redis, mode="edit")
    beat(redis, mode="edit", hidden=True)
    beat(redis, mode="edit")

    assert [entry[4] for entry in entries(redis)] == [1, True, 1]


def test_second_tab_of_a_user_is_an_update(redis):
    beat(redis, "t1", mode="edit")
    beat(redis, "t2")
    beat(redis, "t2", mode="edit")  # its user edits already
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


def test_last_tab_that_expired_is_told_though_nothing_else_is_left(redis):
    beat(redis)
    age(redis, "t1")

    assert kinds(redis) == ["join", "leave"]
    assert stored_keys(redis) == [RECORD.timeline_key]


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
    beat(redis, mode="edit")
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
    beat(redis, mode="edit")
    beat(redis, "b1", 43, name="Bob", mode="edit")
    claim(redis, "t1", timeline_ms=DAY_MS)
    claim(redis, "b1", user=43, action="take", timeline_ms=DAY_MS)

    assert entries(redis)[-1] == ["claimed", "43", "Bob", "b1", "title", "42", "Alice"]


def test_claim_that_ends_with_its_tab_is_released(redis):
    beat(redis, "t1", mode="edit")
    beat(redis, "t2")
    claim(redis, "t1", timeline_ms=DAY_MS)
    leave(redis, "t1", timeline_ms=DAY_MS)

    assert entries(redis)[-2:] == [
        ["released", "42", "Alice", "t1", "title"],
        ["update", "42", "Alice", 1, 0, 0, 0],
    ]


def test_claim_that_made_room_unnoticed_is_released_once(redis):
    beat(redis, "t1", mode="edit")
    beat(redis, "t2", mode="edit")
    beat(redis, "b1", 43, name="Bob", mode="edit")
    for number in range(20):
        claim(redis, "t1", f"field {number}")
    age(redis, "t1")
    claim(redis, "t2", "title", timeline_ms=DAY_MS)

    assert kinds(redis).count("released") == 20
    assert entries(redis)[-2:] == [
        ["update", "42", "Alice", 1, 1, 0, 0],
        ["claimed", "42", "Alice", "t2", "title"],
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
    for number in range(MAX_TIMELINE_ENTRIES):
        put_entry(redis, HOUR_MS - number, f"user {number}")
    for number in range(5):
        save(redis, number, timeline_ms=DAY_MS)

    kept = entries(redis)
    assert len(kept) == redis.xlen(RECORD.timeline_key) == MAX_TIMELINE_ENTRIES
    assert [kept[0][2], kept[-1][4]] == ["user 5", "4"]


def test_change_with_more_entries_than_are_kept_keeps_the_last_with_what_was_done(real_redis):
    redis = real_redis
    for user in range(MAX_TIMELINE_ENTRIES + 10):
        heartbeat(redis, f"t{user}", user, name=f"user {user}")
    redis.delete(RECORD.viewers_key)
    save(redis, 8, "name", timeline_ms=DAY_MS)

    assert redis.xlen(RECORD.timeline_key) <= MAX_TIMELINE_ENTRIES
    assert stored(redis)[0] == ["reset"]
    assert stored(redis)[-1][0] == "saved"


def sizes(redis):
    """Bytes of the entries as they are counted, and of the longest one."""
    texts = [fields["e"] for _, fields in redis.xrange(RECORD.timeline_key)]
    return sum(len(text.encode()) + 32 for text in texts), max(len(text.encode()) for text in texts)


def many_fields(prefix, count=60):
    return [f"{prefix} {number:03} {'x' * 90}" for number in range(count)]


def test_viewer_with_too_many_fields_for_one_entry_is_told_in_several(redis):
    fields = many_fields("a")
    beat(redis, mode="edit", dirty=True, field="title", dirty_fields=fields)
    assert sizes(redis)[1] <= MAX_TIMELINE_ENTRY_BYTES
    before = redis.xlen(RECORD.timeline_key)
    beat(redis, mode="edit", dirty=True, field="name", dirty_fields=[*fields[1:], "steps"])

    assert kinds(redis)[:2] == ["join", "changed"]
    assert redis.xlen(RECORD.timeline_key) == before + 1
    last = entries(redis)[-1]
    assert last == ["changed", "42", "Alice", 1, 1, 1, 1, 1, 1, "name", "title", "steps", fields[0]]
    told, _ = decode_entries([text for pair in stored_pairs(redis) for text in pair])
    assert [entry["kind"] for entry in told] == ["join"] + ["update"] * (len(told) - 1)
    assert (told[-2]["active_fields"], told[-2]["dirty_fields"]) == (["title"], fields)
    assert (told[-1]["active_fields"], told[-1]["dirty_fields"]) == (["name"], sorted([*fields[1:], "steps"]))


def test_viewer_whose_fields_fit_again_is_told_whole(redis):
    beat(redis, dirty=True, dirty_fields=many_fields("a"))
    beat(redis, dirty=True, dirty_fields=["steps"])
    told, _ = decode_entries([text for pair in stored_pairs(redis) for text in pair])

    assert stored(redis)[-1] == ["update", "42", "Alice", 1, 0, 1, 0, "steps"]
    assert told[-1]["dirty_fields"] == ["steps"]


def test_save_of_many_fields_names_those_that_have_room_and_counts_the_rest(redis):
    beat(redis)
    fields = many_fields("a")
    save(redis, 8, *fields, timeline_ms=DAY_MS)
    *told, more = stored(redis)[-1]

    assert sizes(redis)[1] <= MAX_TIMELINE_ENTRY_BYTES
    assert told[5:] == fields[: len(told) - 5]
    assert more == len(fields) - len(told[5:]) > 0


def test_long_name_is_cut_where_an_entry_has_no_room_for_it(redis):
    beat(redis, name="🙂" * 200)
    leave(redis, "t1", timeline_ms=DAY_MS)

    assert stored(redis) == [
        ["join", "42", "🙂" * 16, 1, 0, 0, 0],
        ["leave", "42", "🙂" * 16, "left", 1],
    ]


def test_timeline_is_bounded_in_bytes_and_keeps_the_newest(redis):
    for number in range(160):
        beat(redis, dirty=True, dirty_fields=many_fields("a" if number % 2 else "b", 12))
        assert sizes(redis)[0] <= MAX_TIMELINE_BYTES

    assert sizes(redis)[0] > MAX_TIMELINE_BYTES - 12_000
    assert redis.xlen(RECORD.timeline_key) < MAX_TIMELINE_ENTRIES
    beat(redis, mode="edit")
    assert stored(redis)[-1] == ["update", "42", "Alice", 1, 1, 0, 0]


def test_stream_of_the_release_before_is_cut_to_its_last_bytes_when_something_is_written(redis):
    old = [f"old {number} " + "x" * 90 for number in range(100)]
    for _ in range(60):
        entry = json.dumps(["update", "42", "Alice", 1, 1, 1, 0, *old])
        redis.xadd(RECORD.timeline_key, {"e": entry})
    beat(redis, "t2", 43, name="Bob")

    assert MAX_TIMELINE_BYTES / 2 < sizes(redis)[0] <= MAX_TIMELINE_BYTES
    assert [entry[0] for entry in stored(redis)][-3:] == ["update", "reset", "join"]
    for _ in range(30):
        beat(redis, dirty=True, dirty_fields=many_fields("a"))
        beat(redis)
        assert sizes(redis)[0] <= MAX_TIMELINE_BYTES


def test_stream_to_which_two_releases_write_at_once_stays_bounded(redis):
    for number in range(200):
        beat(redis, dirty=True, dirty_fields=many_fields("a" if number % 2 else "b", 12))
        if number % 3 == 0:
            redis.xadd(RECORD.timeline_key, {"e": json.dumps(["update", "43", "Bob", 1, 1, 1, 0])})

    assert sizes(redis)[0] <= 2 * MAX_TIMELINE_BYTES


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
    beat(redis, "t2", 43, timeline_ms=HOUR_MS)
    assert HOUR_MS - 5_000 < redis.pttl(RECORD.timeline_key) <= HOUR_MS

    redis.pexpire(RECORD.timeline_key, 10_000)
    beat(redis, timeline_ms=HOUR_MS)
    timeline(redis, timeline_ms=HOUR_MS)
    assert redis.pttl(RECORD.timeline_key) <= 10_000
    beat(redis, mode="edit", timeline_ms=HOUR_MS)
    assert redis.pttl(RECORD.timeline_key) > 10_000


def test_timeline_on_which_nobody_met_is_kept_for_two_leases(redis):
    beat(redis, mode="edit")
    beat(redis, "t2", mode="edit")
    save(redis, 8, "name", timeline_ms=DAY_MS)
    claim(redis, "t1", timeline_ms=DAY_MS)
    assert LEASE_MS < redis.pttl(RECORD.timeline_key) <= 2 * LEASE_MS

    leave(redis, "t1", timeline_ms=DAY_MS)
    leave(redis, "t2", timeline_ms=DAY_MS)
    beat(redis, "t3", 43, name="Bob")
    assert LEASE_MS < redis.pttl(RECORD.timeline_key) <= 2 * LEASE_MS


def test_timeline_on_which_people_met_is_kept_though_one_is_alone_by_now(redis):
    beat(redis)
    beat(redis, "t2", 43, name="Bob")
    leave(redis, "t1", timeline_ms=DAY_MS)
    beat(redis, "t2", 43, name="Bob", mode="edit")
    leave(redis, "t2", 43, timeline_ms=DAY_MS)

    assert DAY_MS - 5_000 < redis.pttl(RECORD.timeline_key) <= DAY_MS


def test_timeline_that_is_off_writes_and_shows_nothing(redis):
    beat(redis, timeline_ms=0)
    beat(redis, mode="edit", timeline_ms=0)
    save(redis, 8, timeline_ms=0)
    claim(redis, "t1", timeline_ms=0)
    leave(redis, "t1", timeline_ms=0)
    assert stored_keys(redis) == []

    beat(redis)
    assert timeline(redis, timeline_ms=0) == []


# Reading


def test_pages_go_on_where_the_one_before_ended(redis):
    beat(redis)
    for number in range(1, 7):
        save(redis, number, timeline_ms=DAY_MS)
    pages, since = [], ""
    while page := timeline(redis, since=since, limit=3):
        pages.append([entry[4] if entry[0] == "saved" else entry[0] for _, entry in page])
        since = page[-1][0]

    assert pages == [["join", "1", "2"], ["3", "4", "5"], ["6"]]


def test_page_goes_on_though_the_entry_before_it_was_trimmed(redis):
    beat(redis)
    for number in range(1, 3):
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
    before = {key: redis.dump(key) for key in stored_keys(redis)}
    with Listener(redis) as listener:
        timeline(redis)
        assert listener.messages() == []
    assert {key: redis.dump(key) for key in stored_keys(redis)} == before


def test_record_that_nobody_had_open_has_an_empty_timeline(redis):
    assert timeline(redis) == []
    assert stored_keys(redis) == []


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
    before = {key: redis.dump(key) for key in stored_keys(redis)}
    fill()
    with pytest.raises(StoreUnavailable):
        beat(redis, mode="edit")

    assert {key: redis.dump(key) for key in stored_keys(redis)} == before


def test_full_redis_still_lets_people_go_and_tells_it(full_redis):
    redis, fill = full_redis
    beat(redis)
    fill()

    assert leave(redis, "t1", timeline_ms=DAY_MS) == "OK"
    assert kinds(redis) == ["join", "leave"]

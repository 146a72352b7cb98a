"""viewers: who has the record open."""

import json

import pytest

from record_presence.presence.errors import ScriptFault
from record_presence.presence.limits import MAX_REPLY_BYTES
from tests.lua.commands import (
    KEY_NAMES,
    LEASE_MS,
    MANY,
    MAX_BEYOND_MS,
    RECORD,
    SHORT_LEASE_MS,
    Listener,
    add_viewers,
    age,
    beyond_leases_ms,
    contents,
    heartbeat,
    key_named,
    leases,
    leave,
    names,
    read_viewers,
    set_clock_back,
    state_of,
    stored_keys,
    viewers,
    viewers_page,
)


def test_record_that_nobody_has_open_has_no_viewers_and_writes_nothing(redis):
    with Listener(redis) as listener:
        assert read_viewers(redis) == ["OK", "0", 0, 0, "0", "0", "", "", ""]
        assert read_viewers(redis, known="0") == ["UNCHANGED", "0"]
        assert listener.messages() == []
    assert stored_keys(redis) == []


def test_known_version_is_answered_without_a_list(redis):
    now = heartbeat(redis, "t1")[1]

    assert read_viewers(redis, known=now) == ["UNCHANGED", now]
    assert read_viewers(redis, known="1-gone")[:2] == ["OK", now]


def test_caller_learns_whether_they_are_among_the_viewers(redis):
    heartbeat(redis, "t1", 42)

    assert read_viewers(redis, user=42)[2] == 1
    assert read_viewers(redis, user="42")[2] == 0
    assert read_viewers(redis, user=43)[2] == 0
    assert read_viewers(redis)[2] == 0


def test_nothing_is_left_behind_when_the_last_tab_expires(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t1")
    age(redis, "t2")
    with Listener(redis) as listener:
        assert read_viewers(redis) == ["OK", "0", 0, 0, "0", "0", "", "", ""]
        assert sorted(listener.changes()) == [["leave", 42, "expired"], ["leave", 43, "expired"]]
    assert stored_keys(redis) == []


def test_lease_is_over_at_its_very_last_millisecond(redis):
    heartbeat(redis, "t1", 42)
    age(redis, "t1", by_ms=LEASE_MS)

    assert names(redis) == []


def test_reading_a_record_in_order_writes_nothing(redis):
    heartbeat(redis, "t1", 42)
    for key in stored_keys(redis):
        redis.pexpire(key, 5_000)
    before = contents(redis)
    with Listener(redis) as listener:
        read_viewers(redis)
        read_viewers(redis, lease_ms=LEASE_MS * 2)

        assert listener.messages() == []
    assert contents(redis) == before
    assert max(redis.pttl(key) for key in stored_keys(redis)) <= 5_000


def test_reader_does_not_lengthen_the_leases_of_a_record(redis):
    heartbeat(redis, "t1", 42, lease_ms=SHORT_LEASE_MS)
    before = contents(redis)
    read_viewers(redis, lease_ms=2 * LEASE_MS)

    assert contents(redis) == before
    assert max(beyond_leases_ms(redis, key) for key in stored_keys(redis)) <= MAX_BEYOND_MS


def test_lost_viewers_key_changes_the_version(redis):
    before = heartbeat(redis, "t1", 42)[1]
    redis.delete(RECORD.viewers_key)

    assert read_viewers(redis, known=before)[0] == "OK"


# Long lists


def test_index_is_made_for_long_lists_only(redis):
    add_viewers(redis, 128)
    assert len(viewers(redis)) == 128
    assert redis.exists(RECORD.order_key) == 0

    heartbeat(redis, "one more", 1000)
    assert len(viewers(redis)) == 129
    assert redis.zcard(RECORD.order_key) == 129
    assert 0 < beyond_leases_ms(redis, RECORD.order_key) <= MAX_BEYOND_MS


@pytest.mark.parametrize("limit", [1, 100, MANY - 1, MANY, 1000, 2**31])
def test_long_list_is_cut_at_the_limit_first_arrivals_first(redis, limit):
    add_viewers(redis)

    reply = read_viewers(redis, limit=limit)

    assert reply[3] == MANY
    assert reply[9::2] == [str(user) for user in range(min(limit, MANY))]
    assert [json.loads(entry)[0] for entry in reply[10::2]] == [
        f"user {user}" for user in range(min(limit, MANY))
    ]


def test_long_list_that_shrinks_keeps_its_order(redis):
    add_viewers(redis)
    read_viewers(redis)
    for user in range(0, MANY, 2):
        leave(redis, f"t{user}", user)
    for user in range(1, MANY // 2, 2):
        age(redis, f"t{user}")

    assert [viewer["id"] for viewer in viewers(redis)] == [
        user for user in range(1, MANY, 2) if user >= MANY // 2
    ]
    assert redis.exists(RECORD.order_key) == 0


def test_list_that_grows_long_again_is_indexed_again(redis):
    add_viewers(redis)
    read_viewers(redis)
    for user in range(100):
        leave(redis, f"t{user}", user)
    for user in range(100):
        heartbeat(redis, f"t{user}", user, name=f"user {user}")

    assert read_viewers(redis)[9::2] == [str(user) for user in [*range(100, MANY), *range(100)]]


@pytest.mark.parametrize("lost", KEY_NAMES)
def test_long_list_is_read_right_after_a_key_was_lost(redis, lost):
    add_viewers(redis)
    read_viewers(redis)
    redis.delete(key_named(lost))

    listed = sorted(int(user) for user in read_viewers(redis)[9::2])

    assert listed == ([] if lost in ("tabs", "seen") else list(range(MANY)))


def test_many_viewers_who_expire_at_once_leave_nothing_behind(redis):
    add_viewers(redis)
    read_viewers(redis)
    for user in range(MANY):
        age(redis, f"t{user}")

    assert names(redis) == []
    assert stored_keys(redis) == []


def test_index_that_lost_somebody_is_made_anew(redis):
    add_viewers(redis)
    read_viewers(redis)
    redis.zrem(RECORD.order_key, "7")

    assert read_viewers(redis)[9::2] == [str(user) for user in range(MANY)]


def test_more_tabs_than_lua_can_unpack_are_counted_listed_and_swept(real_redis):
    redis, size = real_redis, 9_000
    heartbeat(redis, "stays", 1)
    end = redis.zscore(RECORD.seen_key, "stays")
    redis.hset(RECORD.tabs_key, mapping={f"t{number}": state_of(number) for number in range(size)})
    redis.zadd(RECORD.seen_key, {f"t{number}": end for number in range(size)})

    assert read_viewers(redis, limit=2**31)[3] == size
    assert len(read_viewers(redis, limit=2**31)) == 9 + 2 * size

    redis.zadd(RECORD.seen_key, {f"t{number}": end - LEASE_MS - 1 for number in range(size)})
    assert [(viewer["id"], viewer["tabs"]) for viewer in viewers(redis)] == [(1, 1)]


# Page by page


def all_pages(redis, **page):
    """The ids of all viewers, and how many pages they took."""
    after, ids, count = 0, [], 0
    while True:
        pairs, is_cut = viewers_page(redis, after=after, **page)
        ids += [user for user, _ in pairs]
        count += 1
        if not is_cut:
            return ids, count
        after = pairs[-1][1][1]


@pytest.mark.parametrize(("size", "count"), [(100, 13), (MANY, 17)])
def test_list_is_cut_where_its_bytes_are_full_and_goes_on_from_there(redis, size, count):
    add_viewers(redis, size)

    # An entry such as ["user 17",18,1,0,0] counts 120 bytes with its user and what HTTP adds.
    assert all_pages(redis, max_bytes=1_000) == (list(range(size)), count)
    assert all_pages(redis) == (list(range(size)), 1)


def test_long_list_goes_on_where_its_limit_was_reached(redis):
    add_viewers(redis)

    assert all_pages(redis, limit=50) == (list(range(MANY)), 3)
    assert all_pages(redis, limit=65) == (list(range(MANY)), 2)


@pytest.mark.parametrize("size", [100, MANY])
def test_list_without_room_for_anybody_says_that_there_are_more(redis, size):
    add_viewers(redis, size)

    assert viewers_page(redis, max_bytes=10) == ([], True)


@pytest.mark.parametrize("size", [10, MANY])
def test_page_after_somebody_who_left_misses_nobody(redis, size):
    add_viewers(redis, size)
    arrival = viewers_page(redis)[0][4][1][1]
    leave(redis, "t4", 4)

    assert [user for user, _ in viewers_page(redis, after=arrival)[0]] == list(range(5, size))


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", 'both\\"', "[1,2,3]", "", "Zoë 🦊"])
def test_place_of_a_viewer_is_found_whatever_their_name(redis, name):
    heartbeat(redis, "t1", 42, name=name)
    heartbeat(redis, "t2", 43, name=name)

    assert [user for user, _ in viewers_page(redis, after=1)[0]] == [43]


def test_index_that_names_somebody_who_is_not_there_is_made_anew_for_a_later_page_too(redis):
    add_viewers(redis)
    pages, _ = viewers_page(redis)
    redis.zrem(RECORD.order_key, "128")
    redis.zadd(RECORD.order_key, {"ghost": pages[-1][1][1]})

    after = pages[99][1][1]
    assert [user for user, _ in viewers_page(redis, after=after)[0]] == list(range(100, MANY))


@pytest.mark.parametrize("size", [60, MANY + 20])
def test_largest_viewers_are_listed_to_a_megabyte(real_redis, size):
    entry = json.dumps(["🦊" * 200, 0, 1, 1, 1, "x" * 20_000, 1], ensure_ascii=False)
    add_viewers(real_redis, size)
    for user in range(size):
        real_redis.hset(RECORD.viewers_key, user, entry.replace(", 0,", f", {user + 1},"))

    pairs, is_cut = viewers_page(real_redis, max_bytes=MAX_REPLY_BYTES)

    assert [user for user, _ in pairs] == list(range(len(pairs)))
    assert is_cut
    assert 40 < len(pairs) < 50
    heard = heartbeat(real_redis, "t0", 0, name="user 0", known="?", limit=1000)
    assert sum(len(text.encode()) for text in heard[6:]) < MAX_REPLY_BYTES


# How often


def test_reads_are_counted_and_refused_beyond_the_limit_without_a_sweep(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t1")
    limits = {"calls": "calls", "calls_limit": 1}
    assert read_viewers(redis, **limits)[3] == 1
    age(redis, "t2")
    before = contents(redis)

    status, retry_after_ms = read_viewers(redis, **limits)

    assert status == "THROTTLED"
    assert 0 < retry_after_ms <= 60_000
    assert contents(redis) == before


# A real server only


def test_reading_passes_uncounted_when_redis_is_full(full_redis):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42)
    fill()

    assert [read_viewers(redis, calls="calls", calls_limit=1)[3] for _ in range(3)] == [1, 1, 1]
    assert not redis.exists("calls")


def test_reading_with_a_count_that_is_none_says_what_is_wrong(real_redis):
    real_redis.set("calls", "many")

    with pytest.raises(ScriptFault, match="not an integer"):
        read_viewers(real_redis, calls="calls", calls_limit=1)


def test_reading_works_when_redis_is_full_and_leases_are_shorter_than_the_readers(full_redis):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42, lease_ms=SHORT_LEASE_MS)
    fill()

    assert read_viewers(redis, lease_ms=LEASE_MS * 5)[3] == 1


def test_reading_works_when_redis_is_full_and_its_clock_was_set_back(full_redis):
    redis, fill = full_redis
    heartbeat(redis, "t1", 42)
    set_clock_back(redis)
    fill()

    assert names(redis) == ["Alice"]
    assert leases(redis)["t1"] <= LEASE_MS


def test_reading_works_when_redis_is_full_and_a_long_list_has_no_index(full_redis):
    redis, fill = full_redis
    add_viewers(redis)
    fill()

    assert len(viewers(redis)) == MANY

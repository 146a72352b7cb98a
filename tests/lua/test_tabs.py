"""tabs: every live tab of a record."""

from itertools import chain

import pytest

from record_presence.presence.limits import MAX_REPLY_BYTES
from tests.lua.commands import (
    RECORD,
    age,
    heartbeat,
    leave,
    names,
    read_tabs,
    state_of,
    stored_keys,
    tabs,
)


def test_record_that_nobody_has_open_has_no_tabs_and_writes_nothing(redis):
    assert tabs(redis) == {}
    assert stored_keys(redis) == []


def test_every_tab_is_listed_with_its_state_and_the_end_of_its_lease(redis):
    heartbeat(redis, "t1", 42, mode="edit", dirty=True, field="title")
    heartbeat(redis, "t2", 43, name="Bob", hidden=True)
    age(redis, "t2", by_ms=30_000)

    status, is_cut, *rows = read_tabs(redis)

    assert (status, is_cut) == ("OK", 0)
    assert rows[::3] == ["t2", "t1"]
    assert [float(end) for end in rows[1::3]] == [redis.zscore(RECORD.seen_key, tab) for tab in ("t2", "t1")]
    assert rows[2::3] == [
        state_of(43, "Bob", hidden=True),
        state_of(42, mode="edit", dirty=True, field="title"),
    ]


def test_tabs_agree_with_viewers_after_leaving_and_expiring(redis):
    for number in range(12):
        heartbeat(redis, f"t{number}", number % 4)
    for number in range(0, 12, 3):
        leave(redis, f"t{number}", number % 4)
    for number in range(1, 12, 3):
        age(redis, f"t{number}")

    assert sorted(tabs(redis)) == ["t11", "t2", "t5", "t8"]


@pytest.mark.parametrize("garbage", ["no JSON", "", "null", "[]", '["x","Alice"]'])
def test_garbage_in_place_of_a_live_tab_hides_that_tab_and_its_viewer_only(redis, garbage):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    redis.hset(RECORD.tabs_key, "t1", garbage)

    assert list(tabs(redis)) == ["t2"]
    assert names(redis) == ["Bob"]
    age(redis, "t1")
    assert list(tabs(redis)) == ["t2"]
    assert names(redis) == ["Bob"]


# Page by page


def all_pages(redis, limit=1000, max_bytes=MAX_REPLY_BYTES):
    """The tabs of each page."""
    after, pages = "", []
    while True:
        _, is_cut, *rows = read_tabs(redis, after=after, limit=limit, max_bytes=max_bytes)
        pages.append(rows[::3])
        if not is_cut:
            return pages
        after = f"{int(float(rows[-2]))}-{rows[-3]}"


def ten_tabs(redis):
    for number in range(10):
        heartbeat(redis, f"t{number}", number)
        age(redis, f"t{number}", by_ms=60_000 - number * 1_000)


def test_list_is_cut_at_its_limit_and_goes_on_from_there(redis):
    ten_tabs(redis)

    assert all_pages(redis, limit=4) == [["t0", "t1", "t2", "t3"], ["t4", "t5", "t6", "t7"], ["t8", "t9"]]
    assert all_pages(redis, limit=5) == [["t0", "t1", "t2", "t3", "t4"], ["t5", "t6", "t7", "t8", "t9"]]
    assert len(all_pages(redis)) == 1


def test_list_is_cut_where_its_bytes_are_full_and_one_tab_fits_in_any_case(redis):
    ten_tabs(redis)

    assert [len(page) for page in all_pages(redis, max_bytes=600)] == [3, 3, 3, 1]
    assert [len(page) for page in all_pages(redis, max_bytes=1)] == [1] * 10


def test_leases_that_end_at_the_same_moment_are_paged_too(redis):
    ten_tabs(redis)
    end = redis.zscore(RECORD.seen_key, "t9")
    redis.zadd(RECORD.seen_key, {f"t{number}": end for number in range(10)})

    assert list(chain(*all_pages(redis, limit=3))) == [f"t{number}" for number in range(10)]


@pytest.mark.parametrize("moved_by", ["leaving", "beating"])
def test_page_after_a_tab_that_moved_misses_no_tab(redis, moved_by):
    ten_tabs(redis)
    _, _, *rows = read_tabs(redis, limit=4)
    after = f"{int(float(rows[-2]))}-t3"
    leave(redis, "t3", 3) if moved_by == "leaving" else heartbeat(redis, "t3", 3)

    _, is_cut, *rows = read_tabs(redis, after=after)

    assert is_cut == 0
    assert rows[::3] == [
        *(f"t{number}" for number in range(4, 10)),
        *(["t3"] if moved_by == "beating" else []),
    ]


def test_thousand_tabs_of_the_largest_states_are_listed_to_a_megabyte(real_redis):
    heartbeat(real_redis, "stays", 42)
    end = real_redis.zscore(RECORD.seen_key, "stays")
    state = state_of(42, dirty_fields=[f"{number:02}" + "x" * 80 for number in range(100)])
    real_redis.hset(RECORD.tabs_key, mapping={f"t{number}": state for number in range(1000)})
    real_redis.zadd(RECORD.seen_key, {f"t{number}": end for number in range(1000)})

    pages = all_pages(real_redis)

    assert len(pages) > 5
    assert sorted(chain(*pages)) == sorted(["stays", *(f"t{number}" for number in range(1000))])
    assert max(len(page) for page in pages) * len(state) < MAX_REPLY_BYTES

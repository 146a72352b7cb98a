"""check: who has a field unsaved, exactly, however many viewers there are."""

import json

import pytest

from tests.lua.commands import (
    MANY,
    RECORD,
    Listener,
    age,
    check,
    contents,
    heartbeat,
    leave,
    version,
)


def fill(redis, count=MANY):
    """So many viewers, of whom every tenth has the title unsaved, and a field of their own."""
    for user in range(count):
        names = ["title", f"field {user}"] if user % 10 == 0 else []
        heartbeat(redis, f"t{user}", user, name=f"user {user}", dirty=bool(names), dirty_fields=names)


def is_indexed(redis):
    return bool(redis.exists(RECORD.unsaved_key))


def test_fields_that_others_have_unsaved_name_them_first_arrival_first(redis):
    heartbeat(redis, "b1", 43, name="Bob", dirty_fields=["title", "a/b"])
    heartbeat(redis, "a1", 42, dirty_fields=["title"])

    assert check(redis, "title", "a/b", "steps") == {"title": [2, 43, 42], "a/b": [1, 43]}
    assert check(redis, "*") == {"*": [2, 43, 42]}
    assert not is_indexed(redis)


def test_own_tab_is_not_held_against_the_asker_and_another_one_is(redis):
    heartbeat(redis, "a1", 42, dirty_fields=["title"])
    assert check(redis, "title", tab_id="a1", user=42) == {}
    assert check(redis, "title") == {"title": [1, 42]}

    heartbeat(redis, "a2", 42, dirty_fields=["title"])
    assert check(redis, "title", tab_id="a1", user=42) == {"title": [1, 42]}
    assert check(redis, "title", tab_id="a1", user=43) == {"TAB_TAKEN": []}


def test_tab_whose_lease_is_over_holds_nothing_any_more(redis):
    heartbeat(redis, "a1", 42, dirty_fields=["title"])
    age(redis, "a1")

    assert check(redis, "title") == {}


@pytest.mark.parametrize("count", [MANY, 1_000])
def test_many_viewers_are_found_by_an_index_that_follows_each_change(real_redis, count):
    redis = real_redis
    fill(redis, count)
    assert check(redis, "title", "field 20", "field 21") == {
        "title": [count // 10 + (count % 10 > 0), *range(0, count, 10)][:101],
        "field 20": [1, 20],
    }
    assert is_indexed(redis)

    heartbeat(redis, "t20", 20, name="user 20", dirty_fields=["field 21"])
    heartbeat(redis, "new", 5_000, dirty_fields=["field 20"])
    leave(redis, "t30", 30)
    heartbeat(redis, "t31", 31, name="user 31", mode="edit")
    found = check(redis, "title", "field 20", "field 21", "field 30")
    assert (found.pop("title")[0], found) == (
        count // 10 + (count % 10 > 0) - 2,
        {"field 20": [1, 5_000], "field 21": [1, 20]},
    )
    marks = redis.zrangebylex(RECORD.unsaved_key, "-", "(\x0b")
    assert marks == [f"\n{version(redis)}"]


def test_many_who_have_the_same_field_are_counted_and_the_first_of_them_named(real_redis):
    for user in range(500):
        heartbeat(real_redis, f"t{user}", user, dirty_fields=["title", "body"])

    found = check(real_redis, "title", "body", tab_id="t7", user=7)
    assert {name: (row[0], 50 < len(row) <= 101) for name, row in found.items()} == {
        "title": (499, True),
        "body": (499, True),
    }
    assert 7 not in found["title"]


FULL = [f"field {number} {'x' * 40}" for number in range(100)]  # more than 5 KB an entry


@pytest.mark.parametrize("count", [40, 150])
def test_index_of_much_is_made_in_parts_and_right_whatever_changes_in_between(redis, count):
    for user in range(count):
        heartbeat(redis, f"t{user}", user, dirty_fields=[*FULL, f"own {user}"])
    last = count - 1

    assert check(redis, FULL[0], once=True) == {"INDEX_FIRST": []}
    leave(redis, "t0", 0)  # is in it
    leave(redis, f"t{last}", last)  # is not
    heartbeat(redis, "t1", 1, dirty_fields=["own 1", "late 1"])
    heartbeat(redis, "t30", 30, dirty_fields=["own 30", "late 30"])
    heartbeat(redis, "t0", 0, dirty_fields=["late 0"])  # comes back, as the last one
    assert check(redis, FULL[0], once=True) == {"INDEX_FIRST": []}
    heartbeat(redis, "t30", 30, dirty_fields=["late 30"])

    names = ["own 0", "own 1", "own 2", "own 30", f"own {last}", "late 0", "late 1", "late 30"]
    assert check(redis, *names) == {
        "own 1": [1, 1],
        "own 2": [1, 2],
        "late 0": [1, 0],
        "late 1": [1, 1],
        "late 30": [1, 30],
    }
    assert check(redis, FULL[7])[FULL[7]][0] == count - 4
    assert redis.zcard(RECORD.unsaved_key) == 1 + (count - 4) * 101 + 4


def test_index_is_begun_anew_where_somebody_did_not_keep_a_part_of_it(redis):
    for user in range(40):
        heartbeat(redis, f"t{user}", user, dirty_fields=[*FULL, f"own {user}"])
    assert check(redis, "own 3", once=True) == {"INDEX_FIRST": []}
    (mark,) = redis.zrange(RECORD.unsaved_key, 0, 0)
    redis.zrem(RECORD.unsaved_key, mark, "own 3\n3")
    redis.zadd(RECORD.unsaved_key, {"\n1-gone" + mark[mark.rindex("\n") :]: 0})

    assert check(redis, "own 3", "own 39") == {"own 3": [1, 3], "own 39": [1, 39]}


def test_many_who_have_many_same_fields_are_counted_with_the_first_of_each(real_redis):
    names = [f"field {number}" for number in range(100)]
    for user in range(30):
        heartbeat(real_redis, f"t{user}", user, dirty_fields=names)

    assert {name: row[0] for name, row in check(real_redis, *names).items()} == dict.fromkeys(names, 30)
    for asker in range(3):  # whoever comes first in the index
        found = check(real_redis, *names, tab_id=f"t{asker}", user=asker)
        assert {row[0] for row in found.values()} == {29}
        assert all(len(row) > 1 and asker not in row for row in found.values())
    assert len(check(real_redis, names[0])[names[0]]) == 31


def test_many_who_have_hundreds_of_the_same_fields_name_another_than_the_asker(real_redis):
    names = [f"field {number}" for number in range(99)]
    for user in range(600):
        heartbeat(real_redis, f"t{user}", user, dirty_fields=names)

    found = check(real_redis, *names, tab_id="t0", user=0)
    assert {row[0] for row in found.values()} == {599}
    assert all(len(row) > 1 and 0 not in row for row in found.values())


def test_index_that_somebody_did_not_keep_is_made_anew(redis):
    fill(redis)
    check(redis, "title")
    redis.delete(RECORD.unsaved_key)
    redis.zadd(RECORD.unsaved_key, {"\n1-gone": 0, "steps\n1": 0})

    assert check(redis, "title", "steps") == {"title": [MANY // 10, *range(0, MANY, 10)]}
    redis.zadd(RECORD.unsaved_key, {"\n1-gone": 0})
    redis.zrem(RECORD.unsaved_key, f"\n{version(redis)}")
    heartbeat(redis, "t1", 1, name="user 1", mode="edit")
    assert not is_indexed(redis)


def test_unchanged_heartbeat_leaves_the_index_alone(redis):
    fill(redis)
    check(redis, "title")
    before = contents(redis)
    with Listener(redis) as listener:
        heartbeat(redis, "t20", 20, name="user 20", dirty=True, dirty_fields=["title", "field 20"])
        assert listener.messages() == []

    assert contents(redis)[RECORD.unsaved_key] == before[RECORD.unsaved_key]
    assert 0 < redis.pttl(RECORD.unsaved_key) <= redis.pttl(RECORD.viewers_key) + 1_000


def test_index_goes_with_the_record(redis):
    fill(redis)
    check(redis, "title")
    for user in range(MANY):
        leave(redis, f"t{user}", user)

    assert not is_indexed(redis)


def test_entry_with_very_many_fields_is_told_in_brief(redis):
    names = [f"{number:030}" for number in range(100)]
    heartbeat(redis, "a1", 42, name="Alice", dirty_fields=names, profile="d", shown=json.dumps({"about": {}}))

    assert check(redis, names[7]) == {names[7]: [1, 42]}

"""inspect: all that a record holds, also what is not shown."""

import json

import pytest

from record_presence.presence.codec import decode_conflict_state
from tests.lua.commands import (
    LEASE_MS,
    RECORD,
    Listener,
    age,
    call,
    claim,
    heartbeat,
    inspect,
    key_named,
    save,
    state_of,
    stored_keys,
    tabs,
)


def left_ms(redis, tab_id):
    now_ms, *_, found = inspect(redis)
    return float(found[tab_id][0]) - now_ms


def test_record_that_nobody_has_open_holds_nothing(redis):
    seconds, _ = redis.time()
    now_ms, *rest = inspect(redis)

    assert abs(now_ms / 1000 - seconds) < 5
    assert rest == ["", "", "", {}]


def test_every_tab_is_told_with_its_lease_and_state(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", "u-7", name="Zoë", mode="edit", hidden=True)
    *_, found = inspect(redis)

    assert found["t2"][1] == state_of("u-7", "Zoë", "edit", hidden=True)
    assert LEASE_MS - 5_000 < left_ms(redis, "t1") <= LEASE_MS


def test_version_saves_and_claims_are_told_too(redis):
    now = heartbeat(redis, "t1", 42, mode="edit")[1]
    save(redis, 8, "name")
    claim(redis, "t1", "title")
    _, meta, saves, claims, _ = inspect(redis)
    found = decode_conflict_state(meta.rpartition(" ")[2], saves, claims)

    assert meta.partition(" ")[0] > now
    assert [row["lock_version"] for row in found.saves] == [8]
    assert list(found.claims) == ["title"]


def test_tab_whose_lease_is_over_is_told_until_somebody_sweeps_it(redis):
    heartbeat(redis, "t1", 42)
    age(redis, "t1")

    assert -5_000 < left_ms(redis, "t1") < 0
    tabs(redis)
    assert inspect(redis)[4] == {}


def test_field_without_a_lease_and_lease_without_a_field_are_told(redis):
    heartbeat(redis, "t1", 42)
    redis.hset(RECORD.tabs_key, "by hand", "no JSON")
    redis.zadd(RECORD.seen_key, {"half": 1})
    *_, found = inspect(redis)

    assert found["by hand"] == ("", "no JSON")
    assert found["half"] == ("1", "")
    assert set(found) == {"t1", "by hand", "half"}


@pytest.mark.parametrize("lost", [None, "tabs", "seen", "viewers"])
def test_looking_changes_and_announces_nothing(redis, lost):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t2")
    if lost:
        redis.delete(key_named(lost))
    before = {key: (redis.dump(key), redis.pttl(key)) for key in stored_keys(redis)}
    with Listener(redis) as listener:
        inspect(redis)
        assert listener.messages() == []
    after = {key: redis.dump(key) for key in stored_keys(redis)}

    assert after == {key: text for key, (text, _) in before.items()}
    assert all(redis.pttl(key) <= left for key, (_, left) in before.items())


def test_record_with_many_tabs_is_told_whole(redis):
    for user in range(1_200):
        redis.hset(RECORD.tabs_key, f"t{user}", json.dumps(["42"]))
        redis.zadd(RECORD.seen_key, {f"t{user}": 1})

    assert len(inspect(redis)[4]) == 1_200


def test_record_is_told_page_by_page_with_what_has_no_lease_on_the_last_one(redis):
    for number in range(10):
        heartbeat(redis, f"t{number}", number)
        age(redis, f"t{number}", by_ms=60_000 - number * 1_000)
    redis.hset(RECORD.tabs_key, "by hand", "no JSON")

    after, pages, is_cut = "", [], True
    while is_cut:
        _, is_cut, _, _, _, _, _, *rows = call(redis, "inspect", RECORD, after=after, limit=4)
        pages.append(rows[::3])
        after = f"{int(float(rows[-2] or 0))}-{rows[-3]}"

    assert pages == [["t0", "t1", "t2", "t3"], ["t4", "t5", "t6", "t7"], ["t8", "t9", "by hand"]]


def test_fields_without_a_lease_are_told_as_far_as_they_fit(redis):
    heartbeat(redis, "t1", 42)
    for number in range(10):
        redis.hset(RECORD.tabs_key, f"by hand {number}", "x" * 100)

    reply = call(redis, "inspect", RECORD, after="", max_bytes=500)

    assert reply[1] == 0
    assert 2 <= len(reply[7::3]) <= 6

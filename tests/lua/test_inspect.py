"""inspect: all that a record holds, also what is not shown."""

import json

import pytest

from app.presence.conflicts import decode_notes
from tests.lua.commands import (
    LEASE_MS,
    RECORD,
    Listener,
    age,
    call,
    claim,
    heartbeat,
    save,
    state_of,
)


def inspect(redis):
    """Now, meta, saves and claims; and a row for each tab: (lease end, state)."""
    _, now_ms, meta, saves, claims, *rows = call(redis, "inspect", RECORD)
    found = {rows[i]: (rows[i + 1], rows[i + 2]) for i in range(0, len(rows), 3)}
    assert len(found) * 3 == len(rows)
    return int(now_ms), meta, saves, claims, found


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
    now = heartbeat(redis, "t1", 42)[1]
    save(redis, 8, "name")
    claim(redis, "t1", "title")
    _, meta, saves, claims, _ = inspect(redis)
    notes = decode_notes(meta.rpartition(" ")[2], saves, claims)

    assert meta.partition(" ")[0] > now
    assert [row["lock_version"] for row in notes.saves] == [8]
    assert list(notes.claims) == ["title"]


def test_tab_whose_lease_is_over_is_told_until_somebody_sweeps_it(redis):
    heartbeat(redis, "t1", 42)
    age(redis, "t1")

    assert -5_000 < left_ms(redis, "t1") < 0
    call(redis, "tabs", RECORD, lease_ms=LEASE_MS, nonce="0")
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
        redis.delete(getattr(RECORD, f"{lost}_key"))
    before = {key: (redis.dump(key), redis.pttl(key)) for key in redis.keys("*")}
    with Listener(redis) as listener:
        inspect(redis)
        assert listener.messages() == []
    after = {key: redis.dump(key) for key in redis.keys("*")}

    assert after == {key: text for key, (text, _) in before.items()}
    assert all(redis.pttl(key) <= left for key, (_, left) in before.items())


def test_large_room_is_told_whole(redis):
    for user in range(1_200):
        redis.hset(RECORD.tabs_key, f"t{user}", json.dumps(["42"]))
        redis.zadd(RECORD.seen_key, {f"t{user}": 1})

    assert len(inspect(redis)[4]) == 1_200


def test_inspect_touches_only_the_keys_that_it_declares(strict_user):
    with strict_user(*RECORD.keys[:3]) as redis:
        redis.hset(RECORD.tabs_key, "by hand", "no JSON")

        assert list(inspect(redis)[4]) == ["by hand"]

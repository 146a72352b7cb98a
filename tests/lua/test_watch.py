"""watch: what a stream asks for, and the sweep that tells of those who went without a word."""

import json

import pytest

from tests.lua.commands import (
    KEY_NAMES,
    LEASE_MS,
    MANY,
    MAX_BEYOND_MS,
    SHORT_LEASE_MS,
    Listener,
    add_viewers,
    age,
    beyond_leases_ms,
    contents,
    heartbeat,
    key_named,
    names,
    pass_time,
    stored_keys,
    version,
    watch,
)
from tests.viewers import without_seconds


def test_record_that_nobody_has_open_is_empty_and_stays_unwritten(redis):
    with Listener(redis) as listener:
        assert watch(redis) == ["OK", "0", -1, 0, 0, "0", "0", "", "", ""]
        assert watch(redis, known="0") == ["UNCHANGED", "0", -1]
        assert listener.messages() == []
    assert stored_keys(redis) == []


def test_reply_lists_the_viewers_and_when_the_next_lease_ends(redis):
    now = heartbeat(redis, "t1", 42)[1]
    heartbeat(redis, "t2", 42, lease_ms=SHORT_LEASE_MS)

    status, found, next_ms, _, total, _, _, _, _, _, user, entry = watch(redis)

    assert (status, total, user, json.loads(entry)[2]) == ("OK", 1, "42", 2)
    assert found > now
    assert SHORT_LEASE_MS - 5_000 < next_ms <= SHORT_LEASE_MS
    assert watch(redis, known=found)[:2] == ["UNCHANGED", found]


@pytest.mark.parametrize("size", [1, MANY])
def test_sweep_lists_nobody_however_many_there_are(redis, size):
    add_viewers(redis, size)
    before = contents(redis)

    reply = watch(redis, limit=0)

    assert len(reply) == 3
    assert contents(redis) == before


def test_watching_a_record_in_order_writes_and_announces_nothing(redis):
    heartbeat(redis, "t1", 42)
    before = contents(redis)
    with Listener(redis) as listener:
        watch(redis)
        watch(redis, lease_ms=2 * LEASE_MS)
        assert listener.messages() == []
    assert contents(redis) == before
    assert max(beyond_leases_ms(redis, key) for key in stored_keys(redis)) <= MAX_BEYOND_MS


def test_sweep_announces_who_is_gone_once_and_when_to_look_again(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    age(redis, "t1")
    with Listener(redis) as listener:
        first, second = watch(redis), watch(redis)
        [message] = listener.messages()

    assert message["changes"] == [["leave", "42", "expired"]]
    assert LEASE_MS - 5_000 < message["next_ms"] <= LEASE_MS
    assert first[1] == second[1] == message["version"]
    assert first[10::2] == ["43"]


def test_sweep_of_the_last_tab_leaves_nothing_behind(redis):
    known = heartbeat(redis, "t1", 42)[1]
    age(redis, "t1")
    with Listener(redis) as listener:
        assert watch(redis, known=known, limit=0) == ["OK", "0", -1]
        [message] = listener.messages()

    assert (message["previous"], message["version"]) == (known, "0")
    assert message["changes"] == [["leave", "42", "expired"]]
    assert "next_ms" not in message
    assert stored_keys(redis) == []


def test_heartbeat_with_a_shorter_lease_tells_when_to_look_and_nothing_else(redis):
    heartbeat(redis, "t1", 42)
    now = version(redis)
    with Listener(redis) as listener:
        heartbeat(redis, "t1", 42, lease_ms=SHORT_LEASE_MS)
        [message] = listener.messages()

    assert set(message) == {"version", "next_ms"}
    assert message["version"] == now
    assert SHORT_LEASE_MS - 5_000 < message["next_ms"] <= SHORT_LEASE_MS


# Records that nobody beats for any more


@pytest.mark.parametrize("late_ms", [1, LEASE_MS - 10_000])
@pytest.mark.parametrize("size", [1, 3, MANY])
def test_record_whose_leases_are_all_over_is_announced_as_expired_once(redis, size, late_ms):
    add_viewers(redis, size)
    watch(redis)
    known = version(redis)
    pass_time(redis, LEASE_MS + late_ms)
    with Listener(redis) as listener:
        assert watch(redis, known=known) == ["OK", "0", -1, 0, 0, "0", "0", "", "", ""]
        assert watch(redis, known="0") == ["UNCHANGED", "0", -1]
        [message] = listener.messages()

    assert (message["previous"], message["version"]) == (known, "0")
    if size < MANY:
        assert sorted(message["changes"]) == sorted(["leave", str(user), "expired"] for user in range(size))
    else:
        assert message["reset"] is True
    assert stored_keys(redis) == []


def test_record_that_nobody_asks_for_is_gone_two_leases_after_its_last_heartbeat(redis):
    heartbeat(redis, "t1", 42)
    pass_time(redis, LEASE_MS + MAX_BEYOND_MS)

    assert stored_keys(redis) == []


def test_user_who_returns_before_anybody_asked_has_never_left(redis):
    heartbeat(redis, "t1", 42)
    pass_time(redis, LEASE_MS + 1)
    with Listener(redis) as listener:
        heartbeat(redis, "t1", 42)
        assert listener.messages() == []
    assert names(redis) == ["Alice"]


def test_user_who_returns_changed_is_updated_and_keeps_their_place(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43, name="Bob")
    pass_time(redis, LEASE_MS + 1)
    with Listener(redis) as listener:
        heartbeat(redis, "t9", 43, name="Bob", mode="edit")
        [message] = listener.messages()

    assert sorted(without_seconds(message["changes"])) == [
        ["leave", "42", "expired"],
        ["update", "43", ["Bob", 2, 1, 1, 0]],
    ]
    assert names(redis) == ["Bob"]


def test_newcomer_joins_and_those_whose_leases_are_over_leave(redis):
    known = heartbeat(redis, "t1", 42)[1]
    pass_time(redis, LEASE_MS + 1)
    with Listener(redis) as listener:
        heartbeat(redis, "t9", 44, name="Cem")
        [message] = listener.messages()

    assert message["previous"] == known
    assert sorted(change[:2] for change in message["changes"]) == [["join", "44"], ["leave", "42"]]
    assert names(redis) == ["Cem"]


@pytest.mark.parametrize("lost", KEY_NAMES)
def test_watching_repairs_a_record_that_lost_a_key_and_says_so_once(redis, lost):
    add_viewers(redis)
    watch(redis)
    known = version(redis)
    redis.delete(key_named(lost))
    with Listener(redis) as listener:
        found = watch(redis, known=known)
        watch(redis, known=known)
        messages = listener.messages()

    if lost == "order":
        assert (found[0], messages) == ("UNCHANGED", [])
    else:
        assert [message["reset"] for message in messages] == [True]
        assert messages[0]["version"] == found[1] != known
        assert found[4] == (MANY if lost == "viewers" else 0)


@pytest.mark.parametrize("limit", [1, 100, MANY, 2**31])
def test_long_list_is_cut_at_the_limit_first_arrivals_first(redis, limit):
    add_viewers(redis)

    reply = watch(redis, limit=limit)

    assert reply[4] == MANY
    assert reply[10::2] == [str(user) for user in range(min(limit, MANY))]


def test_long_list_is_read_in_pages_that_together_have_everybody(redis):
    add_viewers(redis)
    first = watch(redis, max_bytes=5_000)
    found, reply = first[10::2], first
    while reply[3]:
        reply = watch(redis, after=json.loads(reply[-1])[1], max_bytes=5_000)
        assert sum(map(len, reply[10:])) <= 5_000
        found += reply[10::2]

    assert found == [str(user) for user in range(MANY)]
    assert first[4] == MANY


def test_more_tabs_than_one_call_can_sweep_are_gone_after_a_few(redis):
    count = 400
    for number in range(count):
        heartbeat(redis, f"t{number}", number)
    heartbeat(redis, "stays", 7_000)
    redis.zadd(key_named("seen"), {f"t{number}": 1 for number in range(count)})
    calls = 0
    while (reply := watch(redis))[4] > 1:
        assert reply[2] == 0  # the next sweep is due at once
        calls += 1

    assert 1 <= calls < 5
    assert reply[10::2] == ["7000"]
    # Meanwhile, the keys have not expired with the leases that were over.
    assert min(redis.pttl(key_named(name)) for name in ("tabs", "seen", "viewers")) > LEASE_MS - 10_000


# A real server only


def test_lease_that_ends_by_itself_is_announced(real_redis):
    heartbeat(real_redis, "t1", 42, lease_ms=500)  # the record is forgotten as much later
    with Listener(real_redis) as listener:
        while watch(real_redis, limit=0)[2] > 0:
            pass
        assert listener.changes() == [["leave", 42, "expired"]]
    assert stored_keys(real_redis) == []

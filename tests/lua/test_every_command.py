"""What every command must survive: lost keys, foreign fields, a clock set back, a full or strict Redis."""

import json
from collections import Counter
from itertools import combinations

import pytest

from record_presence.presence.errors import StoreUnavailable
from tests.lua.commands import (
    DAY_MS,
    GARBAGE,
    KEY_NAMES,
    LEASE_MS,
    MANY,
    MAX_BEYOND_MS,
    RECORD,
    Listener,
    add_viewers,
    age,
    beyond_leases_ms,
    check,
    claim,
    contents,
    heartbeat,
    inspect,
    key_named,
    leases,
    leave,
    names,
    now_ms,
    pass_time,
    read_viewers,
    save,
    scripts,
    set_clock_back,
    signal,
    state_of,
    stored_keys,
    tabs,
    timeline,
    version,
    viewers,
    watch,
)

CALLS = "calls-of-43"

# In a record where Alice (42) has the tab t1 and Bob (43) the tab t2.
READS = {
    "viewers": lambda redis, **options: read_viewers(redis, **options),
    "tabs": lambda redis, **options: tabs(redis, **options),
    "watch": lambda redis, **options: watch(redis, **options),
    "timeline": lambda redis, **options: timeline(redis, **options),
    "check": lambda redis, **options: check(redis, **options),
}
CHANGES = {
    "heartbeat": lambda redis, **options: heartbeat(redis, "t2", 43, name="Bob", **options),
    "heartbeat of a new tab": lambda redis, **options: heartbeat(redis, "t3", 44, name="Cem", **options),
    "leave": lambda redis, **options: leave(redis, "t2", 43, **options),
    "leave of an unknown tab": lambda redis, **options: leave(redis, "t9", 44, **options),
    "saved": lambda redis, **options: save(redis, 8, "title", **options),
    "claim": lambda redis, **options: claim(redis, "t2", "title", 43, **options),
}
SWEEPS = CHANGES | READS
OTHERS = {
    "inspect": lambda redis: inspect(redis),
    "signal": lambda redis: signal(redis, "t2", 43, calls=CALLS, calls_limit=100),
}

lost_keys = pytest.mark.parametrize(
    "lost", [some for count in (1, 2, 3) for some in combinations(KEY_NAMES, count)], ids="+".join
)


@pytest.fixture(params=SWEEPS)
def name(request):
    return request.param


def two_tabs(redis):
    heartbeat(redis, "t1", 42, mode="edit", field="title")
    heartbeat(redis, "t2", 43, name="Bob", mode="edit")


def live_after(name, live):
    """The tabs of a record in which `live` were live before this command."""
    if name == "heartbeat":
        return live | {"t2"}
    if name == "heartbeat of a new tab":
        return live | {"t3"}
    return live - {"t2"} if name == "leave" else live


def assert_whole(redis, live):
    """Tabs, leases and viewers say the same, and all keys end by themselves."""
    states = redis.hgetall(RECORD.tabs_key)
    assert set(states) == set(redis.zrange(RECORD.seen_key, 0, -1)) == live
    entries = {
        user: json.loads(text)
        for user, text in redis.hgetall(RECORD.viewers_key).items()
        if not user.startswith("#")
    }
    assert {user: entry[2] for user, entry in entries.items()} == Counter(
        json.loads(state)[0] for state in states.values()
    )
    keys = set(stored_keys(redis)) - {RECORD.timeline_key}
    assert bool(keys) == bool(live)
    assert all(redis.pttl(key) > 0 for key in keys)


def alice(redis):
    return next(viewer for viewer in viewers(redis) if viewer["name"] == "Alice")


# Keys that Redis has evicted


@lost_keys
def test_record_that_lost_keys_is_repaired_by_any_call_that_sweeps(redis, name, lost):
    two_tabs(redis)
    live = set() if {"tabs", "seen"} & set(lost) else {"t1", "t2"}
    redis.delete(*map(key_named, lost))
    before = contents(redis)

    reply = SWEEPS[name](redis)

    if name == "claim" and not live:
        assert reply == ["ABSENT"]
        assert contents(redis) == before
    else:
        assert_whole(redis, live_after(name, live))
    if "t1" in live:
        assert alice(redis)["active_fields"] == ["title"]
    for _ in range(2):
        two_tabs(redis)
    leave(redis, "t3", None)
    assert sorted((viewer["name"], viewer["tabs"]) for viewer in viewers(redis)) == [("Alice", 1), ("Bob", 1)]
    assert alice(redis)["active_fields"] == ["title"]
    assert_whole(redis, {"t1", "t2"})


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        (name, lost)
        for name in SWEEPS
        for lost in ("tabs", "seen", "viewers")
        if name != "claim" or lost == "viewers"  # refused without a live tab
    ],
)
def test_repair_is_announced_once_as_a_reset_with_a_new_version(redis, name, lost):
    two_tabs(redis)
    before = version(redis)
    redis.delete(key_named(lost))
    with Listener(redis) as listener:
        SWEEPS[name](redis)
        SWEEPS[name](redis)
        [message] = listener.messages()

    assert message["reset"] is True
    assert message["version"] == version(redis) != before


@pytest.mark.parametrize("lost", ["tabs", "seen"])
def test_half_a_record_has_no_live_tab_to_signal_and_is_left_for_others_to_repair(redis, lost):
    two_tabs(redis)
    redis.delete(key_named(lost))
    before = contents(redis)

    assert signal(redis, "t2", 43) == ["ABSENT"]
    assert contents(redis) == before


# Fields that another system wrote


def test_garbage_with_and_without_a_lease_is_cleared_away_by_any_call_that_sweeps(redis, name):
    two_tabs(redis)
    in_a_minute = now_ms(redis) + 60_000
    for what, garbage in GARBAGE.items():
        redis.hset(RECORD.tabs_key, mapping={f"leased {what}": garbage, f"bare {what}": garbage})
        redis.zadd(RECORD.seen_key, {f"leased {what}": in_a_minute})
    redis.hset(RECORD.tabs_key, "bare state", state_of(99, name="Ghost"))
    redis.zadd(RECORD.seen_key, {"bare lease": in_a_minute})

    SWEEPS[name](redis)

    assert_whole(redis, live_after(name, {"t1", "t2"}))


@pytest.mark.parametrize("what", ["garbage without a lease", "a lease without a state"])
def test_half_a_tab_alone_is_cleared_away_by_any_call_that_sweeps(redis, name, what):
    two_tabs(redis)
    if what == "garbage without a lease":
        redis.hset(RECORD.tabs_key, "__proto__", "no JSON")
    else:
        redis.zadd(RECORD.seen_key, {"__proto__": now_ms(redis) + 60_000})

    SWEEPS[name](redis)

    assert_whole(redis, live_after(name, {"t1", "t2"}))


def test_garbage_in_place_of_expired_tabs_goes_with_their_leases(redis, name):
    two_tabs(redis)
    for what, garbage in GARBAGE.items():
        heartbeat(redis, what, 44, name="Cem")
        redis.hset(RECORD.tabs_key, what, garbage)
        age(redis, what)

    SWEEPS[name](redis)

    assert_whole(redis, live_after(name, {"t1", "t2"}))


# Leases that end, and a clock that is set back


def test_expired_tab_is_announced_once_by_whatever_call_comes_next(redis, name):
    two_tabs(redis)
    age(redis, "t1")
    with Listener(redis) as listener:
        for _ in range(2):
            SWEEPS[name](redis, timeline_ms=DAY_MS)
        changes = listener.changes()

    assert [change for change in changes if change[1] == 42] == [["leave", 42, "expired"]]
    logged = [json.loads(fields["e"]) for _, fields in redis.xrange(RECORD.timeline_key)]
    assert [entry[:4] for entry in logged if entry[1] == "42" and entry[0] == "leave"] == [
        ["leave", "42", "Alice", "expired"]
    ]
    assert_whole(redis, live_after(name, {"t2"}))


def test_clock_set_back_makes_nobody_immortal(redis, name):
    two_tabs(redis)
    set_clock_back(redis)

    SWEEPS[name](redis)

    assert max(leases(redis).values()) <= LEASE_MS
    assert max(beyond_leases_ms(redis, key) for key in stored_keys(redis)) <= MAX_BEYOND_MS
    assert_whole(redis, live_after(name, {"t1", "t2"}))
    age(redis, "t1")
    assert "Alice" not in names(redis)


# A record in order, and none at all


@pytest.mark.parametrize("name", [*READS, *OTHERS, "leave of an unknown tab"])
def test_call_that_changes_nothing_writes_and_announces_nothing(redis, name):
    two_tabs(redis)
    before = {key: redis.dump(key) for key in stored_keys(redis)}
    left_ms = {key: redis.pttl(key) for key in before}
    with Listener(redis) as listener:
        (SWEEPS | OTHERS)[name](redis)
        messages = [message for message in listener.messages() if "announce" not in message]

    assert messages == []
    redis.delete(CALLS)
    assert {key: redis.dump(key) for key in stored_keys(redis)} == before
    assert all(redis.pttl(key) <= left for key, left in left_ms.items())


@pytest.mark.parametrize("name", [*READS, *OTHERS, "leave", "saved", "claim"])
def test_record_that_nobody_has_open_stays_unwritten_and_unannounced(redis, name):
    with Listener(redis) as listener:
        (SWEEPS | OTHERS)[name](redis)
        assert listener.messages() == []

    redis.delete(CALLS)
    assert stored_keys(redis) == []


# A full Redis, a strict one (a real server only)


def record_that_is_to_be_swept(redis):
    two_tabs(redis)
    heartbeat(redis, "t3", 44, name="Cem", mode="edit")
    claim(redis, "t1", "steps", 42)
    claim(redis, "t3", "body", 44)
    age(redis, "t3")


ADDS = {
    "renewed": lambda redis: heartbeat(redis, "t2", 43, name="Bob", mode="edit"),
    "changed": CHANGES["heartbeat"],
    "new": lambda redis: heartbeat(redis, "t4", 45),
    "passed on": lambda redis: heartbeat(redis, "t3", 45),
    "saved": lambda redis: save(redis, 8, "title", timeline_ms=DAY_MS),
    "claim": lambda redis: claim(redis, "t2", "title", 43, timeline_ms=DAY_MS),
    "take": lambda redis: claim(redis, "t2", "title", 43, action="take", timeline_ms=DAY_MS),
    "take over": lambda redis: claim(redis, "t2", "steps", 43, action="take", timeline_ms=DAY_MS),
    "wait": lambda redis: claim(redis, "t2", "steps", 43, action="wait", timeline_ms=DAY_MS),
}


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        *((name, None) for name in ADDS),
        *(
            (name, lost)
            for name in ("renewed", "changed", "new", "passed on")
            for lost in ("tabs", "seen", "viewers")
        ),
        ("saved", "tabs"),
    ],
)
def test_full_redis_refuses_whole_what_adds_anything(full_redis, name, lost):
    redis, fill = full_redis
    record_that_is_to_be_swept(redis)
    if lost:
        redis.delete(key_named(lost))
    before = contents(redis)
    fill()
    with Listener(redis) as listener:
        with pytest.raises(StoreUnavailable):
            ADDS[name](redis)

        assert listener.messages() == []
    assert contents(redis) == before
    assert not redis.exists(RECORD.timeline_key)


@pytest.mark.parametrize("name", [*READS, "leave", "leave of an unknown tab"])
@pytest.mark.parametrize("lost", [None, "tabs", "seen", "viewers"])
def test_full_redis_passes_what_reads_or_removes(full_redis, name, lost):
    redis, fill = full_redis
    record_that_is_to_be_swept(redis)
    live = set() if lost in ("tabs", "seen") else {"t1", "t2"}
    if lost:
        redis.delete(key_named(lost))
    fill()

    SWEEPS[name](redis)

    assert_whole(redis, live_after(name, live))


@pytest.mark.parametrize("name", [*SWEEPS, *OTHERS, "take over", "wait", "release"])
def test_command_touches_only_the_keys_that_it_declares(real_redis, strict_user, name):
    calls = {
        **SWEEPS,
        **OTHERS,
        "take over": lambda redis: claim(redis, "t2", "steps", 43, action="take"),
        "wait": lambda redis: claim(redis, "t2", "steps", 43, action="wait"),
        "release": lambda redis: claim(redis, "t1", "steps", 42, action="release"),
    }
    command = {"take over": "claim", "wait": "claim", "release": "claim"}.get(name, name.split()[0])
    declared = [CALLS if key == "calls" else key_named(key) for key in scripts[command].keys]
    options = {} if name in (*OTHERS, "take over", "wait", "release") else {"timeline_ms": DAY_MS}
    with strict_user(*declared) as redis:

        def run():
            calls[name](redis, **options)
            assert set(stored_keys(real_redis)) <= {*RECORD.keys, CALLS}

        run()  # nobody has it open
        record_that_is_to_be_swept(real_redis)
        run()
        save(real_redis, 9)
        add_viewers(real_redis, MANY)
        run()  # lists need the index
        age(real_redis, "t1")
        run()
        real_redis.delete(RECORD.viewers_key)
        run()
        real_redis.delete(RECORD.seen_key)
        run()
        two_tabs(real_redis)
        pass_time(real_redis, LEASE_MS + 1)
        run()

"""The commands of lua/ as a test calls them, and ways to age, damage and watch a record."""

import json
import math
from collections.abc import Iterable
from typing import Any

from record_presence.presence.codec import (
    decode_conflict_state,
    decode_holders,
    decode_viewer_page,
    encode_state,
    encode_user_id,
)
from record_presence.presence.conflicts import ConflictState
from record_presence.presence.limits import NO_LIMIT
from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.stamps import encode_stamp
from tests.viewers import without_seconds

LEASE_MS = 90_000
SHORT_LEASE_MS = 20_000
MAX_BEYOND_MS = LEASE_MS + 1_000  # that a key may outlive the last lease
DAY_MS = 86_400_000
NONCE = "00c0ffee"
RECORD = Record("1", "flow", "12")
KEY_NAMES = ("tabs", "seen", "viewers", "order")  # of a record, but for its timeline
ALL_KEY_NAMES = (*KEY_NAMES, "timeline", "unsaved")  # in the order of the headers
IDLE_MS = 120_000  # that a holder may be away while somebody waits
MANY = 130  # viewers: more than are listed without an index

# States of a tab that this service never writes.
GARBAGE = {
    "no JSON": "Alice was here",
    "nothing": "",
    "a number": "42",
    "null": "null",
    "an object": '{"user":"42"}',
    "an empty array": "[]",
    "user missing": '[null,"Alice"]',
    "user a number": '[42,"Alice"]',
    "user no JSON": '["Alice","Alice"]',
    "user an object": '["{}","Alice"]',
    "user the word true": '["true","Alice"]',
    "user a fraction": '["4.2","Alice"]',
    "user with a leading zero": '["007","Alice"]',
    "user the meta's name": '["#","Alice"]',
    "name missing": '["42"]',
    "name a number": '["42",42]',
    "flags a word": '["42","Alice","view"]',
    "flags unknown": '["42","Alice",4]',
    "flags a fraction": '["42","Alice",0.5]',
    "flags true": '["42","Alice",true]',
    "flags null": '["42","Alice",null]',
    "field null": '["42","Alice",0,null]',
    "field a number": '["42","Alice",0,7]',
}

scripts = Scripts()


def key_named(name: str) -> str:
    """The key of RECORD that the headers call so."""
    return str(getattr(RECORD, f"{name}_key"))


def now_ms(redis: Any) -> int:
    """By Redis's clock."""
    seconds, microseconds = redis.time()
    return seconds * 1000 + microseconds // 1000


def state_of(
    user: int | str = 42,
    name: str = "Alice",
    mode: str = "view",
    dirty: bool = False,
    field: str | None = None,
    **extras: Any,
) -> str:
    return encode_state(encode_user_id(user), name, mode, dirty, field, extras)


def call(redis: Any, name: str, record: Record, **values: Any) -> list[Any]:
    """Run a command as `call_once` does, again and again until all is swept and indexed for it."""
    while (reply := call_once(redis, name, record, **values)) in (["SWEEP_FIRST"], ["INDEX_FIRST"]):
        pass
    return reply


def call_once(redis: Any, name: str, record: Record, **values: Any) -> list[Any]:
    """Run a command; keys and arguments find their places by the names in its header.

    A key that the header has and the record has not comes from `values` too.
    """
    script = scripts[name]
    keys = zip(ALL_KEY_NAMES, record.keys, strict=True)
    usual = {
        "left": record.left_key,
        "stamp": encode_stamp(None, None),
        "after": 0,
        "limit": NO_LIMIT,
        "max_bytes": NO_LIMIT,
        "timeline_ms": 0,
        "calls": record.tabs_key,
        "calls_limit": 0,
        "window_ms": 60_000,
        "may_join": 1,
        "profile": "",
    }
    named = {**usual, **dict(keys), **values}
    return scripts.run(
        redis, name, [named[key] for key in script.keys], [named[argument] for argument in script.args]
    )


def heartbeat(
    redis: Any,
    tab_id: str,
    user: int | str = 42,
    *,
    record: Record = RECORD,
    lease_ms: int = LEASE_MS,
    known: str = "",
    limit: int = 100,
    nonce: str = NONCE,
    calls: str | None = None,
    calls_limit: int = 0,
    window_ms: int = 60_000,
    timeline_ms: int = 0,
    may_join: bool = True,
    stamp: str | None = None,
    shown: str = "",
    **state: Any,
) -> list[Any]:
    """Beat; the reply starts with the status word, and is without the bytes of the timeline and without
    whether the user has joined."""
    reply = call(
        redis,
        "heartbeat",
        record,
        tab_id=tab_id,
        state=state_of(user, **state),
        lease_ms=lease_ms,
        default_lease_ms=LEASE_MS,
        known_version=known,
        limit=limit,
        nonce=nonce,
        calls=calls or record.tabs_key,
        calls_limit=calls_limit,
        window_ms=window_ms,
        timeline_ms=timeline_ms,
        may_join=int(may_join),
        profile=shown,
        **({"stamp": stamp} if stamp else {}),
    )
    if reply[0] in ("OK", "TRIMMED"):
        place = 2 if reply[0] == "OK" else 3
        del reply[place : place + 2]
    return reply


def leave(
    redis: Any,
    tab_id: str,
    user: int | str | None = 42,
    *,
    record: Record = RECORD,
    reason: str = "left",
    timeline_ms: int = 0,
    stamp: str | None = None,
) -> str:
    """Say goodbye; returns the status word. User None removes anybody's tab."""
    owner = "" if user is None else encode_user_id(user)
    made = {"stamp": stamp} if stamp else {}
    values = {"tab_id": tab_id, "user": owner, "reason": reason, "lease_ms": LEASE_MS, "nonce": NONCE}
    return call(redis, "leave", record, **values, **made, timeline_ms=timeline_ms)[0]


def stored_keys(redis: Any, record: Record = RECORD) -> list[str]:
    """All keys but the one that outlives a record on purpose, for late heartbeats: its goodbyes."""
    return [key for key in redis.keys("*") if key != record.left_key]


def save(
    redis: Any,
    lock_version: int,
    *fields: str,
    user: int | str = 42,
    name: str = "Alice",
    tab_id: str = "",
    record: Record = RECORD,
    lease_ms: int = LEASE_MS,
    timeline_ms: int = 0,
    told_by: str = "host",
) -> str:
    """Tell of a saved version; returns the status word."""
    row = json.dumps([str(lock_version), encode_user_id(user), name, tab_id, "", *fields], ensure_ascii=False)
    values = {"row": row, "lease_ms": lease_ms, "nonce": NONCE, "timeline_ms": timeline_ms}
    return call(redis, "saved", record, **values, told_by=told_by)[0]


def claim(
    redis: Any,
    tab_id: str,
    field: str = "title",
    user: int | str = 42,
    *,
    action: str = "claim",
    record: Record = RECORD,
    timeline_ms: int = 0,
) -> list[Any]:
    """Claim a field, `take` or `release` it; the reply without its version, the row unpacked."""
    values = {"tab_id": tab_id, "user": encode_user_id(user), "field": field, "action": action}
    more = {"lease_ms": LEASE_MS, "nonce": NONCE, "timeline_ms": timeline_ms, "idle_ms": IDLE_MS}
    status, *row = call(redis, "claim", record, **values, **more)[:2]
    return [status, *(json.loads(text) if text else text for text in row)]


def check(
    redis: Any,
    *fields: str,
    tab_id: str = "",
    user: int | str | None = None,
    record: Record = RECORD,
    timeline_ms: int = 0,
    once: bool = False,
) -> dict[str, list[Any]]:
    """By field, the ids of those who have it unsaved, first arrival first, after how many they are."""
    asker = "" if user is None else encode_user_id(user)
    values = {"fields": json.dumps(fields or ["title"]), "tab_id": tab_id, "user": asker}
    more = {"lease_ms": LEASE_MS, "nonce": NONCE, "timeline_ms": timeline_ms}
    run = call_once if once else call
    status, *reply = run(redis, "check", record, **values, **more)
    if status != "OK":
        return {status: []}
    holders = decode_holders(fields or ["title"], reply[4], reply[5:])
    return {name: [held.total, *(viewer["id"] for viewer in held.viewers)] for name, held in holders.items()}


def conflict_state(redis: Any, record: Record = RECORD) -> ConflictState:
    """What the viewers are told of saves and claims."""
    return decode_conflict_state(*read_viewers(redis, record=record)[5:9])


def saved_versions(redis: Any, record: Record = RECORD) -> list[int]:
    return [save["lock_version"] for save in conflict_state(redis, record).saves]


def claimed(redis: Any, record: Record = RECORD) -> dict[str, str]:
    """Field -> the tab that has it."""
    return {field: held["tab_id"] for field, held in conflict_state(redis, record).claims.items()}


def timeline(
    redis: Any, *, since: str = "", limit: int = 1000, timeline_ms: int = DAY_MS, record: Record = RECORD
) -> list[tuple[str, list[Any]]]:
    """What happened: pairs of an id and an entry."""
    values = {"since": since, "limit": limit, "lease_ms": LEASE_MS, "nonce": NONCE}
    _, _, earlier, *reply = call(redis, "timeline", record, **values, timeline_ms=timeline_ms)
    return [(reply[i], json.loads(reply[i + 1])) for i in range(2 * earlier, len(reply), 2)]


def read_viewers(
    redis: Any,
    *,
    record: Record = RECORD,
    known: str = "?",
    limit: int = 1000,
    user: int | str | None = None,
    lease_ms: int = LEASE_MS,
    **limits: Any,
) -> list[Any]:
    """The reply of `viewers`, unread, but without whether it is cut. `limits` are further arguments."""
    asker = "" if user is None else encode_user_id(user)
    values = {
        **limits,
        "known_version": known,
        "limit": limit,
        "user": asker,
        "lease_ms": lease_ms,
        "nonce": NONCE,
    }
    reply = call(redis, "viewers", record, **values)
    return [*reply[:3], *reply[4:]] if reply[0] == "OK" else reply


def viewers_page(
    redis: Any, *, after: int = 0, limit: int = 1000, max_bytes: int = NO_LIMIT
) -> tuple[Any, ...]:
    """The viewers of a page, first arrival first: their decoded ids and entries, and whether it is cut."""
    values = {"known_version": "?", "limit": limit, "user": "", "lease_ms": LEASE_MS, "nonce": NONCE}
    reply = call(redis, "viewers", RECORD, **values, after=after, max_bytes=max_bytes)
    pairs = list(zip(map(json.loads, reply[10::2]), map(json.loads, reply[11::2]), strict=True))
    return sorted(pairs, key=lambda pair: pair[1][1]), bool(reply[3])


def viewers(redis: Any, record: Record = RECORD) -> list[dict[str, Any]]:
    """Who is viewing, first arrival first."""
    reply = read_viewers(redis, record=record)
    return decode_viewer_page(reply[9:], None, int(reply[4]))[0]


def names(redis: Any, record: Record = RECORD) -> list[str]:
    return [viewer["name"] for viewer in viewers(redis, record)]


def version(redis: Any, record: Record = RECORD) -> str:
    return read_viewers(redis, record=record)[1]


def tabs(redis: Any, record: Record = RECORD, *, timeline_ms: int = 0) -> dict[str, str]:
    """Live tabs: id -> state."""
    _, _, *rows = read_tabs(redis, record, timeline_ms=timeline_ms)
    return {rows[i]: rows[i + 2] for i in range(0, len(rows), 3)}


def read_tabs(redis: Any, record: Record = RECORD, **page: Any) -> list[Any]:
    """The reply of `tabs`, unread."""
    return call(redis, "tabs", record, **{"after": "", "lease_ms": LEASE_MS, "nonce": NONCE, **page})


def watch(
    redis: Any,
    *,
    known: str = "?",
    limit: int = 1000,
    lease_ms: int = LEASE_MS,
    timeline_ms: int = 0,
    after: int = 0,
    max_bytes: int = NO_LIMIT,
) -> list[Any]:
    """What a stream asks for; the reply, unread."""
    values = {"known_version": known, "limit": limit, "lease_ms": lease_ms, "nonce": NONCE}
    page = {"after": after, "max_bytes": max_bytes}
    return call(redis, "watch", RECORD, **values, **page, timeline_ms=timeline_ms)


def inspect(redis: Any) -> tuple[int, str, str, str, dict[str, tuple[str, str]]]:
    """Now, meta, saves and claims; and a row for each tab: (lease end, state)."""
    _, _, moment_ms, meta, saves, claims, _, *rows = call(redis, "inspect", RECORD, after="")
    found = {rows[i]: (rows[i + 1], rows[i + 2]) for i in range(0, len(rows), 3)}
    assert len(found) * 3 == len(rows)
    return int(moment_ms), meta, saves, claims, found


def signal(
    redis: Any,
    tab_id: str = "t1",
    user: int | str = 42,
    *,
    message: str = '{"announce": "signal", "data": {"kind": "typing"}}',
    calls: str | None = None,
    calls_limit: int = 0,
) -> list[Any]:
    """Pass a message on to the record's streams; the reply."""
    values = {"tab_id": tab_id, "user": encode_user_id(user), "message": message, "lease_ms": LEASE_MS}
    counted = {"calls": calls or RECORD.tabs_key, "calls_limit": calls_limit}
    return call(redis, "signal", RECORD, **values, **counted)


def add_viewers(redis: Any, count: int = MANY) -> None:
    """One tab for each of the users 0, 1, 2, …"""
    for user in range(count):
        heartbeat(redis, f"t{user}", user, name=f"user {user}")


def age(redis: Any, tab_id: str, by_ms: int = LEASE_MS + 1, record: Record = RECORD) -> None:
    """Let the tab's lease be older by so much: what waiting would do, without waiting."""
    redis.zincrby(record.seen_key, -by_ms, tab_id)
    _shift_first_expiry(redis, -by_ms, record)


def _shift_first_expiry(redis: Any, by_ms: int, record: Record) -> None:
    """Move the time until which no lease ends."""
    if meta := redis.hget(record.viewers_key, "#"):
        version, max_lease_ms, no_expiry_before_s, *rest = meta.split()
        shifted = (version, max_lease_ms, str(int(no_expiry_before_s) + by_ms // 1000), *rest)
        redis.hset(record.viewers_key, "#", " ".join(shifted))


def pass_time(redis: Any, by_ms: int, record: Record = RECORD, *, latest_pass_ms: float = math.inf) -> None:
    """Let every lease and every key be nearer to its end, as after waiting for so long.

    No claim is passed on later than `latest_pass_ms` from now.
    """
    for tab_id in redis.zrange(record.seen_key, 0, -1):
        redis.zincrby(record.seen_key, -by_ms, tab_id)
    _shift_first_expiry(redis, -by_ms, record)
    _shift_waiting(redis, -by_ms, record, now_ms(redis) + latest_pass_ms)
    for key in (*record.keys, record.left_key):
        if (left_ms := redis.pttl(key)) > 0:
            redis.pexpire(key, left_ms - by_ms) if left_ms > by_ms else redis.delete(key)


def _shift_waiting(redis: Any, by_ms: int, record: Record, latest_ms: float) -> None:
    """Move the times at which claims are passed on."""
    if text := redis.hget(record.viewers_key, "#waiting"):
        rows = [[*row[:7], row[7] and str(min(int(row[7]) + by_ms, latest_ms))] for row in json.loads(text)]
        redis.hset(record.viewers_key, "#waiting", json.dumps(rows, ensure_ascii=False))


def set_clock_back(
    redis: Any, by_ms: int = 3_600_000, record: Record = RECORD, *, latest_pass_ms: float = math.inf
) -> None:
    """Leave every lease and every expiry as far ahead as a clock that was set back does."""
    pass_time(redis, -by_ms, record, latest_pass_ms=latest_pass_ms)


def beyond_leases_ms(redis: Any, key: str, record: Record = RECORD) -> int:
    """How long a key outlives the last lease."""
    last_ms = max(leases(redis, record).values())
    return redis.pttl(key) - last_ms


def leases(redis: Any, record: Record = RECORD) -> dict[str, int]:
    """Milliseconds that each tab has left to live."""
    ends = redis.zrange(record.seen_key, 0, -1, withscores=True)
    moment_ms = now_ms(redis)
    return {tab: int(end) - moment_ms for tab, end in ends}


def contents(redis: Any, record: Record = RECORD) -> dict[str, Any]:
    """All that a record has in Redis, to compare before and after."""
    return {
        record.tabs_key: redis.hgetall(record.tabs_key),
        record.seen_key: redis.zrange(record.seen_key, 0, -1, withscores=True),
        record.viewers_key: redis.hgetall(record.viewers_key),
        record.order_key: redis.zrange(record.order_key, 0, -1, withscores=True),
        record.unsaved_key: redis.zrange(record.unsaved_key, 0, -1),
    }


def everything(redis: Any, record: Record = RECORD) -> dict[str, Any]:
    """The same, with its timeline and its goodbyes. Not as a DUMP, in which equal hashes may differ."""
    left, happened = redis.hgetall(record.left_key), redis.xrange(record.timeline_key)
    return {**contents(redis, record), record.left_key: left, record.timeline_key: happened}


class Listener:
    """A subscriber of a record's channel.

    >>> with Listener(redis) as listener:
    ...     heartbeat(redis, "tab-1")
    ...     assert listener.changes() == [("join", 42, …)]
    """

    def __init__(self, redis: Any, record: Record = RECORD) -> None:
        self._redis = redis
        self._channel = record.channel
        self._pubsub = redis.pubsub(ignore_subscribe_messages=True)
        self._fences = 0

    def __enter__(self) -> "Listener":
        self._pubsub.subscribe(self._channel)
        self.messages()
        return self

    def __exit__(self, *_: Any) -> None:
        self._pubsub.close()

    def messages(self) -> list[dict[str, Any]]:
        """Everything published since the last call, without waiting for more."""
        self._fences += 1
        fence = f"fence {self._fences}"
        self._redis.publish(self._channel, fence)
        heard = []
        for _ in range(100_000):
            message = self._pubsub.get_message(timeout=1)
            if message and message["data"] == fence:
                return heard
            if message:
                heard.append(json.loads(message["data"]))
        raise AssertionError("the subscription went silent")

    def changes(self) -> list[list[Any]]:
        """The changes of all messages since the last call: [kind, user, viewer entry or reason].

        The arrival of an entry is its place alone: 1, 2, 3.
        """
        return [
            [kind, json.loads(user), what]
            for message in self.messages()
            for kind, user, what in without_seconds(message["changes"])
        ]


def assert_chained(messages: Iterable[dict[str, Any]], start: str) -> str:
    """Every message continues where the one before it ended; returns the last version."""
    for message in messages:
        assert message["previous"] == start
        assert message["version"] != start
        start = message["version"]
    return start

"""The commands of lua/ as a test calls them, and ways to age, damage and watch a record."""

import json
from collections.abc import Iterable
from typing import Any

from app.presence.conflicts import Notes, decode_notes
from app.presence.records import Record, decode_viewers, encode_state, user_key
from app.presence.scripts import Scripts

LEASE_MS = 90_000
SHORT_LEASE_MS = 20_000
MOST_BEYOND_MS = LEASE_MS + 1_000  # that a key may outlive the last lease
DAY_MS = 86_400_000
NONCE = "00c0ffee"
RECORD = Record("1", "flow", "12")

scripts = Scripts()


def state_of(
    user: int | str = 42,
    name: str = "Alice",
    mode: str = "view",
    dirty: bool = False,
    field: str | None = None,
    **extras: Any,
) -> str:
    return encode_state(user_key(user), name, mode, dirty, field, extras)


def call(redis: Any, name: str, record: Record, **values: Any) -> list[Any]:
    """Run a command; keys and arguments find their places by the names in its header.

    A key that the header has and the record has not comes from `values` too.
    """
    script = scripts[name]
    keys = zip(("tabs", "seen", "viewers", "order", "timeline"), record.keys, strict=True)
    usual = {"timeline_ms": 0, "calls": record.tabs_key, "calls_limit": 0, "window_ms": 60_000}
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
    **state: Any,
) -> list[Any]:
    """Beat; the reply starts with the status word."""
    return call(
        redis,
        "heartbeat",
        record,
        tab_id=tab_id,
        state=state_of(user, **state),
        lease_ms=lease_ms,
        usual_ms=LEASE_MS,
        known_version=known,
        limit=limit,
        nonce=nonce,
        calls=calls or record.tabs_key,
        calls_limit=calls_limit,
        window_ms=window_ms,
        timeline_ms=timeline_ms,
    )


def leave(
    redis: Any,
    tab_id: str,
    user: int | str | None = 42,
    *,
    record: Record = RECORD,
    reason: str = "left",
    timeline_ms: int = 0,
) -> str:
    """Say goodbye; returns the status word. User None removes anybody's tab."""
    owner = "" if user is None else user_key(user)
    values = {"tab_id": tab_id, "user": owner, "reason": reason, "lease_ms": LEASE_MS, "nonce": NONCE}
    return call(redis, "leave", record, **values, timeline_ms=timeline_ms)[0]


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
) -> str:
    """Tell of a saved version; returns the status word."""
    row = json.dumps([str(lock_version), user_key(user), name, tab_id, "", *fields], ensure_ascii=False)
    values = {"row": row, "lease_ms": lease_ms, "nonce": NONCE, "timeline_ms": timeline_ms}
    return call(redis, "saved", record, **values)[0]


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
    """Claim a field, `take` or `release` it; the reply, its row unpacked."""
    values = {"tab_id": tab_id, "user": user_key(user), "field": field, "action": action}
    more = {"lease_ms": LEASE_MS, "nonce": NONCE, "timeline_ms": timeline_ms}
    status, *row = call(redis, "claim", record, **values, **more)
    return [status, *(json.loads(text) if text else text for text in row)]


def notes(redis: Any, record: Record = RECORD) -> Notes:
    """What the viewers are told of saves and claims."""
    return decode_notes(*read_viewers(redis, record=record)[4:7])


def saved_versions(redis: Any, record: Record = RECORD) -> list[int]:
    return [save["lock_version"] for save in notes(redis, record).saves]


def claimed(redis: Any, record: Record = RECORD) -> dict[str, str]:
    """Field -> the tab that has it."""
    return {field: held["tab_id"] for field, held in notes(redis, record).claims.items()}


def timeline(
    redis: Any, *, since: str = "", limit: int = 1000, timeline_ms: int = DAY_MS, record: Record = RECORD
) -> list[tuple[str, list[Any]]]:
    """What happened: pairs of an id and an entry."""
    values = {"since": since, "limit": limit, "lease_ms": LEASE_MS, "nonce": NONCE}
    _, *reply = call(redis, "timeline", record, **values, timeline_ms=timeline_ms)
    return [(reply[i], json.loads(reply[i + 1])) for i in range(0, len(reply), 2)]


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
    """The reply of `viewers`, unread. `limits` are the arguments that count calls."""
    asker = "" if user is None else user_key(user)
    values = {
        **limits,
        "known_version": known,
        "limit": limit,
        "user": asker,
        "lease_ms": lease_ms,
        "nonce": NONCE,
    }
    return call(redis, "viewers", record, **values)


def viewers(redis: Any, record: Record = RECORD) -> list[dict[str, Any]]:
    """Who is viewing, first arrival first."""
    return decode_viewers(read_viewers(redis, record=record)[7:])


def names(redis: Any, record: Record = RECORD) -> list[str]:
    return [viewer["name"] for viewer in viewers(redis, record)]


def version(redis: Any, record: Record = RECORD) -> str:
    return read_viewers(redis, record=record)[1]


def tabs(redis: Any, record: Record = RECORD) -> dict[str, str]:
    """Live tabs: id -> state."""
    reply = call(redis, "tabs", record, lease_ms=LEASE_MS, nonce=NONCE)
    return {reply[i]: reply[i + 2] for i in range(1, len(reply), 3)}


def age(redis: Any, tab_id: str, by_ms: int = LEASE_MS + 1, record: Record = RECORD) -> None:
    """Let the tab's lease be older by so much: what waiting would do, without waiting."""
    redis.zincrby(record.seen_key, -by_ms, tab_id)
    _shift_calm(redis, -by_ms, record)


def _shift_calm(redis: Any, by_ms: int, record: Record) -> None:
    """Move the time until which no lease ends."""
    if meta := redis.hget(record.viewers_key, "#"):
        version, longest_ms, calm_until_s, *rest = meta.split()
        shifted = (version, longest_ms, str(int(calm_until_s) + by_ms // 1000), *rest)
        redis.hset(record.viewers_key, "#", " ".join(shifted))


def pass_time(redis: Any, by_ms: int, record: Record = RECORD) -> None:
    """Let every lease and every key be nearer to its end, as after waiting for so long."""
    for tab_id in redis.zrange(record.seen_key, 0, -1):
        redis.zincrby(record.seen_key, -by_ms, tab_id)
    _shift_calm(redis, -by_ms, record)
    for key in record.keys:
        if (left_ms := redis.pttl(key)) > 0:
            redis.pexpire(key, left_ms - by_ms) if left_ms > by_ms else redis.delete(key)


def set_clock_back(redis: Any, by_ms: int = 3_600_000, record: Record = RECORD) -> None:
    """Leave every lease and every expiry as far ahead as a clock that was set back does."""
    pass_time(redis, -by_ms, record)


def beyond_leases_ms(redis: Any, key: str, record: Record = RECORD) -> int:
    """How long a key outlives the last lease."""
    longest_ms = max(leases(redis, record).values())
    return redis.pttl(key) - longest_ms


def leases(redis: Any, record: Record = RECORD) -> dict[str, int]:
    """Milliseconds that each tab has left to live."""
    seconds, microseconds = redis.time()
    now_ms = seconds * 1000 + microseconds // 1000
    return {tab: int(end) - now_ms for tab, end in redis.zrange(record.seen_key, 0, -1, withscores=True)}


def contents(redis: Any, record: Record = RECORD) -> dict[str, Any]:
    """All that a record has in Redis, to compare before and after."""
    return {
        record.tabs_key: redis.hgetall(record.tabs_key),
        record.seen_key: redis.zrange(record.seen_key, 0, -1, withscores=True),
        record.viewers_key: redis.hgetall(record.viewers_key),
        record.order_key: redis.zrange(record.order_key, 0, -1, withscores=True),
    }


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
        """The changes of all messages since the last call: [kind, user, seat or reason]."""
        return [
            [kind, json.loads(user), what]
            for message in self.messages()
            for kind, user, what in message["changes"]
        ]


def assert_chained(messages: Iterable[dict[str, Any]], start: str) -> str:
    """Every message continues where the one before it ended; returns the last version."""
    for message in messages:
        assert message["previous"] == start
        assert message["version"] != start
        start = message["version"]
    return start

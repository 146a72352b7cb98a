"""Asks Redis about many records: the Lua command `watch`, which sweeps a record and may list it."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from ..codec import decode_conflict_state, decode_viewer_entries
from ..conflicts import ConflictState
from ..errors import PresenceError, StoreUnavailable
from ..greenlets import Turn
from ..limits import MAX_WATCHED_BYTES, NO_LIMIT
from ..scripts import Scripts
from ..scripts.runner import Call
from ..versions import new_nonce
from .events import ViewerEntry
from .topic import Topic

log = logging.getLogger("presence.broadcast")

ENTRIES_AT_A_TIME = 100  # that are decoded before others may have their turn

_NO_VERSION = "?"  # is never the version of a record


class RecordState(NamedTuple):
    """All that is shown of a record."""

    entries: dict[str, ViewerEntry]  # by user, first arrival first
    conflicts: ConflictState
    opened_ms: int  # when the record was opened, since the epoch; 0 if nobody has it open


class WatchResult(NamedTuple):
    """The result for one record. `state` is None if it was not asked for, or the version is the known one."""

    version: str
    lease_ms_left: float  # until the next lease ends; negative: there is none
    state: RecordState | None
    next: int | None = None  # the arrival after which the list goes on; None at its end


class WatchCommand:
    """Runs `watch` for many topics, in one round trip if it can.

    `lease_ms` is the usual lease; `timeline_ms` is how long a timeline is kept,
    since a sweep writes to it.
    """

    def __init__(self, redis: Any, scripts: Scripts, *, lease_ms: int, timeline_ms: int) -> None:
        self._redis = redis
        self._scripts = scripts
        self._lease_ms = lease_ms
        self._timeline_ms = timeline_ms

    def run(self, topics: Sequence[Topic], *, with_state: bool) -> list[WatchResult | None]:
        """Sweep the records; `with_state`, list those whose version is not the replica's.

        Returns a result for each topic, in their order; None where it failed.
        """
        limit = NO_LIMIT if with_state else 0
        # Read without the lock: nothing else changes a replica's version during its read.
        calls = [self._call(topic, topic.replica.version or _NO_VERSION, limit) for topic in topics]
        turn = Turn()
        results = []
        for topic, reply in zip(topics, self._run_all(calls), strict=True):
            results.append(self._read_rest(topic, self._decode(topic, reply, turn), turn))
            turn.pause_if_over()
        return results

    def _call(self, topic: Topic, known_version: str, limit: int, after: int = 0) -> Call:
        timings = (self._lease_ms, new_nonce(), self._timeline_ms)
        return topic.record.keys, (known_version, limit, *timings, after, MAX_WATCHED_BYTES)

    def _read_rest(self, topic: Topic, result: WatchResult | None, turn: Turn) -> WatchResult | None:
        """The result with the other pages of its list; None where one of them failed.

        The version stays that of the first page. What has changed since then is in messages, which come
        after it; that they repeat what a later page tells already does no harm.
        """
        after = result.next if result else None
        while result is not None and after is not None:
            [reply] = self._run_each([self._call(topic, _NO_VERSION, NO_LIMIT, after)])
            page = self._decode(topic, reply, turn)
            if page is None or page.state is None or result.state is None:
                return None
            result.state.entries.update(page.state.entries)
            after = page.next
        return result

    def _run_all(self, calls: list[Any]) -> list[Any]:
        """The reply to each call, or the error in its place."""
        if len(calls) > 1:
            try:
                return self._scripts.run_many(self._redis, "watch", calls)
            except PresenceError:
                pass  # one record that is broken, or a node that is dead, fails it for all
        return self._run_each(calls)

    def _run_each(self, calls: list[Any]) -> list[Any]:
        replies: list[Any] = []
        dead_nodes: dict[str | None, StoreUnavailable] = {}  # each costs one timeout
        for keys, arguments in calls:
            node = self._node_of(keys[0])
            if node in dead_nodes:
                replies.append(dead_nodes[node])
                continue
            try:
                replies.append(self._scripts.run(self._redis, "watch", keys, arguments))
            except PresenceError as error:
                replies.append(error)
                if isinstance(error, StoreUnavailable):
                    dead_nodes[node] = error
        return replies

    def _node_of(self, key: str) -> str | None:
        """The name of the Cluster's node that holds a key; None without a Cluster, or if in doubt."""
        try:
            name: str = self._redis.get_node_from_key(key).name
            return name
        except (AttributeError, RedisError, OSError):
            return None

    def _decode(self, topic: Topic, reply: Any, turn: Turn) -> WatchResult | None:
        try:
            if isinstance(reply, PresenceError):
                raise reply
            return _decode_result(reply, turn)
        except StoreUnavailable:
            return None
        except Exception:
            log.exception("a record can't be read", extra={"record": topic.record.name})
            return None


def _decode_result(reply: list[Any], turn: Turn) -> WatchResult:
    _, version, lease_ms_left, *listed = reply
    if not listed:
        return WatchResult(version, lease_ms_left, None)
    is_cut, _, opened_ms, remembered_since_ms, saves, claims, waiting, *pairs = listed
    opened_ms = int(opened_ms)
    entries = {}
    for user, packed in decode_viewer_entries(pairs):
        entries[user] = ViewerEntry(user, packed, opened_ms)
        if not len(entries) % ENTRIES_AT_A_TIME:
            turn.pause_if_over()
    conflicts = decode_conflict_state(remembered_since_ms, saves, claims, waiting)
    state = RecordState(entries, conflicts, opened_ms)
    last = next(reversed(entries.values()), None) if is_cut else None
    return WatchResult(version, lease_ms_left, state, last.arrival if last else None)

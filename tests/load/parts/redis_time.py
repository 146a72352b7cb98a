"""What a heartbeat costs Redis: server time a call, from INFO commandstats."""

import random
from collections.abc import Callable, Iterator
from itertools import count, cycle
from typing import Any

import redis as redis_py

from record_presence.presence.limits import Quota
from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.service import RecordPresenceService
from tests.load.crowd import RECORD_TYPE, Crowd, OpenTab
from tests.load.figures import Rounds, Table, at_most, interleaved
from tests.load.parts import Effort
from tests.load.pipelined import UNCHANGED, Recorder, send
from tests.redis_server import RedisServer

TTL_SECONDS = 3600  # no lease may end while it is measured
ROOMS = (10, 100, 10_000)
UNSAVED_FIELDS = 50
CALLS_LIMIT = 1_000_000_000

# The least that a heartbeat can be: a field, a lease that moves, and two expiries.
BARE = """
redis.call("HSET", KEYS[1], ARGV[1], ARGV[2])
redis.call("ZADD", KEYS[2], ARGV[3], ARGV[1])
redis.call("EXPIRE", KEYS[1], ARGV[4])
redis.call("EXPIRE", KEYS[2], ARGV[4])
return {"OK"}
"""


def run(effort: Effort) -> list[Table]:
    server = RedisServer()
    try:
        with server.client() as client:
            return _Measures(client, effort).tables()
    finally:
        server.close()


class _Measures:
    def __init__(self, client: redis_py.Redis, effort: Effort) -> None:
        self._client = client
        self._effort = effort
        self._beats, self._reads = Recorder(), Recorder(UNCHANGED)
        self._service = RecordPresenceService(self._beats, 1, ttl_seconds=TTL_SECONDS)
        self._reader = RecordPresenceService(self._reads, 1, ttl_seconds=TTL_SECONDS)
        self._checks, self._claims = (
            Recorder((b"OK", b"0", b"0", b"", b"", b"")),
            Recorder((b"OK", b"", b"0")),
        )
        self._asker = RecordPresenceService(self._checks, 1, ttl_seconds=TTL_SECONDS)
        self._claimer = RecordPresenceService(self._claims, 1, ttl_seconds=TTL_SECONDS)
        self._crowd = Crowd()
        self._versions: dict[str, str] = {}
        self._bare = client.script_load(BARE)
        for script in Scripts():
            client.script_load(script.text)
        self._dirty = cycle((True, False))
        self._claim_turns = cycle((True, True, False, False))
        self._lease_ends = count(1_700_000_000_000)

    def tables(self) -> list[Table]:
        rooms = {size: self._open(min(size, self._effort.crowd)) for size in ROOMS}
        fifty = self._open(100)
        measures: dict[str, Callable[[], float]] = {}
        for size, tabs in rooms.items():
            measures[f"bare {size}"] = self._timed(tabs, self._beat_bare)
            measures[f"beat {size}"] = self._timed(tabs, self._beat)
            measures[f"quota {size}"] = self._timed(tabs, self._beat_with_quota)
        measures["change 10"] = self._timed(rooms[10], self._change)
        measures["change 10000"] = self._timed(rooms[10_000], self._change)
        measures["check"] = self._timed(self._open_with_unsaved_fields(), self._check)
        measures["claim"] = self._timed(self._open_with_two_who_edit(), self._claim_in_turn)
        measures["unchanged 50"] = self._timed(fifty, self._read_unchanged)
        measures["list 50"] = self._timed(fifty, self._read)
        measured = interleaved(self._effort.rounds, measures)
        figures = {name: Rounds(tuple(values)) for name, values in measured.items()}
        return [self._steady(figures), self._others(figures)]

    def _steady(self, figures: dict[str, Rounds]) -> Table:
        table = Table(
            "A steady heartbeat, Redis time",
            ("room, tabs", "bare script, µs", "heartbeat, µs", "× bare", "with quota, µs", "× bare", "goal"),
            "Bare: HSET, a ZADD that moves the lease and two EXPIREs in one script, on such keys. With "
            "quota: the user's calls are counted in the same script, as over HTTP. "
            f"Each row has {self._effort.crowd:,} tabs in all.",
        )
        for size in ROOMS:
            bare, beat, quota = (figures[f"{kind} {size}"] for kind in ("bare", "beat", "quota"))
            ratio = beat.over(bare)
            goal = at_most(8, beat, " µs") | at_most(1.5, ratio, "× bare")
            table.add(f"{size:,}", bare, beat, ratio, quota, quota.over(bare), goal)
        ratio = figures["beat 10000"].over(figures["beat 10"])
        quota_ratio = figures["quota 10000"].over(figures["quota 10"])
        table.add("10,000 over 10", None, ratio, None, quota_ratio, None, at_most(1.5, ratio, "×"))
        return table

    def _others(self, figures: dict[str, Rounds]) -> Table:
        table = Table(
            "Other calls, Redis time",
            ("call", "µs", "steady heartbeat of 10, µs", "goal"),
            "A change: a tab becomes dirty, or clean again; its list of viewers changes and is announced.",
        )
        beat = figures["beat 10"]
        table.add("a change in a room of 10", figures["change 10"], beat, None)
        change = figures["change 10000"]
        table.add("a change in a room of 10,000", change, beat, at_most(50, change, " µs"))
        check = figures["check"]
        table.add("a check of 50 unsaved fields in a room of 10,000", check, beat, at_most(100, check, " µs"))
        table.add("claim, wait, pass on and release, each", figures["claim"], beat, None)
        table.add("viewers, unchanged, room of 100", figures["unchanged 50"], beat, None)
        table.add("viewers, 50 of them listed", figures["list 50"], beat, None)
        return table

    def _open(self, size: int) -> list[OpenTab]:
        """Records of this size with all their tabs, in the order in which they will beat."""
        tabs = [tab for room in self._crowd.rooms(size, self._effort.crowd) for tab in room]
        random.Random(1).shuffle(tabs)
        for tab in tabs:
            self._beat(tab)
            self._beat_bare(tab)
        send(self._client, self._beats.take() + self._reads.take())
        return tabs

    def _open_with_unsaved_fields(self) -> list[OpenTab]:
        """Fifty tabs of a large record, each with an unsaved field of its own."""
        tabs = self._open(min(10_000, self._effort.crowd))[:UNSAVED_FIELDS]
        for number, tab in enumerate(tabs):
            self._beat(tab, mode="edit", dirty=True, dirty_fields=[f"field {number}"])
        send(self._client, self._beats.take())
        return tabs

    def _check(self, tab: OpenTab) -> None:
        fields = [f"field {number}" for number in range(UNSAVED_FIELDS)]
        self._asker.check_fields(RECORD_TYPE, tab.record_id, fields, base_version=7)

    def _open_with_two_who_edit(self) -> list[OpenTab]:
        """Two tabs of a small record, twice each: they claim, wait, let go and let go in turn."""
        first, *_, second = self._crowd.room(10)
        for tab in (first, second):
            self._beat(tab, mode="edit")
        send(self._client, self._beats.take())
        return [first, second, first, second]

    def _claim_in_turn(self, tab: OpenTab) -> None:
        names = (RECORD_TYPE, tab.record_id, tab.id, tab.user.id, "title")
        if next(self._claim_turns):
            self._claimer.claim_field(*names, wait=True)
        else:
            self._claimer.release_field(*names)

    def _timed(self, tabs: list[OpenTab], call: Callable[[OpenTab], Any]) -> Callable[[], float]:
        """Microseconds of Redis time a call; each round goes on where the last one stopped."""
        turns: Iterator[OpenTab] = cycle(tabs)

        def measure() -> float:
            for _ in range(self._effort.calls):
                call(next(turns))
            self._client.config_resetstat()
            others = self._checks.take() + self._claims.take()
            send(self._client, self._beats.take() + self._reads.take() + others)
            return self._client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"]

        return measure

    def _beat(self, tab: OpenTab, **options: Any) -> None:
        self._service.update_presence(
            RECORD_TYPE, tab.record_id, tab.id, tab.user.id, tab.user.name, **options
        )

    def _beat_with_quota(self, tab: OpenTab) -> None:
        key = f"tenant_1_presence_calls:{tab.user.id}"
        self._beat(tab, quota=Quota(key, CALLS_LIMIT, 60_000))

    def _change(self, tab: OpenTab) -> None:
        self._beat(tab, dirty=next(self._dirty))

    def _beat_bare(self, tab: OpenTab) -> None:
        tabs_key, seen_key, *_ = Record("1", "bare", tab.record_id).keys
        state = f'["{tab.user.id}","{tab.user.name}"]'
        self._beats.execute_command(
            "EVALSHA", self._bare, 2, tabs_key, seen_key, tab.id, state, next(self._lease_ends), TTL_SECONDS
        )

    def _read(self, tab: OpenTab) -> None:
        self._reader.list_viewers(RECORD_TYPE, tab.record_id, without_user=tab.user.id)

    def _read_unchanged(self, tab: OpenTab) -> None:
        if tab.record_id not in self._versions:
            asked = RecordPresenceService(self._client, 1, ttl_seconds=TTL_SECONDS)
            self._versions[tab.record_id] = asked.list_viewers(RECORD_TYPE, tab.record_id).version
        self._reader.list_viewers(RECORD_TYPE, tab.record_id, known_version=self._versions[tab.record_id])

"""A million open tabs in one Redis: heartbeats at their pace, then nobody beats any more."""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import redis as redis_py

from record_presence.presence.scripts import Scripts
from record_presence.presence.service import RecordPresenceService
from tests.load.crowd import RECORD_TYPE
from tests.load.figures import Goal, Rounds, Table, at_most
from tests.load.pacer import BATCH, ROOMS, Pacers, Plan, Served, tabs_of
from tests.load.parts import Effort
from tests.load.processes import cpu_seconds, memory_mb
from tests.load.progress import say
from tests.redis_server import RedisServer

TABS = 1_000_000
TENANTS = 100
SECONDS = 60.0
BEAT_EVERY_SECONDS = 30.0
TTL_SECONDS = 90.0
SHORTEST_TTL_SECONDS = 5.0
KEYS_LIVE = 2.5  # leases at most, since the last beat
GENERATORS = 2
PROBE_EVERY_SECONDS = 0.005
SLICES = 6  # of the time, for the spread


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it: `effort.crowd` of 10,000 is a million tabs, and 200 a fiftieth of that."""

    tenants: int
    cycles: int  # of ROOMS, a tenant
    beats_a_second: float
    seconds: float
    ttl_seconds: float

    @classmethod
    def of(cls, effort: Effort) -> "Size":
        tabs = TABS * effort.crowd / 10_000
        tenants = max(GENERATORS, round(TENANTS * effort.crowd / 10_000))
        cycles = max(1, round(tabs / tenants / sum(ROOMS)))
        tabs = tenants * cycles * sum(ROOMS)
        time_share = effort.seconds / Effort().seconds
        return cls(
            tenants,
            cycles,
            tabs / BEAT_EVERY_SECONDS,
            SECONDS * time_share,
            max(SHORTEST_TTL_SECONDS, TTL_SECONDS * time_share),
        )


@dataclass(slots=True)
class Watched:
    """What was seen from beside, slice by slice."""

    calls_ms: list[list[float]] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)

    def share(self, share: float) -> Rounds:
        return Rounds(tuple(sorted(calls)[int(share * len(calls))] for calls in self.calls_ms if calls))

    @property
    def longest(self) -> float:
        return max(max(calls) for calls in self.calls_ms if calls)


def run(effort: Effort) -> list[Table]:
    size = Size.of(effort)
    with closing(RedisServer()) as server, server.client() as client:
        for script in Scripts():
            client.script_load(script.text)
        empty_bytes = client.info("memory")["used_memory"]
        shares = [range(1 + i, size.tenants + 1, GENERATORS) for i in range(GENERATORS)]
        plans = [Plan(server.socket, share, size.cycles, size.ttl_seconds) for share in shares]
        with closing(Pacers(plans)) as pacers:
            return _Million(size, server, client, pacers, empty_bytes).tables()


class _Million:
    def __init__(
        self, size: Size, server: RedisServer, client: redis_py.Redis, pacers: Pacers, empty_bytes: int
    ) -> None:
        self._size = size
        self._server = server
        self._client = client
        self._pacers = pacers
        self._empty_bytes = empty_bytes

    def tables(self) -> list[Table]:
        say(f"  opens {self._pacers.tabs:,} tabs")
        self._pacers.start(self._pacers.tabs)
        opened = self._pacers.wait()
        table = Table(
            "A million open tabs" if self._pacers.tabs == TABS else f"{self._pacers.tabs:,} open tabs",
            (
                *("beats", "a second", "served", "goal", "Redis, % of a core", "goal"),
                *("Redis time, µs a call", "call, p50, ms", "p99, ms", "goal", "longest, ms"),
                *("batch, p99, ms", "generators, % of a core"),
            ),
            f"{self._pacers.tabs:,} tabs on {self._pacers.records:,} records of {self._size.tenants} tenants "
            f"in one Redis; each beats every {BEAT_EVERY_SECONDS:g} s, for {self._size.seconds:g} s. The "
            f"calls are those of RecordPresenceService, {BATCH} in a write from {GENERATORS} processes. A "
            "call is timed by a tab that beats beside them on a connection of its own, in Python; a batch "
            f"from its sending to its last answer. The spread is over {SLICES} slices of the time.",
        )
        for quota, name in ((False, "heartbeats"), (True, "with the throttle's count, as over HTTP")):
            self._add_row(table, name, quota=quota)
        return [table, self._memory(opened), self._expiry()]

    def _add_row(self, table: Table, name: str, *, quota: bool) -> None:
        beats = (
            round(self._size.beats_a_second * self._size.seconds / BATCH / GENERATORS) * BATCH * GENERATORS
        )
        say(f"  {name}: {self._size.seconds:g} s")
        service = RecordPresenceService(self._client, 1, ttl_seconds=self._size.ttl_seconds)
        self._client.config_resetstat()
        self._pacers.start(beats, self._size.beats_a_second, quota=quota)
        watched = self._watch(
            lambda: service.update_presence(RECORD_TYPE, "probe", "t1", 1, "Alice"), self._pacers.is_done
        )
        calls = self._client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"]
        served = self._pacers.wait()
        rate = sum(one.beats / one.seconds for one in served)
        share = sum(one.beats for one in served) / beats
        cores = Rounds(tuple(100 * core for core in watched.cores))
        p99 = watched.share(0.99)
        is_served = share == 1 and rate >= 0.99 * self._size.beats_a_second
        table.add(
            name,
            rate,
            f"{share:.0%}",
            Goal(f"all, {self._size.beats_a_second:,.0f} a second", is_served),
            cores,
            at_most(60, cores, " %"),
            calls,
            watched.share(0.5),
            p99,
            at_most(10, p99, " ms"),
            watched.longest,
            1000 * _share_of([second for one in served for second in one.batch_seconds], 0.99),
            100 * sum(one.cpu_seconds for one in served) / max(one.seconds for one in served),
        )

    def _memory(self, opened: Sequence[Served]) -> Table:
        used = self._client.info("memory")["used_memory"] - self._empty_bytes
        calls_key = sum(
            self._client.memory_usage(key) or 0
            for key in self._client.scan_iter("tenant_*_presence_calls:*", count=1000)
        )
        table = Table(
            "Its memory",
            ("tabs", "keys", "used, MB", "bytes a tab", "of these for the throttle", "RSS of Redis, MB"),
            "From INFO, less what an empty Redis uses: keys, their entries in the key space, their expiry. "
            f"All tabs were opened by {sum(one.beats for one in opened):,} calls in "
            f"{max(one.seconds for one in opened):.3g} s.",
        )
        table.add(
            f"{self._pacers.tabs:,}",
            self._client.dbsize(),
            used / 1e6,
            used / self._pacers.tabs,
            calls_key / self._pacers.tabs,
            memory_mb(self._server.pid)[0],
        )
        return table

    def _expiry(self) -> Table:
        """Nobody beats any more, and somebody asks for viewers now and then."""
        say(f"  nobody beats: at most {KEYS_LIVE * self._size.ttl_seconds:g} s")
        keys = self._client.dbsize()
        ids = [(tab.record_id) for tab in tabs_of(1, self._size.cycles)]
        service = RecordPresenceService(self._client, 1, ttl_seconds=self._size.ttl_seconds)
        started = time.monotonic()
        gone_after: list[float] = []

        def is_over() -> bool:
            if not gone_after and self._client.dbsize() == 0:
                gone_after.append(time.monotonic() - started)
            return bool(gone_after) or time.monotonic() - started > KEYS_LIVE * self._size.ttl_seconds

        watched = self._watch(
            lambda: service.list_viewers(RECORD_TYPE, random.choice(ids)),
            is_over,
            self._size.ttl_seconds / SLICES,
        )
        left = self._client.dbsize()
        table = Table(
            "Nobody beats any more",
            (
                *("keys", "left", "goal", "gone after, s", "call, p50, ms", "p99, ms", "goal", "longest, ms"),
                "Redis, % of a core",
            ),
            f"Leases of {self._size.ttl_seconds:g} s; every key expires by itself, a lease later. "
            f"A call asks for the viewers of some record, every {1000 * PROBE_EVERY_SECONDS:g} ms. "
            "Gone: since the last beat, until DBSIZE is 0.",
        )
        p99 = watched.share(0.99)
        table.add(
            f"{keys:,}",
            left,
            Goal("0", left == 0),
            gone_after[0] if gone_after else None,
            watched.share(0.5),
            p99,
            at_most(10, p99, " ms"),
            watched.longest,
            Rounds(tuple(100 * core for core in watched.cores)),
        )
        return table

    def _watch(
        self,
        call: Callable[[], object],
        is_over: Callable[[], bool],
        slice_seconds: float | None = None,
    ) -> Watched:
        """Call now and then until it is over, and look at the clock of Redis's process."""
        slice_seconds = slice_seconds or self._size.seconds / SLICES
        watched = Watched()
        while not is_over():
            calls: list[float] = []
            started, used = time.monotonic(), cpu_seconds(self._server.pid)
            while time.monotonic() - started < slice_seconds and not (len(calls) % 20 == 0 and is_over()):
                called = time.monotonic()
                call()
                answered = time.monotonic()
                calls.append((answered - called) * 1000)
                time.sleep(max(0.0, PROBE_EVERY_SECONDS - (answered - called)))
            seconds = time.monotonic() - started
            # The rest of the last slice is too short to say anything.
            if seconds > slice_seconds / 2 or not watched.calls_ms:
                watched.calls_ms.append(calls)
                watched.cores.append((cpu_seconds(self._server.pid) - used) / seconds)
            else:
                watched.calls_ms[-1] += calls
        return watched


def _share_of(seconds: Sequence[float], share: float) -> float:
    return sorted(seconds)[int(share * len(seconds))]

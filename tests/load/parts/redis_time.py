"""What a heartbeat costs Redis: server time a call, from INFO commandstats."""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import count, cycle, islice
from math import ceil
from statistics import quantiles
from typing import Any

import hiredis
import redis as redis_py

from record_presence.presence.limits import Quota
from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.service import RecordPresenceService
from tests.load.crowd import RECORD_TYPE, Crowd, OpenTab
from tests.load.figures import Rounds, Table, at_most
from tests.load.parts import Effort
from tests.load.pipelined import UNCHANGED, Recorder, Wire
from tests.load.progress import say, steps
from tests.load.rounds import in_turns
from tests.redis_server import RedisServer

TTL_SECONDS = 3600  # no lease may end while it is measured, nor any window of the throttle
ROOMS = (10, 100, 10_000)
UNSAVED_FIELDS = 50
CALLS_LIMIT = 1_000_000_000
SLICES = 50  # of a round
UNDONE_AFTER = 25  # changes

# The least that a heartbeat can be: a field, a lease that moves, and two expiries; then with a count.
BARE = """
redis.call("HSET", KEYS[1], ARGV[1], ARGV[2])
redis.call("ZADD", KEYS[2], ARGV[3], ARGV[1])
redis.call("EXPIRE", KEYS[1], ARGV[4])
redis.call("EXPIRE", KEYS[2], ARGV[4])
return {"OK"}
"""
BARE_COUNTED = f"""
if redis.call("INCR", KEYS[3]) == 1 then
  redis.call("EXPIRE", KEYS[3], ARGV[4])
end
{BARE}"""


def run(effort: Effort) -> list[Table]:
    say("  writes the calls down")
    calls = _Calls(effort)
    turns = range(1, effort.rounds + 1)
    rounds = [_round(calls, effort) for _ in steps(turns, lambda _: "all figures, on a new Redis")]
    figures = {name: Rounds(tuple(one[name] for one in rounds)) for name in rounds[0]}
    return [_steady(figures, effort), _others(figures)]


def _round(calls: "_Calls", effort: Effort) -> dict[str, float]:
    """Microseconds of Redis time a call, on a new server: how one lies in memory decides nothing.

    The figures take turns, slices of a millisecond or two each, and a figure is the lower quartile of its
    slices: a neighbour on the machine makes some of them longer, and none shorter. Of pairs that are
    compared, each is first as often.
    """
    with closing(RedisServer()) as server, server.client() as client, closing(Wire(server.socket)) as wire:
        for text in (BARE, BARE_COUNTED, *(script.text for script in Scripts())):
            client.script_load(text)
        wire.send(calls.opening)
        known = calls.unchanged(client)
        turns = {name: cycle(commands) for name, commands in {**calls.by_figure, **known}.items()}
        measure = in_turns(
            {name: _timed(client, wire, turn, calls.slice_calls(name)) for name, turn in turns.items()}
        )
        slices = [measure() for _ in range(SLICES)]
    return {name: quantiles(one[name] for one in slices)[0] for name in turns}


def _timed(client: redis_py.Redis, wire: Wire, commands: Iterator[bytes], calls: int) -> Callable[[], float]:
    """Microseconds a call; each slice goes on where the last one stopped."""

    def measure() -> float:
        next_calls = list(islice(commands, calls))
        client.config_resetstat()
        wire.send(next_calls)
        stats = client.info("commandstats")["cmdstat_evalsha"]
        return stats["usec"] / stats["calls"]

    return measure


def _steady(figures: dict[str, Rounds], effort: Effort) -> Table:
    table = Table(
        "A steady heartbeat, Redis time",
        (
            *("room, tabs", "bare script, µs", "heartbeat, µs", "× bare", "goal"),
            *("bare with a count, µs", "counted heartbeat, µs", "× bare with a count", "goal"),
        ),
        "Bare: HSET, a ZADD that moves the lease and two EXPIREs in one script, on such keys. Counted: the "
        "user's calls are counted in the same script, as always over HTTP; its bare script has an INCR more. "
        f"Each row has {effort.crowd:,} tabs in all. A round is a new Redis, and of each figure the lower "
        f"quartile of {SLICES} slices of time, in turns: a neighbour on the machine makes none shorter.",
    )
    for size in ROOMS:
        cells: list[object] = []
        for bare_name, beat_name in (("bare", "beat"), ("bare counted", "counted")):
            bare, beat = figures[f"{bare_name} {size}"], figures[f"{beat_name} {size}"]
            ratio = beat.over(bare)
            cells += bare, beat, ratio, at_most(8, beat, " µs") | at_most(1.5, ratio, "× bare")
        table.add(f"{size:,}", *cells)
    ratios: list[object] = []
    for beat_name in ("beat", "counted"):
        ratio = figures[f"{beat_name} 10000"].over(figures[f"{beat_name} 10"])
        ratios += None, None, ratio, at_most(1.5, ratio, "×")
    table.add("10,000 over 10", *ratios)
    return table


def _others(figures: dict[str, Rounds]) -> Table:
    table = Table(
        "Other calls, Redis time",
        ("call", "µs", "goal", "× steady heartbeat of 10"),
        "A change: a tab becomes dirty, or clean again; its list of viewers changes and is announced.",
    )
    beat = figures["beat 10"]
    for name, text, limit_us in (
        ("change 10", "a change in a room of 10", None),
        ("change 10000", "a change in a room of 10,000", 50),
        ("check", f"a check of {UNSAVED_FIELDS} unsaved fields in a room of 10,000", 100),
        ("claim", "claim, wait, pass on and release, each", None),
        ("unchanged 50", "viewers, unchanged, room of 100", None),
        ("list 50", "viewers, 50 of them listed", None),
    ):
        figure = figures[name]
        table.add(text, figure, limit_us and at_most(limit_us, figure, " µs"), figure.over(beat))
    return table


class _Calls:
    """Every call as it goes over the wire, written down once: making one takes longer than it takes Redis.

    Each figure has as many calls as there are tabs, so that all records take part.
    """

    def __init__(self, effort: Effort) -> None:
        self._effort = effort
        self._recorder = Recorder()
        self._service = RecordPresenceService(self._recorder, 1, ttl_seconds=TTL_SECONDS)
        self._crowd = Crowd()
        self._lease_ends = count(1_700_000_000_000)
        self.opening: list[bytes] = []
        self.by_figure: dict[str, list[bytes]] = {}
        for size in ROOMS:
            tabs = self._open(size)
            for name, script in (("bare", BARE), ("bare counted", BARE_COUNTED)):
                self.opening += self._bare(tabs, script)
                # Never the same one twice, so that each moves a lease.
                passes = ceil(SLICES * self.slice_calls(name) / len(tabs))
                self.by_figure[f"{name} {size}"] = self._bare(tabs * passes, script)
            self.by_figure[f"beat {size}"] = self._beats(tabs)
            self.by_figure[f"counted {size}"] = self._counted(tabs)
            self.opening += self.by_figure[f"counted {size}"]
        for size in (10, 10_000):
            tabs = self._open(size)  # records of their own, where nobody beats in between
            self.by_figure[f"change {size}"] = [
                command
                for first in range(0, len(tabs), UNDONE_AFTER)
                for dirty in (True, False)
                for command in self._beats(tabs[first : first + UNDONE_AFTER], dirty=dirty)
            ]
        self._listed = self._open(100)
        self.by_figure["list 50"] = self._reads(
            lambda reader, tab: reader.list_viewers(RECORD_TYPE, tab.record_id, without_user=tab.user.id)
        )
        self.by_figure["check"] = self._checks()
        self.by_figure["claim"] = self._claims()

    def _checks(self) -> list[bytes]:
        """By tabs of a large record, each of which has a field of its own unsaved."""
        tabs = self._open(10_000)[:UNSAVED_FIELDS]
        fields = [f"field {number}" for number in range(UNSAVED_FIELDS)]
        for tab, field in zip(tabs, fields, strict=True):
            self.opening += self._beats([tab], mode="edit", dirty=True, dirty_fields=[field])
        recorder = Recorder((b"OK", b"0", b"0", b"", b"", b""))
        service = RecordPresenceService(recorder, 1, ttl_seconds=TTL_SECONDS)
        for tab in tabs:
            service.check_fields(RECORD_TYPE, tab.record_id, fields, base_version=7)
        return recorder.take_packed()

    def _claims(self) -> list[bytes]:
        """Two tabs of a record: one claims, the other waits, and both let go in turn."""
        first, *_, second = self._crowd.room(10)
        self.opening += self._beats([first, second], mode="edit")
        recorder = Recorder((b"OK", b"", b"0"))
        service = RecordPresenceService(recorder, 1, ttl_seconds=TTL_SECONDS)
        for tab in (first, second):
            service.claim_field(RECORD_TYPE, tab.record_id, tab.id, tab.user.id, "title", wait=True)
        for tab in (first, second):
            service.release_field(RECORD_TYPE, tab.record_id, tab.id, tab.user.id, "title")
        return recorder.take_packed()

    def slice_calls(self, name: str) -> int:
        """How many calls of a figure take a millisecond or two."""
        is_dear = name.startswith(("change", "check", "claim", "list"))
        return max(10, self._effort.calls // (50 if is_dear else 10))

    def unchanged(self, client: redis_py.Redis) -> dict[str, list[bytes]]:
        """Questions by those who know this server's versions of the records."""
        asked = RecordPresenceService(client, 1, ttl_seconds=TTL_SECONDS)
        records = {tab.record_id for tab in self._listed}
        versions = {record: asked.list_viewers(RECORD_TYPE, record).version for record in records}
        return {
            "unchanged 50": self._reads(
                lambda reader, tab: reader.list_viewers(
                    RECORD_TYPE, tab.record_id, known_version=versions[tab.record_id]
                )
            )
        }

    def _open(self, size: int) -> list[OpenTab]:
        """Records of this size with all their tabs, in the order in which they will beat."""
        rooms = self._crowd.rooms(min(size, self._effort.crowd), self._effort.crowd)
        tabs = [tab for room in rooms for tab in room]
        random.Random(1).shuffle(tabs)
        self.opening += self._beats(tabs)
        return tabs

    def _beats(self, tabs: Iterable[OpenTab], **options: Any) -> list[bytes]:
        for tab in tabs:
            self._beat(tab, **options)
        return self._recorder.take_packed()

    def _counted(self, tabs: Iterable[OpenTab]) -> list[bytes]:
        for tab in tabs:
            self._beat(tab, quota=Quota(_calls_key(tab), CALLS_LIMIT, TTL_SECONDS * 1000))
        return self._recorder.take_packed()

    def _beat(self, tab: OpenTab, **options: Any) -> None:
        self._service.update_presence(
            RECORD_TYPE, tab.record_id, tab.id, tab.user.id, tab.user.name, **options
        )

    def _bare(self, tabs: Iterable[OpenTab], script: str) -> list[bytes]:
        commands = []
        for tab in tabs:
            tabs_key, seen_key, *_ = Record("1", "bare", tab.record_id).keys
            keys = [tabs_key, seen_key]
            if script == BARE_COUNTED:
                keys.append(f"bare_{_calls_key(tab)}")
            state = f'["{tab.user.id}","{tab.user.name}"]'
            arguments = (tab.id, state, next(self._lease_ends), TTL_SECONDS)
            commands.append(hiredis.pack_command(("EVALSHA", _sha(script), len(keys), *keys, *arguments)))
        return commands

    def _reads(self, ask: Callable[[RecordPresenceService, OpenTab], Any]) -> list[bytes]:
        recorder = Recorder(UNCHANGED)
        reader = RecordPresenceService(recorder, 1, ttl_seconds=TTL_SECONDS)
        for tab in self._listed:
            ask(reader, tab)
        return recorder.take_packed()


def _calls_key(tab: OpenTab) -> str:
    return f"tenant_1_presence_calls:{tab.user.id}"


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode()).hexdigest()

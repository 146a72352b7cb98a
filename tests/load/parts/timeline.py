"""What the timeline takes from heartbeats, and what it holds: the same calls with it on and off."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random

import redis as redis_py

from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.service import RecordPresenceService
from record_presence.settings import read_settings
from tests.load.clients import Clients
from tests.load.crowd import RECORD_TYPE, Crowd, OpenTab
from tests.load.figures import Rounds, Table, at_least, at_most
from tests.load.generator import CONNECTIONS, Generator
from tests.load.parts import Effort
from tests.load.parts.http import ENVIRONMENT, TABS
from tests.load.pipelined import Recorder, send
from tests.load.rounds import in_turns, interleaved
from tests.load.servers import PROCESSES, Service
from tests.redis_server import RedisServer

ROOM = 10  # tabs
SECONDS = {"off": 0, "on": 86_400}
# Of so many heartbeats one changes what a viewer list shows; None: none does.
LOADS = {"steady": None, "one in ten a change": 10, "all of them changes": 1}
WITH_GOAL = ("steady", "one in ten a change")  # nobody changes something every time
FIELDS = ("name", "status", "owner", "description", "steps")
FINE = 4  # times the rounds, where a difference of half a microsecond is looked for
ENTRIES = 1_000  # as many as a timeline holds


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat that is to be sent."""

    tab: OpenTab
    is_dirty: bool


def run(effort: Effort) -> list[Table]:
    return [_redis_time(effort), _over_http(effort), _memory(effort)]


def _beats(tabs: list[OpenTab], change_every: int | None) -> list[Beat]:
    """Every tab beats twice; those that change something undo it the second time."""
    return [
        Beat(tab, change_every is not None and i % change_every == 0 and is_first)
        for is_first in (True, False)
        for i, tab in enumerate(tabs)
    ]


# Redis time


def _redis_time(effort: Effort) -> Table:
    table = Table(
        "A heartbeat with the timeline, Redis time",
        ("heartbeats", "off, µs", "on, µs", "throughput on over off", "goal"),
        f"CPU time of Redis a call, from INFO cpu: the way in and out is in it, and no neighbour on the "
        f"machine. Rooms of {ROOM}. A change: a tab becomes dirty, or clean again.",
    )
    with closing(RedisServer()) as server, server.client() as client:
        for script in Scripts():
            client.script_load(script.text)
        pairs = {
            load: in_turns(
                {name: _timed(client, effort, every, seconds) for name, seconds in SECONDS.items()}
            )
            for load, every in LOADS.items()
        }
        measured = interleaved(FINE * effort.rounds, pairs)
    for load, rounds in measured.items():
        off, on = (Rounds(tuple(figures[name] for figures in rounds)) for name in SECONDS)
        table.add(load, off, on, share := off.over(on), at_least(0.95, share) if load in WITH_GOAL else None)
    return table


def _timed(
    client: redis_py.Redis, effort: Effort, change_every: int | None, timeline_seconds: int
) -> Callable[[], float]:
    """Microseconds of Redis's CPU a call; each round goes on where the last one stopped."""
    recorder = Recorder()
    tenant = f"{change_every}-{timeline_seconds}"
    service = RecordPresenceService(recorder, tenant, ttl_seconds=3600, timeline_seconds=timeline_seconds)
    tabs = [tab for room in Crowd().rooms(ROOM, min(TABS, effort.crowd)) for tab in room]
    turns: Iterator[Beat] = cycle(_beats(tabs, change_every))

    def beat(count: int) -> None:
        for _ in range(count):
            turn = next(turns)
            tab = turn.tab
            service.update_presence(
                RECORD_TYPE, tab.record_id, tab.id, tab.user.id, tab.user.name, "edit", turn.is_dirty
            )
        send(client, recorder.take())

    beat(2 * len(tabs))
    calls = max(20, effort.calls // 2)

    def measure() -> float:
        before = _cpu_seconds(client)
        beat(calls)
        return (_cpu_seconds(client) - before) / calls * 1e6

    return measure


def _cpu_seconds(client: redis_py.Redis) -> float:
    used = client.info("cpu")
    return used["used_cpu_user"] + used["used_cpu_sys"]


# Over HTTP


def _over_http(effort: Effort) -> Table:
    table = Table(
        "Heartbeats over HTTP with the timeline",
        ("heartbeats", "off, a second", "on, a second", "on over off", "goal", "CPU, off over on"),
        f"Two services of {PROCESSES} processes, each with a Redis; {CONNECTIONS} connections to one of them "
        "at a time. The tabs come in the first round. CPU is that of gunicorn's workers, a request.",
    )
    with ExitStack() as stack:
        measures: dict[str, dict[str, Callable[[], tuple[float, float]]]] = {}
        for timeline, seconds in SECONDS.items():
            redis = stack.enter_context(closing(RedisServer()))
            environment = {
                **ENVIRONMENT,
                "REDIS_URL": f"unix://{redis.socket}",
                "PRESENCE_TIMELINE_SECONDS": str(seconds),
            }
            service = stack.enter_context(closing(Service("tests.load.floor:app", **environment)))
            generator = stack.enter_context(closing(Generator(service.url)))
            for load in WITH_GOAL:
                requests = generator.write(
                    f"{timeline}-{load}".replace(" ", "-"), _requests(environment, effort, LOADS[load])
                )
                measures.setdefault(load, {})[timeline] = _sent(service, generator, requests, effort)
        pairs = {load: in_turns(both) for load, both in measures.items()}
        measured = interleaved(effort.rounds, pairs)
    for load, rounds in measured.items():
        (off, off_cpu), (on, on_cpu) = (
            tuple(map(Rounds, zip(*(figures[name] for figures in rounds), strict=True))) for name in SECONDS
        )
        share = on.over(off)
        table.add(load, off, on, share, at_least(0.95, share), off_cpu.over(on_cpu))
    return table


def _sent(
    service: Service, generator: Generator, requests: Path, effort: Effort
) -> Callable[[], tuple[float, float]]:
    """Requests a second, and seconds of CPU a request."""

    def measure() -> tuple[float, float]:
        before = service.cpu_seconds()
        answered = generator.send(requests, effort.seconds)
        return answered.a_second, (service.cpu_seconds() - before) / answered.requests

    return measure


def _requests(environment: dict[str, str], effort: Effort, change_every: int | None) -> Iterator[bytes]:
    clients = Clients(read_settings(environment))
    crowd = Crowd(seed=change_every or 0)  # records of its own
    tabs = [tab for room in crowd.rooms(ROOM, min(TABS, effort.crowd)) for tab in room]
    for beat in _beats(tabs, change_every):
        yield clients.beat(beat.tab, mode="edit", dirty=beat.is_dirty)


# Memory


def _memory(effort: Effort) -> Table:
    table = Table(
        "Memory of a full timeline",
        ("timelines", "entries", "bytes an entry", "goal"),
        "MEMORY USAGE of the stream, all samples, over its entries: people come, go from field to field, "
        "leave some of them unsaved, save, and go.",
    )
    with closing(RedisServer()) as server, server.client() as client:
        timelines = [_live_through(client, Crowd(seed=seed)) for seed in range(max(1, effort.rounds))]
    figure = Rounds(tuple(size / entries for size, entries in timelines))
    table.add(str(len(timelines)), timelines[0][1], figure, at_most(120, figure, " bytes"))
    return table


def _live_through(client: redis_py.Redis, crowd: Crowd) -> tuple[int, int]:
    """Bytes and entries of a timeline that a record has filled: up to six people, some with two tabs."""
    random = Random(crowd.user().id)
    service = RecordPresenceService(client, 1, timeline_seconds=86_400)
    tabs = crowd.room(12)
    record_id, key = tabs[0].record_id, Record("1", RECORD_TYPE, tabs[0].record_id).timeline_key
    lock_version = 4_711
    while client.xlen(key) < ENTRIES:
        tab = random.choice(tabs)
        who = (tab.user.id, tab.user.name)
        unsaved = random.sample(FIELDS, random.choice((0, 0, 1, 1, 2, 3)))
        match random.choice(("beat", "beat", "beat", "beat", "save", "leave")):
            case "beat":
                service.update_presence(
                    *(RECORD_TYPE, record_id, tab.id, *who, "edit", bool(unsaved)),
                    active_field=random.choice((None, *FIELDS)),
                    dirty_fields=unsaved,
                )
            case "save" if unsaved:
                lock_version += 1
                service.record_saved(RECORD_TYPE, record_id, lock_version, unsaved, *who, tab.id)
            case "leave":
                service.remove_presence(RECORD_TYPE, record_id, tab.id, tab.user.id)
    return client.memory_usage(key, samples=0) or 0, client.xlen(key)

"""What open streams cost, how soon a change is on all of them, and what they take from the heartbeats."""

import http.client
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from urllib.parse import urlsplit

from record_presence.settings import read_settings
from tests.load.arrivals import Arrivals, Seen
from tests.load.clients import Clients, register
from tests.load.crowd import Crowd, OpenTab
from tests.load.figures import Goal, Rounds, Table, at_least, at_most
from tests.load.generator import CONNECTIONS, Answered, Generator
from tests.load.parts import Effort
from tests.load.parts.http import ENVIRONMENT
from tests.load.processes import memory_mb
from tests.load.progress import steps
from tests.load.readers import MARK, Readers
from tests.load.rounds import interleaved
from tests.load.servers import PROCESSES, Service
from tests.redis_server import RedisServer

BEATS_A_SECOND = 200.0  # in the background: more than 5,000 tabs send, each every 30 s
CHANGES_A_SECOND = 2.5  # less than a crowded record tells, so that each is told by itself
FEW = 100  # streams of one record
COMMENT_PERIOD = 7.5  # times `effort.seconds`: by then each idle stream has had its comment
JOINERS_WATCHED_BY = 20
CHANGING = 10  # one in so many beats changes something, where beats change


def run(effort: Effort) -> list[Table]:
    bench = _Bench(effort)
    measured = interleaved(effort.rounds, {"few": bench.few_of_one_record, "all": bench.all_of_one_record})
    return [
        bench.memory_table(measured),
        bench.latency_table(measured),
        *bench.heartbeat_tables(),
        bench.crowd_table(),
    ]


@dataclass(frozen=True, slots=True)
class Held:
    """One process with its streams open, once."""

    rss_kb: float  # a stream
    pss_kb: float
    opened_a_second: float
    idle_cpu: float  # of a core
    arrivals_ms: tuple[float, ...]  # from the sending of a change to the last stream that shows it
    answers_ms: tuple[float, ...]  # to its own answer
    beats: Seen


class _Bench:
    def __init__(self, effort: Effort) -> None:
        self._effort = effort
        self._settings = read_settings({**ENVIRONMENT, "REDIS_URL": "redis://nowhere"})
        self._streams = effort.crowd // 2
        self._changes = max(5, effort.calls // 50)
        self._clients = Clients(self._settings)

    def few_of_one_record(self) -> Held:
        """All streams but 100 are of records with two viewers, and 100 of one record."""
        crowd = Crowd(seed=11)
        few = min(FEW, self._streams // 2)
        pairs = [crowd.room(3)[1:] for _ in range((self._streams - few) // 2)]  # two users, a tab each
        return self._hold(pairs, crowd.room(2 * few + 1)[::2])

    def all_of_one_record(self) -> Held:
        """All streams are of one record, which everybody has open who streams it."""
        return self._hold([], Crowd(seed=12).room(2 * self._streams + 1)[::2])

    def _hold(self, others: Sequence[Sequence[OpenTab]], room: Sequence[OpenTab]) -> Held:
        *watching, changing = room
        tabs = [tab for other in others for tab in other] + watching
        with ExitStack() as stack:
            redis, service = self._start(stack, WEB_CONCURRENCY="1")
            self._register(redis, [*tabs, changing])
            readers = stack.enter_context(closing(Readers(service.url)))
            beaters = stack.enter_context(closing(Arrivals(service.url)))
            beaters.start([self._clients.beat(tab) for tab in tabs[:1000]], BEATS_A_SECOND)
            time.sleep(self._effort.seconds)  # the first calls of a process load what all need
            beaters.seen()

            (worker,) = service.workers
            before = memory_mb(worker)
            started = time.monotonic()
            readers.open([self._clients.stream(tab.user, [tab.record_id]) for tab in tabs])
            seconds = time.monotonic() - started
            rss_kb, pss_kb = (
                (now - then) * 1000 / len(tabs) for now, then in zip(memory_mb(worker), before, strict=True)
            )
            beaters.seen()
            arrivals, answers = self._change(service, readers, changing, len(watching))
            beats = beaters.stop()
            beaters.close()
            return Held(
                rss_kb, pss_kb, len(tabs) / seconds, self._idle_cpu(service), arrivals, answers, beats
            )

    def _start(self, stack: ExitStack, **settings: str) -> tuple[RedisServer, Service]:
        redis = stack.enter_context(closing(RedisServer()))
        settings = {**ENVIRONMENT, "REDIS_URL": f"unix://{redis.socket}", **settings}
        return redis, stack.enter_context(closing(Service(**settings)))

    def _register(self, redis: RedisServer, tabs: Sequence[OpenTab], *, within_seconds: float = 0) -> None:
        with redis.client() as client:
            register(client, self._settings, tabs, within_seconds=within_seconds)

    def _change(
        self, service: Service, readers: Readers, tab: OpenTab, streams: int
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Milliseconds until a change was on the last stream, and until it was answered."""
        address = urlsplit(service.url)
        arrivals, answers = [], []
        with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)) as caller:
            for number in range(self._changes):
                mark = f"{MARK}{number}"
                sent = time.monotonic()
                self._clients.call(caller, tab, mode="edit", active_field=mark)
                answered = time.monotonic()
                arrivals.append((readers.arrival(mark, streams).last - sent) * 1000)
                answers.append((answered - sent) * 1000)
                # Not in step with anything of the service.
                time.sleep(random.uniform(1, 1.2) / CHANGES_A_SECOND)
        return tuple(arrivals), tuple(answers)

    def _idle_cpu(self, service: Service) -> float:
        """Share of a core that the service uses while nothing happens but comments, sweeps and probes."""
        used, started = service.cpu_seconds(), time.monotonic()
        for _ in range(10):
            time.sleep(self._effort.seconds * COMMENT_PERIOD / 10)
        return (service.cpu_seconds() - used) / (time.monotonic() - started)

    def memory_table(self, measured: dict[str, list[Held]]) -> Table:
        table = Table(
            "Open streams of one process",
            ("streams", "RSS a stream, KB", "goal", "PSS a stream, KB", "opened a second", "idle CPU, %"),
            f"{self._streams:,} streams on one gevent process, each with a user and a connection of its own. "
            "Memory is what the process has grown by, 1 KB is 1,000 bytes. Idle CPU is that of a core while "
            "nobody beats: each stream gets its comment, each record its sweep.",
        )
        for name, text in (("few", "of records with two viewers"), ("all", "of one record")):
            rss_kb = _figure(measured[name], "rss_kb")
            table.add(
                text,
                rss_kb,
                at_most(40, rss_kb, " KB"),
                _figure(measured[name], "pss_kb"),
                _figure(measured[name], "opened_a_second"),
                Rounds(tuple(100 * held.idle_cpu for held in measured[name])),
            )
        return table

    def latency_table(self, measured: dict[str, list[Held]]) -> Table:
        columns = (
            *("streams of the record", "p50, ms", "p99, ms", "goal", "longest, ms"),
            *("its answer, p50, ms", "beats, p50, ms", "beats, p99, ms"),
        )
        table = Table(
            "From a change to the last stream of its record",
            columns,
            f"From the sending of the heartbeat that changes something until the last stream has it, "
            f"{self._changes} changes a round; {self._streams:,} streams are open on one gevent process, and "
            f"{BEATS_A_SECOND:g} beats a second go on, whose latency counts from when each was due. Readers, "
            "beats, Redis and process share the machine.",
        )
        few = min(FEW, self._streams // 2)
        for name, streams, goal_ms in (("few", few, 100), ("all", self._streams, 250)):
            arrivals = [sorted(held.arrivals_ms) for held in measured[name]]
            p99 = Rounds(tuple(_share(times, 0.99) for times in arrivals))
            table.add(
                f"{streams:,}",
                Rounds(tuple(_share(times, 0.5) for times in arrivals)),
                p99,
                at_most(goal_ms, p99, " ms"),
                Rounds(tuple(times[-1] for times in arrivals)),
                Rounds(tuple(_share(sorted(held.answers_ms), 0.5) for held in measured[name])),
                Rounds(tuple(held.beats.latency.percentile_ms(50) for held in measured[name])),
                Rounds(tuple(held.beats.latency.percentile_ms(99) for held in measured[name])),
            )
        return table

    def heartbeat_tables(self) -> list[Table]:
        """Two services with a Redis each: the records of one are streamed, those of the other not."""
        with ExitStack() as stack:
            measures: dict[str, Callable[[], Answered]] = {}
            for name, streams in (("alone", 0), ("streamed", 2)):
                redis, service = self._start(stack, WEB_CONCURRENCY=str(PROCESSES))
                generator = stack.enter_context(closing(Generator(service.url)))
                tabs = self._streamed_tabs(stack, redis, service, streams)
                steady = generator.write("steady", (self._clients.beat(tab) for tab in tabs))
                changing = generator.write("changing", self._changing_beats(tabs))
                generator.send(
                    steady, min(1, self._effort.seconds)
                )  # the first second of a process is not like the others
                for kind, requests in (("steady", steady), ("changing", changing)):
                    measures[f"{kind} {name}"] = lambda send=generator.send, requests=requests: send(
                        requests, self._effort.seconds
                    )
            measured = interleaved(self._effort.rounds, measures)
        table = Table(
            "Heartbeats while their records are streamed",
            ("beats", "nobody streams, beats/s", "two streams a record, beats/s", "share", "goal", "p99, ms"),
            f"{PROCESSES} gevent processes, {CONNECTIONS} connections, records of 1 to 10 tabs, and for each "
            "record two streams of others, with all that they cost: the readers run on the same machine.",
        )
        for kind, text in (
            ("steady", "nothing changes"),
            ("changing", f"one in {CHANGING} changes something"),
        ):
            alone, streamed = (
                Rounds(tuple(one.a_second for one in measured[f"{kind} {name}"]))
                for name in ("alone", "streamed")
            )
            share = streamed.over(alone)
            goal = at_least(0.9, share) if kind == "steady" else None
            p99 = Rounds(tuple(one.p99_ms for one in measured[f"{kind} streamed"]))
            table.add(text, alone, streamed, share, goal, p99)
        return [table]

    def _streamed_tabs(
        self, stack: ExitStack, redis: RedisServer, service: Service, streams: int
    ) -> list[OpenTab]:
        crowd = Crowd(seed=13)
        rooms = [
            room for size in (1, 2, 3, 10) for room in crowd.rooms(size, min(400, self._effort.crowd // 4))
        ]
        tabs = [tab for room in rooms for tab in room]
        self._register(redis, tabs)
        if streams:
            readers = stack.enter_context(closing(Readers(service.url)))
            readers.open(
                [
                    self._clients.stream(crowd.user(), [room[0].record_id])
                    for room in rooms
                    for _ in range(streams)
                ]
            )
        return tabs

    def _changing_beats(self, tabs: Sequence[OpenTab]) -> Iterable[bytes]:
        """As many rounds as it takes for each tab to become dirty and clean again."""
        for turn in range(2 * CHANGING):
            for i, tab in enumerate(tabs):
                yield self._clients.beat(tab, dirty=(i + turn) % (2 * CHANGING) < CHANGING)

    def crowd_table(self) -> Table:
        joining = max(20, self._effort.crowd // 10)

        def join() -> tuple[float, float, float, float]:
            crowd = Crowd(seed=14)
            tabs = crowd.room(2 * joining)[::2]
            with ExitStack() as stack:
                redis, service = self._start(stack, WEB_CONCURRENCY="1")
                readers = stack.enter_context(closing(Readers(service.url)))
                watching = [crowd.user() for _ in range(JOINERS_WATCHED_BY)]
                readers.open([self._clients.stream(user, [tabs[0].record_id]) for user in watching])
                readers.events()
                started = time.monotonic()
                self._register(redis, tabs, within_seconds=1)
                seconds = time.monotonic() - started
                while set(readers.shown()) != {joining}:
                    if time.monotonic() > started + 30:
                        raise RuntimeError("the last of them was never shown")
                    time.sleep(0.02)
                shown = time.monotonic() - started
                return seconds, shown - seconds, max(events := readers.events()), min(events)

        turns = range(1, self._effort.rounds + 1)
        rounds = [join() for _ in steps(turns, lambda turn: f"a crowd joins, {turn}")]
        seconds, behind, most, fewest = (Rounds(values) for values in zip(*rounds, strict=True))
        table = Table(
            "A crowd that joins at once",
            (
                *("viewers", "joined within, s", "events of a stream, most", "goal", "fewest"),
                "all are shown after, s",
            ),
            f"{JOINERS_WATCHED_BY} streams watch; in the end each shows every viewer. After: since the last "
            "one joined.",
        )
        few = Goal("≤ 5 a second", most.median <= 5 * max(1.0, seconds.median + behind.median), (most,))
        table.add(f"{joining:,}", seconds, most, few, fewest, behind)
        return table


def _figure(measured: Sequence[Held], name: str) -> Rounds:
    return Rounds(tuple(getattr(held, name) for held in measured))


def _share(times: Sequence[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))]

"""How long heartbeats wait while their process does something large, and what holds it longest."""

import http.client
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from record_presence.api.paths import API_PREFIX
from record_presence.presence.service import RecordPresenceService
from record_presence.settings import read_settings
from tests.load.arrivals import Arrivals, Seen
from tests.load.clients import Clients, path_of, register
from tests.load.crowd import RECORD_TYPE, Crowd, OpenTab, User
from tests.load.figures import Rounds, Table, at_most
from tests.load.latency import Latency
from tests.load.parts import Effort
from tests.load.parts.http import ENVIRONMENT
from tests.load.probes import PROBES, longest_hold_ms
from tests.load.progress import steps
from tests.load.readers import MARK, Readers
from tests.load.servers import PROCESSES, Service
from tests.redis_server import RedisServer

BEATS_A_SECOND = 200.0
LARGEST_LIST = 1_000  # the highest `limit`
BATCH = 100  # records in one call
OPENS_A_SECOND = 100.0
WARMING = 20  # opens before: the first ones of a process load what all need
WATCHED = 50  # viewers of the record that these open
PAUSE_SECONDS = 0.4  # between two changes: a crowded record tells three a second
JOINERS = 20  # at once: more than are told one by one


def run(effort: Effort) -> list[Table]:
    bench = _Bench(effort)
    return [bench.holds_table(), *bench.opening_tables()]


@dataclass(frozen=True, slots=True)
class _Busy:
    """What heartbeats saw while a process did something, once."""

    beats: Seen
    hold_ms: float
    last_ms: tuple[float, ...]  # each time it was done, until it was done for the last


class _Bench:
    def __init__(self, effort: Effort) -> None:
        self._effort = effort
        self._settings = read_settings({**ENVIRONMENT, "REDIS_URL": "redis://nowhere"})
        self._clients = Clients(self._settings)
        self._streams = effort.crowd // 2

    def holds_table(self) -> Table:
        measured = [
            self._measure_holds()
            for _ in steps(range(self._effort.rounds), lambda turn: f"all of it, {turn + 1}")
        ]
        table = Table(
            "Heartbeats while their process is busy",
            (
                *("meanwhile", "beats, p50, ms", "beats, p99, ms", "goal", "longest, ms"),
                *("done after, ms", "goal", "longest hold, ms", "goal"),
            ),
            f"{BEATS_A_SECOND:g} beats a second on one gevent process, timed from when each was due, while "
            f"it does this {self._times} times, or for {self._effort.seconds:g} s. Done after: the last "
            "reader has it, or the answer is here. The longest hold is the CPU time that one greenlet has "
            "run before it let any other: no neighbour on the machine is in it.",
        )
        for name in measured[0]:
            rounds = [one[name] for one in measured]
            p99 = Rounds(tuple(busy.beats.latency.percentile_ms(99) for busy in rounds))
            last = Rounds(tuple(sorted(busy.last_ms)[len(busy.last_ms) // 2] for busy in rounds))
            hold = Rounds(tuple(busy.hold_ms for busy in rounds))
            table.add(
                name,
                Rounds(tuple(busy.beats.latency.percentile_ms(50) for busy in rounds)),
                p99,
                at_most(25, p99, " ms"),
                Rounds(tuple(busy.beats.latency.longest_ms for busy in rounds)),
                last,
                at_most(250, last, " ms") if name.startswith("a change") else None,
                hold,
                at_most(10, hold, " ms"),
            )
        return table

    @property
    def _times(self) -> int:
        return max(2, self._effort.calls // 200)

    def _start(
        self, stack: ExitStack, application: str = "wsgi:app", **settings: str
    ) -> tuple[RedisServer, Service]:
        redis = stack.enter_context(closing(RedisServer()))
        settings = {**ENVIRONMENT, "REDIS_URL": f"unix://{redis.socket}", **settings}
        return redis, stack.enter_context(closing(Service(application, **settings)))

    def _measure_holds(self) -> dict[str, _Busy]:
        crowd = Crowd(seed=21)
        changing, *watching = crowd.room(2 * self._streams + 1)[::2]  # who came first is in every snapshot
        joiners = [OpenTab(f"joiner-{i}", changing.record_id, crowd.user()) for i in range(JOINERS)]
        full = [crowd.room(max(2, self._effort.crowd // 50)) for _ in range(BATCH)]
        with ExitStack() as stack:
            redis, service = self._start(stack, "holds:app", PYTHONPATH=str(PROBES), WEB_CONCURRENCY="1")
            client = stack.enter_context(redis.client())
            register(client, self._settings, [changing, *watching, *(tab for room in full for tab in room)])
            presence = RecordPresenceService(client, 1, ttl_seconds=self._settings.ttl_seconds)
            readers = stack.enter_context(closing(Readers(service.url)))
            caller = stack.enter_context(closing(_Caller(service.url, self._clients)))
            requests = [self._clients.stream(tab.user, [tab.record_id]) for tab in watching]
            beaters = stack.enter_context(closing(Arrivals(service.url)))
            # Of those in the crowd: they change nothing, and their streams are told of nothing.
            beats = [self._clients.beat(tab) for tab in watching[:1000]]

            def while_(*actions: Callable[[], float]) -> _Busy:
                longest_hold_ms(caller.connection)
                beaters.start(beats, BEATS_A_SECOND)
                last_ms = tuple(action() for action in actions)
                return _Busy(beaters.stop(), longest_hold_ms(caller.connection), last_ms)

            def nothing() -> float:
                time.sleep(self._effort.seconds)
                return 0.0

            def opening() -> float:
                started = time.monotonic()
                readers.open(requests)
                return (time.monotonic() - started) * 1000

            marks = iter(range(1_000_000))

            def change() -> float:
                time.sleep(PAUSE_SECONDS)
                mark = f"{MARK}{next(marks)}"
                started = time.monotonic()
                self._clients.call(caller.connection, changing, mode="edit", active_field=mark)
                return (readers.arrival(mark, len(watching)).last - started) * 1000

            def snapshot() -> float:
                time.sleep(PAUSE_SECONDS)
                for tab in joiners:
                    presence.update_presence(RECORD_TYPE, tab.record_id, tab.id, tab.user.id, tab.user.name)
                come = change()
                for tab in joiners:
                    presence.remove_presence(RECORD_TYPE, tab.record_id, tab.id, user_id=tab.user.id)
                return come

            names = [f"{RECORD_TYPE}:{room[0].record_id}" for room in full]
            largest = f"{path_of(changing, 'viewers')}?limit={LARGEST_LIST}"
            query = urlencode([("record", name) for name in names])
            tabs = f"{path_of(changing, 'tabs')}?limit={LARGEST_LIST}"
            times = range(self._times)
            while_(nothing)  # the first calls of a process load what all need
            return {
                "nothing else": while_(nothing),
                f"{self._streams:,} streams open": while_(opening),
                f"a change is told to {self._streams:,} streams": while_(*(change for _ in times)),
                f"a snapshot is sent to {self._streams:,} streams": while_(*(snapshot for _ in times)),
                f"the viewers of {BATCH} full records are listed": while_(
                    *(lambda: caller.get(f"{API_PREFIX}/viewers?{query}", changing.user) for _ in times)
                ),
                f"{self._streams:,} viewers are listed": while_(
                    *(lambda: caller.get(largest, changing.user) for _ in times)
                ),
                "as many tabs as fit are listed": while_(
                    *(lambda: caller.get(tabs, changing.user) for _ in times)
                ),
            }

    def opening_tables(self) -> list[Table]:
        turns = steps(range(1, self._effort.rounds + 1), lambda turn: f"opens and reconnects, {turn}")
        waited, seconds = zip(*(self._measure_opening() for _ in turns), strict=True)
        opening = Table(
            "Opening a stream",
            ("viewers of the record", "p50, ms", "p99, ms", "goal", "longest, ms"),
            f"From when a stream was due to be opened until its snapshot is here, {OPENS_A_SECOND:g} opens a "
            f"second at random times; {PROCESSES} gevent processes, each stream of a user whose token no "
            "process has seen, on a connection of its own.",
        )
        p99 = Rounds(tuple(one.percentile_ms(99) for one in waited))
        opening.add(
            str(WATCHED),
            Rounds(tuple(one.percentile_ms(50) for one in waited)),
            p99,
            at_most(10, p99, " ms"),
            Rounds(tuple(one.longest_ms for one in waited)),
        )
        again = Table(
            "All streams reconnect",
            ("streams", "all have their snapshot after, s", "goal"),
            f"They were open on {PROCESSES} gevent processes, are cut off, and come back as fast as they are "
            "served; all of one record, and the readers share the machine.",
        )
        again.add(f"{self._streams:,}", Rounds(seconds), at_most(3, Rounds(seconds), " s"))
        return [opening, again]

    def _measure_opening(self) -> tuple[Latency, float]:
        """How long opens at a rate took, and the seconds until all streams of a crowd were open again."""
        crowd = Crowd(seed=22)
        room, tabs = crowd.room(2 * WATCHED), crowd.room(2 * self._streams)[::2]
        with ExitStack() as stack:
            redis, service = self._start(stack, WEB_CONCURRENCY=str(PROCESSES))
            with redis.client() as client:
                register(client, self._settings, [*room, *tabs])
            count = max(10, round(OPENS_A_SECOND * self._effort.seconds))
            requests = [
                self._clients.stream(crowd.user(), [room[0].record_id]) for _ in range(count + WARMING)
            ]
            all_tabs = [self._clients.stream(tab.user, [tab.record_id]) for tab in tabs]
            with closing(Readers(service.url)) as readers:
                readers.open(requests[:WARMING])
                waited = readers.arrive(requests[WARMING:], OPENS_A_SECOND)
                readers.open(all_tabs)
            with closing(Readers(service.url)) as readers:
                started = time.monotonic()
                readers.open(all_tabs)
                return waited, time.monotonic() - started


class _Caller:
    """One who asks for much, on a connection that stays."""

    def __init__(self, url: str, clients: Clients) -> None:
        address = urlsplit(url)
        self.connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        self._clients = clients

    def get(self, path: str, user: User) -> float:
        """Milliseconds until the answer is here. Raises RuntimeError where it is refused."""
        started = time.monotonic()
        self.connection.request("GET", path, headers=self._clients.headers(user))
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path[:100]}: {answer.status} {content[:200]!r}")
        return (time.monotonic() - started) * 1000

    def close(self) -> None:
        self.connection.close()

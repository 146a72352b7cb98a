"""`python -m tests.load.compare A B`: two commits, measured in turns, and which of them is better in what.

Both are served at the same time, each with a Redis of its own, and driven over HTTP alone, so that neither
has to know of the other. A is `16cb060`, for instance, and B `HEAD`, or `.` for the files as they lie here.
"""

import argparse
import http.client
import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from urllib.parse import urlsplit

from record_presence.settings import read_settings
from tests.load.arrivals import Arrivals
from tests.load.clients import Clients
from tests.load.crowd import Crowd, OpenTab
from tests.load.exports import write_csv, write_json
from tests.load.figures import Rounds, Table, short
from tests.load.generator import CONNECTIONS, Generator
from tests.load.machine import facts
from tests.load.parts.http import ENVIRONMENT
from tests.load.probes import PROBES, longest_hold_ms
from tests.load.progress import say, show, steps
from tests.load.readers import MARK, Readers
from tests.load.rounds import in_turns
from tests.load.servers import Service
from tests.load.trees import Tree, check_out
from tests.load.workspace import workspace
from tests.redis_server import RedisServer

CONFIDENCE = 0.99  # of a verdict
LEAST_ROUNDS = 8  # with fewer, chance puts all of them on one side more often than that
SETTINGS = {
    **ENVIRONMENT,
    "PRESENCE_JWT_KEY": "a key of the comparison, which both sides verify with",
    "WEB_CONCURRENCY": "1",
}
ROOM_SIZES = (1, 1, 2, 3, 10)
TABS = 1_000
LISTED = 100  # tabs of a record whose viewers are listed
CHANGES = 5  # a round, told to all streams
PAUSE_SECONDS = 0.4  # between them: a crowded record tells three a second
BACKGROUND_A_SECOND = 200.0


@dataclass(frozen=True, slots=True)
class Figure:
    """What is compared."""

    name: str
    is_more_better: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.load.compare", description=__doc__)
    parser.add_argument("a", metavar="A", help="a commit")
    parser.add_argument("b", metavar="B", help="another one; . is the checkout as it lies here")
    parser.add_argument(
        "--rounds", type=int, default=8, help=f"at least {LEAST_ROUNDS} (default %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of each load in a round (default %(default)s)"
    )
    parser.add_argument(
        "--streams", type=int, default=1_000, help="that a change is told to; 0: none (default %(default)s)"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="every round of every figure")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="a line a figure")
    options = parser.parse_args()
    if options.rounds < LEAST_ROUNDS or options.seconds <= 0 or options.streams < 0:
        parser.error(f"rounds: at least {LEAST_ROUNDS}, seconds: more than 0, streams: 0 or more")
    show()
    with workspace():
        folder = Path(mkdtemp())
        try:
            trees = [
                check_out(revision, folder / side) for side, revision in (("a", options.a), ("b", options.b))
            ]
        except ValueError as error:
            sys.exit(str(error))
        table = compare(trees, options.rounds, options.seconds, options.streams)
        print(table.markdown())
        measured = {"compare": [table]}
        if options.json:
            with options.json.open("w", encoding="utf-8") as file:
                write_json(file, facts(), measured)
        if options.csv:
            with options.csv.open("w", encoding="utf-8") as file:
                write_csv(file, measured)


def compare(trees: Sequence[Tree], rounds: int, seconds: float, streams: int) -> Table:
    """Serve both, measure them in turns, and judge."""
    with ExitStack() as stack:
        sides = {}
        for name, tree in zip("AB", trees, strict=True):
            say(f"  {name}: starts {tree.commit}, and opens tabs")
            sides[name] = _Side(stack, tree, seconds, streams)
        rate = min(side.half_rate() for side in sides.values())
        measure = in_turns({name: lambda side=side: side.measure(rate) for name, side in sides.items()})
        turns = range(1, rounds + 1)
        measured = [measure() for _ in steps(turns, lambda _: "all figures of both")]
    table = Table(
        "Two commits",
        ("figure", f"A: {trees[0].commit}", f"B: {trees[1].commit}", "B over A", "B is"),
        f"One gevent process each, with a Redis of its own, in turns: {rounds} rounds, and in every other "
        f"round B first. {CONNECTIONS} connections where nothing else is said; at a rate: {rate:,.0f} "
        "calls a second, half of what the slower one manages, timed from when each was due. The ratio is "
        "taken round by round. B is better or worse where at least 99 % of such measurements would have "
        "the median of the ratio on that side of 1; in brackets, between which ratios it lies.",
    )
    for figure in measured[0]["A"]:
        a, b = (Rounds(tuple(one[side][figure] for one in measured)) for side in sides)
        ratio = b.over(a)
        table.add(figure.name, a, b, ratio, judge(ratio, is_more_better=figure.is_more_better))
    return table


def judge(ratio: Rounds, *, is_more_better: bool) -> str:
    """Whether B is better than A, by their ratio in each round."""
    low, high = ratio.interval(CONFIDENCE)
    spread = f"({short(low)} to {short(high)})"
    if low <= 1 <= high:
        return f"no different, as far as is seen {spread}"
    return f"{'better' if (low > 1) == is_more_better else 'WORSE'} {spread}"


class _Side:
    """A commit that is served, with what it is sent."""

    def __init__(self, stack: ExitStack, tree: Tree, seconds: float, streams: int) -> None:
        self._seconds = seconds
        self._redis = stack.enter_context(closing(RedisServer()))
        self._client = stack.enter_context(self._redis.client())
        self._service = self._serve(stack, tree)
        self._generator = stack.enter_context(closing(Generator(self._service.url)))
        self._arrivals = stack.enter_context(closing(Arrivals(self._service.url)))
        self._clients = Clients(read_settings({**SETTINGS, "REDIS_URL": "redis://nowhere"}))
        crowd = Crowd()
        rooms = [room for size in ROOM_SIZES for room in crowd.rooms(size, TABS // len(ROOM_SIZES))]
        beating, changing = [tab for room in rooms for tab in room], self._rooms(crowd, 10)
        self._bytes_a_tab, versions = self._open(beating)
        listed = self._rooms(crowd, LISTED)
        self._open([*changing, *listed])
        self._beats = [self._clients.beat(tab, version=versions[tab.record_id]) for tab in beating]
        loads = {
            "heartbeat": self._beats,
            "change": [self._clients.beat(tab, dirty=dirty) for dirty in (True, False) for tab in changing],
            "viewers, 50 listed": [self._clients.viewers(tab) for tab in listed],
        }
        self._loads = {
            name: self._generator.write(re.sub(r"\W+", "-", name), lines) for name, lines in loads.items()
        }
        # Streams have a service of their own, and take nothing from the other figures.
        self._streams = (
            _Streams(stack, self._serve(stack, tree, "holds:app"), self._clients, crowd, streams)
            if streams
            else None
        )

    def _serve(self, stack: ExitStack, tree: Tree, application: str = "wsgi:app") -> Service:
        settings = {**SETTINGS, "REDIS_URL": f"unix://{self._redis.socket}", **tree.environment}
        settings["PYTHONPATH"] = os.pathsep.join([str(PROBES), settings.get("PYTHONPATH", "")])
        service = Service(
            application, directory=tree.directory, python=tree.python, config=tree.config, **settings
        )
        return stack.enter_context(closing(service))

    @staticmethod
    def _rooms(crowd: Crowd, size: int) -> list[OpenTab]:
        return [tab for room in crowd.rooms(size, TABS) for tab in room]

    def _open(self, tabs: Sequence[OpenTab]) -> tuple[float, dict[str, str]]:
        """Bytes a tab of all keys of the records, and the records' versions."""
        with closing(connection_to(self._service)) as caller:
            versions = {tab.record_id: self._clients.call(caller, tab)["version"] for tab in tabs}
        keys = self._client.scan_iter("*record_presence:*", count=1000)
        used = sum(self._client.memory_usage(key, samples=0) or 0 for key in keys)
        return used / len(tabs), versions

    def half_rate(self) -> float:
        """Half of what is answered in a closed loop, calls a second."""
        return self._generator.send(self._loads["heartbeat"], self._seconds).a_second / 2

    def measure(self, rate: float) -> dict[Figure, float]:
        """Every figure once."""
        figures: dict[Figure, float] = {}
        for name, requests in self._loads.items():
            self._client.config_resetstat()
            cpu_seconds = self._service.cpu_seconds()
            answered = self._generator.send(requests, self._seconds)
            cpu_seconds = self._service.cpu_seconds() - cpu_seconds
            script_us = self._client.info("commandstats")["cmdstat_evalsha"]["usec"]
            figures[Figure(f"{name}: answered a second", is_more_better=True)] = answered.a_second
            figures[Figure(f"{name}: CPU of gunicorn, µs")] = cpu_seconds / answered.requests * 1e6
            figures[Figure(f"{name}: scripts in Redis, µs")] = script_us / answered.requests
            figures[Figure(f"{name}: p99, ms")] = answered.p99_ms
        seen = self._arrivals.measure(self._beats, rate, self._seconds)
        for percent in (50, 99):
            figures[Figure(f"heartbeat at a rate: p{percent}, ms")] = seen.latency.percentile_ms(percent)
        if self._streams:
            figures |= self._streams.measure(self._beats)
        figures[Figure("all keys, timeline included, bytes a tab")] = self._bytes_a_tab
        return figures


class _Streams:
    """One record that many stream, and beats of others in the same process."""

    def __init__(
        self, stack: ExitStack, service: Service, clients: Clients, crowd: Crowd, streams: int
    ) -> None:
        self._clients = clients
        self._count = streams
        (self._changing,) = crowd.room(1)
        self._changes = 0
        self._caller = stack.enter_context(closing(connection_to(service)))
        self._readers = stack.enter_context(closing(Readers(service.url)))
        self._readers.open([clients.stream(crowd.user(), [self._changing.record_id]) for _ in range(streams)])
        self._arrivals = stack.enter_context(closing(Arrivals(service.url)))

    def measure(self, beats: Sequence[bytes]) -> dict[Figure, float]:
        longest_hold_ms(self._caller)
        self._arrivals.start(beats, BACKGROUND_A_SECOND)
        last_ms = []
        for _ in range(CHANGES):
            self._changes += 1
            mark = f"{MARK}{self._changes}"
            sent = time.monotonic()
            self._clients.call(self._caller, self._changing, mode="edit", active_field=mark)
            last_ms.append((self._readers.arrival(mark, self._count).last - sent) * 1000)
            time.sleep(PAUSE_SECONDS)
        told = f"a change told to {self._count:,} streams"
        return {
            Figure(f"{told}: the last has it, ms"): median(last_ms),
            Figure(f"{told}: beats meanwhile, p99, ms"): self._arrivals.stop().latency.percentile_ms(99),
            Figure(f"{told}: longest hold, ms of CPU"): longest_hold_ms(self._caller),
        }


def connection_to(service: Service) -> http.client.HTTPConnection:
    """A connection that stays."""
    address = urlsplit(service.url)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)


if __name__ == "__main__":
    main()

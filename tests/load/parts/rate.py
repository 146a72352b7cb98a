"""Latency of heartbeats that arrive at a given rate: an open loop, all percentiles."""

from collections.abc import Callable
from contextlib import ExitStack, closing

from record_presence.settings import read_settings
from tests.load.arrivals import CONNECTIONS, Arrivals, Seen
from tests.load.clients import Clients, register, steady_beats
from tests.load.crowd import Crowd
from tests.load.figures import Rounds, Table, at_most
from tests.load.generator import Generator
from tests.load.latency import Latency
from tests.load.parts import Effort
from tests.load.parts.http import ENVIRONMENT, tabs_of_small_rooms
from tests.load.progress import say
from tests.load.rounds import interleaved
from tests.load.servers import PROCESSES, Service
from tests.redis_server import RedisServer

SHARES = (0.25, 0.5, 0.75)  # of what is answered in a closed loop
JUDGED_SHARE = 0.5


def run(effort: Effort) -> list[Table]:
    with ExitStack() as stack:
        redis = stack.enter_context(closing(RedisServer()))
        environment = {**ENVIRONMENT, "REDIS_URL": f"unix://{redis.socket}"}
        settings = read_settings(environment)
        service = stack.enter_context(closing(Service(**environment)))
        arrivals = stack.enter_context(closing(Arrivals(service.url)))
        tabs = tabs_of_small_rooms(Crowd(), effort)
        with redis.client() as client:
            versions = register(client, settings, tabs)
        beats = list(steady_beats(Clients(settings), tabs, versions))
        rates: list[tuple[float, float | None]] = (
            [(effort.rate, None)] if effort.rate else _rates(service, beats, effort)
        )

        def measure(rate: float) -> Callable[[], Seen]:
            return lambda: arrivals.measure(beats, rate, effort.seconds)

        arrivals.measure(beats, rates[0][0], min(1, effort.seconds))  # connects
        measured = interleaved(effort.rounds, {f"{rate:,.0f} a second": measure(rate) for rate, _ in rates})
    return [_table(rates, list(measured.values()), effort)]


def _rates(service: Service, beats: list[bytes], effort: Effort) -> list[tuple[float, float | None]]:
    """Rates, each with its share of what a closed loop has answered."""
    with closing(Generator(service.url)) as generator:
        requests = generator.write("beats", beats)
        generator.send(requests, min(1, effort.seconds))  # the first second is not like the others
        full = generator.send(requests, effort.seconds).a_second
    say(f"  {full:,.0f} a second were answered in a closed loop")
    return [(full * share, share) for share in SHARES]


def _table(rates: list[tuple[float, float | None]], measured: list[list[Seen]], effort: Effort) -> Table:
    table = Table(
        "Heartbeats that arrive at a rate",
        (
            *("arrive, a second", "of full load", "answered, a second"),
            *("p50, ms", "p90, ms", "p99, ms", "goal"),
            *("p99.9, ms", "longest, ms", "p99 from sending, ms", "sent late, p99, ms"),
        ),
        "An open loop: calls arrive as independent users send them (a Poisson process), whether or not "
        f"the last ones are answered; {CONNECTIONS} connections, {PROCESSES} gevent processes, "
        f"{effort.rounds} rounds of {effort.seconds:g} s. Latency counts from when a call was due, so that "
        "nothing is omitted while the service hangs; from sending is what a closed loop would have seen. "
        "Sent late: no connection was free, or the generator, which shares the machine, was not in time. "
        "p99.9 and the last three columns are of all rounds together. Full load is what wrk's 16 "
        "connections were answered just before.",
    )
    for (rate, share), rounds in zip(rates, measured, strict=True):
        p50, p90, p99 = (
            Rounds(tuple(one.latency.percentile_ms(percent) for one in rounds)) for percent in (50, 90, 99)
        )
        whole = Latency.merged(one.latency for one in rounds)
        name = f"{rate:,.0f}"
        table.add(
            name,
            share,
            Rounds(tuple(one.a_second for one in rounds)),
            p50,
            p90,
            p99,
            at_most(10, p99, " ms") if share == JUDGED_SHARE else None,
            whole.percentile_ms(99.9),
            whole.longest_ms,
            Latency.merged(one.from_sending for one in rounds).percentile_ms(99),
            Latency.merged(one.sent_late for one in rounds).percentile_ms(99),
        )
        table.latencies[name] = whole
    return table

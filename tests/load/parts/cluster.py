"""What a change costs all nodes of a Cluster together, by the number of nodes and by how it is published."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.service import RecordPresenceService
from record_presence.redis_client.client import connect
from record_presence.settings import read_settings
from tests.load.clients import Clients, register
from tests.load.crowd import RECORD_TYPE, Crowd, OpenTab
from tests.load.figures import Rounds, Table, at_most
from tests.load.parts import Effort
from tests.load.parts.http import ENVIRONMENT
from tests.load.readers import Readers
from tests.load.rounds import interleaved
from tests.load.servers import PROCESSES, Service
from tests.redis_cluster import RedisCluster

SIZES = (3, 6)  # primaries
RECORDS = 60
# Setting, and the command that publishes.
KINDS = {"no": "PUBLISH", "auto": "SPUBLISH"}
RUN = 20  # changes of each record before the next node has its turn
MESSAGE = "x" * 220
MESSAGES = 1_000  # in a pipeline
DECISION_SECONDS = 30.0
ATTEMPTS = 3
MOST_GROWTH = 1.1


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of CPU of all nodes together, once, beyond what they use when nothing happens."""

    change_us: float
    message_us: float


def run(effort: Effort) -> list[Table]:
    measures = {
        f"{kind} on {size}": partial(_measure_whole, size, kind, effort) for size in SIZES for kind in KINDS
    }
    measured = interleaved(effort.rounds, measures)
    table = Table(
        "CPU of all nodes of a Cluster",
        (
            *("published by", *(f"a change at {size} nodes, µs" for size in SIZES), "growth", "goal"),
            *(*(f"a message alone at {size} nodes, µs" for size in SIZES), "its growth"),
        ),
        "User and system time by INFO of all primaries, less what they use when nothing happens. A change: "
        f"a heartbeat that changes one of {RECORDS} records, each streamed by {PROCESSES} processes. The "
        f"nodes have their turns, for {RUN} changes of each of their records: here they share two cores, and "
        "a script takes a fifth longer where its node finds another one's data in the caches. "
        f"A message alone: {len(MESSAGE)} bytes on a channel that nobody listens to.",
    )
    for kind, command in KINDS.items():
        changes, messages = (
            [Rounds(tuple(getattr(cost, name) for cost in measured[f"{kind} on {size}"])) for size in SIZES]
            for name in ("change_us", "message_us")
        )
        growth = changes[-1].over(changes[0])
        goal = at_most(MOST_GROWTH, growth) if kind == "auto" else None
        table.add(command, *changes, growth, goal, *messages, messages[-1].over(messages[0]))
    return [table]


def _measure_whole(size: int, kind: str, effort: Effort) -> Cost:
    """Again where the machine was so busy that a stream was refused."""
    for _ in range(ATTEMPTS - 1):
        try:
            return _measure(size, kind, effort)
        except RuntimeError as error:
            if "503" not in str(error):
                raise
    return _measure(size, kind, effort)


def _measure(size: int, kind: str, effort: Effort) -> Cost:
    settings = read_settings({**ENVIRONMENT, "REDIS_URL": "redis://nowhere"})
    tabs = [room[0] for room in Crowd(seed=15).rooms(1, RECORDS)]
    with ExitStack() as stack:
        cluster = stack.enter_context(closing(RedisCluster(primaries=size)))
        client = stack.enter_context(closing(connect(cluster.url)))
        scripts = Scripts(may_publish_sharded=kind == "auto")
        presence = RecordPresenceService(client, 1, scripts=scripts)
        register(client, settings, tabs)
        _stream(stack, cluster, kind, Clients(settings), tabs)
        _change(presence, tabs[:1], number=1)
        _wait_for(scripts, publishes_sharded=kind == "auto")
        nodes = _by_node(client, tabs)
        change_us = _cpu_us(cluster, effort.seconds, lambda _: _change_in_runs(presence, nodes))
        message_us = _cpu_us(cluster, effort.seconds, lambda _: _publish(client, KINDS[kind]))
        return Cost(change_us, message_us)


def _stream(
    stack: ExitStack, cluster: RedisCluster, kind: str, clients: Clients, tabs: list[OpenTab]
) -> None:
    """Let each of several processes stream every record."""
    for _ in range(PROCESSES):
        own = {"REDIS_URL": cluster.url, "WEB_CONCURRENCY": "1", "PRESENCE_SHARDED_PUBSUB": kind}
        service = stack.enter_context(closing(Service(**{**ENVIRONMENT, **own})))
        readers = stack.enter_context(closing(Readers(service.url)))
        watcher = Crowd(seed=16)
        readers.open([clients.stream(watcher.user(), [tab.record_id]) for tab in tabs])


def _wait_for(scripts: Scripts, *, publishes_sharded: bool) -> None:
    deadline = time.monotonic() + DECISION_SECONDS
    while scripts.publishes_sharded != publishes_sharded:
        if time.monotonic() > deadline:
            raise RuntimeError("this server does not take SPUBLISH")
        time.sleep(0.05)


def _cpu_us(cluster: RedisCluster, seconds: float, work: Callable[[int], int]) -> float:
    """Of one of the things that `work` does; it is told how often it was called, and says how many it did."""
    with _cpu_seconds(cluster) as idle:
        time.sleep(seconds)
    count, number = 0, 0
    with _cpu_seconds(cluster) as used:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            number += 1
            count += work(number)
    spent = used[0] - idle[0] / idle[1] * used[1]
    return spent / count * 1e6


@contextmanager
def _cpu_seconds(cluster: RedisCluster) -> Iterator[list[float]]:
    """CPU time of all primaries, and how long that was."""
    found: list[float] = []
    before, started = _cpu_of(cluster), time.monotonic()
    yield found
    found += [_cpu_of(cluster) - before, time.monotonic() - started]


def _cpu_of(cluster: RedisCluster) -> float:
    infos = [cluster.client(port).info("cpu") for port in cluster.ports]
    return sum(float(info["used_cpu_user"]) + float(info["used_cpu_sys"]) for info in infos)


def _by_node(client: Any, tabs: list[OpenTab]) -> list[list[OpenTab]]:
    """The tabs of each node's records."""
    nodes: dict[str, list[OpenTab]] = {}
    for tab in tabs:
        key = Record("1", RECORD_TYPE, str(tab.record_id)).keys[0]
        nodes.setdefault(client.get_node_from_key(key).name, []).append(tab)
    return list(nodes.values())


def _change_in_runs(presence: RecordPresenceService, nodes: list[list[OpenTab]]) -> int:
    """Changes of all records, many at each node before the next one."""
    return sum(_change(presence, tabs, number) for tabs in nodes for number in range(RUN))


def _change(presence: RecordPresenceService, tabs: list[OpenTab], number: int) -> int:
    """Each tab becomes dirty, or clean again; returns how many changes that were."""
    for tab in tabs:
        presence.update_presence(
            RECORD_TYPE, tab.record_id, tab.id, tab.user.id, tab.user.name, "edit", number % 2 == 0
        )
    return len(tabs)


def _publish(client: Any, command: str) -> int:
    """In pipelines, so that the commands count and not the calls."""
    channel = Record("2", RECORD_TYPE, "1").channel
    node = client.get_redis_connection(client.get_node_from_key(channel))
    pipeline = node.pipeline(transaction=False)
    for _ in range(MESSAGES):
        pipeline.execute_command(command, channel, MESSAGE)
    pipeline.execute()
    return MESSAGES

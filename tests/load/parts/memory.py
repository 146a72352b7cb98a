"""What a tab costs in memory: all keys of its record, from MEMORY USAGE."""

from statistics import fmean

import redis as redis_py

from record_presence.presence.records import Record
from record_presence.presence.service import RecordPresenceService
from tests.load.crowd import RECORD_TYPE, Crowd
from tests.load.figures import Rounds, Table, at_most
from tests.load.parts import Effort
from tests.load.progress import steps
from tests.redis_server import RedisServer

GOALS_BYTES = {1: 740, 3: 310, 10: 190, 100: 150, 1_000: 300, 10_000: 340}


def run(effort: Effort) -> list[Table]:
    table = Table(
        "Memory of a record",
        ("tabs", "records", "bytes a tab", "goal", "tabs", "leases", "viewers"),
        "Two tabs a user; MEMORY USAGE of every key, all samples. The spread is over records of one size.",
    )
    server = RedisServer()
    try:
        with server.client() as client:
            sizes = [size for size in GOALS_BYTES if size <= effort.crowd]
            for size in steps(sizes, lambda size: f"rooms of {size:,}"):
                _measure(client, size, GOALS_BYTES[size], effort, table)
    finally:
        server.close()
    return [table]


def _measure(client: redis_py.Redis, size: int, goal_bytes: int, effort: Effort, table: Table) -> None:
    client.flushall()
    service = RecordPresenceService(client, 1)
    rooms = Crowd(seed=size).rooms(size, min(effort.crowd, size * 300))
    totals, by_key = [], []
    for room in rooms:
        for i, tab in enumerate(room):
            # One in four edits, as in an office; one in eight has unsaved work.
            mode, field = ("edit", "description") if i % 4 == 0 else ("view", None)
            service.update_presence(
                RECORD_TYPE,
                tab.record_id,
                tab.id,
                tab.user.id,
                tab.user.name,
                mode,
                i % 8 == 0,
                active_field=field,
            )
        keys = Record("1", RECORD_TYPE, room[0].record_id).keys
        sizes = [client.memory_usage(key, samples=0) or 0 for key in keys]
        totals.append(sum(sizes) / size)
        by_key.append([bytes_ / size for bytes_ in sizes])
    figure = Rounds(tuple(totals))
    tabs, seen, viewers, order, *_others = (fmean(column) for column in zip(*by_key, strict=True))
    table.add(f"{size:,}", len(rooms), figure, at_most(goal_bytes, figure), tabs, seen, viewers + order)

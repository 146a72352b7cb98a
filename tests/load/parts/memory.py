"""What a tab costs in memory: the keys of its record, by MEMORY USAGE, and all of it, by used_memory."""

from collections.abc import Iterable
from dataclasses import replace
from statistics import fmean

import redis as redis_py

from record_presence.presence.records import Record
from record_presence.presence.service import RecordPresenceService
from tests.load.crowd import RECORD_TYPE, Crowd, OpenTab
from tests.load.figures import Rounds, Table, at_most
from tests.load.parts import Effort
from tests.load.progress import steps
from tests.redis_server import RedisServer

TABS_IN_ALL = 3_000
# Of all of Redis: what a peer takes that keeps less of a tab, and has no index of open records.
PEER_BYTES = {1: 824, 3: 385, 10: 244, 100: 184, 1_000: 366, 10_000: 388}
GOALS_BYTES = {1: 740, 3: 310, 10: 190, 100: 150, 1_000: 300, 10_000: 340}


def run(effort: Effort) -> list[Table]:
    table = Table(
        "Memory of a record",
        ("tabs", "records", "bytes a tab", "goal", "tabs", "leases", "viewers"),
        "Two tabs a user; MEMORY USAGE of every key, all samples. The spread is over records of one size.",
    )
    in_all = Table(
        "Memory of Redis",
        ("tabs", "records", "bytes a tab", "goal", "with the index of open records"),
        f"By used_memory: the key space as well. {min(effort.crowd, TABS_IN_ALL):,} tabs or one record, two "
        "tabs a user, ids of 27 letters, names of 14, all edit with unsaved changes; no timeline. The goal "
        "is a peer's, which has no index of open records. That index takes the most where each user has one "
        "record open.",
    )
    server = RedisServer()
    try:
        with server.client() as client:
            sizes = [size for size in GOALS_BYTES if size <= effort.crowd]
            for size in steps(sizes, lambda size: f"rooms of {size:,}"):
                _measure(client, size, GOALS_BYTES[size], effort, table)
                _measure_in_all(client, size, min(effort.crowd, max(TABS_IN_ALL, size)), in_all)
    finally:
        server.close()
    return [table, in_all]


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


def _measure_in_all(client: redis_py.Redis, size: int, tabs: int, table: Table) -> None:
    rooms = [
        [
            replace(tab, id=f"{tab.id:x<27}", user=replace(tab.user, name=f"{tab.user.name:x<14}"[:14]))
            for tab in room
        ]
        for room in Crowd(seed=size).rooms(size, tabs)
    ]
    plain, indexed = (
        Rounds((_bytes_a_tab(client, rooms, has_open_index=has_index),)) for has_index in (False, True)
    )
    table.add(f"{size:,}", len(rooms), plain, at_most(PEER_BYTES[size], plain), indexed)


def _bytes_a_tab(client: redis_py.Redis, rooms: list[list[OpenTab]], *, has_open_index: bool) -> float:
    service = RecordPresenceService(client, 1, has_open_index=has_open_index)
    _open(service, rooms[:1])  # so that the scripts are loaded
    client.flushall()
    empty_bytes = client.info("memory")["used_memory"]
    _open(RecordPresenceService(client, 1, has_open_index=has_open_index), rooms)
    return float(client.info("memory")["used_memory"] - empty_bytes) / sum(map(len, rooms))


def _open(service: RecordPresenceService, rooms: Iterable[list[OpenTab]]) -> None:
    for room in rooms:
        for tab in room:
            service.update_presence(
                RECORD_TYPE, tab.record_id, tab.id, tab.user.id, tab.user.name, "edit", True
            )

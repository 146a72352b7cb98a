"""`make soak`: people come and go for ten minutes, then all leave, and nothing of it may be left.

`python -m tests.faults.soak [MINUTES]`; a run of ten minutes or more is written to SOAK.md.
"""

import asyncio
import contextlib
import itertools
import os
import platform
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from record_presence.api.events import COMMENT_INTERVAL_SECONDS
from record_presence.presence.streaming.replica import MAX_SAVES
from tests.api.client import token
from tests.faults.browser_http import Answer, Connection
from tests.faults.judge import Judge
from tests.faults.people import People
from tests.gunicorn_server import GunicornServer
from tests.redis_server import RedisServer

RESULTS = Path(__file__).with_name("SOAK.md")
MINUTES = 10.0
TIMELINE_SECONDS = 2
LATE_SECONDS = 5.0  # on a busy machine
SAMPLES = 4  # on the way

# What may be left of the memory, beyond the base: heaps don't give back every page.
PROCESS_MIB, REDIS_MIB = 10.0, 1.0
MORE_CONNECTIONS = 32  # to Redis, of all processes: a pool keeps what one busy moment needed, at most 64
MOST_SAVES_A_SECOND = 60.0  # with two other calls each


@dataclass(frozen=True)
class Crowd:
    """How many tabs, records, streams, and how often one of them is replaced."""

    tabs: int
    records: int
    streams: int
    comings_a_second: float
    saves_a_second: float
    heartbeat_seconds: float = 3.0

    @property
    def lease_seconds(self) -> float:
        return 3 * self.heartbeat_seconds


LONG = Crowd(tabs=300, records=60, streams=20, comings_a_second=20, saves_a_second=10)
SHORT = Crowd(tabs=60, records=15, streams=5, comings_a_second=10, saves_a_second=10, heartbeat_seconds=0.7)


@dataclass(frozen=True)
class Sample:
    """What the service and its Redis hold at one moment."""

    when: str
    processes_mib: float  # resident, all processes of gunicorn
    files: int  # open ones, of all processes
    redis_mib: float  # used_memory
    keys: int  # but those of the indexes of open records
    connections: int  # to Redis

    @property
    def clients_files(self) -> int:
        """Without the connections to Redis, which a pool opens when it first needs them, and keeps."""
        return self.files - self.connections


@dataclass(frozen=True)
class Soak:
    """How it went, and what was left."""

    samples: list[Sample]
    answers: Counter[str]
    broken_promises: list[str]

    def misses(self) -> list[str]:
        """What has not come back to its base."""
        base, *_, last = self.samples
        misses = list(self.broken_promises[:3])
        if self.answers["none"]:
            misses.append(f"{self.answers['none']} calls without an answer")
        if last.keys:
            misses.append(f"{last.keys} keys left")
        if last.clients_files > base.clients_files:
            misses.append(f"{last.clients_files - base.clients_files} more open files")
        if last.connections > base.connections + MORE_CONNECTIONS:
            misses.append(f"{last.connections - base.connections} more connections to Redis")
        if last.processes_mib > base.processes_mib + PROCESS_MIB:
            misses.append(f"{last.processes_mib - base.processes_mib:.1f} MiB more in the processes")
        if last.redis_mib > base.redis_mib + REDIS_MIB:
            misses.append(f"{last.redis_mib - base.redis_mib:.1f} MiB more in Redis")
        return misses


def soak(minutes: float, crowd: Crowd) -> Soak:
    """A round of the same before, a tenth as long, so that the base is that of a service at work.

    With more saves, so that what is remembered on purpose is full by then: the last 50 of a record.
    """
    redis = RedisServer()
    gunicorn = None
    try:
        gunicorn = GunicornServer(
            REDIS_URL=f"unix://{redis.socket}",
            WEB_CONCURRENCY="2",
            PRESENCE_TTL_SECONDS=str(crowd.lease_seconds),
            PRESENCE_HEARTBEAT_SECONDS=str(crowd.heartbeat_seconds),
            PRESENCE_TIMELINE_SECONDS=str(TIMELINE_SECONDS),
            PRESENCE_RATE_LIMIT="1000000/second",
            PRESENCE_SIGNAL_RATE_LIMIT="1000000/second",
            PRESENCE_ACCESS_LOG="no",
        )
        return asyncio.run(_soak(minutes * 60, crowd, redis, gunicorn))
    finally:
        if gunicorn:
            gunicorn.close()
        redis.close()


async def _soak(seconds: float, crowd: Crowd, redis: RedisServer, gunicorn: GunicornServer) -> Soak:
    judge = Judge(1.0, 2.0)
    fills = min(MOST_SAVES_A_SECOND, crowd.records * MAX_SAVES / (seconds / 10))
    await _live(seconds / 10, replace(crowd, saves_a_second=fills), gunicorn, judge, [])
    samples = [await _when_all_are_gone("base", crowd, redis, gunicorn)]

    def sample(share: float) -> None:
        samples.append(_sample(f"after {share * seconds / 60:.3g} min", redis, gunicorn))

    await _live(
        seconds, crowd, gunicorn, judge, [lambda n=n: sample(n / SAMPLES) for n in range(1, SAMPLES + 1)]
    )
    last = await _when_all_are_gone("all have left", crowd, redis, gunicorn)
    # A stream whose reader is gone is noticed when it is written to.
    deadline = time.monotonic() + COMMENT_INTERVAL_SECONDS + LATE_SECONDS
    while last.clients_files > samples[0].clients_files and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        last = _sample("all have left", redis, gunicorn)
    samples.append(last)
    return Soak(samples, judge.verdict.answers, judge.verdict.broken_promises)


async def _live(
    seconds: float, crowd: Crowd, gunicorn: GunicornServer, judge: Judge, samples: list[Any]
) -> None:
    port = int(gunicorn.url.rpartition(":")[2])
    people = People(
        port,
        judge,
        crowd.heartbeat_seconds,
        tabs=crowd.tabs,
        records=[f"r{number}" for number in range(crowd.records)],
        comings_a_second=crowd.comings_a_second,
        streams=crowd.streams,
        mode="edit",  # nobody else may save or claim
    )
    await people.arrive()
    others = [
        asyncio.create_task(work)
        for work in (_save(port, judge, crowd), *(_look_in(port, crowd) for _ in range(crowd.streams)))
    ]
    for take_sample in samples or [lambda: None]:
        await asyncio.sleep(seconds / max(1, len(samples)))
        take_sample()
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await people.leave()


async def _save(port: int, judge: Judge, crowd: Crowd) -> None:
    """Somebody saves, claims and types, of those who come and go just then."""
    for lock_version in itertools.count(1):
        await asyncio.sleep(1 / crowd.saves_a_second)
        record = f"r{random.randrange(crowd.records)}"
        tabs = [tabs[-1] for tabs in judge.tabs[record].values() if tabs[-1].left_at is None]
        if not tabs:
            continue
        tab = random.choice(tabs)
        calls = {
            "saved": {"lock_version": lock_version, "fields": ["name"]},
            "claim": {"field": "name"},
            "signal": {"kind": "typing", "data": {"field": "name"}},
        }
        with contextlib.closing(Connection(port, token(tab.user, f"User {tab.user}"))) as connection:
            for name, body in calls.items():
                judge.note(await connection.call("POST", f"flow/{record}/{name}", {"tab_id": tab.id, **body}))


async def _look_in(port: int, crowd: Crowd) -> None:
    """Streams that are opened, read for a moment, and left in the middle."""
    for user in itertools.count(2_000_000):
        connection = Connection(port, token(user, "Passer-by"))
        names = "&".join(f"record=flow:r{random.randrange(crowd.records)}" for _ in range(5))
        with contextlib.closing(connection), contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(random.uniform(0.2, 2)),
                contextlib.aclosing(connection.events(names)) as heard,
            ):
                async for message in heard:
                    if isinstance(message, Answer) and message.status != 200:
                        break
        await asyncio.sleep(random.uniform(0, 0.5))


async def _when_all_are_gone(when: str, crowd: Crowd, redis: RedisServer, gunicorn: GunicornServer) -> Sample:
    # Keys outlive the leases in them by one lease: see lua/lib/expiry.lua.
    deadline = time.monotonic() + 2 * crowd.lease_seconds + TIMELINE_SECONDS + LATE_SECONDS
    with redis.client() as client:
        while _record_keys(client) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        # As in two days: until then each user who was here takes up some bytes in them.
        if indexes := [key for key in client.scan_iter(count=10_000) if _is_index(key)]:
            client.delete(*indexes)
    await asyncio.sleep(1.0)  # for connections that are being closed
    return _sample(when, redis, gunicorn)


def _record_keys(client: Any) -> int:
    """All keys but the indexes of open records, which are kept for two days (presence/open_records.py)."""
    return sum(not _is_index(key) for key in client.scan_iter(count=10_000))


def _is_index(key: str) -> bool:
    return "_record_presence_open:" in key


def _sample(when: str, redis: RedisServer, gunicorn: GunicornServer) -> Sample:
    pids = [gunicorn.pid, *gunicorn.worker_pids()]
    with redis.client() as client:
        info, keys = client.info(), _record_keys(client)
    return Sample(
        when,
        sum(_resident_mib(pid) for pid in pids),
        sum(_open_files(pid) for pid in pids),
        info["used_memory"] / 2**20,
        keys,
        info["connected_clients"],
    )


def _open_files(pid: int) -> int:
    """But for those of the metrics, of which a process opens one for each kind when it is first used."""
    files = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            files += "presence-metrics-" not in os.readlink(path)
    return files


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def table(samples: list[Sample]) -> str:
    lines = [
        "| | processes, MiB | open files | Redis, MiB | keys | connections to Redis |",
        "|---|---|---|---|---|---|",
    ]
    for sample in samples:
        cells = (sample.when, f"{sample.processes_mib:.1f}", sample.files, f"{sample.redis_mib:.2f}")
        lines.append("| " + " | ".join(map(str, (*cells, sample.keys, sample.connections))) + " |")
    return "\n".join(lines)


def main(minutes: float) -> int:
    outcome = soak(minutes, LONG)
    misses = outcome.misses()
    answers = ", ".join(f"{count:,} × {status}" for status, count in sorted(outcome.answers.items()))
    verdict = f"Missed: {'; '.join(misses)}." if misses else "All back at the base."
    crowd = (
        f"{LONG.tabs} tabs on {LONG.records} records, {LONG.comings_a_second:g} of them replaced a second, "
        f"{LONG.streams} streams that stay and {LONG.streams} that come and go, "
        f"{LONG.saves_a_second:g} saves, claims and signals a second"
    )
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    page = f"""# Results of `make soak`

{datetime.now(UTC).date()}, {machine}, {minutes:g} minutes. {crowd}.
Answers: {answers}. {verdict}
Written by the command; [README.md](README.md#soak) explains it.

{table(outcome.samples)}
"""
    print(page)
    if minutes >= MINUTES:
        RESULTS.write_text(page)
    return int(bool(misses))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES))

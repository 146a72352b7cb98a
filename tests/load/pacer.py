"""Heartbeats of very many tabs at a steady pace, by processes that write them down beforehand.

A generator that built its commands while it sends them would need more of the
machine than Redis does. So each command is made once, by the service's own
class, and kept as the bytes that go over the wire; a tab beats again by the
same bytes.
"""

import multiprocessing
import random
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing.connection import Connection
from typing import Any

import hiredis

from record_presence.presence.limits import Quota
from record_presence.presence.service import RecordPresenceService
from tests.load.crowd import RECORD_TYPE, Crowd, OpenTab
from tests.load.pipelined import Recorder

ROOMS = (1, 1, 2, 3, 3, 10)  # tabs of a record, in turn: twenty on six
BATCH = 25  # beats that are sent at once
IN_FLIGHT = 8  # batches, where there is no pace
ANSWER_SECONDS = 60.0
MAX_OVERRUN = 1.5  # times the planned seconds; a client that is not done by then stops sending
CALLS_LIMIT = 1_000_000_000
_RECEIVED = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """The tabs of one generator: `cycles` times ROOMS in each of its tenants."""

    socket: str
    tenants: Sequence[int]
    cycles: int
    ttl_seconds: float

    @property
    def tabs(self) -> int:
        return len(self.tenants) * self.cycles * sum(ROOMS)

    @property
    def records(self) -> int:
        return len(self.tenants) * self.cycles * len(ROOMS)


@dataclass(frozen=True, slots=True)
class Served:
    """What one generator saw: the time of a batch is that of its last answer since it was sent."""

    beats: int
    seconds: float
    batch_seconds: list[float]
    cpu_seconds: float


class Pacers:
    """Generators side by side, a process each, that do the same at the same time."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._plans = plans
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for plan in plans:
            ours, theirs = context.Pipe()
            process = context.Process(target=_generate, args=(plan, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self.wait()  # until all is written down

    @property
    def tabs(self) -> int:
        return sum(plan.tabs for plan in self._plans)

    @property
    def records(self) -> int:
        return sum(plan.records for plan in self._plans)

    def start(self, beats: int, a_second: float | None = None, *, quota: bool = False) -> None:
        """Send so many beats in all, at this pace or as fast as they are answered.

        Where Redis can't keep the pace, less than all are sent in the end.
        """
        for pipe in self._pipes:
            share = None if a_second is None else a_second / len(self._pipes)
            pipe.send((beats // len(self._pipes), share, quota))

    def is_done(self) -> bool:
        return all(pipe.poll() for pipe in self._pipes)

    def wait(self) -> list[Served]:
        """What each saw. Raises RuntimeError when one met an error."""
        answers = [pipe.recv() for pipe in self._pipes]
        for answer in answers:
            if isinstance(answer, str):
                raise RuntimeError(answer)
        return answers

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _generate(plan: Plan, pipe: Connection) -> None:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(plan.socket)
            generator = _Generator(plan, connection)
            pipe.send(None)
            while True:
                pipe.send(generator.send(*pipe.recv()))
    except EOFError:
        return
    except Exception as error:
        pipe.send(f"a generator failed: {type(error).__name__}: {error}")


class _Generator:
    def __init__(self, plan: Plan, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = hiredis.Reader()
        self._batches = {quota: cycle(_write(plan, quota)) for quota in (False, True)}

    def send(self, beats: int, a_second: float | None, quota: bool) -> Served:
        batches = islice(self._batches[quota], beats // BATCH)
        sent: deque[float] = deque()
        batch_seconds: list[float] = []
        interval = 0.0 if a_second is None else BATCH / a_second
        most = IN_FLIGHT if a_second is None else float("inf")
        answered, cpu_started, started = 0, time.process_time(), time.monotonic()
        next_at = started
        give_up_at = started + beats // BATCH * interval * MAX_OVERRUN
        for batch in batches:
            if a_second is not None and time.monotonic() > give_up_at:
                break
            while len(sent) >= most or time.monotonic() < next_at:
                wait = ANSWER_SECONDS if len(sent) >= most else next_at - time.monotonic()
                answered = self._receive(wait, answered, sent, batch_seconds)
            next_at += interval
            sent.append(time.monotonic())
            self._connection.sendall(batch)
        deadline = time.monotonic() + ANSWER_SECONDS
        while sent:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(sent)} batches were not answered")
            answered = self._receive(1, answered, sent, batch_seconds)
        seconds = time.monotonic() - started
        return Served(answered, seconds, batch_seconds, time.process_time() - cpu_started)

    def _receive(self, seconds: float, answered: int, sent: deque[float], batch_seconds: list[float]) -> int:
        if not select.select([self._connection], [], [], max(0.0, seconds))[0]:
            return answered
        self._reader.feed(self._connection.recv(_RECEIVED))
        now = time.monotonic()
        while (reply := self._reader.gets()) is not False:
            # A version alone is short for it.
            if not isinstance(reply, bytes) and not (isinstance(reply, list) and reply[0] == b"OK"):
                raise RuntimeError(f"a beat was answered by {reply!r}")
            answered += 1
            if answered % BATCH == 0:
                batch_seconds.append(now - sent.popleft())
        return answered


def _write(plan: Plan, quota: bool) -> list[bytes]:
    """Every tab's beat as it goes over the wire, in an order that knows no records."""
    beats = [beat for tenant in plan.tenants for beat in _beats(plan, tenant, quota)]
    random.Random(1).shuffle(beats)
    return [b"".join(beats[first : first + BATCH]) for first in range(0, len(beats), BATCH)]


def _beats(plan: Plan, tenant: int, quota: bool) -> Iterator[bytes]:
    recorder = Recorder()
    service = RecordPresenceService(recorder, tenant, ttl_seconds=plan.ttl_seconds)
    for tab in tabs_of(tenant, plan.cycles):
        options: dict[str, Any] = {}
        if quota:
            key = f"tenant_{tenant}_presence_calls:{tab.user.id}"
            options["quota"] = Quota(key, CALLS_LIMIT, round(plan.ttl_seconds * 500))
        service.update_presence(RECORD_TYPE, tab.record_id, tab.id, tab.user.id, tab.user.name, **options)
        (command,) = recorder.take()
        yield hiredis.pack_command(command)


def tabs_of(tenant: int, cycles: int) -> Iterator[OpenTab]:
    """The tabs of a tenant, record by record; the same ones each time."""
    crowd = Crowd(seed=tenant, tenant=str(tenant))
    for _ in range(cycles):
        for size in ROOMS:
            yield from crowd.room(size)

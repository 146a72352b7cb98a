"""Honest users of another tenant, who go on working while somebody attacks."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from threading import Thread

from tests.abuse.service import Signer
from tests.faults.browser_http import Answer, Connection

TENANT = "honest"
USERS_A_RECORD = 2
CHANGE_SECONDS = 0.3  # between two changes that the open stream must show


@dataclass(frozen=True)
class Beat:
    """One heartbeat: when it was sent, how long it took, and what came of it."""

    asked_at: float
    seconds: float
    status: int


@dataclass(frozen=True)
class Service:
    """What honest users saw in a span of time. Times in milliseconds; `failed`: answers other than 200."""

    median_ms: float
    p99_ms: float
    slowest_ms: float
    beats: int
    failed: int
    slowest_event_ms: float | None  # from a change to its event in the stream; None: none came


class HonestUsers(Thread):
    """`users` users, two on each record, each with a connection and a tab that beats every
    `interval_seconds`; one of them also follows a record by a stream, in which another changes something.

    Each beat is sent when its time has come, whatever became of the others'. So few that the limit of
    calls concerns none.
    """

    def __init__(self, port: int, signer: Signer, *, users: int = 30, interval_seconds: float = 0.3) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._signer = signer
        self._users = users
        self._interval_seconds = interval_seconds
        self._beats: list[Beat] = []
        self._changes: dict[str, float] = {}  # field -> when its change was sent
        self._events: list[tuple[float, float]] = []  # when the change was sent, and seconds until its event
        self.lost_streams = 0
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._work())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self.join()

    def served(self, since: float, until: float) -> Service:
        """What was seen of beats and changes that were sent in this span of the monotonic clock."""
        beats = [beat for beat in list(self._beats) if since <= beat.asked_at < until]
        times = sorted(beat.seconds * 1000 for beat in beats)
        events = [seconds * 1000 for sent, seconds in list(self._events) if since <= sent < until]
        return Service(
            median_ms=times[len(times) // 2],
            p99_ms=times[min(len(times) - 1, int(len(times) * 0.99))],
            slowest_ms=times[-1],
            beats=len(beats),
            failed=sum(beat.status != 200 for beat in beats),
            slowest_event_ms=max(events, default=None),
        )

    async def _work(self) -> None:
        tasks = [asyncio.create_task(self._beat(number)) for number in range(self._users)]
        tasks += [asyncio.create_task(work()) for work in (self._follow, self._change)]
        await self._stopped.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connection(self, user: str) -> Connection:
        return Connection(self._port, self._signer.token(user, TENANT))

    async def _beat(self, number: int) -> None:
        connection = self._connection(f"user-{number}")
        path = f"doc/{number // USERS_A_RECORD}/heartbeat"
        body = {"tab_id": f"tab-{number}", "mode": "edit", "dirty": True, "active_field": "title"}
        due = time.monotonic() + self._interval_seconds * number / self._users
        version = None
        with contextlib.closing(connection):
            while True:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                answer = await connection.call("POST", path, {**body, "version": version})
                self._beats.append(Beat(answer.asked_at, answer.seconds, answer.status))
                version = (answer.data or {}).get("version", version)
                due = max(due + self._interval_seconds, time.monotonic())

    async def _change(self) -> None:
        number = 0
        with contextlib.closing(self._connection("writer")) as connection:
            while True:
                number += 1
                field = f"field-{number}"
                self._changes[field] = time.monotonic()
                body = {"tab_id": "writer", "mode": "edit", "dirty": True, "active_field": field}
                await connection.call("POST", "doc/streamed/heartbeat", body)
                await asyncio.sleep(CHANGE_SECONDS)

    async def _follow(self) -> None:
        while True:
            with contextlib.closing(self._connection("reader")) as connection:
                async for message in connection.events("record=doc:streamed"):
                    if not isinstance(message, Answer) and message.event == "update":
                        self._note(message.data["viewer"]["active_fields"])
            self.lost_streams += 1
            await asyncio.sleep(0.5)

    def _note(self, fields: list[str]) -> None:
        now = time.monotonic()
        for field in fields:
            if sent := self._changes.pop(field, None):
                self._events.append((sent, now - sent))

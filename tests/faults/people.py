"""People who come, stay and go, and others who only look: the load of the fault matrix."""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Coroutine
from typing import Any

from tests.api.client import token
from tests.faults.browser_http import Answer, Connection
from tests.faults.judge import Judge, Tab

LOOK_SECONDS = 0.25  # between two looks at all records
SECOND_TAB = 0.25  # how often somebody opens a record twice
OBSERVER = 1_000_000  # user ids from here on only look


class People:
    """`tabs` tabs on `records` of the service at `port`, until `leave()`.

    `heartbeat_seconds` and the judge's lease are those of the service.
    `comings_a_second`: so often one tab ends, half of them with a goodbye, and
    another one takes its place.
    """

    def __init__(
        self,
        port: int,
        judge: Judge,
        heartbeat_seconds: float,
        *,
        tabs: int,
        records: list[str],
        comings_a_second: float,
        streams: int,
        seed: int = 7,
        mode: str = "view",
    ) -> None:
        self.port = port
        self.judge = judge
        self._heartbeat_seconds = heartbeat_seconds
        self._tabs = tabs
        self._records = records
        self._comings_a_second = comings_a_second
        self._streams = streams
        self._mode = mode
        self._random = random.Random(seed)
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._goodbyes: dict[Tab, asyncio.Future[bool]] = {}  # done: leave, with or without one

    async def arrive(self) -> None:
        """Everybody opens a record within a heartbeat; the observers begin to look."""
        for _ in range(self._tabs):
            self._open_tab(self._random.uniform(0, self._heartbeat_seconds))
        self._run(self._come_and_go())
        for number, look in enumerate((self._look_at_all, self._look_at_each)):
            self._run(look(Connection(self.port, token(OBSERVER + number, "Observer", seconds=86_000))))
        for number in range(self._streams):
            records = self._records[number :: self._streams]
            self._run(self._stream(OBSERVER + 100 + number, records))
        await asyncio.sleep(self._heartbeat_seconds * 1.2)

    async def leave(self) -> None:
        """Everything stops at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            self.judge.verdict.broken_promises.append(f"the harness: {task.exception()!r}")

    # Those who have a record open

    def _open_tab(self, delay_seconds: float = 0.0, record: str | None = None) -> Tab:
        record = record or self._random.choice(self._records)
        number = next(self._ids)
        user = number
        here = [user for user, tabs in self.judge.tabs[record].items() if tabs[-1].left_at is None]
        if here and self._random.random() < SECOND_TAB:
            user = self._random.choice(here)
        tab = Tab(f"tab-{number}", user, record)
        self.judge.add(tab)
        self._goodbyes[tab] = asyncio.get_running_loop().create_future()
        self._run(self._stay(tab, delay_seconds))
        return tab

    async def crowd_in(self, count: int) -> None:
        """So many more open records of their own, all at once; returns when all are registered."""
        tabs = [self._open_tab(record=f"crowd{number % (count // 10 + 1)}") for number in range(count)]
        while not all(tab.entered_at for tab in tabs):
            await asyncio.sleep(0.05)

    async def _stay(self, tab: Tab, delay_seconds: float) -> None:
        """Beat as the browser client does: app/static/presence/schedule.js."""
        connection = Connection(self.port, token(tab.user, f"User {tab.user}", seconds=86_000))
        body: dict[str, Any] = {"tab_id": tab.id, "mode": self._mode, "dirty": False, "version": None}
        failures = 0
        shown: set[int] | None = None
        await asyncio.sleep(delay_seconds)
        try:
            while not self._goodbyes[tab].done():
                answer = await connection.call("POST", f"flow/{tab.record}/heartbeat", body)
                self.judge.note(answer)
                if answer.data is None:
                    failures += 1
                    wait = answer.retry_after_seconds + max(
                        0.25, random.random() * min(self._heartbeat_seconds, 2**failures)
                    )
                else:
                    failures = 0
                    wait = self._heartbeat_seconds * random.uniform(0.9, 1.1)
                    tab.beaten_at, tab.confirmed_at = answer.asked_at, answer.answered_at
                    tab.entered_at = tab.entered_at or answer.answered_at
                    if answer.data.get("unconfirmed"):
                        shown, body["version"] = None, None  # the list stays, said to be old
                    else:
                        shown = self._learn(tab, answer, shown)
                        body["version"] = answer.data["version"]
                await asyncio.wait([self._goodbyes[tab]], timeout=wait)
            await self._go(tab, connection)
        finally:
            connection.close()

    def _learn(self, tab: Tab, answer: Answer, shown: set[int] | None) -> set[int] | None:
        """The list of the answer, or the one before, which it says is current."""
        data = answer.data or {}
        if "viewers" in data:
            shown = {viewer["id"] for viewer in data["viewers"]}
        if shown is not None:
            self.judge.see(
                "heartbeat", tab.record, shown, answer.asked_at, answer.answered_at, asker=tab.user
            )
        return shown

    async def _go(self, tab: Tab, connection: Connection) -> None:
        tab.left_at = time.monotonic()
        if not self._goodbyes.pop(tab).result():
            return
        answer = await connection.call("DELETE", f"flow/{tab.record}/unregister", {"tab_id": tab.id})
        self.judge.note(answer)
        tab.is_goodbye_heard, tab.heard_at = answer.status == 200, answer.answered_at

    async def _come_and_go(self) -> None:
        while True:
            await asyncio.sleep(self._random.expovariate(self._comings_a_second))
            here = [tab for tab, goodbye in self._goodbyes.items() if tab.entered_at and not goodbye.done()]
            if here:
                self._goodbyes[self._random.choice(here)].set_result(self._random.random() < 0.5)
                self._open_tab()

    # Those who look

    async def _look_at_all(self, connection: Connection) -> None:
        query = "&".join(f"record=flow:{record}" for record in self._records)
        with contextlib.closing(connection):
            while True:
                answer = await connection.call("GET", f"viewers?{query}")
                self.judge.note(answer)
                for name, listed in (answer.data or {}).get("records", {}).items():
                    self._see(name.partition(":")[2], listed["viewers"], answer)
                await asyncio.sleep(LOOK_SECONDS)

    async def _look_at_each(self, connection: Connection) -> None:
        with contextlib.closing(connection):
            for record in itertools.cycle(self._records):
                answer = await connection.call("GET", f"flow/{record}/viewers")
                self.judge.note(answer)
                if answer.data:
                    self._see(record, answer.data["viewers"], answer)
                await asyncio.sleep(LOOK_SECONDS / 4)

    def _see(self, record: str, viewers: list[dict[str, Any]], answer: Answer) -> None:
        shown = {viewer["id"] for viewer in viewers}
        self.judge.see("list", record, shown, answer.asked_at, answer.answered_at)

    async def _stream(self, user: int, records: list[str]) -> None:
        """Keep the lists of these records by their events; they count while the stream is open."""
        query = "&".join(f"record=flow:{record}" for record in records)
        while True:
            connection = Connection(self.port, token(user, "Observer", seconds=86_000))
            lists: dict[str, set[int]] = {}
            looking = asyncio.create_task(self._look_at_lists(lists))
            wait = 2.0
            try:
                async with contextlib.aclosing(connection.events(query)) as messages:
                    async for message in messages:
                        if isinstance(message, Answer):
                            self.judge.note_stream(message)
                            wait = max(message.retry_after_seconds, wait)
                        elif message.retry:
                            wait = message.retry / 1000
                        elif message.data:
                            _apply(lists, message)
            finally:
                looking.cancel()
            self.judge.verdict.streams_cut += 1
            await asyncio.sleep(wait * random.uniform(0.1, 1))

    async def _look_at_lists(self, lists: dict[str, set[int]]) -> None:
        while True:
            now = time.monotonic()
            for record, shown in lists.items():
                self.judge.see("stream", record, shown, now, now, lag=self.judge.stream_lag_seconds)
            await asyncio.sleep(LOOK_SECONDS)


def _apply(lists: dict[str, set[int]], message: Any) -> None:
    record = message.data["record"].partition(":")[2]
    if message.event == "snapshot":
        lists[record] = {viewer["id"] for viewer in message.data["viewers"]}
    elif message.event == "leave":
        lists[record].discard(message.data["viewer"]["id"])
    elif message.event in ("join", "update"):
        lists[record].add(message.data["viewer"]["id"])

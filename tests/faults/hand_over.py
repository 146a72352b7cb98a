"""Fields that are handed over all the time, and what those who have and want them were told."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.api.client import token
from tests.faults.browser_http import Answer, Connection

FIELD = "title"
IDLE_SECONDS = 2  # that a holder may be away while somebody waits
BEAT_SECONDS = 0.5
SEATS = 3  # of a record: one has the field, the others wait
MIN_TURNS = 2  # of a record, after the fault
FIRST_USER = 2_000_000

Way = Literal["releases", "is away", "leaves"]
WAYS: tuple[Way, ...] = ("releases", "is away", "leaves")


@dataclass(eq=False)
class Hold:
    """A tab has the field for certain, from when it read so until it let go, or last asked."""

    tab_id: str
    since: float
    until: float


@dataclass
class Turns:
    """Whose turn it was in a record; times are of the monotonic clock."""

    record: str
    way: Way
    holds: list[Hold] = field(default_factory=list)
    unserved: list[float] = field(default_factory=list)  # nobody had the field, and somebody waited

    def misses(self, undone_since: float, over_at: float, turn_seconds: float) -> Iterator[str]:
        """What may not be. What Redis answered from `undone_since` to `over_at` may have been undone.

        `turn_seconds`: how long a turn may last afterwards, where its tab is gone and nobody knows.
        """
        sure = [hold for hold in self.holds if hold.until < undone_since or hold.since > over_at]
        for one, other in itertools.combinations(sure, 2):
            if max(one.since, other.since) < min(one.until, other.until):
                yield f"{self.record}: {one.tab_id} and {other.tab_id} have the field"
        for at in self.unserved:
            if not undone_since < at < over_at + BEAT_SECONDS:
                yield f"{self.record}: nobody has the field, and somebody waits"
        lengths = self.lengths(over_at)
        if len(lengths) < MIN_TURNS:
            yield f"{self.record}: {len(lengths)} turns where the holder {self.way}"
        if max(lengths, default=0.0) > turn_seconds:
            yield f"{self.record}: a turn of {max(lengths):.1f} s"

    def lengths(self, over_at: float) -> list[float]:
        """How long it took from the end of the fault until the first turn, and from each to the next."""
        starts = [over_at, *(hold.since for hold in self.holds if hold.since > over_at)]
        return [later - start for start, later in itertools.pairwise(starts)]


class HandOvers:
    """In each of these records, tabs of three users want one field, and whoever has it gives it away."""

    def __init__(self, port: int, records: list[str]) -> None:
        self._port = port
        self.turns = [Turns(record, way) for record, way in zip(records, itertools.cycle(WAYS), strict=False)]
        self._tasks: list[asyncio.Task[None]] = []
        self._tab_ids = itertools.count(1)

    def start(self) -> None:
        for number, turns in enumerate(self.turns):
            for seat in range(SEATS):
                user = FIRST_USER + SEATS * number + seat
                self._tasks.append(asyncio.create_task(self._want(turns, user)))

    async def stop(self) -> list[str]:
        """Everybody stops; returns what has broken the harness."""
        broken = [f"the harness: {task.exception()!r}" for task in self._tasks if task.done()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return broken

    def lengths(self, over_at: float) -> list[float]:
        """Of all turns after the fault."""
        return [length for turns in self.turns for length in turns.lengths(over_at)]

    def misses(self, undone_since: float, over_at: float, turn_seconds: float) -> list[str]:
        return [miss for turns in self.turns for miss in turns.misses(undone_since, over_at, turn_seconds)]

    async def _want(self, turns: Turns, user: int) -> None:
        with contextlib.closing(Connection(self._port, token(user, f"User {user}", seconds=86_000))) as calls:
            while True:
                await _be_there(calls, turns, f"tab-{next(self._tab_ids)}")


async def _be_there(calls: Connection, turns: Turns, tab_id: str) -> None:
    """Want the field, have it and give it away, until the tab leaves."""
    hold: Hold | None = None
    has_waited = False
    body = {"tab_id": tab_id, "mode": "edit", "dirty": False, "version": None}
    claim_path, claim_body = f"flow/{turns.record}/claim", {"tab_id": tab_id, "field": FIELD}
    while True:
        is_away = hold is not None and turns.way == "is away"
        answer = await calls.call("POST", f"flow/{turns.record}/heartbeat", {**body, "active": not is_away})
        if answer.data is None:
            has_waited = False
        elif (claim := answer.data.get("claims", {}).get(FIELD)) and claim["tab_id"] == tab_id:
            if hold is None:
                hold = Hold(tab_id, answer.answered_at, answer.answered_at)
                turns.holds.append(hold)
            else:
                hold.until = answer.asked_at
                if turns.way == "leaves":
                    hold.until = time.monotonic()
                    await calls.call("DELETE", f"flow/{turns.record}/unregister", {"tab_id": tab_id})
                    return
                if turns.way == "releases":
                    hold.until = time.monotonic()
                    await calls.call("DELETE", claim_path, claim_body)
                    hold = None
        else:
            hold = None
            if claim is None and has_waited:
                turns.unserved.append(answer.asked_at)
            waiting = claim.get("waiting", ()) if claim else ()
            has_waited = any(row["tab_id"] == tab_id for row in waiting)
            if not has_waited:
                asked = await calls.call("POST", claim_path, {**claim_body, "wait": True})
                has_waited = _waits(asked)
        await asyncio.sleep(BEAT_SECONDS)


def _waits(answer: Answer) -> bool:
    return bool(answer.data and answer.data.get("place"))

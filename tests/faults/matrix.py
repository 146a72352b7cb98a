"""`make faults`: each fault in the middle of real work, and what people were shown.

`python -m tests.faults.matrix [NAME ...]` runs all faults or these, and writes
their rows to RESULTS.md.
"""

import asyncio
import os
import platform
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.faults import FAULTS, Fault, Stage
from tests.faults.hand_over import IDLE_SECONDS, HandOvers
from tests.faults.judge import Judge, Span, Tab, Verdict
from tests.faults.people import People
from tests.gunicorn_server import GunicornServer

RESULTS = Path(__file__).with_name("RESULTS.md")
FIELDS = 6  # that are handed over, where a fault says so
UNDONE_SECONDS = 1.0  # before the fault; a replica is less behind


@dataclass(frozen=True)
class Scale:
    """How long and how much.

    The lease outlasts a heartbeat that is refused: the next one, the outage, the
    `Retry-After` of 2 s and the jitter upon it.
    """

    heartbeat_seconds: float
    lease_seconds: float
    hold_seconds: float
    tabs: int
    records: int
    comings_a_second: float
    streams: int
    ghost_seconds: float = 1.0  # beyond the lease
    refusal_seconds: float = 2.0
    busy_seconds: float = 0.0  # that an event may be later than its fault says
    is_short: bool = False


LONG = Scale(8, 24, 5, tabs=200, records=40, comings_a_second=4, streams=10)
SHORT = Scale(
    1.5,
    12,
    0.5,
    tabs=40,
    records=10,
    comings_a_second=4,
    streams=2,
    refusal_seconds=3.5,
    busy_seconds=2,
    is_short=True,
)


@dataclass(frozen=True)
class Outcome:
    """What a fault has led to, and which goals it missed."""

    fault: Fault
    scale: Scale
    verdict: Verdict
    over_at: float
    turns: tuple[float, ...] = ()  # seconds, of fields that were handed over after the fault

    @property
    def right_after_seconds(self) -> float:
        """From the end of the fault until nothing failed and nothing wrong was shown any more."""
        verdict = self.verdict
        spans = [*verdict.missing.values(), *verdict.ghosts.values()]
        wrong = [span.last for span in spans] + ([verdict.failed_at] if verdict.failed_at else [])
        return max(0.0, max(wrong, default=0.0) - self.over_at)

    def misses(self) -> list[str]:
        verdict, misses = self.verdict, []
        ghost_limit = self.fault.ghost_leases * self.scale.lease_seconds + self.scale.ghost_seconds
        if verdict.broken_promises:
            misses.append(f"{len(verdict.broken_promises)} x {verdict.broken_promises[0]}")
        if verdict.answers["none"] and not self.fault.cuts:
            misses.append(f"{verdict.answers['none']} calls without an answer")
        if verdict.strangers:
            misses.append(f"never there: {verdict.strangers[0]}")
        if verdict.missing_again:
            places = where(verdict.missing_again)
            misses.append(f"{len(verdict.missing_again)} missing after a further heartbeat ({places})")
        if verdict.missing and not self.fault.loses:
            misses.append(f"{len(verdict.missing)} left out while they beat ({where(verdict.missing)})")
        ghosts = {**verdict.ghosts, **verdict.lingering}
        if longest(ghosts) > ghost_limit:
            misses.append(f"a ghost of {longest(ghosts):.1f} s ({where(ghosts)})")
        return misses


def where(spans: dict[Tab, Span]) -> str:
    return ", ".join(sorted(set().union(*(span.where for span in spans.values()))))


def longest(spans: dict[Tab, Span]) -> float:
    return max((span.last - span.first for span in spans.values()), default=0.0)


async def play(fault: Fault, scale: Scale) -> Outcome:
    """Let people come, do it, and watch until every lease of then is over."""
    backend = await asyncio.to_thread(fault.backend)
    gunicorn = None
    try:
        gunicorn = await asyncio.to_thread(
            GunicornServer,
            REDIS_URL=backend.url,
            WEB_CONCURRENCY="2",
            PRESENCE_TTL_SECONDS=str(scale.lease_seconds),
            PRESENCE_HEARTBEAT_SECONDS=str(scale.heartbeat_seconds),
            PRESENCE_CLAIM_IDLE_SECONDS=str(IDLE_SECONDS),
            PRESENCE_RATE_LIMIT="1000000/minute",
            PRESENCE_ACCESS_LOG="no",
        )
        return await _play_on(fault, scale, backend, gunicorn)
    finally:
        if gunicorn:
            await asyncio.to_thread(gunicorn.close)
        await asyncio.to_thread(backend.close)


async def _play_on(fault: Fault, scale: Scale, backend: object, gunicorn: GunicornServer) -> Outcome:
    port = int(gunicorn.url.rpartition(":")[2])
    judge = Judge(fault.stream_lag_seconds + scale.busy_seconds, scale.refusal_seconds)
    people = People(
        port,
        judge,
        scale.heartbeat_seconds,
        tabs=scale.tabs,
        records=backend.records[: scale.records],
        comings_a_second=scale.comings_a_second,
        streams=scale.streams,
    )
    hand_overs = HandOvers(port, [f"field{number}" for number in range(FIELDS)] if fault.hands_over else [])
    loop = asyncio.get_running_loop()

    def crowd_in(count: int) -> None:
        asyncio.run_coroutine_threadsafe(people.crowd_in(count), loop).result()

    try:
        hand_overs.start()
        await people.arrive()
        judge.verdict = Verdict()
        if fault.undoes:
            judge.undone_since = time.monotonic() - UNDONE_SECONDS
        stage = Stage(backend, gunicorn, scale.hold_seconds, scale.is_short, crowd_in)
        await asyncio.to_thread(fault.inject, stage)
        judge.over_at = over_at = time.monotonic()
        await asyncio.sleep(scale.lease_seconds + 2 * scale.ghost_seconds)
    finally:
        verdict, judge.verdict = judge.verdict, Verdict()
        await people.leave()
        verdict.broken_promises += await hand_overs.stop()
    turn_seconds = scale.lease_seconds + scale.ghost_seconds
    verdict.broken_promises += hand_overs.misses(judge.undone_since, over_at, turn_seconds)
    if not gunicorn.is_running:
        verdict.broken_promises.append(f"gunicorn has ended: {gunicorn.logs()[-3:]}")
    return Outcome(fault, scale, verdict, over_at, tuple(hand_overs.lengths(over_at)))


HEADER = (
    *("fault", "answers", "503", "no answer", "slowest", "right after"),
    *("missing", "in streams", "after its beat", "ghosts after goodbye", "gone silently, shown", "goals"),
)


def row(outcome: Outcome) -> list[str]:
    verdict = outcome.verdict

    def spans(found: dict[Tab, Span]) -> str:
        return f"{len(found)}, {longest(found):.1f} s" if found else "0"

    return [
        outcome.fault.title,
        str(sum(verdict.answers.values())),
        str(verdict.answers["503"]),
        str(verdict.answers["none"]),
        f"{verdict.slowest_seconds:.2f} s",
        f"{outcome.right_after_seconds:.1f} s",
        spans(verdict.missing),
        spans({tab: span for tab, span in verdict.missing.items() if "stream" in span.where}),
        spans(verdict.missing_again),
        spans(verdict.ghosts),
        spans(verdict.lingering),
        "; ".join(outcome.misses())
        or "met"
        + (f", ghosts excepted: {why}" if (why := outcome.fault.why) else "")
        + (f"; {len(turns)} turns, {max(turns):.1f} s at most" if (turns := outcome.turns) else ""),
    ]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(names: list[str]) -> int:
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    lines = [_line(list(HEADER)), "|---" * len(HEADER) + "|"]
    print("\n".join(lines), flush=True)
    has_missed = False
    for fault in chosen:
        outcome = asyncio.run(play(fault, LONG))
        has_missed = has_missed or bool(outcome.misses())
        lines.append(_line(row(outcome)))
        print(lines[-1], flush=True)
    if names:
        _replace_rows(lines[2:])
    else:
        RESULTS.write_text(_page(lines))
    return int(has_missed)


def _replace_rows(rows: list[str]) -> None:
    """Put these in the place of the rows of the same faults; those of new faults at their places."""
    lines = RESULTS.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|---")) + 1
    by_title = {row.split(" | ")[0]: row for row in [*lines[first:], *rows]}
    in_order = [by_title[title] for fault in FAULTS if (title := f"| {fault.title}") in by_title]
    RESULTS.write_text("\n".join([*lines[:first], *in_order]) + "\n")


def _page(lines: list[str]) -> str:
    scale, today = LONG, datetime.now(UTC).date()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = (
        f"{scale.tabs} tabs on {scale.records} records, {scale.comings_a_second:g} of them replaced a second"
    )
    times = f"a heartbeat every {scale.heartbeat_seconds:g} s, a lease of {scale.lease_seconds:g} s"
    return f"""# Results of `make faults`

{today}, {machine}. {load}, {times}, {scale.streams} streams.
Written by the command; [README.md](README.md) explains it.

{chr(10).join(lines)}
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

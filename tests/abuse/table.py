"""The table of `make abuse`, and RESULTS.md."""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.abuse.measure import Outcome

RESULTS = Path(__file__).with_name("RESULTS.md")
KB, MB = 1000, 1_000_000
MAX_P99_OVER_QUIET, MAX_P99_MS = 3, 50
MAX_PINNED_BYTES = 10 * MB  # of a user
MAX_ANSWER_BYTES, MAX_ERROR_BYTES = 1 << 20, 8 << 10
MAX_SCRIPT_MS = 10
MAX_RSS_BYTES = 40 * MB
COLUMNS = (
    *("attack", "abuse.md", "seen before", "what holds it now"),
    *("honest beat quiet: median, p99", "during: median, p99, slowest", "slowest event"),
    *("Redis pinned", "largest answer, error", "RSS above base", "slowest script", "answers", "goals"),
)


def misses(outcome: Outcome) -> list[str]:
    """The goals that an attack made the service miss; empty if all are met."""
    attack, quiet, during, cost = outcome.attack, outcome.quiet, outcome.during, outcome.cost
    missed = [f"GOT THROUGH: {what}" for what in outcome.tally.got_through]
    if attack.has_default_limit:
        if during.p99_ms > MAX_P99_MS:
            missed.append(f"p99 over {MAX_P99_MS} ms")
        if during.p99_ms > MAX_P99_OVER_QUIET * quiet.p99_ms:
            missed.append(f"p99 {during.p99_ms / quiet.p99_ms:.1f}× quiet")
    if during.failed:
        missed.append(f"{during.failed} of {during.beats} honest beats failed")
    if outcome.lost_streams:
        missed.append("the honest stream was lost")
    if pinned(outcome) > attack.users * MAX_PINNED_BYTES:
        missed.append(f"pinned over {MAX_PINNED_BYTES // MB} MB a user")
    if outcome.tally.largest_answer_bytes > MAX_ANSWER_BYTES:
        missed.append("answer over 1 MB")
    if outcome.tally.largest_error_bytes > MAX_ERROR_BYTES:
        missed.append("error over 8 KB")
    if cost.slowest_script_ms > MAX_SCRIPT_MS:
        missed.append(f"script over {MAX_SCRIPT_MS} ms")
    if cost.rss_bytes > MAX_RSS_BYTES:
        missed.append(f"RSS over {MAX_RSS_BYTES // MB} MB")
    if outcome.errors:
        missed.append(f"an error in the log: {outcome.errors[-1][:200]}")
    return missed


def pinned(outcome: Outcome) -> int:
    """Bytes that the attacker's keys hold in Redis."""
    return outcome.cost.keys_bytes


def row(outcome: Outcome) -> str:
    attack, quiet, during, cost = outcome.attack, outcome.quiet, outcome.during, outcome.cost
    tally = outcome.tally
    statuses = ", ".join(
        f"{count:,} × {status or 'none'}" for status, count in sorted(tally.statuses.items())
    )
    event = during.slowest_event_ms
    cells = (
        attack.title,
        f"row {attack.row}" if attack.row.isdigit() else attack.row or "new",
        attack.before or "not tried",
        attack.held_by,
        f"{quiet.median_ms:.1f}, {quiet.p99_ms:.1f} ms",
        f"{during.median_ms:.1f}, {during.p99_ms:.1f}, {during.slowest_ms:.0f} ms",
        f"{event:.0f} ms" if event is not None else "none",
        f"{size(pinned(outcome))} in {cost.keys:,} keys ({size(cost.redis_bytes)} in all)",
        f"{size(tally.largest_answer_bytes)}, {size(tally.largest_error_bytes)}",
        size(cost.rss_bytes),
        f"{cost.slowest_script_ms:.1f} ms" if cost.slowest_script_ms else "< 1 ms",
        f"{statuses} in {outcome.seconds:.1f} s",
        "; ".join(misses(outcome)) or "ok",
    )
    return _line(cells)


def size(count: int) -> str:
    if count >= MB:
        return f"{count / MB:.1f} MB"
    return f"{count / KB:.1f} KB" if count >= KB else f"{count} B"


def _line(cells: Sequence[str]) -> str:
    # A cell of Markdown may not hold a bar.
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


HEAD = [_line(COLUMNS), "|---" * len(COLUMNS) + "|"]


def write(rows: Iterable[str], titles: Sequence[str], path: Path = RESULTS) -> None:
    """Put these rows into the table, in the order of `titles`; other attacks' rows stay as they are."""
    text = path.read_text("utf-8") if path.exists() else ""
    kept = dict(re.findall(r"^(\| (?!attack |-).*?) \| (.*)$", text, re.MULTILINE))
    table = {title: f"{title} | {rest}" for title, rest in kept.items()}
    table |= {line.partition(" | ")[0]: line for line in rows}
    ordered = [table[title] for title in (f"| {each}" for each in titles) if title in table]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    introduction = f"""# Results of `make abuse`

Last written on {datetime.now(UTC).date()}, on {machine}, with a load average of
{os.getloadavg()[2]:.1f} in the last quarter of an hour.
Above about 2, delays say more about the neighbours than about the attacks.
[README.md](README.md) says how an attack is measured, and what each column and goal means.
"""
    path.write_text("\n".join([introduction, *HEAD, *ordered, ""]), "utf-8")

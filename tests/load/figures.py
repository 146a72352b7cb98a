"""Figures measured in rounds, their goals, and the tables that show them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import comb
from statistics import median

from tests.load.latency import Latency


@dataclass(frozen=True, slots=True)
class Rounds:
    """One figure, once a round.

    A neighbour on the machine slows some rounds down: the median is what
    counts, and the spread says how far to trust it.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a figure needs a round")

    @property
    def median(self) -> float:
        return median(self.values)

    def over(self, other: "Rounds") -> "Rounds":
        """The ratio to another figure, round by round: what slows both cancels out."""
        return Rounds(tuple(mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)))

    def interval(self, confidence: float) -> tuple[float, float]:
        """Between which values the median of endless rounds lies, with this confidence, whatever the noise.

        Of few rounds it is all of them, from the lowest to the highest: six have 97 %, eight 99 %.
        """
        count, ordered = len(self.values), sorted(self.values)
        left_out, beyond = 0, 1 / 2**count  # on each side; the chance that the median lies beyond those left
        while 2 * (beyond + (more := comb(count, left_out + 1) / 2**count)) <= 1 - confidence:
            left_out, beyond = left_out + 1, beyond + more
        return ordered[left_out], ordered[-1 - left_out]

    def __str__(self) -> str:
        middle = short(self.median)
        low, high = short(min(self.values)), short(max(self.values))
        return middle if low == high else f"{middle} ({low}–{high})"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be, and whether it is.

    `judged`: the figures that decide it, in the order of their columns; none for what is no number.
    `used`: how much of its limit a figure takes, 1 being all; None for what is no number.
    """

    text: str
    is_met: bool
    judged: tuple[Rounds, ...] = ()
    used: Rounds | None = None

    def __str__(self) -> str:
        return f"{self.text}: {'met' if self.is_met else 'MISSED'}"

    def __or__(self, other: "Goal") -> "Goal":
        limits = [goal.used for goal in (self, other) if goal.used]
        nearer = min(limits, key=lambda used: used.median, default=None)
        judged = (*self.judged, *other.judged)
        return Goal(f"{self.text} or {other.text}", self.is_met or other.is_met, judged, nearer)


def at_most(limit: float, figure: Rounds, unit: str = "") -> Goal:
    used = Rounds(tuple(value / limit for value in figure.values))
    return Goal(f"≤ {short(limit)}{unit}", figure.median <= limit, (figure,), used)


def at_least(limit: float, figure: Rounds, unit: str = "") -> Goal:
    used = Rounds(tuple(limit / value if value else float("inf") for value in figure.values))
    return Goal(f"≥ {short(limit)}{unit}", figure.median >= limit, (figure,), used)


@dataclass(slots=True)
class Table:
    """Rows under a title; `note` says how they were measured.

    >>> table = Table("Redis", ("call", "µs", "goal"))
    >>> steady = Rounds((5.0, 6.0, 7.0))
    >>> table.add("heartbeat", steady, at_most(8, steady))
    """

    title: str
    columns: Sequence[str]
    note: str = ""
    rows: list[tuple[object, ...]] = field(default_factory=list)
    latencies: dict[str, Latency] = field(default_factory=dict)  # by row, where each call was timed

    def add(self, name: str, *cells: object) -> None:
        """One row; None is an empty cell.

        Raises ValueError for a goal that does not judge what stands to its left, which is how it is read.
        """
        if len(cells) + 1 != len(self.columns):
            raise ValueError(f"{len(cells) + 1} cells for {len(self.columns)} columns")
        for place, cell in enumerate(cells):
            if isinstance(cell, Goal) and cell.judged:
                beside = cells[max(0, place - len(cell.judged)) : place]
                if beside != cell.judged:
                    raise ValueError(f"{self.title}, {name}: {cell.text} judges {cell.judged}, not {beside}")
        self.rows.append((name, *cells))

    @property
    def goals(self) -> list[tuple[str, Goal]]:
        """Every goal, with the table and the row that it stands in."""
        return [
            (f"{self.title}, {name}", cell)
            for name, *cells in self.rows
            for cell in cells
            if isinstance(cell, Goal)
        ]

    def markdown(self) -> str:
        """A table that reads well as text, too."""
        lines = [tuple(self.columns), *(tuple(map(_cell, row)) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        head, *body = (
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines
        )
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        note = f"{self.note}\n\n" if self.note else ""
        return f"### {self.title}\n\n{note}" + "\n".join((head, rule, *body)) + "\n"


def verdict(tables: Iterable[Table]) -> str:
    """How many goals were met, and which were not."""
    goals = [goal for table in tables for goal in table.goals]
    missed = [f"{name} ({goal.text})" for name, goal in goals if not goal.is_met]
    text = f"{len(goals) - len(missed)} of {len(goals)} goals met"
    return f"{text}. Missed: {'; '.join(missed)}." if missed else f"{text}."


def short(value: float) -> str:
    """Three digits; thousands whole."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return short(value) if isinstance(value, int | float) else str(value)

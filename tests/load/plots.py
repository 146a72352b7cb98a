"""One picture a part: how much of its limit each figure takes, with the spread of its rounds.

Every goal on one scale, whatever its unit: what lies left of 1 meets it.
"""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from tests.load.figures import Goal, Rounds, Table

DIRECTORY = Path(__file__).with_name("plots")
MET, MISSED, INK = "#1a7f37", "#cf222e", "#57606a"  # readable on light and on dark pages

matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "presence", "font.family": "sans-serif"})


def draw(part: str, tables: Sequence[Table], directory: Path = DIRECTORY) -> Path | None:
    """Write the picture of a part; None where it has no goal that is a number."""
    goals = [(name, goal, goal.used) for table in tables for name, goal in table.goals if goal.used]
    if not goals:
        return None
    directory.mkdir(exist_ok=True)
    path = directory / f"{part}.svg"
    _figure(goals).savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    return path


def _figure(goals: list[tuple[str, Goal, Rounds]]) -> Figure:
    figure = Figure(figsize=(9, 0.8 + 0.34 * len(goals)), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, goal, used) in enumerate(reversed(goals)):
        colour = MET if goal.is_met else MISSED
        values = [value for value in used.values if isfinite(value)] or [1.0]
        axes.plot([min(values), max(values)], [place, place], color=colour, linewidth=4, alpha=0.35)
        axes.plot(used.median, place, marker="o", markersize=6, color=colour)
    axes.set_yticks(range(len(goals)), [f"{name}: {goal.text}" for name, goal, _ in reversed(goals)])
    axes.axvline(1, color=INK, linewidth=1, linestyle="--")
    axes.set_xlim(left=0)
    axes.set_ylim(-0.6, len(goals) - 0.4)
    axes.set_xlabel("share of the limit that is used; left of 1 is met")
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set_color(INK)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure

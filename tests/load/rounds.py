"""Measuring in rounds, so that a noisy minute of the machine decides nothing."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from tests.load.progress import steps

T = TypeVar("T")


def interleaved(rounds: int, measures: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Run every measure once a round, so that none has the quiet minutes for itself."""
    turns = [(number, name) for number in range(1, rounds + 1) for name in measures]
    results: dict[str, list[T]] = {name: [] for name in measures}
    for _, name in steps(turns, lambda turn: f"round {turn[0]} of {rounds}, {turn[1]}".rstrip(", ")):
        results[name].append(measures[name]())
    return results


def in_turns(measures: Mapping[str, Callable[[], T]]) -> Callable[[], dict[str, T]]:
    """One measure of them all, each time in the reverse order: what comes first has other caches."""
    order = list(measures)

    def measure() -> dict[str, T]:
        order.reverse()
        return {name: measures[name]() for name in order}

    return measure

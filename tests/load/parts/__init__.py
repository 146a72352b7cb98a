"""The parts of the bench: one module each, with `run(effort)`, which returns its tables."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure: `calls` and `seconds` are those of one figure in one round."""

    rounds: int = 5
    seconds: float = 2.0
    calls: int = 2_000
    crowd: int = 10_000  # tabs of the largest room, and in all small rooms together


TINY = Effort(rounds=1, seconds=0.2, calls=20, crowd=120)

"""The parts of the bench: one module each, with `run(effort)`, which returns its tables."""

from dataclasses import dataclass, field
from math import inf

MAX_RATE = 10_000  # a second: more than the generator, which is Python, can send


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure."""

    rounds: int = field(default=5, metadata={"help": "times that each figure is measured"})
    seconds: float = field(default=2.0, metadata={"help": "of load for one figure in one round"})
    calls: int = field(default=2_000, metadata={"help": "of a script for one figure in one round"})
    crowd: int = field(
        default=10_000, metadata={"help": "tabs of the largest room, and in all small rooms together"}
    )

    rate: float | None = field(
        default=None,
        metadata={
            "help": "arrivals a second in the part `rate`",
            "default": "a quarter, half and three quarters of what is answered at full load",
        },
    )

    def __post_init__(self) -> None:
        for name in ("rounds", "seconds", "calls", "crowd"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be more than 0")
        if self.rate is not None and not 0 < self.rate <= MAX_RATE:
            raise ValueError(f"rate must be more than 0, and at most {MAX_RATE:,}")


QUICK = Effort(rounds=2, seconds=0.5, calls=500, crowd=1_000)
TINY = Effort(rounds=1, seconds=0.2, calls=20, crowd=120)

"""How many histories a model test plays. `HYPOTHESIS_PROFILE=long` is for a night: many, others each time."""

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings


def histories(
    usual: int, steps: int, *, long: int, phases: tuple[Phase, ...] = (Phase.generate,)
) -> settings:
    """`usual` histories of so many steps, always the same ones; or `long`, of 60 steps."""
    common: dict[str, Any] = {
        "deadline": None,
        "database": None,
        "suppress_health_check": list(HealthCheck),
        "print_blob": False,
    }
    if os.environ.get("HYPOTHESIS_PROFILE") == "long":
        return settings(max_examples=long, stateful_step_count=60, **common)
    return settings(max_examples=usual, stateful_step_count=steps, derandomize=True, phases=phases, **common)

"""`make model`: a million steps of random histories against the plain model of test_model.py.

`python -m tests.presence.long_model [STEPS]`: a tenth of them on fakeredis and
a tenth on a Cluster, the rest on one Redis; other histories each time. In one
round of four two viewers are a crowd, in one a user may say little, and in one a
script sweeps one tab at most. A difference ends it, with the shortest history that
shows it.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import fakeredis
import redis as redis_py
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import invariant, run_state_machine_as_test

from record_presence.presence.scripts import Scripts
from tests.presence.test_model import (
    SMALL_BUDGET,
    TWO_TABS,
    Budget,
    MachineStoodStill,
    PresenceMachine,
    small_budgets,
    small_crowds,
    small_sweeps,
    stood_still,
)
from tests.redis_cluster import RedisCluster
from tests.redis_server import RedisServer

STEPS = 1_000_000
SAY_EVERY_SECONDS = 60.0
ROUND = settings(
    max_examples=50,
    stateful_step_count=50,
    phases=[Phase.generate, Phase.shrink],
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


@contextmanager
def embedded() -> Iterator[Any]:
    yield fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)


@contextmanager
def one_server() -> Iterator[Any]:
    with ExitStack() as stack:
        server = RedisServer()
        stack.callback(server.close)
        yield stack.enter_context(server.client())


@contextmanager
def cluster() -> Iterator[Any]:
    with ExitStack() as stack:
        nodes = RedisCluster()
        stack.callback(nodes.close)
        yield redis_py.RedisCluster(port=nodes.ports[0], host="127.0.0.1", decode_responses=True)


BACKENDS: dict[str, tuple[Callable[[], Any], float]] = {
    "fakeredis": (embedded, 0.1),
    "a Cluster of three": (cluster, 0.1),
    "redis-server": (one_server, 0.8),
}


def play(redis: Any, steps: int, say: Callable[[int], None]) -> int:
    """At least so many steps; how many they were. Raises what differs."""
    done = 0

    class Counted(PresenceMachine):
        def __init__(self, scripts: Scripts | None, budget: Budget) -> None:
            nonlocal done
            super().__init__(redis, scripts, budget)
            done -= 1  # invariants are looked at once before the first step

        @invariant()
        def count(self) -> None:
            nonlocal done
            done += 1

    variants = (
        (None, Budget()),
        (small_crowds(), Budget()),
        (small_budgets(), SMALL_BUDGET),
        (small_sweeps(), TWO_TABS),
    )
    for variant in itertools.cycle(variants):
        if done >= steps:
            break
        try:
            run_state_machine_as_test(lambda variant=variant: Counted(*variant), settings=ROUND)
        except (MachineStoodStill, Flaky) as error:
            if not stood_still(error):
                raise
            print("  a step took seconds, so its round was ended", flush=True)
        say(done)
    return done


def main(steps: int) -> None:
    total, started, said_at = 0, time.monotonic(), time.monotonic()

    def say(done: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > SAY_EVERY_SECONDS:
            said_at = time.monotonic()
            print(f"  {done:,}", flush=True)

    for name, (backend, share) in BACKENDS.items():
        with backend() as redis:
            done = play(redis, round(steps * share), say)
        total += done
        print(f"{name}: {done:,} steps, no difference", flush=True)
    print(f"{total:,} steps in {(time.monotonic() - started) / 60:.0f} min, no difference")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)

"""CPU time of the pieces of a call, each without the pieces inside it."""

import functools
import time
from collections.abc import Callable
from importlib import import_module
from statistics import median
from typing import Any


class Stopwatch:
    """Wraps functions where they stand, and notes the CPU time that they take.

    CPU time of the thread: neither a neighbour on the machine nor the wait for
    Redis counts. Watching costs about a microsecond a piece, which is in the
    figure of the piece around it.
    """

    def __init__(self, clock: Callable[[], int] = time.thread_time_ns) -> None:
        self._clock = clock
        self._spent: dict[str, list[int]] = {}
        self._inner_ns = [0]

    def watch(self, label: str, path: str) -> None:
        """Wrap what stands at `package.module:name` or `package.module:Class.name`.

        Raises AttributeError when nothing does, so that a renamed function is noticed.
        """
        module, _, names = path.partition(":")
        *owners, name = names.split(".")
        owner: Any = functools.reduce(getattr, owners, import_module(module))
        setattr(owner, name, self.timed(label, getattr(owner, name)))

    def timed(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, watched."""
        self._spent.setdefault(label, [0])

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._inner_ns.append(0)
            started = self._clock()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = self._clock() - started
                self._spent[label][-1] += elapsed - self._inner_ns.pop()
                self._inner_ns[-1] += elapsed

        return wrapper

    def next_call(self) -> None:
        """What follows belongs to the next call."""
        for spent in self._spent.values():
            spent.append(0)

    def pieces(self) -> dict[str, float]:
        """Microseconds of each piece: the median of its calls."""
        return {label: median(spent) / 1000 for label, spent in self._spent.items()}

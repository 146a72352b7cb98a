"""How far a measurement is, on stderr. Silent where nobody has called `show`, as in tests."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

EVERY_SECONDS = 2.0  # a line at most so often
_log = logging.getLogger(__name__)


class _Elapsed(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"[{record.relativeCreated / 1000:4.0f} s] {record.getMessage()}"


def show() -> None:
    """Print from now on, each line with the seconds since the start."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Elapsed())
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False


def say(text: str) -> None:
    """What is done next."""
    _log.info("%s", text)


def steps(items: Sequence[T], name: Callable[[T], str]) -> Iterator[T]:
    """The items; says which one is next, and how long the others may take, judged by those that are done."""
    started, said_at = time.monotonic(), float("-inf")
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - said_at >= EVERY_SECONDS:
            left = f", about {(now - started) / done * (len(items) - done):.0f} s left" if done else ""
            say(f"  {done + 1} of {len(items)}: {name(item)}{left}")
            said_at = now
        yield item

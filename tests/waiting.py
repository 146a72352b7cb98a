"""Waiting for what takes as long as it takes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0  # generous, for a busy machine
START_SECONDS = 120.0  # until a server answers that is started beside many other tests
TIMEOUT_MS = TIMEOUT_SECONDS * 1000  # as Playwright takes it


def wait_until(
    look: Callable[[], T], wanted: Callable[[T], bool] = bool, *, seconds: float = TIMEOUT_SECONDS
) -> T:
    """What `look` gives, once it is as wanted; fails with the last that it gave."""
    deadline = time.monotonic() + seconds
    while not wanted(seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {seen!r} after {seconds:g} s")
        time.sleep(0.05)
    return seen


def becomes(look: Callable[[], T], wanted: T, *, seconds: float = TIMEOUT_SECONDS) -> None:
    """Waits until `look` gives just that."""
    wait_until(look, lambda seen: seen == wanted, seconds=seconds)


def stays(look: Callable[[], T], wanted: Callable[[T], bool], *, seconds: float) -> None:
    """Fails as soon as `look` gives something that is not as wanted."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert wanted(seen := look()), f"became {seen!r}"
        time.sleep(0.05)


def settles(
    look: Callable[[], T], wanted: Callable[[T], bool], *, seconds: float, quiet_seconds: float = 0.5
) -> None:
    """Fails unless `look` has been as wanted for `quiet_seconds` on end, within `seconds`."""
    deadline = time.monotonic() + seconds
    since = None
    while since is None or time.monotonic() < since + quiet_seconds:
        if not wanted(seen := look()):
            since = None
        elif since is None:
            since = time.monotonic()
        if since is None and time.monotonic() > deadline:
            raise AssertionError(f"still {seen!r} after {seconds:g} s")
        time.sleep(0.05)

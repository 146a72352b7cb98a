"""Tests run beside those of the other workers, and one that must may have the machine for itself."""

import fcntl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

WAIT_SECONDS = 100.0  # for the others' tests to end; whoever has waited for so long goes on beside them


class Turns:
    """A plugin of pytest. The workers of a run share its files in `folder`, their TMPDIR by default."""

    def __init__(self, folder: str | Path | None = None) -> None:
        folder = folder or tempfile.gettempdir()
        # Whoever wants to begin passes the gate, or one test after the other would pass who waits for all.
        self._gate = Path(folder, "turns-gate").open("w")  # noqa: SIM115 - as long as the run
        self._running = Path(folder, "turns-running").open("w")  # noqa: SIM115

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # before the clock of pytest-timeout runs
    def pytest_runtest_protocol(self) -> Iterator[None]:
        with self.beside_others():
            return (yield)

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        with _locked(self._gate, fcntl.LOCK_EX):
            fcntl.flock(self._running, fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(self._running, fcntl.LOCK_UN)

    @contextmanager
    def alone(self, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
        """Within `beside_others()`: no other test runs, and none begins until the end of it."""
        fcntl.flock(self._running, fcntl.LOCK_UN)
        try:
            with _locked(self._gate, fcntl.LOCK_EX):
                _wait_for_others(self._running, wait_seconds)
                yield
        finally:
            fcntl.flock(self._running, fcntl.LOCK_SH)

    def pytest_unconfigure(self) -> None:
        self._gate.close()
        self._running.close()


@contextmanager
def _locked(file: TextIO, kind: int) -> Iterator[None]:
    fcntl.flock(file, kind)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _wait_for_others(file: TextIO, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return

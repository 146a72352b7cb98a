"""A run that leaves nothing behind: neither a process nor a temporary folder, however it ends."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from tests.load.processes import descendants

TERMINATE_SECONDS = 5.0
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@contextmanager
def workspace() -> Iterator[None]:
    """Everything that is started or kept inside is gone at the end.

    SIGTERM, SIGHUP and Ctrl-C end the block, with one line and the exit code that a shell expects. What
    makes temporary files inside, and in the processes started there, makes them in one folder.
    """
    handlers = {number: signal.signal(number, _stop) for number in _ENDING}
    outer, outer_variable = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        try:
            yield
        finally:
            for number in _ENDING:
                signal.signal(number, signal.SIG_IGN)  # the end takes its seconds, and is not ended itself
            _end_descendants()
            tempfile.tempdir = outer
            if outer_variable is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = outer_variable
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _stop(number: int, _frame: FrameType | None) -> None:
    print(f"\n{signal.Signals(number).name}: ends what it has started ...", file=sys.stderr, flush=True)
    sys.exit(128 + number)


def _end_descendants() -> None:
    """Those that nobody has ended: a server in the middle of its start, for instance."""
    left = descendants(os.getpid())
    _signal(left, signal.SIGTERM)
    deadline = time.monotonic() + TERMINATE_SECONDS
    while (left := [pid for pid in left if _is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    _signal(left, signal.SIGKILL)


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _is_running(pid: int) -> bool:
    """Whether it has not ended; our own children are reaped."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

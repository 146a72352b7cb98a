"""SIGTERM: not ready first, so that no further calls are sent here; then the server ends its requests."""

import mmap
import signal
from typing import Any

# Of one byte, shared by the master and all workers that it starts.
_flag = mmap.mmap(-1, 1)


def is_draining() -> bool:
    """Whether this server has been told to stop, and is going to."""
    return _flag[0] != 0


def install(server: Any, seconds: float) -> None:
    """Make gunicorn's master wait so long between SIGTERM and its end, while the workers go on serving.

    A second SIGTERM ends the wait. SIGINT and SIGQUIT end the server at once, as before.
    """
    stop = server.handle_term  # raises StopIteration: the workers end their requests, and the master ends

    def handle_term() -> None:
        is_first = not is_draining()
        _flag[0] = 1
        if not (is_first and seconds):
            stop()
        server.log.warning("not ready any more, and stopping in %g s", seconds)
        signal.signal(signal.SIGALRM, lambda *_: server.signal(signal.SIGTERM, None))
        signal.setitimer(signal.ITIMER_REAL, seconds)

    server.handle_term = handle_term

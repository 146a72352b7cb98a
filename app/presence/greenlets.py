"""Whether threads are greenlets here: the server may have patched gevent in, before it imported us.

They are scheduled cooperatively: one that computes for long keeps everybody else's calls waiting.
"""

import sys
import time

MAX_TURN_SECONDS = 0.003
# The least after which gevent has looked at every socket. Not `sleep(0)`, after which it goes on before that.
PAUSE_SECONDS = 0.0002


def runs_greenlets(module: str = "socket") -> bool:
    """Whether gevent has patched this module of the standard library. Does not import gevent."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched(module))


class Turn:
    """The time slice of a greenlet that computes for long, and asks from time to time whether it is over.

    Costs nothing where there are none: the interpreter preempts a thread every 5 ms.
    """

    __slots__ = ("_ends_at",)

    def __init__(self) -> None:
        self._ends_at = time.perf_counter() + MAX_TURN_SECONDS

    def restart(self) -> None:
        """It begins now, after a wait."""
        self._ends_at = time.perf_counter() + MAX_TURN_SECONDS

    def pause_if_over(self) -> None:
        """Let the others run. Not while holding a lock that a call waits for."""
        if time.perf_counter() >= self._ends_at:
            if runs_greenlets("time"):
                time.sleep(PAUSE_SECONDS)
            self.restart()

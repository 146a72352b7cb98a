"""Whether threads are greenlets here: the server may have patched gevent in, before it imported us.

Greenlets take turns of their own accord. One that computes for long keeps everybody else's calls waiting.
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
    """The turn of a greenlet, for work that takes long: it asks from time to time whether its turn is over.

    Costs nothing where there are none: the interpreter lets a thread run for 5 ms, whatever it does.
    """

    __slots__ = ("_ends_at",)

    def __init__(self) -> None:
        self._ends_at = time.perf_counter() + MAX_TURN_SECONDS

    def restart(self) -> None:
        """It begins now, after a wait."""
        self._ends_at = time.perf_counter() + MAX_TURN_SECONDS

    def pause_if_over(self) -> None:
        """Let all others have theirs. Not while holding a lock."""
        if time.perf_counter() >= self._ends_at:
            if runs_greenlets("time"):
                time.sleep(PAUSE_SECONDS)
            self.restart()

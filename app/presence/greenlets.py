"""Whether threads are greenlets here: the server may have patched gevent in, before it imported us.

They are scheduled cooperatively: one that computes for long keeps everybody else's calls waiting.
"""

import sys
import threading
import time
from typing import Any, Protocol

MAX_TURN_SECONDS = 0.003
# The least after which gevent has looked at every socket. Not `sleep(0)`, after which it goes on before that.
PAUSE_SECONDS = 0.0002


def runs_greenlets(module: str = "socket") -> bool:
    """Whether gevent has patched this module of the standard library. Does not import gevent."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched(module))


class AutoResetEvent(Protocol):
    """An event for one who waits, which ends with their wait."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...

    def wait(self) -> None: ...


class _ThreadEvent:
    def __init__(self) -> None:
        self._lock = threading.Lock()  # held while the event is not set
        self._lock.acquire()

    def is_set(self) -> bool:
        return not self._lock.locked()

    def set(self) -> None:
        self._lock.release()

    def wait(self) -> None:
        self._lock.acquire()


class _GreenletEvent:
    """Half the price of gevent's lock, and no objects for the garbage collector in each wait."""

    __slots__ = ("_run_callback", "_waiter")

    def __init__(self) -> None:
        hub: Any = sys.modules["gevent.hub"]  # not imported: it is there wherever greenlets are
        self._run_callback = hub.get_hub().loop.run_callback
        self._waiter = hub.Waiter()

    def is_set(self) -> bool:
        return bool(self._waiter.ready())

    def set(self) -> None:
        self._run_callback(self._waiter.switch, None)

    def wait(self) -> None:
        self._waiter.get()
        self._waiter.clear()


def new_auto_reset_event() -> AutoResetEvent:
    """One that is not set. To set it twice without a wait in between is an error."""
    return _GreenletEvent() if runs_greenlets("threading") else _ThreadEvent()


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

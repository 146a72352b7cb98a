"""What anybody may ask for takes turns: together, such calls take at most a share of a process's time.

Calls of presence are counted for each user. Whoever asks for a page, a file or the metrics need not say
who they are, so nobody can be counted, and each answer takes its time from all heartbeats.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from ..presence.greenlets import runs_greenlets
from .paths import API_PREFIX

MAX_SHARE = 0.25  # of a process's time, for all calls that need no identity
BURST_SECONDS = 0.02  # of work that is done at once, such as a page with its files
MAX_WAIT_SECONDS = 1.0  # for a turn; beyond that, a call is carried out in any case
MAX_PROBE_WAIT_SECONDS = 0.1  # the same for probes, which restart a process that does not answer
_MAX_CALL_SECONDS = 0.05  # that a call is taken to last: some wait for a database, at nobody's cost

WSGIApplication = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Pacer:
    """Spreads calls over time: the generic cell rate algorithm, by how long they take."""

    def __init__(self, *, share: float, burst_seconds: float, max_wait_seconds: float) -> None:
        self._share = share
        self._burst_seconds = burst_seconds
        self._max_wait_seconds = max_wait_seconds
        self._free_at = 0.0  # on the monotonic clock; when all that was reserved has had its time

    def reserve(self, seconds: float) -> float:
        """Reserve a turn that takes so long; returns in how many seconds it comes."""
        now = time.monotonic()
        turn_at = max(self._free_at, now - self._burst_seconds / self._share)
        self._free_at = min(turn_at + seconds / self._share, now + self._max_wait_seconds)
        return max(0.0, turn_at - now)

    def try_reserve(self, seconds: float) -> bool:
        """Reserve a turn that comes now; False, and nothing is reserved, where it would have to wait."""
        return self._free_at <= time.monotonic() and self.reserve(seconds) == 0


class PacedPaths:
    """WSGI middleware of an application that is ours alone: paces every path but those of presence.

    Only where a call may wait at no cost: a greenlet may, while a thread would be missing elsewhere.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._pages = _PacedCalls(MAX_WAIT_SECONDS)
        self._probes = _PacedCalls(MAX_PROBE_WAIT_SECONDS)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(_PRESENCE) or not runs_greenlets():
            return self._application(environ, start_response)
        calls = self._probes if path.startswith("/health/") else self._pages
        started = calls.begin()
        try:
            return self._application(environ, start_response)
        finally:
            calls.end(started)


_PRESENCE = f"{API_PREFIX}/"


class _PacedCalls:
    """Calls that share a pacer. How long the next one takes is estimated from those before it."""

    def __init__(self, max_wait_seconds: float) -> None:
        self._pacer = Pacer(share=MAX_SHARE, burst_seconds=BURST_SECONDS, max_wait_seconds=max_wait_seconds)
        self._mean_seconds = 0.0

    def begin(self) -> float:
        """Wait for a turn; returns when it began."""
        if seconds := self._pacer.reserve(self._mean_seconds):
            time.sleep(seconds)
        return time.perf_counter()

    def end(self, started: float) -> None:
        seconds = min(time.perf_counter() - started, _MAX_CALL_SECONDS)
        self._mean_seconds += (seconds - self._mean_seconds) / 8

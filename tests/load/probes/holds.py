"""The service with a route more: how long one greenlet has kept all others from running.

Found by `PYTHONPATH`, because it serves any checkout of the service, which need not have it.
"""

import time
from typing import Any

import greenlet
from flask import Response

from wsgi import app

_longest = [0.0, 0.0, 0]  # by CPU time, by the clock, and switches
_began = [time.thread_time(), time.perf_counter()]


def _on_switch(_event: str, greenlets: tuple[Any, Any]) -> None:
    cpu, now = time.thread_time(), time.perf_counter()
    if cpu - _began[0] > _longest[0]:
        _longest[0] = cpu - _began[0]
    _longest[2] += 1
    _began[0], _began[1] = cpu, now


@app.get("/presence/longest-hold")
def longest_hold() -> Response:
    """Seconds of CPU time, since this was last asked for."""
    if greenlet.gettrace() is None:
        greenlet.settrace(_on_switch)
    seconds, _longest[0] = _longest[0], 0.0
    switches, _longest[2] = _longest[2], 0
    return Response(f"{seconds} {switches}", mimetype="text/plain")

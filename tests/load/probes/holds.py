"""The service with a route more: how long a greenlet has kept all others from running.

Found by `PYTHONPATH`, because it serves any checkout of the service, also one that does not have it.
"""

import time
from typing import Any

import greenlet
from flask import Response

from wsgi import app

_longest = 0.0
_began = 0.0  # CPU time of this thread, when the greenlet that runs now was switched to


def _on_switch(_event: str, _greenlets: tuple[Any, Any]) -> None:
    global _longest, _began
    now = time.thread_time()
    _longest = max(_longest, now - _began)
    _began = time.thread_time()


@app.get("/presence/longest-hold")
def longest_hold() -> Response:
    """Seconds of CPU time, since this was last asked; the first answer says nothing."""
    global _longest, _began
    greenlet.settrace(_on_switch)
    seconds, _longest, _began = _longest, 0.0, time.thread_time()
    return Response(str(seconds), mimetype="text/plain")

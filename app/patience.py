"""How long a connection may take.

gunicorn's gevent worker bounds the wait for a request's head (`keepalive`), and nothing
after it: a body, or an answer that nobody reads, could hold its greenlet for ever.
"""

import time
from typing import Any

from gunicorn.http import parser
from gunicorn.http.unreader import SocketUnreader

BODY_SECONDS = 10  # for a whole body, which has at most 64 KiB
SEND_SECONDS = 60  # for a piece of an answer; a snapshot of a hundred records goes by a slow line too


class _TimedReader(SocketUnreader):
    """Reads a connection; while there is a deadline, until then."""

    deadline: float | None = None

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self.deadline is None:
            return super().chunk(size_hint)
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the body came too slowly")
        self.sock.settimeout(left)
        try:
            return super().chunk(size_hint)
        finally:
            self.sock.settimeout(SEND_SECONDS)


def install() -> None:
    """Have gunicorn read by deadlines, for which it has no setting."""
    parser.SocketUnreader = _TimedReader


def begin(req: Any) -> None:
    """The head of a request is read."""
    req.unreader.deadline = time.monotonic() + BODY_SECONDS
    req.unreader.sock.settimeout(SEND_SECONDS)


def end(req: Any) -> None:
    """The request is answered; the wait for the next one is the worker's."""
    req.unreader.deadline = None
    req.unreader.sock.settimeout(None)

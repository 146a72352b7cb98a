"""How long a connection may take.

gunicorn's gevent worker limits the wait for a request and its head together (`keepalive`, long
for the sake of idle connections), and nothing else: a slow body, or an answer that nobody reads,
could hold its greenlet for ever.
"""

import random
import time
from typing import Any

from gunicorn.http import parser
from gunicorn.http.errors import LimitRequestHeaders, ParseException
from gunicorn.http.unreader import SocketUnreader

HEAD_SECONDS = 10  # for a whole head, from its first bytes on
# All headers together. gunicorn bounds each, and would read 400 KB of them for anybody, the whole of it
# again with each piece. Proxies and other servers allow 32 to 64 KiB.
MAX_HEAD_BYTES = 64 * 1024
# Of a body that is too large, or of a refused call: ending the connection at once could lose the answer.
MAX_UNREAD_BYTES = 1024 * 1024
BODY_SECONDS = 10  # for a whole body, which has at most 64 KiB
JITTER_SECONDS = 1.0  # so that connections that were opened together are not given up together
PAUSE_SECONDS = 0.001  # between two requests of a connection that never waits
SEND_SECONDS = 60  # for a part of an answer; enough for a snapshot of 100 records on a slow line


class _DeadlineReader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """Reads a connection, until the deadline if one is set; the first bytes of a head set one."""

    deadline: float | None = None
    head_bytes: int | None = 0  # so many were read; None while a body is read

    def chunk(self, *size_hint: int | None) -> bytes:  # gunicorn gives one from version 24 on
        data = self._read_in_time(*size_hint)
        if self.head_bytes is not None:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEAD_BYTES:
                raise LimitRequestHeaders("max head bytes")
        return data

    def _read_in_time(self, *size_hint: int | None) -> bytes:
        if self.deadline is None:
            data = self._read(*size_hint)
            self.deadline = _deadline_in(HEAD_SECONDS)
            return data
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request is too slow")
        self.sock.settimeout(left)
        try:
            return self._read(*size_hint)
        finally:
            self.sock.settimeout(SEND_SECONDS)

    def _read(self, *size_hint: int | None) -> bytes:
        data: bytes = super().chunk(*size_hint)
        return data


def _deadline_in(seconds: float) -> float:
    return time.monotonic() + seconds + random.uniform(0, JITTER_SECONDS)  # noqa: S311


def install() -> None:
    """Make gunicorn read with deadlines, for which it has no setting."""
    parser.SocketUnreader = _DeadlineReader


def accept_one_by_one() -> None:
    """Let gevent look at all sockets between two new connections, as gunicorn does with several processes.

    Otherwise it accepts a hundred at once, and carries out all of their first requests before anything else.
    """
    from gevent.baseserver import BaseServer  # late: gevent must patch first, where it is used at all

    BaseServer.max_accept = 1


def start(req: Any) -> None:
    """Start the timeouts of a request, whose head has been read."""
    req.unreader.deadline = _deadline_in(BODY_SECONDS)
    req.unreader.head_bytes = None
    req.unreader.sock.settimeout(SEND_SECONDS)


def clear(req: Any) -> None:
    """Clear the timeouts of a request that is answered; the wait for the next one is the worker's.

    What was not read of its body is read first, within the time that the body has: it is no part of the next
    head. The connection ends where that is too much.
    """
    if not _discard_body(req):
        req.force_close()
    req.unreader.deadline = None
    req.unreader.head_bytes = 0
    req.unreader.sock.settimeout(None)


def _discard_body(req: Any) -> bool:
    """Whether the whole body has been read."""
    unread = 0
    try:
        while data := req.body.read(8192):
            unread += len(data)
            if unread > MAX_UNREAD_BYTES:
                return False
    except (OSError, ParseException):
        return False
    return True


def let_others_have_their_turn(req: Any) -> None:
    """Pause before the next request of the connection.

    gevent waits only where there is nothing to read. A client that sends a thousand requests at once, or
    the next one as fast as it is answered, would keep everybody else waiting where no answer waits for
    Redis: those of presence do. Not `sleep(0)`, after which gevent runs fifty others that did the same
    before it looks at a socket.
    """
    if "/presence/" not in req.path or req.unreader.buf.getbuffer().nbytes:  # the next one is here
        time.sleep(PAUSE_SECONDS)

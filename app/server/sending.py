"""How an answer is sent: its head and the beginning of its body in one piece.

gunicorn sends them one after the other, which takes two packets and two calls of the kernel:
a twentieth of what a heartbeat costs a process.
"""

from typing import Any

from gunicorn.http import wsgi

MAX_JOINED_BYTES = 65_536  # joining copies; of a larger body that costs more than another send


class _Pieces:
    """In the place of a socket: keeps what is sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def send(self, data: bytes) -> int:
        self._pieces.append(data)
        return len(data)

    def sendall(self, data: bytes) -> None:
        self.send(data)

    def joined(self) -> bytes:
        return b"".join(self._pieces)


class _Answer(wsgi.Response):  # type: ignore[misc]  # gunicorn has no types
    sock: Any
    headers_sent: bool

    def write(self, arg: bytes) -> None:
        """Send a part of the body; the first one with the head."""
        if self.headers_sent or len(arg) > MAX_JOINED_BYTES:
            super().write(arg)
            return
        sock, self.sock = self.sock, _Pieces()
        try:
            super().write(arg)
        except BaseException:
            self.headers_sent = False  # nothing is: there may be another answer
            raise
        finally:
            pieces, self.sock = self.sock, sock
        _send(sock, pieces.joined())

    def _emit_body(self, data: bytes) -> None:
        """The rest of the body, piece by piece: for streams of events, thousands of times in a moment."""
        _send(self.sock, b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data)


def _send(sock: Any, data: bytes) -> None:
    """As `sendall`, which costs gevent more to begin with than it takes to send a small piece."""
    sent = sock.send(data)
    if sent < len(data):
        sock.sendall(memoryview(data)[sent:])


def install() -> None:
    """Make gunicorn send so, for which it has no setting."""
    wsgi.Response = _Answer

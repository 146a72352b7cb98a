"""Server-Sent Events as a client reads them."""

import contextlib
import json
import select
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 30.0  # long enough for a busy machine


@dataclass
class Message:
    """One message of a stream, as it was sent. `id` is None if it had none."""

    event: str | None = None
    id: str | None = None
    data: Any = None
    retry: int | None = None
    is_comment: bool = False


class Parser:
    """Bytes in, messages out. Fails for anything that is not a Server-Sent Event."""

    def __init__(self) -> None:
        self._rest = b""
        self.messages: list[Message] = []

    def feed(self, data: bytes) -> None:
        self._rest += data
        while b"\n\n" in self._rest:
            block, _, self._rest = self._rest.partition(b"\n\n")
            self.messages.append(_message(block.decode("utf-8")))


def _message(block: str) -> Message:
    message = Message()
    for line in block.split("\n"):
        name, colon, text = line.partition(":")
        text = text.removeprefix(" ")
        assert colon, line
        if name == "":
            message.is_comment = True
        elif name == "data":
            assert message.data is None
            message.data = json.loads(text)
        elif name == "retry":
            message.retry = int(text)
        else:
            assert name in ("event", "id"), line
            setattr(message, name, text)
    return message


class StreamReader:
    """Reads a stream over HTTP/1.1, on a connection of its own, without blocking.

    `status` and `headers` are those of the response. `is_over`: the stream has ended or was cut.
    """

    def __init__(self, url: str, token: str, query: str = "record=flow:12", **headers: str) -> None:
        address = urlsplit(url)
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.is_over = False
        self.body = b""
        self._buffer = b""
        self._parser = Parser()
        self._connection = socket.create_connection((address.hostname, address.port), timeout=TIMEOUT_SECONDS)
        lines = [f"GET /api/v1/presence/events?{query} HTTP/1.1", f"Host: {address.netloc}"]
        lines += [f"Authorization: Bearer {token}"]
        lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode())
        self._connection.setblocking(False)

    @property
    def messages(self) -> list[Message]:
        return self._parser.messages

    def read(self, timeout_seconds: float = 0.0) -> None:
        """Take what has arrived."""
        while not self.is_over and select.select([self._connection], [], [], timeout_seconds)[0]:
            timeout_seconds = 0.0
            try:
                data = self._connection.recv(65_536)
            except OSError:
                data = b""
            self._buffer += data
            self._parse_buffer()
            self.is_over = self.is_over or not data

    def _parse_buffer(self) -> None:
        if self.status is None:
            if b"\r\n\r\n" not in self._buffer:
                return
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            status, *lines = head.decode("latin-1").split("\r\n")
            self.status = int(status.split()[1])
            self.headers = {name.lower(): text for name, text in (line.split(": ", 1) for line in lines)}
        if self.headers.get("transfer-encoding") != "chunked":
            self.body, self._buffer = self.body + self._buffer, b""
            return
        while b"\r\n" in self._buffer:
            size, _, rest = self._buffer.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                return
            self._buffer = rest[length + 2 :]
            self.is_over = self.is_over or length == 0
            self._parser.feed(rest[:length])

    def wait_for(self, is_true: Any, seconds: float = TIMEOUT_SECONDS) -> float:
        """Returns the seconds it took until `is_true(reader)`."""
        started = time.monotonic()
        while not is_true(self):
            left = started + seconds - time.monotonic()
            assert left > 0, f"timed out with {self.status} {self.messages} over={self.is_over}"
            self.read(min(left, 0.05))
        return time.monotonic() - started

    def events(self) -> list[str]:
        return [message.event for message in self.messages if message.event]

    def wait_for_event(self, kind: str, count: int = 1, seconds: float = TIMEOUT_SECONDS) -> Message:
        self.wait_for(lambda tail: tail.events().count(kind) >= count, seconds)
        return [message for message in self.messages if message.event == kind][count - 1]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            # Closed with a reset, as if the process were killed: what the server sends next is refused.
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._connection.close()

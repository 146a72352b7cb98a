"""A browser's HTTP connection on asyncio: kept open, one call at a time."""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from typing import Any

from tests.api.client import PREFIX
from tests.api.sse import Parser

GIVE_UP_SECONDS = 10.0  # as the browser client does


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, between two readings of the monotonic clock. `status` 0: nothing did."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]
    asked_at: float
    answered_at: float

    @property
    def data(self) -> dict[str, Any] | None:
        return self.body.get("data") if self.status == 200 else None

    @property
    def seconds(self) -> float:
        return self.answered_at - self.asked_at

    @property
    def retry_after_seconds(self) -> float:
        return float(self.headers.get("retry-after", 0))


class Connection:
    """Calls of one person. Opened when needed; a call never raises, it answers with status 0."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, path: str, body: Any = None) -> Answer:
        asked_at = time.monotonic()
        status, headers, content = 0, {}, b""
        with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(GIVE_UP_SECONDS):
                status, headers, content = await self._exchange(method, path, body)
        if status == 0 or headers.get("connection") == "close":
            self.close()
        answer = json.loads(content) if content else {}
        return Answer(status, headers, answer, asked_at, time.monotonic())

    async def _exchange(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], bytes]:
        was_open = self._streams is not None
        try:
            return await self._send_and_read(method, path, body)
        except (OSError, asyncio.IncompleteReadError):
            # As browsers do: an idle connection that was closed meanwhile says nothing about the call.
            self.close()
            if not was_open:
                raise
            return await self._send_and_read(method, path, body)

    async def _send_and_read(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], bytes]:
        reader, writer = await self._open()
        content = b"" if body is None else json.dumps(body).encode()
        writer.write(_request(self._port, self._token, method, path, content))
        status, headers = await _read_head(reader)
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        return status, headers, content

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return self._streams

    async def events(self, query: str) -> Any:
        """The messages of `GET events`, as they come, until the stream ends; the first is the Answer."""
        asked_at = time.monotonic()
        try:
            reader, writer = await self._open()
            writer.write(_request(self._port, self._token, "GET", f"events?{query}", b""))
            async with asyncio.timeout(GIVE_UP_SECONDS):
                status, headers = await _read_head(reader)
            content = b""
            if status != 200:
                content = await reader.readexactly(int(headers.get("content-length", 0)))
            yield Answer(status, headers, json.loads(content or "{}"), asked_at, time.monotonic())
            parser = Parser()
            while status == 200:
                size = int(await reader.readuntil(b"\r\n"), 16)
                chunk = await reader.readexactly(size + 2)
                if size == 0:
                    break
                parser.feed(chunk[:-2])
                for message in parser.messages:
                    yield message
                parser.messages.clear()
        except (OSError, EOFError, TimeoutError):
            yield Answer(0, {}, {}, asked_at, time.monotonic())
        finally:
            self.close()

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


def _request(port: int, token: str, method: str, path: str, content: bytes) -> bytes:
    lines = [
        f"{method} {PREFIX}/{path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {token}",
    ]
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines if line)
    return int(first.split()[1]), {name.lower(): text for name, text in pairs}

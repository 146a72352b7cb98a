"""A client that means harm: as many connections as it likes, each as fast as it is answered."""

import contextlib
import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.abuse.service import Signer
from tests.api.client import PREFIX

ANSWER_SECONDS = 10.0
CONNECTIONS = 4  # of a flood
REFUSALS_IN_SHORT_FORM = 1  # of each connection of a flood; then it gives up
_RECEIVE_BYTES = 1 << 18


@dataclass(frozen=True)
class Reply:
    """An answer; status 0 if none came."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def data(self) -> Any:
        """`data` of a good answer, or an empty object."""
        return json.loads(self.body).get("data", {}) if self.status == 200 and self.body else {}


@dataclass
class Tally:
    """What came of an attack. `got_through`: what it must not have achieved."""

    statuses: Counter[int] = field(default_factory=Counter)
    largest_answer_bytes: int = 0
    largest_error_bytes: int = 0
    got_through: list[str] = field(default_factory=list)

    def note(self, reply: Reply) -> None:
        self.statuses[reply.status] += 1
        if reply.status >= 400:
            self.largest_error_bytes = max(self.largest_error_bytes, len(reply.body))
        else:
            self.largest_answer_bytes = max(self.largest_answer_bytes, len(reply.body))

    def add(self, other: "Tally") -> None:
        self.statuses += other.statuses
        self.largest_answer_bytes = max(self.largest_answer_bytes, other.largest_answer_bytes)
        self.largest_error_bytes = max(self.largest_error_bytes, other.largest_error_bytes)
        self.got_through += other.got_through


class Wire:
    """One connection, opened when needed, and again after it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._rest = b""

    def exchange(self, request: bytes) -> Reply:
        """Send a request and read its answer; never raises for a connection that breaks."""
        was_open = self._socket is not None
        reply = self._try(request)
        # An idle connection that was closed meanwhile says nothing about the request.
        return self._try(request) if was_open and reply.status == 0 else reply

    def _try(self, request: bytes) -> Reply:
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the answer may be there
                self.send(request)
            reply = self.read()
        except (OSError, ValueError, IndexError):
            reply = Reply(0)
        if reply.status == 0 or reply.headers.get("connection") == "close":
            self.close()
        return reply

    def send(self, data: bytes) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(data)

    def read(self) -> Reply:
        """The next answer. Of a stream (`text/event-stream`) only the head; raises OSError."""
        while b"\r\n\r\n" not in self._rest:
            self._receive()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", 0))
        while len(self._rest) < size:
            self._receive()
        body, self._rest = self._rest[:size], self._rest[size:]
        return Reply(int(first.split()[1]), headers, body)

    def read_for(self, seconds: float, max_bytes: int) -> bytes:
        """What comes in this time, up to so many bytes."""
        ends_at = time.monotonic() + seconds
        received, self._rest = self._rest, b""
        while self._socket and len(received) < max_bytes and (left := ends_at - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except OSError:
                break
            if not data:
                break
            received += data
        return received

    def read_until(self, wanted: bytes, max_bytes: int) -> bytes:
        """What comes until this is in it, up to so many bytes; a busy machine may take its time."""
        received, ends_at = b"", time.monotonic() + ANSWER_SECONDS
        while wanted not in received and len(received) < max_bytes and time.monotonic() < ends_at:
            received += self.read_for(0.3, max_bytes)
        return received

    def is_closed_by_server(self) -> bool:
        """Whether the server has hung up."""
        if self._socket is None:
            return True
        self._socket.setblocking(False)
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self._socket.settimeout(ANSWER_SECONDS)

    def _receive(self) -> None:
        if self._socket is None:
            raise ConnectionError
        data = self._socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError
        self._rest += data

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket, self._rest = None, b""


class Attacker:
    """Somebody with tokens of one tenant, the docs and a fast client.

    A flood lasts `seconds`. In the short form it has `calls` calls at most, and ends soon after 429.
    """

    user = "mallory"

    def __init__(
        self, port: int, signer: Signer, tenant: str, *, seconds: float, calls: int | None = None
    ) -> None:
        self.port = port
        self.tenant = tenant
        self.signer = signer
        self.seconds = seconds
        self.calls = calls
        self.tally = Tally()
        self._wire = Wire(port)
        self._ends_at = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())

    def token(self, user: Any = user, tenant: str | None = None, **claims: Any) -> str:
        return self.signer.token(user, tenant or self.tenant, **claims)

    def users(self, count: int, prefix: str = "user") -> list[str]:
        """Tokens of so many users of the tenant."""
        return [self.token(f"{prefix}-{number}") for number in range(count)]

    def ask(self, request: bytes) -> Reply:
        """One call, which is counted."""
        reply = self._wire.exchange(request)
        self.tally.note(reply)
        return reply

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        """One call by the attacker, or another user: `proof`."""
        return self.ask(
            http_request(method, path, options.pop("proof", None) or self.token(), body, **options)
        )

    def beat(self, record: str, tab_id: str = "t1", *, proof: str | None = None, **doing: Any) -> Reply:
        return self.call("POST", f"{record}/heartbeat", beat_body(tab_id, **doing), proof=proof)

    def flood(
        self, requests: Iterable[bytes], *, connections: int = CONNECTIONS, seconds: float | None = None
    ) -> None:
        """Send requests on so many connections, each as soon as the one before is answered."""
        ends_at = min(self._ends_at, time.monotonic() + (self._ends_at if seconds is None else seconds))
        shared = _Shared(itertools.islice(requests, self.calls))

        def send() -> None:
            tally, wire = Tally(), Wire(self.port)
            with contextlib.closing(wire):
                for request in shared:
                    tally.note(wire.exchange(request))
                    has_seen_enough = self.calls is not None and tally.statuses[429] >= REFUSALS_IN_SHORT_FORM
                    if has_seen_enough or time.monotonic() > ends_at:
                        break
            tallies.append(tally)

        tallies: list[Tally] = []
        threads = [threading.Thread(target=send) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for tally in tallies:
            self.tally.add(tally)

    def must(self, is_held: bool, otherwise: str) -> None:
        """Note what the attack has achieved, unless it is held."""
        if not is_held and otherwise not in self.tally.got_through:
            self.tally.got_through.append(otherwise)

    def close(self) -> None:
        self._wire.close()


class _Shared:
    """An iterator that several threads take from."""

    def __init__(self, items: Iterable[bytes]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._lock:
            return next(self._items)


def http_request(
    method: str,
    path: str,
    proof: str | None = None,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
) -> bytes:
    """A request as it goes over the wire. `path`: below the API, or whole if it begins with a slash.

    `body`: bytes as they are, anything else as JSON. A header of `headers` replaces ours.
    """
    lines = {"Host": "127.0.0.1"}
    if proof is not None:
        lines["Authorization"] = f"Bearer {proof}"
    content = b""
    if body is not None:
        content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        lines |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    lines |= headers or {}
    url = path if path.startswith("/") else f"{PREFIX}/{path}"
    head = "".join(f"{name}: {text}\r\n" for name, text in lines.items())
    return f"{method} {url} HTTP/1.1\r\n{head}\r\n".encode() + content


def beat_body(tab_id: str = "t1", **doing: Any) -> dict[str, Any]:
    return {"tab_id": tab_id, "mode": "edit", "dirty": True, **doing}

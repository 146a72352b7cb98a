"""What a browser shows of a stream, and a proxy that causes faults before Redis."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from record_presence.presence.errors import StoreUnavailable
from record_presence.presence.records import Record
from record_presence.presence.streaming.broadcast import Broadcast
from record_presence.presence.streaming.events import Event
from record_presence.presence.streaming.stream import Stream, StreamEnded

EMPTY = "0"  # the version of a record that nobody has open
TIMEOUT_SECONDS = 18.0  # long enough for a busy machine, and too short for the audit of a record to heal it


def running_broadcasts() -> set[threading.Thread]:
    """The threads of all; those of one that was closed end a moment later, and use its client until then."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("presence-")}


def wait_until(is_true: Callable[[], Any], what: str = "", seconds: float = TIMEOUT_SECONDS) -> float:
    """Returns the seconds it took until `is_true()`; fails if it never was."""
    started = time.monotonic()
    while not is_true():
        assert time.monotonic() - started < seconds, f"timed out: {what}"
        time.sleep(0.005)
    return time.monotonic() - started


class Screen:
    """The viewers of one record as a page shows them; a plain reducer of events.

    A list is cut at `limit`. A user who joins is added at its end, if there is room.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.viewers: list[dict[str, Any]] | None = None
        self.total: int | None = None
        self.version: str | None = None
        self.is_unconfirmed = False
        self.saves: list[dict[str, Any]] = []  # by version
        self.claims: dict[str, Any] = {}

    def apply(self, event: Event, total: int) -> None:
        if event.kind == "snapshot":
            self.viewers = [dict(entry.viewer) for _, entry in event.entries]
            self.is_unconfirmed = event.is_unconfirmed
            self.saves, self.claims = list(event.conflicts.saves), dict(event.conflicts.claims)
        elif event.kind == "saved":
            save = {name: value for name, value in event.data.items() if name != "record"}
            assert save["lock_version"] not in {known["lock_version"] for known in self.saves}, (
                "announced twice"
            )
            self.saves = sorted([*self.saves, save], key=lambda save: save["lock_version"])
        elif event.kind == "claims":
            self.claims = event.data["claims"]
        else:
            assert self.viewers is not None, "a snapshot comes first"
            viewer = dict(event.entry.viewer)
            ids = [shown["id"] for shown in self.viewers]
            if event.kind == "join":
                assert viewer["id"] not in ids, "joined twice"
                self.viewers = [*self.viewers, viewer][: self.limit]
            elif event.kind == "update":
                self.viewers = [viewer if shown["id"] == viewer["id"] else shown for shown in self.viewers]
            else:
                assert event.kind == "leave"
                self.viewers = [shown for shown in self.viewers if shown["id"] != viewer["id"]]
        self.version = event.version
        if event.version == EMPTY and not event.is_partial:  # nothing is remembered of an empty record
            self.saves, self.claims = [], {}
        if event.kind not in ("saved", "claims"):
            self.total = total


class Page:
    """The reader of one stream. `log` has each event: (kind, record, user, reason)."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.screens: dict[str, Screen] = {}
        self.log: list[tuple[str, str, Any, str | None]] = []
        self.last_event_id = ""
        self.ended: str | None = None

    def follow(self, stream: Stream) -> None:
        """Continue with another stream, as after a reconnect."""
        self.stream, self.ended = stream, None

    def take(self, timeout_seconds: float = 0.0, at_most: int | None = None) -> None:
        """Take what there is. Only the first `at_most` events arrive; the rest is lost."""
        try:
            events = self.stream.take(timeout_seconds)
        except StreamEnded as error:
            self.ended = error.reason
            return
        for event, total in events[:at_most]:
            self._show(event, total)

    def _show(self, event: Event, total: int) -> None:
        name = f"{event.record.tenant}/{event.record.name}"
        user = event.entry.viewer["id"] if event.entry else event.user
        if event.version is not None:
            self.last_event_id = "" if event.is_partial else event.version
        if event.user is not None and event.user == self.stream.user:
            return  # over HTTP only the version is sent
        self.log.append((event.kind, name, user, event.reason))
        if event.entries is not None or event.entry is not None or event.kind in ("saved", "claims"):
            self.screens.setdefault(name, Screen(self.stream.limit)).apply(event, total)

    def screen(self, record: Record) -> Screen:
        return self.screens.setdefault(f"{record.tenant}/{record.name}", Screen(self.stream.limit))

    def ids(self, record: Record) -> list[Any] | None:
        self.take()
        viewers = self.screen(record).viewers
        return None if viewers is None else [viewer["id"] for viewer in viewers]

    def waits_for(self, record: Record, ids: list[Any], seconds: float = TIMEOUT_SECONDS) -> float:
        """Returns the seconds it took until exactly these viewers were shown."""
        try:
            return wait_until(lambda: self.ids(record) == ids, seconds=seconds)
        except AssertionError:
            raise AssertionError(f"shows {self.ids(record)}, not {ids}; after {self.log}") from None

    def ends(self, reason: str, seconds: float = TIMEOUT_SECONDS) -> float:
        def is_over() -> bool:
            self.take()
            return self.ended == reason

        return wait_until(is_over, f"end: {reason}", seconds)

    def kinds(self) -> list[str]:
        self.take()
        return [kind for kind, *_ in self.log]


def open_page(broadcast: Broadcast, records: list[Record], limit: int = 100) -> Page:
    """As a browser does: again where a machine that is busy could not open the stream in time."""
    pages: list[Page] = []

    def is_open() -> list[Page]:
        with contextlib.suppress(StoreUnavailable):
            pages.append(Page(broadcast.open(records, limit=limit)))
        return pages

    wait_until(is_open, "an open stream")
    return pages[0]


class Proxy:
    """A TCP proxy before a Redis on a Unix socket. A dead connection stays open and passes nothing on."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._dead: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def blackhole(self) -> None:
        """Make all current connections half open. New ones work."""
        self._dead.update(client for client, _ in self._pairs)

    def cut(self, after_bytes: int) -> None:
        """End every current connection after so many more bytes to the client, in the middle of a message."""
        self._left_bytes = dict.fromkeys((client for client, _ in self._pairs), after_bytes)

    _left_bytes: dict[socket.socket, int] = {}

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._upstream)
            except OSError:
                client.close()
                continue
            self._pairs.append((client, server))
            threading.Thread(target=self._pass, args=(client, server), daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), client, server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65_536)
                    if not data:
                        return
                    if client in self._dead:
                        continue
                    if source is client:
                        server.sendall(data)
                        continue
                    left = self._left_bytes.get(client)
                    if left is not None:
                        self._left_bytes[client] = left - len(data)
                        if len(data) >= left:
                            client.sendall(data[:left])
                            return
                    client.sendall(data)

    def close(self) -> None:
        self._listener.close()
        for client, server in self._pairs:
            for end in (client, server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

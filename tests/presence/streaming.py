"""What a browser makes of a stream, and faults between us and Redis."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from app.presence.records import Record
from app.presence.streams import Event, Stream, StreamEnded

EMPTY = "0"  # the version of a record that nobody has open
PATIENCE_SECONDS = 5.0  # on a machine that is busy with other things


def wait_until(is_true: Callable[[], Any], what: str = "", seconds: float = PATIENCE_SECONDS) -> float:
    """How many seconds it took until this was so. Fails when it never was."""
    started = time.monotonic()
    while not is_true():
        assert time.monotonic() - started < seconds, f"never happened: {what}"
        time.sleep(0.005)
    return time.monotonic() - started


class Screen:
    """The viewers of one record as a page shows them: nothing but a plain reducer.

    A list is cut at `limit`: whoever joins stands at its end, or nowhere.
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
            self.viewers = [dict(seat.viewer) for _, seat in event.seats]
            self.is_unconfirmed = event.is_unconfirmed
            self.saves, self.claims = list(event.notes.saves), dict(event.notes.claims)
        elif event.kind == "saved":
            save = {name: value for name, value in event.data.items() if name != "record"}
            assert save["lock_version"] not in {known["lock_version"] for known in self.saves}, "saved twice"
            self.saves = sorted([*self.saves, save], key=lambda known: known["lock_version"])
        elif event.kind == "claims":
            self.claims = event.data["claims"]
        else:
            assert self.viewers is not None, "a snapshot comes first"
            viewer = dict(event.seat.viewer)
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
        if event.version == EMPTY and not event.is_partial:  # of an empty record nothing is remembered
            self.saves, self.claims = [], {}
        if event.kind not in ("saved", "claims"):
            self.total = total


class Page:
    """A reader of one stream; `log` is all that it was told: (kind, record, user, reason)."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.screens: dict[str, Screen] = {}
        self.log: list[tuple[str, str, Any, str | None]] = []
        self.last_event_id = ""
        self.ended: str | None = None

    def follow(self, stream: Stream) -> None:
        """Go on with another stream, as after a reconnect."""
        self.stream, self.ended = stream, None

    def take(self, timeout_seconds: float = 0.0, at_most: int | None = None) -> None:
        """Take what there is. `at_most` so many events of it arrive, and the rest is lost."""
        try:
            events = self.stream.take(timeout_seconds)
        except StreamEnded as error:
            self.ended = error.reason
            return
        for event, total in events[:at_most]:
            self._see(event, total)

    def _see(self, event: Event, total: int) -> None:
        name = f"{event.record.tenant}/{event.record.name}"
        user = event.seat.viewer["id"] if event.seat else event.user
        if event.version is not None:
            self.last_event_id = "" if event.is_partial else event.version
        if event.user is not None and event.user == self.stream.user:
            return  # the wire says nothing but the version
        self.log.append((event.kind, name, user, event.reason))
        if event.seats is not None or event.seat is not None or event.kind in ("saved", "claims"):
            self.screens.setdefault(name, Screen(self.stream.limit)).apply(event, total)

    def screen(self, record: Record) -> Screen:
        return self.screens.setdefault(f"{record.tenant}/{record.name}", Screen(self.stream.limit))

    def ids(self, record: Record) -> list[Any] | None:
        self.take()
        viewers = self.screen(record).viewers
        return None if viewers is None else [viewer["id"] for viewer in viewers]

    def waits_for(self, record: Record, ids: list[Any], seconds: float = PATIENCE_SECONDS) -> float:
        """How many seconds it took until exactly these viewers were shown."""
        try:
            return wait_until(lambda: self.ids(record) == ids, seconds=seconds)
        except AssertionError:
            raise AssertionError(f"shows {self.ids(record)}, not {ids}; was told {self.log}") from None

    def ends(self, reason: str, seconds: float = PATIENCE_SECONDS) -> float:
        def is_over() -> bool:
            self.take()
            return self.ended == reason

        return wait_until(is_over, f"end: {reason}", seconds)

    def kinds(self) -> list[str]:
        self.take()
        return [kind for kind, *_ in self.log]


class Proxy:
    """Stands before a Redis on a Unix socket. What is `dead` passes nothing on, and says nothing."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._dead: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def blackhole(self) -> None:
        """From now on, all connections that there are are half open. New ones work."""
        self._dead.update(client for client, _ in self._pairs)

    def cut(self, after_bytes: int) -> None:
        """End every connection in the middle of a message, after so many more bytes to the client."""
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

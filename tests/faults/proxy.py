"""A proxy between the service and Redis that loses or cuts some answers."""

import contextlib
import random
import select
import socket
import threading
from collections.abc import Callable

HARMED = 1 / 3  # of the answers, while it does harm


class Proxy:
    """Listens on `port`, passes on to the Unix socket of a Redis; `harm` is None, "cut" or "lose"."""

    def __init__(self, upstream: str) -> None:
        self.harm: str | None = None
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.connect(self._upstream)
            goes_on = True
            while goes_on:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65_536)
                    if not data:
                        return
                    send: Callable[[bytes], bool | None] = (
                        server.sendall if source is client else self._answer(client)
                    )
                    goes_on = send(data) is not False and goes_on

    def _answer(self, client: socket.socket) -> Callable[[bytes], bool]:
        def send(data: bytes) -> bool:
            harm = self.harm if random.random() < HARMED else None
            if harm == "lose":
                return True
            client.sendall(data[: len(data) // 2] if harm == "cut" else data)
            return harm is None

        return send

    def close(self) -> None:
        # Whoever waits in accept() is woken by it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

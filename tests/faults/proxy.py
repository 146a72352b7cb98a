"""A proxy between the service and Redis that loses or cuts some answers, or leads to another server.

As a network does it: what comes after a lost answer does not arrive either. The
connection stays open and mute, until the service gives it up.
"""

import contextlib
import random
import select
import socket
import threading

HARMED = 1 / 3  # of the answers, while it does harm


class Proxy:
    """Listens on `port`, passes on to the Unix socket of a Redis; `harm` is None, "cut" or "lose".

    A new `upstream` is where later connections lead; those that are open stay where they are.
    """

    def __init__(self, upstream: str) -> None:
        self.harm: str | None = None
        self.upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        is_mute = False
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.connect(self.upstream)
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65_536)
                    if not data:
                        return
                    if source is client:
                        server.sendall(data)
                        continue
                    harm = self.harm if random.random() < HARMED else None
                    is_mute = is_mute or harm == "lose"
                    if is_mute:
                        continue
                    client.sendall(data[: len(data) // 2] if harm == "cut" else data)
                    if harm == "cut":
                        return

    def close(self) -> None:
        # Whoever waits in accept() is woken by it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

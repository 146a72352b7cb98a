"""Calls of RecordPresenceService, collected and sent to Redis many at a time."""

import socket
from collections.abc import Sequence
from typing import Any

import hiredis
import redis as redis_py

BEATEN = (b"OK", b"0")
UNCHANGED = (b"UNCHANGED", b"0")
IN_FLIGHT = 50
_RECEIVED = 1 << 16


class Recorder:
    """Stands in for a client: notes each command that the service sends, and answers at once.

    A service that gets this builds its commands as ever; `send` then runs
    them as one pipeline, so that Redis is as busy as under load and the
    bench's own Python is not what is measured.
    """

    def __init__(self, answer: tuple[Any, ...] = BEATEN) -> None:
        self._answer = answer
        self._commands: list[tuple[Any, ...]] = []

    def execute_command(self, *command: Any, **_: Any) -> tuple[Any, ...]:
        self._commands.append(command)
        return self._answer

    def take(self) -> list[tuple[Any, ...]]:
        """What was noted since the last time."""
        commands, self._commands = self._commands, []
        return commands

    def take_packed(self) -> list[bytes]:
        """The same as it goes over the wire, for `Wire`."""
        return [hiredis.pack_command(command) for command in self.take()]


def send(client: redis_py.Redis, commands: list[tuple[Any, ...]], batch: int = IN_FLIGHT) -> None:
    """Run commands, so many in flight. Raises the first error that one of them met."""
    for start in range(0, len(commands), batch):
        pipeline = client.pipeline(transaction=False)
        for command in commands[start : start + batch]:
            pipeline.execute_command(*command)
        pipeline.execute()


class Wire:
    """A connection to Redis that sends commands as they are written down, and only counts the answers."""

    def __init__(self, path: str) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(path)
        self._reader = hiredis.Reader()

    def send(self, commands: Sequence[bytes], batch: int = IN_FLIGHT) -> None:
        """Run commands, so many in flight. Raises RuntimeError for the first that Redis refuses."""
        for start in range(0, len(commands), batch):
            part = commands[start : start + batch]
            self._connection.sendall(b"".join(part))
            for _ in part:
                self._next_answer()

    def _next_answer(self) -> None:
        while (answer := self._reader.gets()) is False:
            data = self._connection.recv(_RECEIVED)
            if not data:
                raise RuntimeError("Redis has closed the connection")
            self._reader.feed(data)
        if isinstance(answer, hiredis.ReplyError):
            raise RuntimeError(str(answer))

    def close(self) -> None:
        self._connection.close()

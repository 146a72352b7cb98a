"""Calls of RecordPresenceService, collected and sent to Redis many at a time."""

from typing import Any

import redis as redis_py

BEATEN = (b"OK", b"0")
UNCHANGED = (b"UNCHANGED", b"0")


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


def send(client: redis_py.Redis, commands: list[tuple[Any, ...]], batch: int = 50) -> None:
    """Run commands, so many in flight. Raises the first error that one of them met."""
    for start in range(0, len(commands), batch):
        pipeline = client.pipeline(transaction=False)
        for command in commands[start : start + batch]:
            pipeline.execute_command(*command)
        pipeline.execute()

"""All greenlets of a process on one connection: what they ask at once goes out in one write.

With a connection a greenlet, every command costs a send, a wait and a read of
its own, together a fifth of a heartbeat. Here those that are asked in one turn
of the event loop share all three (implicit pipelining). Redis answers a
connection in order, so that nothing more than a queue is needed.
"""

import os
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
import hiredis
import redis
from gevent.event import AsyncResult
from gevent.hub import Waiter
from redis.connection import AbstractConnection, DefaultParser
from redis.exceptions import InvalidResponse

READ_BYTES = 65_536
# Commands without an answer. Of thousands that are sent at once, Redis would have the last ones for longer
# than we wait, and all of them would be sent again: the more there is to do, the more.
MOST_ON_THE_WAY = 256
NOT_SENT = float("inf")  # until when to wait: not known yet

_READABLE, _WRITABLE = 1, 2  # events of gevent's loop
_INCOMPLETE = object()


class PipeliningRedis(redis.Redis):
    """A client that has one way more to carry out a command: `exchange`, for many greenlets at once.

    Whatever is asked in another way (subscriptions, pipelines, plain commands)
    takes a connection of the pool, as ever.
    """

    def __init__(
        self, pool: redis.ConnectionPool, *, answer_timeout_seconds: float, pause_seconds: float
    ) -> None:
        """`pause_seconds` is what it waits before a command is sent again."""
        super().__init__(connection_pool=pool)
        self._answer_timeout_seconds = answer_timeout_seconds
        self._pause_seconds = pause_seconds
        self._connection: AbstractConnection | None = None
        self._line: _Line | None = None
        self._opening: AsyncResult | None = None

    def exchange(self, *command: str | bytes | int | float) -> Any:
        """Carry out a command that may be replayed; text in the answer is bytes.

        When the answer does not come in time, or the connection breaks, it is
        sent once more. Raises redis-py's errors.
        """
        packed = hiredis.pack_command(command)
        line = self._open_line()
        try:
            return line.ask(packed)
        except (redis.ConnectionError, redis.TimeoutError):
            gevent.sleep(self._pause_seconds)
        return self._open_line().ask(packed)

    def close(self) -> None:
        if self._line:
            self._line.hang_up(redis.ConnectionError, "the client was closed")
        super().close()

    def _open_line(self) -> "_Line":
        line = self._line
        if line and line.process_id != os.getpid():
            # Two processes on one connection would read each other's answers.
            line.hang_up(redis.ConnectionError, "it is the parent's")
            line = self._connection = None
        return line or self._open()

    def _open(self) -> "_Line":
        """Connect, once for all who wait for it; they share the failure as well."""
        if self._opening:
            return self._opening.get()
        self._opening = opening = AsyncResult()
        try:
            self._connection = self._connection or self.connection_pool.make_connection()
            self._connection.connect()
            self._line = _Line(self._connection, self._answer_timeout_seconds, self._forget)
            opening.set(self._line)
            return self._line
        except BaseException as error:
            opening.set_exception(redis.ConnectionError(str(error)))
            raise
        finally:
            self._opening = None

    def _forget(self, line: "_Line") -> None:
        if self._line is line:
            self._line = None


class _Line:
    """An open connection, and the calls that wait for its answers. All but `ask` runs in the hub."""

    def __init__(
        self, connection: AbstractConnection, answer_timeout_seconds: float, on_end: Callable[["_Line"], None]
    ) -> None:
        self._connection = connection
        self._on_end = on_end
        self._timeout_seconds = answer_timeout_seconds
        self._hub = gevent.get_hub()
        self.process_id = os.getpid()
        self._is_open = True
        self._queued: deque[bytes] = deque()  # commands that were not written yet
        self._unsent = b""  # the rest of those that were, in part
        self._waiting: deque[list[Any]] = deque()  # each with until when
        self._answers = hiredis.Reader(
            protocolError=InvalidResponse, replyError=DefaultParser.parse_error, notEnoughData=_INCOMPLETE
        )
        # The library keeps the socket to itself; what it has done is the handshake.
        self._file = connection._sock.fileno()
        os.set_blocking(self._file, False)
        loop = self._hub.loop
        self._readable = loop.io(self._file, _READABLE)
        self._writable = loop.io(self._file, _WRITABLE)
        self._deadline = loop.timer(answer_timeout_seconds)
        self._readable.start(self._read)

    def ask(self, packed: bytes) -> Any:
        """Wait for the answer; raises it when it is an error."""
        if not self._is_open:
            raise redis.ConnectionError("closed in the meantime")
        waiter = Waiter(self._hub)
        if not self._queued:
            # Not now: whoever is ready in this turn of the loop may add to it.
            self._hub.loop.run_callback(self._send)
        self._queued.append(packed)
        self._waiting.append([waiter, NOT_SENT])
        answer = waiter.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def hang_up(self, error: type[Exception], message: str) -> None:
        """End the connection, and with it the calls that wait."""
        if not self._is_open:
            return
        self._is_open = False
        self._on_end(self)
        for watcher in (self._readable, self._writable, self._deadline):
            watcher.stop()
            watcher.close()
        self._connection.disconnect()
        for waiter, _ in self._waiting:
            # Each an error of its own: the greenlets add their tracebacks to it.
            self._hub.loop.run_callback(waiter.throw, error(message))
        self._waiting.clear()

    def _send(self) -> None:
        if not self._is_open:
            return
        on_the_way = len(self._waiting) - len(self._queued)
        count = min(len(self._queued), MOST_ON_THE_WAY - on_the_way)
        # From now on, and not since they asked: we may have been busy ourselves.
        until = monotonic() + self._timeout_seconds
        for place in range(on_the_way, on_the_way + count):
            self._waiting[place][1] = until
        data = self._unsent + b"".join([self._queued.popleft() for _ in range(count)])
        if not data:
            return
        try:
            sent = os.write(self._file, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.hang_up(redis.ConnectionError, f"while writing: {error}")
            return
        self._unsent = data[sent:]
        if self._unsent:
            self._writable.start(self._send)
        else:
            self._writable.stop()
        if not self._deadline.active:
            self._deadline.start(self._check_deadline)

    def _read(self) -> bool:
        """Hand out what has come; whether anything had."""
        try:
            data = os.read(self._file, READ_BYTES)
            self._answers.feed(data)
        except BlockingIOError:
            return False
        except OSError as error:
            self.hang_up(redis.ConnectionError, f"while reading: {error}")
            return False
        if not data:
            self.hang_up(redis.ConnectionError, "closed by the server")
            return False
        answers = []
        try:
            while (answer := self._answers.gets(False)) is not _INCOMPLETE:
                answers.append(answer)
        except InvalidResponse as error:
            self.hang_up(redis.ConnectionError, str(error))
            return False
        if len(answers) > len(self._waiting) - len(self._queued):
            self.hang_up(redis.ConnectionError, "an answer that nobody asked for")
            return False
        waiters = [self._waiting.popleft()[0] for _ in answers]
        if self._queued:
            self._send()
        # Only now: whoever gets her answer runs until she waits again, and may ask, or hang up.
        for waiter, answer in zip(waiters, answers, strict=True):
            waiter.switch(answer)
        return True

    def _check_deadline(self) -> None:
        """One timer for all: the first that waits is the first to run out of time."""
        self._deadline.stop()
        # The loop runs timers before it reads: where we were busy for so long ourselves, the
        # answers are here.
        while self._is_overdue() and self._read():
            pass
        if self._is_overdue():
            self.hang_up(redis.TimeoutError, "no answer in time")
        elif self._is_open and self._waiting and self._waiting[0][1] < NOT_SENT:
            self._deadline.close()
            self._deadline = self._hub.loop.timer(max(0.0, self._waiting[0][1] - monotonic()))
            self._deadline.start(self._check_deadline)

    def _is_overdue(self) -> bool:
        return self._is_open and bool(self._waiting) and self._waiting[0][1] <= monotonic()

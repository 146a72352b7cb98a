"""All greenlets of a process on one connection: commands that are sent at the same time go out in one write.

With a connection per greenlet, every command costs a send, a wait and a read of
its own, together a fifth of a heartbeat. Here those of one turn of the event
loop share all three (implicit pipelining). Redis answers a connection in order,
so that a queue is all it takes.
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
from redis.connection import DefaultParser
from redis.exceptions import InvalidResponse

from .connection import is_given_up
from .pool import UncheckedPool

READ_BYTES = 65_536
# Commands without a reply. If thousands were sent at once, Redis would take longer than the timeout to get to
# the last ones, and all of these would be sent again: the higher the load, the more of them.
MAX_IN_FLIGHT = 256
NO_DEADLINE = float("inf")  # of a command that has not been written yet

_READABLE, _WRITABLE = 1, 2  # events of gevent's loop
_INCOMPLETE = object()


class PipeliningRedis(redis.Redis):
    """A client with one more way to execute a command: `execute_pipelined`, for many greenlets at once.

    Everything else (subscriptions, pipelines, plain commands) takes a connection
    of the pool, as ever.
    """

    def __init__(
        self, pool: UncheckedPool, *, answer_timeout_seconds: float, retry_delay_seconds: float
    ) -> None:
        super().__init__(connection_pool=pool)
        self._pool = pool
        self._answer_timeout_seconds = answer_timeout_seconds
        self._retry_delay_seconds = retry_delay_seconds
        self._redis_connection: Any = None  # redis-py's, which connects and greets
        self._pipelined: _PipelinedConnection | None = None
        self._connecting: AsyncResult | None = None

    def execute_pipelined(self, *command: str | bytes | int | float) -> Any:
        """Execute a command that may be replayed; text in the reply is bytes.

        When no reply comes in time, or the connection breaks, it is sent once
        more. Raises redis-py's errors.
        """
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # hiredis declares one-tuples
        connection = self._get_connection()
        try:
            return connection.request(packed)
        except (redis.ConnectionError, redis.TimeoutError):
            gevent.sleep(self._retry_delay_seconds)
        return self._get_connection().request(packed)

    def close(self) -> None:
        if self._pipelined:
            self._pipelined.disconnect(redis.ConnectionError, "the client was closed")
        super().close()

    def _get_connection(self) -> "_PipelinedConnection":
        connection = self._pipelined
        if connection and connection.process_id != os.getpid():
            # Two processes on one connection would read each other's replies.
            connection.disconnect(redis.ConnectionError, "it belongs to the parent process")
            connection = self._redis_connection = None
        return connection or self._connect()

    def _connect(self) -> "_PipelinedConnection":
        """Connect once for all greenlets that wait for it; they share a failure as well."""
        if self._connecting:
            connection: _PipelinedConnection = self._connecting.get()
            return connection
        self._connecting = connecting = AsyncResult()
        try:
            if self._redis_connection is None:
                self._redis_connection = self.connection_pool.make_connection()
            self._redis_connection.connect()
            connection = _PipelinedConnection(
                self._redis_connection,
                self._answer_timeout_seconds,
                self._forget,
                on_given_up=self._pool.replace_all,
            )
            self._pipelined = connection
            connecting.set(connection)
            return connection
        except BaseException as error:
            connecting.set_exception(redis.ConnectionError(str(error)))
            raise
        finally:
            self._connecting = None

    def _forget(self, connection: "_PipelinedConnection") -> None:
        if self._pipelined is connection:
            self._pipelined = None


class _PipelinedConnection:
    """An open connection and the requests in flight. All but `request` runs in gevent's hub."""

    def __init__(
        self,
        connection: Any,
        answer_timeout_seconds: float,
        on_disconnect: Callable[["_PipelinedConnection"], None],
        *,
        on_given_up: Callable[[], None],
    ) -> None:
        """`connection` is redis-py's, connected.

        `on_given_up` is called when a reply says that only another connection helps.
        """
        self._connection = connection
        self._on_disconnect = on_disconnect
        self._on_given_up = on_given_up
        self._timeout_seconds = answer_timeout_seconds
        self._hub = gevent.get_hub()
        self.process_id = os.getpid()
        self._is_open = True
        self._connected_at = monotonic()
        self._unwritten: deque[bytes] = deque()  # commands
        self._partly_written = b""  # the rest of the last write
        self._pending: deque[list[Any]] = deque()  # waiter and deadline of each request without a reply
        self._parser = hiredis.Reader(
            protocolError=InvalidResponse, replyError=DefaultParser.parse_error, notEnoughData=_INCOMPLETE
        )
        # redis-py has no public access to the socket; all that it has done with it is the handshake.
        self._file = connection._sock.fileno()
        os.set_blocking(self._file, False)
        loop = self._hub.loop
        self._readable = loop.io(self._file, _READABLE)
        self._writable = loop.io(self._file, _WRITABLE)
        self._timer = loop.timer(answer_timeout_seconds)
        self._readable.start(self._read)

    def request(self, packed: bytes) -> Any:
        """Wait for the reply; raises it if it is an error, or ConnectionError if it ends the connection."""
        if not self._is_open:
            raise redis.ConnectionError("closed in the meantime")
        waiter = Waiter(self._hub)
        if not self._unwritten:
            # Not now: every greenlet that is ready in this turn of the loop may add a command.
            self._hub.loop.run_callback(self._write)
        self._unwritten.append(packed)
        self._pending.append([waiter, NO_DEADLINE])
        reply = waiter.get()
        if isinstance(reply, Exception):
            if is_given_up(reply, self._connected_at):
                message = f"the connection was given up: {reply}"
                self._on_given_up()
                self.disconnect(redis.ConnectionError, message)
                raise redis.ConnectionError(message) from reply
            raise reply
        return reply

    def disconnect(self, error: type[Exception], message: str) -> None:
        """Close the connection and fail all pending requests with this error."""
        if not self._is_open:
            return
        self._is_open = False
        self._on_disconnect(self)
        for watcher in (self._readable, self._writable, self._timer):
            watcher.stop()
            watcher.close()
        self._connection.disconnect()
        for waiter, _ in self._pending:
            # An error of its own for each: every greenlet adds its traceback to it.
            self._hub.loop.run_callback(waiter.throw, error(message))
        self._pending.clear()

    def _write(self) -> None:
        if not self._is_open:
            return
        in_flight = len(self._pending) - len(self._unwritten)
        count = min(len(self._unwritten), MAX_IN_FLIGHT - in_flight)
        # Counted from now, not from the request: this process itself may have been busy since.
        deadline = monotonic() + self._timeout_seconds
        for index in range(in_flight, in_flight + count):
            self._pending[index][1] = deadline
        data = self._partly_written + b"".join([self._unwritten.popleft() for _ in range(count)])
        if not data:
            return
        try:
            written = os.write(self._file, data)
        except BlockingIOError:
            written = 0
        except OSError as error:
            self.disconnect(redis.ConnectionError, f"while writing: {error}")
            return
        self._partly_written = data[written:]
        if self._partly_written:
            self._writable.start(self._write)
        else:
            self._writable.stop()
        if not self._timer.active:
            self._timer.start(self._check_deadline)

    def _read(self) -> bool:
        """Hand out the replies that have come; False if there was nothing to read."""
        try:
            data = os.read(self._file, READ_BYTES)
            self._parser.feed(data)
        except BlockingIOError:
            return False
        except OSError as error:
            self.disconnect(redis.ConnectionError, f"while reading: {error}")
            return False
        if not data:
            self.disconnect(redis.ConnectionError, "closed by the server")
            return False
        replies = []
        try:
            while (reply := self._parser.gets(False)) is not _INCOMPLETE:
                replies.append(reply)
        except InvalidResponse as error:
            self.disconnect(redis.ConnectionError, str(error))
            return False
        if len(replies) > len(self._pending) - len(self._unwritten):
            self.disconnect(redis.ConnectionError, "a reply without a request")
            return False
        waiters = [self._pending.popleft()[0] for _ in replies]
        if self._unwritten:
            self._write()
        # Last, because a greenlet that gets its reply runs until it waits again, and may send a request
        # or disconnect.
        for waiter, reply in zip(waiters, replies, strict=True):
            waiter.switch(reply)
        return True

    def _check_deadline(self) -> None:
        """One timer for all: the oldest request is the first to run out of time."""
        self._timer.stop()
        # The loop runs timers before it reads. If this process itself was busy for that long, the
        # replies are already here.
        while self._is_overdue() and self._read():
            pass
        if self._is_overdue():
            self.disconnect(redis.TimeoutError, "no answer in time")
        elif self._is_open and self._pending and self._pending[0][1] < NO_DEADLINE:
            self._timer.close()
            self._timer = self._hub.loop.timer(max(0.0, self._pending[0][1] - monotonic()))
            self._timer.start(self._check_deadline)

    def _is_overdue(self) -> bool:
        return self._is_open and bool(self._pending) and self._pending[0][1] <= monotonic()

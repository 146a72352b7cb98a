"""A connection pool that does not ask every connection whether it is alive before it lends it."""

from queue import Empty
from time import monotonic
from typing import Any

import redis


class UncheckedPool(redis.BlockingConnectionPool):
    """Lends an idle connection as it is; callers wait for one instead of failing.

    redis-py polls each connection before it lends it, which under gevent takes
    as long as half the call. A connection that was closed meanwhile fails and the
    call is retried; one that was interrupted while it read is closed by the read.
    Once a connection was given up, all those that are older are replaced before
    they are lent: a demoted primary still answers what only reads.
    """

    _replace_before = 0.0  # on the monotonic clock

    def replace_all(self) -> None:
        """Lend no connection that is open now."""
        self._replace_before = monotonic()

    def get_connection(self, *_: Any, **__: Any) -> Any:
        self._checkpid()
        try:
            connection = self.pool.get(timeout=self.timeout)
        except Empty:
            raise redis.ConnectionError("no connection is free") from None
        if connection is None:
            connection = self.make_connection()  # type: ignore[no-untyped-call]
        elif connection.connected_at < self._replace_before:
            connection.disconnect()
        try:
            connection.connect()  # does nothing when it is connected
        except BaseException:
            self.release(connection)
            raise
        return connection

    def release(self, connection: Any) -> None:
        if connection.was_given_up:
            connection.was_given_up = False
            self.replace_all()
        # redis-py 7 marks connections that a server in maintenance asks to be made anew; earlier ones don't.
        should_reconnect = getattr(connection, "should_reconnect", None)
        if self.pid == connection.pid and not (should_reconnect and should_reconnect()):
            self.pool.put_nowait(connection)
        else:
            super().release(connection)  # type: ignore[no-untyped-call]

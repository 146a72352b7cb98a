"""Connections that end themselves where only another one helps.

When a managed Redis fails over, its address moves to the new primary, while the
old one lives on as a replica and keeps its connections: everything sent over
these would be answered READONLY for as long as they stay open. Such an answer
(`is_mended_by_reconnecting`) ends the connection and becomes a ConnectionError, so that
the call is sent once more over a new one. Where the new connection is told the
same, the server itself is in that state: that answer is passed on, and the
connection stays open for a moment, so that calls don't reconnect by the thousand.
"""

from time import monotonic
from typing import Any

import redis
from redis.exceptions import ResponseError
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from ..presence.scripts.redis_errors import is_mended_by_reconnecting

MIN_SECONDS_BETWEEN_RECONNECTS = 0.5


def is_given_up(error: Exception, connected_at: float) -> bool:
    """Whether an answer ends the connection that it came over; `connected_at` is on the monotonic clock."""
    return is_mended_by_reconnecting(error) and monotonic() - connected_at >= MIN_SECONDS_BETWEEN_RECONNECTS


class _SelfEnding:
    """Goes before a connection class of redis-py.

    `connected_at` is on the monotonic clock. `was_given_up` tells the pool that its
    other connections may lead to the wrong server as well.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.was_given_up = False
        self.connected_at = monotonic()
        self.register_connect_callback(self._note_time)  # type: ignore[attr-defined]

    def _note_time(self, _: Any) -> None:
        self.connected_at = monotonic()

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except ResponseError as error:
            if not is_given_up(error, self.connected_at):
                raise
            self.was_given_up = True
            self.disconnect()  # type: ignore[attr-defined]
            raise redis.ConnectionError(f"the connection was given up: {error}") from error


class TcpConnection(_SelfEnding, redis.Connection):
    pass


class TlsConnection(_SelfEnding, redis.SSLConnection):
    pass


class UnixConnection(_SelfEnding, redis.UnixDomainSocketConnection):
    pass


class SentinelTcpConnection(_SelfEnding, SentinelManagedConnection):
    pass


class SentinelTlsConnection(_SelfEnding, SentinelManagedSSLConnection):
    pass


# For each class of redis-py that a REDIS_URL leads to.
SELF_ENDING: dict[type, type] = {
    redis.Connection: TcpConnection,
    redis.SSLConnection: TlsConnection,
    redis.UnixDomainSocketConnection: UnixConnection,
}

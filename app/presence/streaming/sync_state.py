"""Whether the replica of a record can be trusted, and the state of the read that makes it so."""

from typing import Any

MAX_BACKLOG = 1000  # messages that may wait for a read to finish
# What a record's messages come by; a Cluster may have both at once.
PUBSUB, SHARDED_PUBSUB = "pubsub", "sharded pubsub"

_BY_PUBSUB = frozenset({PUBSUB})


class SyncState:
    """The sync state of one topic. The caller holds the lock.

    A replica is confirmed if it was read after its channel was subscribed, by all that its
    messages may come by, and no message can have been missed since.
    """

    __slots__ = (
        "_backlog",
        "_is_read_outdated",
        "_missing",
        "failing_since",
        "is_confirmed",
        "is_reading",
        "needs_another_read",
    )

    def __init__(self) -> None:
        self._missing = _BY_PUBSUB  # what the channel is not subscribed by
        self.is_confirmed = False
        self.is_reading = False
        self.needs_another_read = False  # requested during the one that is under way
        self._is_read_outdated = False  # the channel was subscribed only after the read had begun
        self._backlog: list[dict[str, Any]] = []  # messages that came during the read
        self.failing_since: float | None = None  # on the monotonic clock; reads and sweeps fail

    @property
    def is_subscribed(self) -> bool:
        return not self._missing

    def require(self, by: str) -> None:
        """Messages may come by this as well."""
        self._missing |= {by}

    def subscribe(self, by: str) -> bool:
        """The channel is subscribed, or needs not be. Whether no message can be missed only from now on."""
        was_subscribed = self.is_subscribed
        self._missing -= {by}
        if was_subscribed or self._missing:
            return False
        self._is_read_outdated = self.is_reading
        return True

    def unsubscribe(self, by: str) -> None:
        self._missing |= {by}
        self.is_confirmed = False

    def begin_read(self) -> None:
        self.is_reading = True
        self.needs_another_read = self._is_read_outdated = False
        self._backlog.clear()  # the read will have all of it

    def defer(self, message: dict[str, Any]) -> bool:
        """Keep a message until the read has finished. False if there are too many: read again."""
        self._backlog.append(message)
        if len(self._backlog) <= MAX_BACKLOG:
            return True
        self._backlog.clear()
        return False

    def end_read(self) -> list[dict[str, Any]]:
        """The read has succeeded; returns the deferred messages."""
        self.is_reading = False
        self.is_confirmed = self.is_subscribed and not self._is_read_outdated
        self.failing_since = None
        backlog, self._backlog = self._backlog, []
        return backlog

    def fail(self, now: float) -> None:
        """The read or sweep has failed."""
        self.failing_since = self.failing_since or now
        self.is_reading = self.is_confirmed = False

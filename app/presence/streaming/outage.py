"""What happens while Redis does not answer: nothing is confirmed, and in the end the streams close."""

import threading
import time
from collections.abc import Mapping

from ..records import Record
from . import timings
from .replica import Replica
from .scheduler import Scheduler
from .topic import Topic


class Outage:
    """Whether one subscription, or Redis behind it, has stopped answering.

    `topics` are those that it brings messages for, by channel.
    """

    def __init__(
        self,
        topics: Mapping[str, Topic],
        scheduler: Scheduler,
        lock: threading.RLock,
        known_replicas: "KnownReplicas",
    ) -> None:
        self._topics = topics
        self._scheduler = scheduler
        self._lock = lock
        self._known_replicas = known_replicas
        self.since: float | None = None  # on the monotonic clock; None: it answers

    def begin(self, since: float) -> None:
        """There was no answer: nothing is certain until there is."""
        with self._lock:
            if self.since is None:
                self.since = since
            for topic in self._topics.values():
                topic.sync.is_confirmed = False

    def end(self) -> None:
        """There is an answer: every record is read, since its messages may have been missed."""
        with self._lock:
            self.since = None
            for topic in self._topics.values():
                if topic.sync.is_subscribed:
                    self._scheduler.request_read(topic)

    def end_unconfirmed_streams(self) -> None:
        """End the streams of every record that could not be confirmed for too long."""
        now = time.monotonic()
        with self._lock:
            for topic in self._topics.values():
                failures = (self.since, topic.sync.failing_since)
                if any(at is not None and now - at > timings.MAX_UNCONFIRMED_SECONDS for at in failures):
                    self._known_replicas.remember(topic, now)
                    for stream in topic.streams:
                        stream.end("unavailable")


class KnownReplicas:
    """What was known of the records whose streams an outage has ended, for `remember_seconds`; 0: nothing."""

    def __init__(self, remember_seconds: float) -> None:
        self._remember_seconds = remember_seconds
        self._remembered: dict[str, tuple[float, Replica]] = {}  # by channel, the oldest first

    def remember(self, topic: Topic, now: float) -> None:
        """The caller holds the lock."""
        if self._remember_seconds and topic.replica.version is not None:
            self._remembered.pop(topic.record.channel, None)  # so that the latest comes last
            self._remembered[topic.record.channel] = now, topic.replica
        while self._remembered:
            channel, (remembered_at, _) = next(iter(self._remembered.items()))
            if now - remembered_at < self._remember_seconds:
                break
            del self._remembered[channel]

    def new_replica(self, record: Record) -> Replica:
        """A replica to start with. The caller holds the lock.

        After an outage it holds what was known before, so that the first read
        shows whether Redis has lost its data.
        """
        replica = Replica(record)
        remembered_at, known = self._remembered.pop(record.channel, (0.0, None))
        if known and time.monotonic() - remembered_at < self._remember_seconds:
            replica.version, replica.conflicts = known.version, known.conflicts
            replica.entries = known.entries.copy()
            # It may have ended in the grace period of an outage before, in which Redis had lost its data.
            replica.unconfirmed_users = known.unconfirmed_users.copy()
            replica.grace_ends_at = known.grace_ends_at
        return replica

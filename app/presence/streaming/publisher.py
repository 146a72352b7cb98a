"""Publishes the changes of each topic as often as the topic may."""

import threading
import time

from .topic import Topic

MAX_WAIT_SECONDS = 0.5
MIN_WAIT_SECONDS = 0.001


class Publisher:
    """The topics with changes that their streams have not been sent."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._waiting: set[Topic] = set()

    def add(self, topic: Topic) -> None:
        with self._lock:
            self._waiting.add(topic)

    def discard(self, topic: Topic) -> None:
        with self._lock:
            self._waiting.discard(topic)

    def publish_due(self, now: float) -> None:
        """Publish whatever may be published at `now`, on the monotonic clock."""
        with self._lock:
            for topic in list(self._waiting):
                # A read that is under way brings more, and maybe a snapshot.
                if not topic.sync.is_reading and topic.may_publish(now):
                    self._waiting.discard(topic)
                    topic.publish()

    def seconds_to_wait(self) -> float:
        """How long the receiver may wait for a message before it has to publish."""
        with self._lock:
            times = [topic.may_publish_at() for topic in self._waiting if not topic.sync.is_reading]
        if not times:
            return MAX_WAIT_SECONDS
        return min(MAX_WAIT_SECONDS, max(MIN_WAIT_SECONDS, min(times) - time.monotonic()))

"""What each kind of message from the subscription leads to."""

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from .events import AnnouncementBatch, announcement_event
from .outage import Outage
from .publisher import Publisher
from .scheduler import Scheduler
from .subscription import Message
from .sync_state import PUBSUB
from .topic import Topic

# What a malformed message may raise. Anybody with access to Redis may publish one.
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)


class MessageHandler:
    """Applies the messages of one subscription to the replicas of its `topics`, which are found by channel.

    `by` is what it subscribes by: PUBSUB or SHARDED_PUBSUB. `on_displaced(channel)` is called
    when the server ends a subscription to a channel that is still wanted.
    """

    def __init__(
        self,
        topics: Mapping[str, Topic],
        scheduler: Scheduler,
        publisher: Publisher,
        outage: Outage,
        lock: threading.RLock,
        *,
        observe: Callable[[str], None],
        by: str = PUBSUB,
        on_displaced: Callable[[str], None] = lambda channel: None,
    ) -> None:
        self._topics = topics
        self._by = by
        self._on_displaced = on_displaced
        self._scheduler = scheduler
        self._publisher = publisher
        self._outage = outage
        self._lock = lock
        self._observe = observe

    def handle(self, message: Message) -> None:
        """Handle any message of the subscription."""
        if self._outage.since is not None:
            self._outage.end()
        with self._lock:
            if message.kind == "connected":
                self.unsubscribe_all()
                return
            topic = self._topics.get(message.channel)
            if topic is None:
                return
            if message.kind == "message":
                try:
                    decoded = json.loads(message.data)
                except _MALFORMED:
                    self._scheduler.check_version(topic, None)
                else:
                    self.apply(topic, decoded)
            elif message.kind == "subscribe":
                if topic.sync.subscribe(self._by):
                    self._scheduler.request_read(topic)
            elif message.kind == "unsubscribe":
                topic.sync.unsubscribe(self._by)
                self._on_displaced(message.channel)

    def unsubscribe_all(self) -> None:
        """The connection is lost, and with it every subscription."""
        with self._lock:
            for topic in self._topics.values():
                topic.sync.unsubscribe(self._by)

    def expect_none_of(self, topic: Topic) -> None:
        """The server takes no such subscription, so that none is missing. The caller holds the lock."""
        if topic.sync.subscribe(self._by):
            self._scheduler.request_read(topic)

    def apply(self, topic: Topic, message: Any) -> None:
        """Apply what was published about a record. A malformed message causes a read of the record.

        The caller holds the lock.
        """
        try:
            if "announce" in message:
                _announce(topic, message)
            else:
                self._apply_change(topic, message)
        except _MALFORMED:
            self._scheduler.check_version(topic, None)

    def _apply_change(self, topic: Topic, message: dict[str, Any]) -> None:
        replica = topic.replica
        if topic.sync.is_reading or replica.version is None:
            if not topic.sync.defer(message):
                self._scheduler.request_read(topic)
            return
        if not replica.apply(message):
            self._observe("resync")
            self._scheduler.request_read(topic)
        elif replica.has_unpublished_changes:
            self._publisher.add(topic)
        lease_ms_left = message.get("next_ms")
        if not isinstance(lease_ms_left, int | float):
            return
        if "previous" not in message:
            # A lease was shortened, which changes no version.
            self._scheduler.sweep_in(topic, lease_ms_left, only_earlier=True)
        elif message["version"] == replica.version:
            self._scheduler.sweep_in(topic, lease_ms_left)


def _announce(topic: Topic, message: dict[str, Any]) -> None:
    """Pass an announcement on to all streams but those of the user who sent it."""
    topic.push(AnnouncementBatch(announcement_event(topic.record, message)))

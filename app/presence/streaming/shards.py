"""Where each channel is subscribed by sharded pub/sub: a feed for each node that holds one of them."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..scripts import Scripts
from ..scripts.redis_errors import FAILURES
from .feed import Feed
from .messages import MessageHandler
from .outage import KnownReplicas, Outage
from .publisher import Publisher
from .scheduler import Scheduler
from .shard_subscription import ShardSubscription
from .sync_state import SHARDED_PUBSUB
from .topic import Topic

IDLE_SECONDS = 5.0  # before a feed without topics ends
REPLACE_INTERVAL_SECONDS = 0.1


class Shards:
    """The feeds of a Cluster's nodes. One begins with its first topic, and ends some time after the last.

    The slot of a channel is that of the record's keys, so the node is the one that the
    record's scripts run on. It is asked anew after a read of the record, which
    follows the slot: when the server has ended the subscription, since the slot has
    moved, and when the connection was lost.

    `topics` by channel are those of the process. `run(feed)` is called in a thread of
    each feed, for as long as it is to receive.
    """

    def __init__(
        self,
        cluster: Any,
        scripts: Scripts,
        topics: Mapping[str, Topic],
        scheduler: Scheduler,
        publisher: Publisher,
        known_replicas: KnownReplicas,
        lock: threading.RLock,
        *,
        run: Callable[[Feed], None],
        observe: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._scripts = scripts
        self._topics = topics
        self._scheduler = scheduler
        self._publisher = publisher
        self._known_replicas = known_replicas
        self._lock = lock
        self._run = run
        self._observe = observe
        self._feeds: dict[str, Feed] = {}  # by the node's name
        self._feed_of: dict[str, Feed] = {}  # by channel
        self._to_place: set[str] = set()  # channels to assign to a node anew, after a read
        self._place_at = 0.0  # on the monotonic clock

    @property
    def feeds(self) -> list[Feed]:
        with self._lock:
            return list(self._feeds.values())

    @property
    def place_at(self) -> float:
        """When `place_again` is to be called, on the monotonic clock."""
        return self._place_at if self._to_place else float("inf")

    def update_channels(self, changed: Collection[str]) -> None:
        """Subscribe to those of the changed channels that have a topic, at their nodes; leave the others."""
        by_feed: dict[Feed, list[str]] = defaultdict(list)
        for channel in changed:
            node = self._node_of(channel)
            with self._lock:
                topic, feed = self._topics.get(channel), self._feed_of.get(channel)
                if feed and (topic is None or (node and node.name != feed.node_name)):
                    self._remove(channel)
                    by_feed[feed].append(channel)
                self._to_place.discard(channel)
                if topic is None:
                    continue
                if node is None:
                    self._read_and_place(topic)
                    continue
                feed = self._feeds.get(node.name) or self._start(node)
                feed.topics[channel], self._feed_of[channel] = topic, feed
                if feed.is_refused:
                    feed.messages.expect_none_of(topic)
                else:
                    by_feed[feed].append(channel)
        for feed, channels in by_feed.items():
            feed.subscription.update_channels(channels)

    def place_again(self) -> None:
        """Place the channels anew whose records have been read since it became necessary."""
        now = time.monotonic()
        if now < self.place_at:
            return
        self._place_at = now + REPLACE_INTERVAL_SECONDS
        with self._lock:
            channels = [channel for channel in self._to_place if self._has_been_read(channel)]
        self.update_channels(channels)

    def displace(self, channel: str) -> None:
        """The node does not hold the channel's slot any more."""
        with self._lock:
            topic = self._topics.get(channel)
            self._remove(channel)
            if topic:
                topic.sync.unsubscribe(SHARDED_PUBSUB)
                self._read_and_place(topic)

    def lose(self, feed: Feed) -> None:
        """Its connection is lost; perhaps another node has its slots by now."""
        with self._lock:
            for topic in feed.topics.values():
                self._read_and_place(topic)

    def refuse(self, feed: Feed) -> None:
        """The node takes no such subscription, so none is waited for until it does."""
        with self._lock:
            feed.is_refused = True
            feed.outage.since = None
            for topic in feed.topics.values():
                feed.messages.expect_none_of(topic)

    def accept(self, feed: Feed) -> None:
        """The node takes such subscriptions again. Call it before the first of them is answered."""
        with self._lock:
            feed.is_refused = False
            # A topic may have come since the connection was made, when none was expected yet.
            feed.messages.unsubscribe_all()
            channels = list(feed.topics)
        feed.subscription.update_channels(channels)

    def ends(self, feed: Feed, *, after_seconds: float = IDLE_SECONDS) -> bool:
        """Whether its thread ends now, since it has had no topic for so long; another serves what comes."""
        with self._lock:
            now = time.monotonic()
            feed.idle_since = None if feed.topics else feed.idle_since or now
            if feed.idle_since is None or now - feed.idle_since < after_seconds:
                return False
            del self._feeds[feed.node_name]
            return True

    def _node_of(self, channel: str) -> Any:
        try:
            return self._cluster.get_node_from_key(channel)
        except FAILURES:  # no node is known that holds it
            return None

    def _has_been_read(self, channel: str) -> bool:
        topic = self._topics.get(channel)
        return topic is None or not (self._scheduler.will_read(topic) or topic.sync.failing_since)

    def _read_and_place(self, topic: Topic) -> None:
        self._to_place.add(topic.record.channel)
        self._scheduler.request_read(topic)

    def _remove(self, channel: str) -> None:
        feed = self._feed_of.pop(channel, None)
        if feed:
            feed.topics.pop(channel, None)

    def _start(self, node: Any) -> Feed:
        topics: dict[str, Topic] = {}
        subscription = ShardSubscription(
            self._cluster,
            node,
            self._scripts,
            topics,
            self._lock,
            observe=self._observe,
            on_displaced=self.displace,
        )
        outage = Outage(topics, self._scheduler, self._lock, self._known_replicas)
        messages = MessageHandler(
            topics,
            self._scheduler,
            self._publisher,
            outage,
            self._lock,
            observe=self._observe,
            by=SHARDED_PUBSUB,
            on_displaced=self.displace,
        )
        feed = self._feeds[node.name] = Feed(subscription, outage, messages, topics, node.name)
        threading.Thread(target=self._run, args=(feed,), name="presence-receiver", daemon=True).start()
        return feed

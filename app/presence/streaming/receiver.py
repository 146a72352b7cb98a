"""The receiving thread of each feed: it takes messages off, and connects again when the feed is lost."""

import logging
import random
import threading
import time
from collections.abc import Callable

from ..greenlets import PAUSE_SECONDS, Turn
from . import timings
from .feed import Feed
from .publisher import Publisher
from .scheduler import Scheduler
from .shard_subscription import ShardSubscription
from .shards import Shards
from .subscription import Message

log = logging.getLogger("presence.broadcast")


class Receiver:
    """Receives for the feeds of a process, each in a thread of its own, until the process is `closed`.

    `end_streams_if_draining()` is called after each message, or wait for one. `shards` is
    set where there are any, before the first thread starts.
    """

    def __init__(
        self,
        publisher: Publisher,
        scheduler: Scheduler,
        closed: threading.Event,
        *,
        end_streams_if_draining: Callable[[], None],
        observe: Callable[[str], None],
    ) -> None:
        self._publisher = publisher
        self._scheduler = scheduler
        self._closed = closed
        self._end_streams_if_draining = end_streams_if_draining
        self._observe = observe
        self.shards: Shards | None = None

    def run(self, feed: Feed) -> None:
        """The thread of a feed."""
        while not self._closed.is_set():
            try:
                self._receive_until_lost(feed)
                return
            except Exception as error:
                if self._closed.is_set():
                    return
                wait_seconds = self._on_lost(feed, error)
            self._closed.wait(wait_seconds)
            if self.shards and feed.node_name and self.shards.ends(feed, after_seconds=0.0):
                return  # its topics are gone, or at another node by now

    def _on_lost(self, feed: Feed, error: Exception) -> float:
        """What the end of a connection leads to; returns the seconds until the next one is made."""
        if self.shards and isinstance(feed.subscription, ShardSubscription):
            if feed.subscription.is_refused(error):
                if not feed.is_refused:
                    log.info("no sharded pub/sub", extra={"node": feed.node_name, "error": str(error)})
                self.shards.refuse(feed)
                return timings.REFUSAL_SECONDS
            self.shards.lose(feed)
        self._observe("lost")
        log.warning("subscription lost", extra={"error": str(error), "node": feed.node_name})
        feed.outage.begin(time.monotonic())
        feed.messages.unsubscribe_all()
        feed.outage.end_unconfirmed_streams()
        self._end_streams_if_draining()
        # Random, so that not all processes return at once.
        return timings.RETRY_DELAY_SECONDS * random.uniform(0.5, 1)  # noqa: S311

    def _receive_until_lost(self, feed: Feed) -> None:
        """Returns when the process is closed, or the feed has had no topic for a while."""
        with feed.subscription.connected():
            self._scheduler.wake()  # for the first probe
            turn = Turn()
            while not self._closed.is_set():
                turn.pause_if_over()  # messages that came together are read without a wait
                message = self._receive(feed, turn)
                if message:
                    feed.messages.handle(message)
                    if self.shards and feed.is_refused:
                        self.shards.accept(feed)
                self._publisher.publish_due(time.monotonic())
                if feed.outage.since is not None:
                    feed.outage.end_unconfirmed_streams()
                self._end_streams_if_draining()
                if self.shards and feed.node_name and not feed.topics and self.shards.ends(feed):
                    return

    def _receive(self, feed: Feed, turn: Turn) -> Message | None:
        started = time.monotonic()
        message = feed.subscription.receive(self._publisher.seconds_to_wait())
        if time.monotonic() - started > PAUSE_SECONDS:
            turn.restart()
        return message

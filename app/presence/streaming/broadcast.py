"""The streams of one process: opening and closing them, and the threads that feed them.

The package's docstring (`__init__.py`) has the overview, the threads and the locks.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from ..errors import StoreUnavailable
from ..records import Record
from ..scripts import Scripts
from ..scripts.transport import is_cluster
from . import timings
from .admission import Admission, Owner
from .feed import Feed
from .messages import MessageHandler
from .outage import KnownReplicas, Outage
from .publisher import Publisher
from .receiver import Receiver
from .refresh import Refresher
from .scheduler import Scheduler
from .shards import Shards
from .stream import Stream, StreamEnded
from .subscription import Subscription
from .sync_state import SHARDED_PUBSUB
from .topic import Topic
from .wakeups import Wakeups
from .watch import WatchCommand

log = logging.getLogger("presence.broadcast")


class Broadcast:
    """The streams of one process. It connects to Redis when the first one is opened.

    `lease_ms` is the usual lease, `timeline_ms` how long a timeline is kept (a
    sweep writes to it). If Redis loses its data, everyone who was shown stays for
    `recovery_grace_seconds`, marked as unconfirmed. `observe(what)` is called for
    each `resync`, `lost`, `silence`, `slow_reader` and `full`. `is_draining()` says
    that the process is stopping, and may be replaced later. On a Cluster, changes may be
    published by PUBLISH and by SPUBLISH: `has_sharded_pubsub` says whether to listen for both.
    """

    def __init__(
        self,
        redis: Any,
        scripts: Scripts,
        lease_ms: int,
        *,
        max_streams: int = 8000,
        max_streams_per_user: int = 20,
        timeline_ms: int = 0,
        recovery_grace_seconds: float = 0.0,
        observe: Callable[[str], None] = lambda what: None,
        is_draining: Callable[[], bool] = lambda: False,
        has_sharded_pubsub: bool = True,
    ) -> None:
        self.is_draining = is_draining
        self._observe = observe
        self._lock = lock = threading.RLock()
        self._streams: dict[Stream, list[Topic]] = {}
        self._admission = Admission(max_streams, max_streams_per_user, observe)
        self._topics: dict[str, Topic] = {}  # by channel
        self._subscription = Subscription(redis, scripts, self._topics, lock, observe=observe)
        self._scheduler = Scheduler(lock)
        self._publisher = Publisher(lock)
        self._wakeups = Wakeups(lock)
        self._known_replicas = known_replicas = KnownReplicas(
            lease_ms / 1000 if recovery_grace_seconds else 0.0
        )
        self._outage = Outage(self._topics, self._scheduler, lock, known_replicas)
        self._messages = MessageHandler(
            self._topics, self._scheduler, self._publisher, self._outage, lock, observe=observe
        )
        self._feed = Feed(self._subscription, self._outage, self._messages, self._topics)
        self._closed = threading.Event()
        self._receiver = Receiver(
            self._publisher,
            self._scheduler,
            self._closed,
            end_streams_if_draining=self._end_all_if_draining,
            observe=observe,
        )
        self._receiver.shards = self._shards = (
            Shards(
                redis,
                scripts,
                self._topics,
                self._scheduler,
                self._publisher,
                known_replicas,
                lock,
                run=self._receiver.run,
                observe=observe,
            )
            if has_sharded_pubsub and is_cluster(redis)
            else None
        )
        self._refresher = Refresher(
            WatchCommand(redis, scripts, lease_ms=lease_ms, timeline_ms=timeline_ms),
            self._scheduler,
            self._messages,
            self._publisher,
            lock,
            recovery_grace_seconds=recovery_grace_seconds,
            observe=observe,
        )
        self._is_started = False

    def open(
        self,
        records: Iterable[Record],
        *,
        owner: Owner | None = None,
        user: str | None = None,
        limit: int,
        seen_version: str | None = None,
    ) -> Stream:
        """A stream of these records, which starts with a snapshot of each.

        The stream counts against the limits of its `owner`; None is this process
        itself, which has none. `user` (JSON text of an id) is left out of what the
        stream shows. A snapshot lists at most `limit` viewers. A record that is
        still at `seen_version` gets no snapshot.

        Raises TooManyStreams, TooManyStreamsOfUser, and StoreUnavailable if Redis has
        not confirmed all records in time.
        """
        deadline = time.monotonic() + timings.OPEN_TIMEOUT_SECONDS
        stream = Stream(
            user,
            limit,
            seen_version,
            lock=self._lock,
            wakeups=self._wakeups,
            on_close=self._forget,
            observe=self._observe,
        )
        with self._lock:
            if self._closed.is_set():
                raise StoreUnavailable("broadcast: draining")
            if owner:
                self._admission.add(stream, owner)
            self._start()
            new_channels = self._add(stream, records)
        try:
            if new_channels:
                self._update_channels(new_channels)
            if stream.wait_until_confirmed(deadline):
                return stream
            reason = "the records were not confirmed in time"
        except StreamEnded as error:
            reason = error.reason
        except BaseException:
            stream.close()
            raise
        stream.close()
        raise StoreUnavailable(f"broadcast: {reason}")

    def _start(self) -> None:
        """Start the threads. Not before the first stream, since a process may fork until then."""
        if not self._is_started:
            self._is_started = True
            receiver = threading.Thread(target=self._receiver.run, args=(self._feed,), daemon=True)
            scheduler = threading.Thread(target=self._run_scheduler, daemon=True)
            wakeups = threading.Thread(target=self._run_wakeups, daemon=True)
            for thread, name in ((receiver, "receiver"), (scheduler, "scheduler"), (wakeups, "wakeups")):
                thread.name = f"presence-{name}"
                thread.start()

    def _add(self, stream: Stream, records: Iterable[Record]) -> list[str]:
        """Connect a stream with its topics; returns the channels that are not subscribed yet."""
        new_channels = []
        topics = self._streams[stream] = []
        for record in dict.fromkeys(records):
            topic = self._topics.get(record.channel)
            if topic is None:
                replica = self._known_replicas.new_replica(record)
                topic = self._topics[record.channel] = Topic(record, replica, self._wakeups)
                if self._shards:
                    topic.sync.require(SHARDED_PUBSUB)
                self._scheduler.add(topic)
                new_channels.append(record.channel)
            topics.append(topic)
            topic.streams.add(stream)
            stream.add_topic(topic)
        return new_channels

    def _forget(self, stream: Stream) -> None:
        """Remove a closed stream, and unsubscribe the channels that no other stream needs."""
        unused_channels = []
        with self._lock:
            self._admission.remove(stream)
            for topic in self._streams.pop(stream, ()):
                topic.streams.discard(stream)
                if not topic.streams:
                    del self._topics[topic.record.channel]
                    self._scheduler.remove(topic)
                    self._publisher.discard(topic)
                    unused_channels.append(topic.record.channel)
        if unused_channels:
            self._update_channels(unused_channels)

    def _update_channels(self, changed: Collection[str]) -> None:
        self._subscription.update_channels(changed)
        if self._shards:
            self._shards.update_channels(changed)

    @property
    def _feeds(self) -> list[Feed]:
        return [self._feed, *self._shards.feeds] if self._shards else [self._feed]

    def counts(self) -> dict[str, int]:
        """How many streams are open here, and how many records they show."""
        with self._lock:
            return {"streams": len(self._streams), "records": len(self._topics)}

    def close(self) -> None:
        """End every stream and all threads."""
        self._closed.set()
        self._end_all("draining")
        self._wakeups.close()
        self._scheduler.wake()
        for feed in self._feeds:
            feed.subscription.wake_receiver()

    def _end_all(self, reason: str) -> None:
        with self._lock:
            for stream in self._streams:
                stream.end(reason)

    def _end_all_if_draining(self) -> None:
        if self.is_draining():
            self._end_all("draining")

    def _run_wakeups(self) -> None:
        """The wakeups thread: wakes readers."""
        while True:
            try:
                self._wakeups.run()  # until all are woken, also those that `close` has ended
                return
            except Exception:
                log.exception("a reader could not be woken")
                self._closed.wait(timings.RETRY_DELAY_SECONDS)

    def _run_scheduler(self) -> None:
        """The scheduler thread: reads and sweeps records."""
        while not self._closed.is_set():
            try:
                self._refresh_due()
            except Exception:
                log.exception("reading records failed")
                self._closed.wait(timings.RETRY_DELAY_SECONDS)

    def _refresh_due(self) -> None:
        feeds = self._feeds
        until = min(feed.subscription.probe_at for feed in feeds)
        self._scheduler.wait(until=min(until, self._shards.place_at) if self._shards else until)
        for feed in feeds:
            started = time.monotonic()
            if not feed.subscription.probe_if_due():
                feed.outage.begin(started)
        if not self._refresher.refresh_due():
            self._outage.end_unconfirmed_streams()
        if self._shards:
            self._shards.place_again()

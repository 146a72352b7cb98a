"""Presence pushed: one subscription a process, fanned out to any number of streams.

Redis's channel of a record is subscribed while a stream of this process shows
the record. A Topic keeps what the record's streams were told. Two threads
(greenlets under gevent) keep it true:

- the reader takes messages off the subscription. Each message names the version
  that it continues, so that a lost, repeated or old one is noticed;
- the keeper asks Redis: for a record's viewers when a topic is new or has missed
  something, and for a sweep when a record's next lease ends, so that a tab's
  end is announced though nobody beats any more. It also sweeps now and then when
  no lease ends: a message that was lost without a trace (on the bus of a Cluster)
  or forged shows in the version.

A stream that reads too slowly, or a crowd that changes too fast, is brought up
to date by a snapshot in the place of the events.
"""

import heapq
import itertools
import json
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import RedisError

from app.presence.conflicts import decode_notes
from app.presence.errors import PresenceError, StoreUnavailable, TooManyStreams
from app.presence.records import Record, decode_seats
from app.presence.scripts import Scripts
from app.presence.service import NO_LIMIT, new_nonce
from app.presence.streams import Seat, Stream, StreamEnded, Topic, announced

OPEN_SECONDS = 1.5  # to subscribe and read, before a new stream is refused
PROBE_SECONDS = 2.0  # between messages to ourselves
SILENCE_SECONDS = 6.0  # without a message, ours included: the subscription is dead
ANSWER_SECONDS = 1.5  # the same for a subscription that was never heard
OUTAGE_SECONDS = 3.0  # a record that can't be confirmed for so long has no streams
RETRY_SECONDS = 0.5  # between two tries to reach Redis
SWEEP_DELAY_SECONDS = 0.03  # after the end of a lease; Redis counts in milliseconds
AUDIT_SECONDS = 20.0  # a record is swept this often, whatever was said about it
CHAIN_SECONDS = 0.5  # for the messages of a change that a sweep has told of
MAX_BACKLOG = 1000  # messages that may wait for a record's first read
BATCH = 200  # records in one round trip


log = logging.getLogger("presence.broadcast")


class Broadcast:
    """The streams of one process. Connects to Redis when the first one is opened.

    `lease_ms` is the usual lease, `timeline_ms` how long a timeline is kept (a
    sweep writes to it). Whoever was shown when Redis lost its data stays for
    `settle_seconds`, marked as unconfirmed. `observe(what)` is told of `resync`, `lost`, `silence`,
    `slow_reader` and `full`. `is_draining()` says that the process stops.
    """

    def __init__(
        self,
        redis: Any,
        scripts: Scripts,
        lease_ms: int,
        *,
        max_streams: int = 8000,
        timeline_ms: int = 0,
        settle_seconds: float = 0.0,
        observe: Callable[[str], None] | None = None,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._redis = redis
        self._scripts = scripts
        self._lease_ms = lease_ms
        self._max_streams = max_streams
        self._timeline_ms = timeline_ms
        self._settle_seconds = settle_seconds
        self.observe = observe or (lambda what: None)
        self.is_draining = is_draining
        # Never held over a call to Redis.
        self._lock = threading.RLock()
        # Taken before the other one. Whoever holds it writes to the subscription.
        self._commands = threading.Lock()
        self._streams: set[Stream] = set()
        self._topics: dict[str, Topic] = {}
        self._to_tell: set[Topic] = set()
        self._to_read: dict[Topic, None] = {}
        self._last_known: dict[str, tuple[float, Topic]] = {}  # of records whose streams an outage has ended
        self._due: list[tuple[float, int, Topic]] = []
        self._order = itertools.count()
        self._keeper_wake = threading.Event()
        self._pubsub: Any = None
        self._probe_channel = ""
        self._probe_at = 0.0
        self._unanswered_since: float | None = None  # neither a probe nor the subscription is
        self._is_started = False
        self._is_closed = False

    def open(
        self,
        records: Iterable[Record],
        *,
        user: str | None = None,
        limit: int,
        seen_version: str | None = None,
    ) -> Stream:
        """A stream of these records, which starts with a snapshot of each.

        A record whose version is `seen_version` needs none. Raises TooManyStreams,
        and StoreUnavailable when Redis has not confirmed them all in time.
        """
        deadline = time.monotonic() + OPEN_SECONDS
        stream = Stream(user, limit, seen_version, lock=self._lock, forget=self._forget, observe=self.observe)
        new = []
        with self._lock:
            if len(self._streams) >= self._max_streams:
                self.observe("full")
                raise TooManyStreams("This process has no room for another stream.")
            self._start()
            self._streams.add(stream)
            for record in dict.fromkeys(records):
                topic = self._topics.get(record.channel)
                if topic is None:
                    topic = self._topics[record.channel] = self._new_topic(record)
                    new.append(record.channel)
                stream.follow(topic)
        try:
            if new:
                self._adjust(new)
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

    def _new_topic(self, record: Record) -> Topic:
        """What was known of the record before an outage may be lost by now, and is compared then."""
        ended_at, known = self._last_known.pop(record.channel, (0.0, None))
        topic = Topic(record)
        if known and time.monotonic() - ended_at < self._lease_ms / 1000:
            topic.version, topic.current, topic.notes = known.version, known.current, known.notes
        return topic

    def _forget(self, stream: Stream) -> None:
        """Let a stream go, and the channels that nobody else listens to."""
        unused = []
        with self._lock:
            self._streams.discard(stream)
            for topic in stream.topics:
                topic.streams.discard(stream)
                if not topic.streams and self._topics.get(topic.record.channel) is topic:
                    del self._topics[topic.record.channel]
                    self._to_read.pop(topic, None)
                    self._to_tell.discard(topic)
                    unused.append(topic.record.channel)
        if unused:
            self._adjust(unused)

    def close(self) -> None:
        """End every stream and both threads."""
        self._is_closed = True
        self._end_all("draining")
        self._keeper_wake.set()
        with self._commands:
            if self._pubsub is not None:
                try:
                    self._pubsub.unsubscribe(self._probe_channel)  # the answer wakes the reader
                except Exception:
                    log.debug("the reader finds out by itself", exc_info=True)

    def counts(self) -> dict[str, int]:
        """How many streams are open here, and how many records they show."""
        with self._lock:
            return {"streams": len(self._streams), "records": len(self._topics)}

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            for run, name in ((self._read_for_ever, "reader"), (self._keep_for_ever, "keeper")):
                threading.Thread(target=run, name=f"presence-{name}", daemon=True).start()

    def _adjust(self, channels: list[str]) -> None:
        """Subscribe to those of the channels that have a topic now, and leave the others.

        What is wanted is looked up when it is this caller's turn to write: a
        channel that is let go here and wanted again there ends up as it should.
        """
        with self._commands:
            if self._pubsub is None:
                return  # the reader subscribes to every topic when it is connected
            with self._lock:
                wanted = [channel for channel in channels if channel in self._topics]
                unwanted = [channel for channel in channels if channel not in self._topics]
            try:
                if wanted:
                    self._pubsub.subscribe(*wanted)
                if unwanted:
                    self._pubsub.unsubscribe(*unwanted)
            except Exception:  # also what a reader raises who is connecting again meanwhile
                log.debug("a subscription failed; the reader makes a new one", exc_info=True)

    # The reader

    def _read_for_ever(self) -> None:
        while not self._is_closed:
            try:
                self._listen()
            except Exception as error:
                if self._is_closed:
                    return
                self.observe("lost")
                log.warning("subscription lost", extra={"error": str(error)})
                self._miss(time.monotonic())
                self._unsubscribed()
                self._end_unconfirmed()
                if self.is_draining():
                    self._end_all("draining")
                time.sleep(RETRY_SECONDS * random.uniform(0.5, 1))  # noqa: S311

    def _listen(self) -> None:
        # Another name each time: in a Cluster it also picks the node that we listen to.
        probe_channel = f"presence_stream:{secrets.token_hex(8)}"
        pubsub = self._redis.pubsub()
        try:
            pubsub.subscribe(probe_channel)
            with self._commands:
                self._pubsub, self._probe_channel, self._probe_at = pubsub, probe_channel, 0.0
                with self._lock:
                    channels = list(self._topics)
                for first in range(0, len(channels), BATCH):
                    pubsub.subscribe(*channels[first : first + BATCH])
            self._keeper_wake.set()
            heard_at, may_be_silent = time.monotonic(), ANSWER_SECONDS
            while not self._is_closed:
                message = pubsub.get_message(timeout=self._patience())
                now = time.monotonic()
                if message:
                    heard_at, may_be_silent = now, SILENCE_SECONDS
                    self._answered()
                    self._hear(message)
                elif now - heard_at > may_be_silent:
                    # A half-open connection says nothing for ever.
                    self.observe("silence")
                    raise ConnectionError("the subscription went silent")
                self._tell(now)
                if self._unanswered_since is not None:
                    self._end_unconfirmed()
                if self.is_draining():
                    self._end_all("draining")
        finally:
            # Not while somebody writes: that would lend it a connection that nobody reads.
            with self._commands:
                self._pubsub = None
                try:
                    pubsub.close()
                except Exception:
                    log.debug("closing the subscription failed", exc_info=True)

    def _miss(self, since: float) -> None:
        """Redis has not answered: nothing is certain until it does."""
        with self._lock:
            if self._unanswered_since is None:
                self._unanswered_since = since
            for topic in self._topics.values():
                topic.is_confirmed = False

    def _unsubscribed(self) -> None:
        with self._lock:
            for topic in self._topics.values():
                topic.is_subscribed = topic.is_confirmed = False

    def _answered(self) -> None:
        if self._unanswered_since is None:
            return
        with self._lock:
            self._unanswered_since = None
            for topic in self._topics.values():
                if topic.is_subscribed:
                    self._ask(topic)

    def _patience(self) -> float:
        """How long the reader may wait for a message."""
        with self._lock:
            tell_at = min((topic.tell_at() for topic in self._to_tell if not topic.is_reading), default=None)
        return 0.5 if tell_at is None else min(0.5, max(0.001, tell_at - time.monotonic()))

    def _hear(self, message: dict[str, Any]) -> None:
        channel = message["channel"]
        channel = channel.decode() if isinstance(channel, bytes) else channel
        with self._lock:
            if message["type"] == "subscribe" and channel == self._probe_channel:
                # The first of all, also after the library has connected again by itself.
                self._unsubscribed()
            topic = self._topics.get(channel)
            if topic is None:
                return
            if message["type"] == "subscribe":
                if not topic.is_subscribed:
                    topic.is_subscribed = True
                    topic.is_overtaken = topic.is_reading
                    self._ask(topic)
            elif message["type"] == "unsubscribe":
                topic.is_subscribed = topic.is_confirmed = False
            elif message["type"] == "message":
                try:
                    self._apply(topic, json.loads(message["data"]))
                except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
                    # Anybody may publish; the record itself is what counts.
                    self._suspect(topic, None)

    def _apply(self, topic: Topic, message: dict[str, Any]) -> None:
        if "announce" in message:
            self._announce(topic, message)
            return
        if topic.is_reading or topic.version is None:
            topic.backlog.append(message)
            if len(topic.backlog) > MAX_BACKLOG:
                topic.backlog.clear()
                self._ask(topic)
            return
        if not topic.apply(message):
            self.observe("resync")
            self._ask(topic)
        elif topic.is_to_tell:
            self._to_tell.add(topic)
        next_ms = message.get("next_ms")
        if isinstance(next_ms, int | float) and (
            "previous" not in message or message["version"] == topic.version
        ):
            self._sweep_in(topic, next_ms, is_earlier="previous" not in message)

    def _announce(self, topic: Topic, message: dict[str, Any]) -> None:
        event = announced(topic.record, message)
        for stream in topic.streams:
            if stream.user is None or stream.user != event.user:
                stream.push(event, topic, 0)

    def _tell(self, now: float) -> None:
        """Tell the streams what has changed, as often as each record may."""
        with self._lock:
            for topic in list(self._to_tell):
                if topic.is_reading or not topic.may_tell(now):
                    continue
                self._to_tell.discard(topic)
                topic.tell()

    # The keeper

    def _keep_for_ever(self) -> None:
        while not self._is_closed:
            try:
                self._keep()
            except Exception:
                log.exception("keeping the streams true failed")
                time.sleep(RETRY_SECONDS)

    def _keep(self) -> None:
        self._keeper_wake.wait(self._keeper_patience())
        self._keeper_wake.clear()
        now = time.monotonic()
        if now >= self._probe_at and self._pubsub is not None:
            self._probe()
        with self._lock:
            reads = list(itertools.islice(self._to_read, BATCH))
            for topic in reads:
                del self._to_read[topic]
                topic.is_reading, topic.needs_read, topic.is_overtaken = True, False, False
                topic.backlog.clear()  # whatever is in there, Redis tells as well
            sweeps = self._pop_due(now)
        if reads:
            self._watch(reads, is_read=True)
        if sweeps:
            self._watch(sweeps, is_read=False)

    def _keeper_patience(self) -> float:
        """Never nothing at all: under gevent, nobody else would run meanwhile."""
        with self._lock:
            at = self._due[0][0] if self._due else float("inf")
            if self._pubsub is not None:
                at = min(at, self._probe_at)
            if self._to_read:
                at = 0.0
        return min(1.0, max(0.001, at - time.monotonic()))

    def _probe(self) -> None:
        """Say something to ourselves."""
        now = time.monotonic()
        self._probe_at = now + PROBE_SECONDS
        try:
            self._redis.execute_command("PUBLISH", self._probe_channel, "1")
        except (RedisError, OSError):
            self._miss(now)
            self._probe_at = time.monotonic() + RETRY_SECONDS

    def _ask(self, topic: Topic) -> None:
        topic.needs_read = True
        if not topic.is_reading and topic not in self._to_read:
            self._to_read[topic] = None
            self._keeper_wake.set()

    def _suspect(self, topic: Topic, version: str | None) -> None:
        """Read the topic soon, unless messages bring it to this version before."""
        if topic.suspect is None:
            topic.suspect = (time.monotonic() + CHAIN_SECONDS, topic.version, version)
            self._queue(topic, topic.suspect[0])

    def _sweep_in(self, topic: Topic, next_ms: float, *, is_earlier: bool = False) -> None:
        audit_seconds = AUDIT_SECONDS * random.uniform(0.8, 1)  # noqa: S311
        seconds = next_ms / 1000 + SWEEP_DELAY_SECONDS if next_ms >= 0 else audit_seconds
        at = time.monotonic() + min(seconds, audit_seconds)
        if is_earlier and topic.next_at is not None:
            at = min(at, topic.next_at)
        topic.next_at = at
        self._queue(topic, at)

    def _queue(self, topic: Topic, at: float) -> None:
        # Entries are not moved: one that comes too early is put back.
        if topic.queued_at is not None and at >= topic.queued_at:
            return
        topic.queued_at = at
        heapq.heappush(self._due, (at, next(self._order), topic))
        if len(self._due) > 2 * len(self._topics) + 100:
            # Most of it is of records that nobody streams any more.
            self._due = [
                (topic.queued_at, next(self._order), topic)
                for topic in self._topics.values()
                if topic.queued_at is not None
            ]
            heapq.heapify(self._due)
        if self._due and self._due[0][2] is topic:
            self._keeper_wake.set()

    def _pop_due(self, now: float) -> list[Topic]:
        due = []
        while self._due and self._due[0][0] <= now and len(due) < BATCH:
            at, _, topic = heapq.heappop(self._due)
            if at == topic.queued_at:
                topic.queued_at = None
            if self._topics.get(topic.record.channel) is not topic:
                continue
            if topic.suspect and topic.suspect[0] <= now:
                _, held, wanted = topic.suspect
                # A version that stays where it is, ahead of Redis, is forged.
                if topic.version != wanted and (topic.version == held or not topic.has_reached(wanted)):
                    self.observe("resync")
                    self._ask(topic)
                topic.suspect = None
            if topic.settles_at is not None and topic.settles_at <= now:
                topic.settle()
                self._to_tell.add(topic)
            if topic.next_at is not None and topic.next_at <= now:
                topic.next_at = None
                due.append(topic)
            for at in (topic.next_at, topic.settles_at, topic.suspect and topic.suspect[0]):
                if at is not None:
                    self._queue(topic, at)
        return due

    def _watch(self, topics: list[Topic], *, is_read: bool) -> None:
        """Ask Redis about these records: for all viewers, or only to sweep them."""
        calls = []
        for topic in topics:
            # While a topic is read, nobody else changes its version.
            known = topic.version or "?"
            arguments = (known, NO_LIMIT if is_read else 0, self._lease_ms, new_nonce(), self._timeline_ms)
            calls.append((topic.record.keys, arguments))
        replies: list[Any]
        try:
            # Where one node of a Cluster is dead, the call fails for all records.
            many = len(calls) > 1
            replies = self._scripts.run_many(self._redis, "watch", calls) if many else self._watch_each(calls)
        except PresenceError:
            replies = self._watch_each(calls)
        now = time.monotonic()
        is_failing = False
        with self._lock:
            for topic, reply in zip(topics, replies, strict=True):
                try:
                    if isinstance(reply, PresenceError):
                        raise reply
                    if is_read:
                        self._was_read(topic, reply)
                    else:
                        self._was_swept(topic, reply)
                except Exception as error:
                    if not isinstance(error, StoreUnavailable):
                        log.exception("a record can't be read", extra={"record": topic.record.name})
                    is_failing = True
                    self._failed(topic, is_read, now)
        if is_failing:
            self._end_unconfirmed()
        self._tell_at_once(topics)

    def _watch_each(self, calls: list[Any]) -> list[Any]:
        """One by one, so that a broken record harms no other, and a dead node only its own."""
        replies: list[Any] = []
        dead: dict[Any, PresenceError] = {}
        for keys, arguments in calls:
            node = self._node_of(keys[0])
            if node in dead:
                replies.append(dead[node])
                continue
            try:
                replies.append(self._scripts.run(self._redis, "watch", keys, arguments))
            except PresenceError as error:
                replies.append(error)
                if isinstance(error, StoreUnavailable):
                    dead[node] = error
        return replies

    def _node_of(self, key: str) -> Any:
        """The node of a Cluster that holds a key; None where there is only one, or when in doubt."""
        try:
            return self._redis.get_node_from_key(key)
        except (AttributeError, RedisError, OSError):
            return None

    def _failed(self, topic: Topic, is_read: bool, now: float) -> None:
        topic.failing_since = topic.failing_since or now
        topic.is_confirmed = False
        if is_read:
            topic.is_reading = False
            topic.needs_read = True
        topic.next_at = now + RETRY_SECONDS
        self._queue(topic, topic.next_at)

    def _was_read(self, topic: Topic, reply: list[Any]) -> None:
        if reply[0] == "OK":
            _, version, _, _, opened_ms, saves, claims, *pairs = reply
            seats = {user: Seat(user, packed) for user, packed in decode_seats(pairs)}
            settles_at = time.monotonic() + self._settle_seconds if self._settle_seconds else None
            topic.replace(version, seats, decode_notes(opened_ms, saves, claims), int(opened_ms), settles_at)
            if topic.settles_at is not None:
                self._queue(topic, topic.settles_at)
        topic.is_reading = False
        # A subscription that began during the read has asked for another.
        topic.is_confirmed = topic.is_subscribed and not topic.is_overtaken
        topic.failing_since = None
        topic.suspect = None
        self._sweep_in(topic, reply[2])
        backlog, topic.backlog = topic.backlog, []
        for message in backlog:
            try:
                self._apply(topic, message)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError):
                self._suspect(topic, None)
        if topic.needs_read:
            self._ask(topic)
        if topic.shown_version is None:
            topic.tell_by_snapshot()
        elif topic.is_to_tell:
            self._to_tell.add(topic)
        for stream in topic.streams:
            stream.wake()  # one that waits for its first snapshot

    def _was_swept(self, topic: Topic, reply: list[Any]) -> None:
        if topic.failing_since is not None:
            topic.failing_since = None
            self._ask(topic)
        self._sweep_in(topic, reply[2])
        if topic.version not in (None, reply[1]):
            # The messages are on their way, with the reasons.
            self._suspect(topic, reply[1])

    def _tell_at_once(self, topics: list[Topic]) -> None:
        now = time.monotonic()
        with self._lock:
            if self._to_tell.intersection(topics):
                self._tell(now)

    def _end_unconfirmed(self) -> None:
        """End the streams of what could not be confirmed for too long: no answer beats an old one."""
        now = time.monotonic()
        with self._lock:
            for topic in self._topics.values():
                for since in (self._unanswered_since, topic.failing_since):
                    if since is not None and now - since > OUTAGE_SECONDS:
                        self._remember(topic, now)
                        for stream in topic.streams:
                            stream.end("unavailable")

    def _remember(self, topic: Topic, now: float) -> None:
        if self._settle_seconds and topic.version is not None:
            self._last_known.pop(topic.record.channel, None)  # the last to be remembered stands last
            self._last_known[topic.record.channel] = now, topic
        while self._last_known:
            channel, (ended_at, _) = next(iter(self._last_known.items()))
            if now - ended_at < self._lease_ms / 1000:
                break
            del self._last_known[channel]

    def _end_all(self, reason: str) -> None:
        with self._lock:
            for topic in self._topics.values():
                for stream in topic.streams:
                    stream.end(reason)

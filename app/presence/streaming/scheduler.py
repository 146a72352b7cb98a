"""When each topic is read, swept and checked."""

import heapq
import itertools
import random
import threading
import time
from typing import NamedTuple

from . import timings
from .topic import Topic

BATCH_SIZE = 200  # topics at a time: they share a round trip to Redis
READ_BATCH_SIZE = 25  # of those that are read, and may be large: Redis does nothing else meanwhile


class VersionCheck(NamedTuple):
    """At `at`, see whether the replica has come from `version_before` to `expected_version`.

    `expected_version` is None if a message was malformed: then the record is read.
    """

    at: float
    version_before: str | None
    expected_version: str | None


class Due(NamedTuple):
    """What is to be done with a topic now."""

    topic: Topic
    is_sweep_due: bool
    version_check: VersionCheck | None
    is_grace_over: bool


class _Deadlines:
    """The deadlines of one topic, in seconds on the monotonic clock. Only the scheduler uses them."""

    __slots__ = ("grace_ends_at", "queued_at", "sweep_at", "version_check")

    def __init__(self) -> None:
        self.sweep_at: float | None = None
        self.version_check: VersionCheck | None = None
        self.grace_ends_at: float | None = None
        self.queued_at: float | None = None  # the earliest entry in the heap

    def pop_due(self, topic: Topic, now: float) -> Due | None:
        """What is due, which is then no longer scheduled; None if nothing is."""
        is_sweep_due = self.sweep_at is not None and self.sweep_at <= now
        version_check = self.version_check if self.version_check and self.version_check.at <= now else None
        is_grace_over = self.grace_ends_at is not None and self.grace_ends_at <= now
        if is_sweep_due:
            self.sweep_at = None
        if version_check:
            self.version_check = None
        if is_grace_over:
            self.grace_ends_at = None
        if is_sweep_due or version_check or is_grace_over:
            return Due(topic, is_sweep_due, version_check, is_grace_over)
        return None

    def next(self) -> float | None:
        times = (self.sweep_at, self.version_check and self.version_check.at, self.grace_ends_at)
        return min((at for at in times if at is not None), default=None)


class Scheduler:
    """A queue of topics to read now, and a heap of those to look at later.

    It says when; what is done then is up to its caller. What is scheduled for a
    topic that was removed is ignored. The caller holds the lock, except for `wait`
    and `wake`.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._deadlines: dict[Topic, _Deadlines] = {}
        self._reads: dict[Topic, None] = {}  # a set that keeps its order
        self._heap: list[tuple[float, int, Topic]] = []
        self._sequence = itertools.count()  # so that no two entries compare their topics
        self._wake = threading.Event()

    def add(self, topic: Topic) -> None:
        self._deadlines[topic] = _Deadlines()

    def remove(self, topic: Topic) -> None:
        self._deadlines.pop(topic, None)
        self._reads.pop(topic, None)

    def wait(self, until: float) -> None:
        """Wait until something is due, `until` (on the monotonic clock) is reached, or a second has passed.

        It waits at least a millisecond: under gevent, nothing else would run meanwhile.
        """
        with self._lock:
            at = min(until, self._heap[0][0]) if self._heap else until
            if self._reads:
                at = 0.0
        self._wake.wait(min(1.0, max(0.001, at - time.monotonic())))
        self._wake.clear()

    def wake(self) -> None:
        """End a `wait`."""
        self._wake.set()

    def request_read(self, topic: Topic) -> None:
        """Read a topic as soon as possible; once more if a read is under way."""
        if topic.sync.is_reading:
            topic.sync.needs_another_read = True
        elif topic in self._deadlines and topic not in self._reads:
            self._reads[topic] = None
            self.wake()

    def will_read(self, topic: Topic) -> bool:
        """Whether a read was requested, or is under way."""
        return topic in self._reads or topic.sync.is_reading

    def pop_reads(self) -> list[Topic]:
        """Some of the topics to read, whose reads begin with this."""
        topics = list(itertools.islice(self._reads, READ_BATCH_SIZE))
        for topic in topics:
            del self._reads[topic]
            topic.sync.begin_read()
        return topics

    def sweep_in(self, topic: Topic, lease_ms_left: float, *, only_earlier: bool = False) -> None:
        """Sweep the topic when its next lease ends; it has none if `lease_ms_left` is negative.

        `only_earlier`: unless a sweep is scheduled for an earlier time.
        """
        # Random, so that records that were opened together are not swept together.
        max_seconds = timings.MAX_SWEEP_INTERVAL_SECONDS * random.uniform(0.8, 1)  # noqa: S311
        seconds = lease_ms_left / 1000 + timings.SWEEP_DELAY_SECONDS if lease_ms_left >= 0 else max_seconds
        self.sweep_at(topic, time.monotonic() + min(seconds, max_seconds), only_earlier=only_earlier)

    def sweep_at(self, topic: Topic, at: float, *, only_earlier: bool = False) -> None:
        if deadlines := self._deadlines.get(topic):
            if only_earlier and deadlines.sweep_at is not None:
                at = min(at, deadlines.sweep_at)
            deadlines.sweep_at = at
            self._push(topic, deadlines)

    def check_version(self, topic: Topic, expected_version: str | None) -> None:
        """Check soon whether messages have brought the replica to this version; None: read the record."""
        deadlines = self._deadlines.get(topic)
        if deadlines and deadlines.version_check is None:
            at = time.monotonic() + timings.VERSION_CHECK_DELAY_SECONDS
            deadlines.version_check = VersionCheck(at, topic.replica.version, expected_version)
            self._push(topic, deadlines)

    def cancel_version_check(self, topic: Topic) -> None:
        if deadlines := self._deadlines.get(topic):
            deadlines.version_check = None

    def end_grace_period_at(self, topic: Topic, at: float) -> None:
        if deadlines := self._deadlines.get(topic):
            deadlines.grace_ends_at = at
            self._push(topic, deadlines)

    def pop_due(self, now: float) -> list[Due]:
        """What is due at `now`, on the monotonic clock; the rest of a long list comes with the next call."""
        found: list[Due] = []
        while self._heap and self._heap[0][0] <= now and len(found) < BATCH_SIZE:
            at, _, topic = heapq.heappop(self._heap)
            deadlines = self._deadlines.get(topic)
            if deadlines is None:
                continue
            if at == deadlines.queued_at:
                deadlines.queued_at = None
            if due := deadlines.pop_due(topic, now):
                found.append(due)
            self._push(topic, deadlines)
        return found

    def _push(self, topic: Topic, deadlines: _Deadlines) -> None:
        # Entries are not moved. One that turns out to be too early is pushed again when it is popped.
        at = deadlines.next()
        if at is None or (deadlines.queued_at is not None and at >= deadlines.queued_at):
            return
        deadlines.queued_at = at
        heapq.heappush(self._heap, (at, next(self._sequence), topic))
        if len(self._heap) > 2 * len(self._deadlines) + 100:
            # Most of it belongs to topics that were removed.
            self._heap = [
                (deadlines.queued_at, next(self._sequence), topic)
                for topic, deadlines in self._deadlines.items()
                if deadlines.queued_at is not None
            ]
            heapq.heapify(self._heap)
        if self._heap[0][2] is topic:
            self.wake()

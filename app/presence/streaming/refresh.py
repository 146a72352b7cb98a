"""Reads and sweeps the records that are due, and applies the results."""

import logging
import threading
import time
from collections.abc import Callable

from ..greenlets import Turn
from . import timings
from .messages import MessageHandler
from .publisher import Publisher
from .scheduler import Scheduler, VersionCheck
from .topic import Topic
from .watch import WatchCommand, WatchResult

log = logging.getLogger("presence.broadcast")


class Refresher:
    """A read brings a replica to the state in Redis. A sweep removes expired tabs and compares versions.

    Users who are missing after Redis has lost its data are shown for another
    `recovery_grace_seconds`; 0 drops them at once.
    """

    def __init__(
        self,
        watch: WatchCommand,
        scheduler: Scheduler,
        messages: MessageHandler,
        publisher: Publisher,
        lock: threading.RLock,
        *,
        recovery_grace_seconds: float,
        observe: Callable[[str], None],
    ) -> None:
        self._watch = watch
        self._scheduler = scheduler
        self._messages = messages
        self._publisher = publisher
        self._lock = lock
        self._recovery_grace_seconds = recovery_grace_seconds
        self._observe = observe

    def refresh_due(self) -> bool:
        """Do what the scheduler says is due, a batch at a time. False if any read or sweep failed."""
        with self._lock:
            reads = self._scheduler.pop_reads()
            sweeps = self._pop_sweeps(time.monotonic())
        failed = self._run(reads, self._on_read, with_state=True) if reads else []
        failed += self._run(sweeps, self._on_swept, with_state=False) if sweeps else []
        return not failed

    def _pop_sweeps(self, now: float) -> list[Topic]:
        """The topics to sweep. Whatever else is due is done here, since it needs no call to Redis."""
        sweeps = []
        for topic, is_sweep_due, version_check, is_grace_over in self._scheduler.pop_due(now):
            if version_check and not _has_passed(version_check, topic):
                self._observe("resync")
                self._scheduler.request_read(topic)
            # The grace period may have ended early, or begun anew.
            ends_at = topic.replica.grace_ends_at
            if is_grace_over and ends_at is not None and ends_at <= now:
                topic.replica.end_grace_period()
                self._publisher.add(topic)
            if is_sweep_due:
                sweeps.append(topic)
        return sweeps

    def _run(
        self, topics: list[Topic], on_result: Callable[[Topic, WatchResult], None], *, with_state: bool
    ) -> list[Topic]:
        """Ask Redis about the topics and apply each result; returns those that failed."""
        failed = []
        results = self._watch.run(topics, with_state=with_state)
        turn = Turn()
        for topic, result in zip(topics, results, strict=True):
            with self._lock:
                if not self._apply(topic, result, on_result):
                    failed.append(topic)
            turn.pause_if_over()
        self._publisher.publish_due(time.monotonic())
        return failed

    def _apply(
        self, topic: Topic, result: WatchResult | None, on_result: Callable[[Topic, WatchResult], None]
    ) -> bool:
        try:
            if result is not None:
                on_result(topic, result)
                return True
        except Exception:
            log.exception("a record can't be read", extra={"record": topic.record.name})
        now = time.monotonic()
        topic.sync.fail(now)
        self._scheduler.sweep_at(topic, now + timings.RETRY_DELAY_SECONDS)
        return False

    def _on_read(self, topic: Topic, result: WatchResult) -> None:
        self._replace(topic, result)
        backlog = topic.sync.end_read()
        self._scheduler.cancel_version_check(topic)
        self._scheduler.sweep_in(topic, result.lease_ms_left)
        for message in backlog:
            self._messages.apply(topic, message)
        if topic.sync.needs_another_read:
            self._scheduler.request_read(topic)
        if topic.published_version is None:
            topic.publish_snapshot()
        elif topic.replica.has_unpublished_changes:
            self._publisher.add(topic)
        topic.wake_streams()  # they may be waiting for their first snapshot

    def _replace(self, topic: Topic, result: WatchResult) -> None:
        if result.state is not None:
            grace_seconds = self._recovery_grace_seconds
            topic.replica.replace(
                result.version,
                result.state.entries,
                result.state.conflicts,
                opened_ms=result.state.opened_ms,
                grace_ends_at=time.monotonic() + grace_seconds if grace_seconds else None,
            )
        if topic.replica.grace_ends_at is not None:
            self._scheduler.end_grace_period_at(topic, topic.replica.grace_ends_at)

    def _on_swept(self, topic: Topic, result: WatchResult) -> None:
        if topic.sync.failing_since is not None:
            topic.sync.failing_since = None
            self._scheduler.request_read(topic)
        self._scheduler.sweep_in(topic, result.lease_ms_left)
        if topic.replica.version not in (None, result.version):
            # The messages about it, which name the reasons, are probably on their way.
            self._scheduler.check_version(topic, result.version)


def _has_passed(check: VersionCheck, topic: Topic) -> bool:
    """Whether messages have brought the replica to the expected version, or beyond."""
    replica = topic.replica
    if replica.version == check.expected_version:
        return True
    # A version that is ahead of Redis and stays the same was forged.
    return replica.version != check.version_before and replica.has_reached(check.expected_version)

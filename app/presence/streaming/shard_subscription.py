"""The sharded pub/sub connection to one node of a Cluster: for the channels whose slots it holds."""

import secrets
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import redis.exceptions as redis_errors

from ..greenlets import Turn
from ..scripts import Scripts
from ..scripts.redis_errors import FAILURES, is_refusal
from .subscription import NO_PROBE, PROBE_PREFIX, Message, Subscription

CLOSED_TIMES = 2  # in a row without an answer; then it is how the node, or a proxy, refuses SSUBSCRIBE


class ShardSubscription(Subscription):
    """Subscribed by SSUBSCRIBE, with a command for each channel: those of one command must share a slot.

    Not redis-py's own for Clusters: it waits for one node after the other, and subscribes anew in
    another way in each version. `on_displaced(channel)` is called when the node says that it
    does not hold the channel's slot.
    """

    def __init__(
        self,
        cluster: Any,
        node: Any,
        scripts: Scripts,
        channels: Collection[str],
        lock: threading.RLock,
        *,
        observe: Callable[[str], None],
        on_displaced: Callable[[str], None],
    ) -> None:
        super().__init__(cluster, scripts, channels, lock, observe=observe)
        self._node = node
        self._on_displaced = on_displaced
        self._is_sent = False  # SSUBSCRIBE, on this connection
        self._renewed_probe = ""  # while it is not subscribed yet
        self._closed_times = 0
        self._refusal: Exception | None = None  # of SPUBLISH

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Raises ConnectionError where there is no channel."""
        self._is_sent = False
        self._renewed_probe, self._refusal = "", None
        with super().connected():
            self._is_sent = True
            yield

    def _new_probe_channel(self) -> str:
        """In the slot of one of the channels, since the node may have no other."""
        with self._lock:
            channel = next(iter(self._channels), None)
        if channel is None:
            raise ConnectionError("no channel is on this node any more")
        return f"{PROBE_PREFIX}{{{channel}}}:{secrets.token_hex(8)}"

    def _new_pubsub(self) -> Any:
        return self._redis.get_redis_connection(self._node).pubsub()

    def _subscribe(self, pubsub: Any, channels: list[str]) -> None:
        turn = Turn()
        for channel in channels:
            pubsub.ssubscribe(channel)
            turn.pause_if_over()

    def _unsubscribe(self, pubsub: Any, channels: list[str]) -> None:
        for channel in channels:
            pubsub.sunsubscribe(channel)

    def _subscribe_all(self, pubsub: Any) -> None:
        # Not before the probe channel is: the node may refuse it.
        if self._is_answered:
            super()._subscribe_all(pubsub)

    def _is_new_connection(self, kind: str, channel: str) -> bool:
        if channel == self._renewed_probe:
            self._renewed_probe = ""
            return False
        return super()._is_new_connection(kind, channel)

    def _on_connected(self) -> None:
        self._is_answered, self._closed_times = True, 0
        with self._write_lock:
            self._subscribe_all(self._pubsub)

    def receive(self, timeout_seconds: float) -> Message | None:
        if self._refusal:
            raise self._refusal
        try:
            message = super().receive(timeout_seconds)
        except redis_errors.MovedError as moved:
            self._leave_slot(moved.slot_id)
            return None
        if message and message.kind == "unsubscribe" and message.channel == self._probe_channel:
            self._renew_probe()
        return message

    def _leave_slot(self, slot: int) -> None:
        with self._lock:
            channels = [channel for channel in self._channels if self._redis.keyslot(channel) == slot]
        for channel in channels:
            self._on_displaced(channel)
        if self._redis.keyslot(self._probe_channel) == slot:
            self._renew_probe()

    def _renew_probe(self) -> None:
        """The slot of the probe channel has moved to another node."""
        with self._write_lock:
            self._probe_channel = self._renewed_probe = self._new_probe_channel()
            self._probe = NO_PROBE
            self._pubsub.ssubscribe(self._probe_channel)

    @property
    def probe_at(self) -> float:
        return super().probe_at if self._is_answered else float("inf")

    def _publish_probe(self, channel: str) -> None:
        try:
            self._redis.execute_command("SPUBLISH", channel, "1")
        except FAILURES as error:
            if not is_refusal(error):
                raise
            self._refusal = error

    def is_refused(self, error: Exception) -> bool:
        """Whether the error that ended the connection means that the node takes no SSUBSCRIBE.

        A proxy may close a connection on a command that it does not know: then it has
        done so twice, and answers another command. A connection that was not even made,
        to a node that starts or has no room for another, says nothing.
        """
        if is_refusal(error):
            return True
        if self._is_answered or not self._is_sent or not isinstance(error, redis_errors.ConnectionError):
            self._closed_times = 0
            return False
        self._closed_times += 1
        try:
            return self._closed_times >= CLOSED_TIMES and bool(
                self._redis.get_redis_connection(self._node).ping()
            )
        except Exception:  # anything: without this thread, nobody would connect again
            return False

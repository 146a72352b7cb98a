"""The pub/sub connection of a process: what is subscribed, and whether it is still alive."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from ..errors import PresenceError
from ..scripts import Scripts
from ..scripts.redis_errors import FAILURES
from ..scripts.transport import is_cluster
from . import timings

BATCH_SIZE = 200  # channels in one command
PROBE_PREFIX = "presence_stream:"
SHARDED_KINDS = {"smessage": "message", "ssubscribe": "subscribe", "sunsubscribe": "unsubscribe"}

log = logging.getLogger("presence.broadcast")


class Message(NamedTuple):
    """What comes from Redis: `kind` is `message`, `subscribe`, `unsubscribe` or `connected`.

    `data` is what was published, or the number of channels that are subscribed.
    `connected` comes first on a new connection, which the Redis client may also
    have made by itself: no other channel is subscribed yet.
    """

    kind: str
    channel: str
    data: Any


class _NotTheReceiver(RedisError):
    """Another thread than the receiving one found that the connection is lost."""


@contextmanager
def _connecting_in_this_thread_only(connection: Any) -> Iterator[None]:
    """Let redis-py connect `connection` again in this thread, and fail in any other.

    It connects wherever the loss is noticed. If that is a thread that writes, it waits for
    the answers to its handshake, which the receiving thread may have read meanwhile. The
    other thread's socket is open already when it is refused, and closed again.
    """
    connect_func, receiver = getattr(connection, "redis_connect_func", None), threading.get_ident()

    def connect_in_receiver(connection: Any) -> None:
        if threading.get_ident() != receiver:
            raise _NotTheReceiver("the receiving thread will connect again")
        if connect_func is None:
            connection.on_connect()
        else:
            connect_func(connection)

    connection.redis_connect_func = connect_in_receiver
    try:
        yield
    finally:
        connection.redis_connect_func = connect_func  # it goes back to the pool


class _Probe(NamedTuple):
    """A message to the probe channel that Redis has published. Times are on the monotonic clock."""

    sent_at: float
    answered_at: float


NO_PROBE = _Probe(0.0, 0.0)


class Subscription:
    """Subscribed to all `channels`, while it is connected, and to a probe channel.

    The process publishes to its own probe channel, by a server that takes writes.
    If such a message does not arrive, the subscription is on another server, such as
    a primary that was demoted; if none has come for too long, the connection is half
    open. In both cases `receive` raises ConnectionError.

    `channels` is read whenever a subscription is made or updated, under `lock`.
    """

    def __init__(
        self,
        redis: Any,
        scripts: Scripts,
        channels: Collection[str],
        lock: threading.RLock,
        *,
        observe: Callable[[str], None],
    ) -> None:
        self._redis = redis
        self._scripts = scripts
        self._channels = channels
        self._lock = lock
        self._observe = observe
        # Held while writing to the connection. Where both are needed, it is taken before `lock`.
        self._write_lock = threading.Lock()
        # Written under `_write_lock`, and read without: an old value costs one probe.
        self._pubsub: Any = None
        self._probe_channel = ""
        self._probe_at = 0.0
        self._probe = NO_PROBE
        self._received_at = 0.0  # by the receiving thread
        # Of the receiving thread alone:
        self._silence_timeout_seconds = 0.0
        self._is_answered = False  # on the connection that `connected` has made

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connect and subscribe to all channels, for the length of a `with` block."""
        self._is_answered = False
        probe_channel = self._new_probe_channel()
        pubsub = self._new_pubsub()
        try:
            self._subscribe(pubsub, [probe_channel])
            with _connecting_in_this_thread_only(pubsub.connection):
                with self._write_lock:
                    self._pubsub, self._probe_channel, self._probe_at = pubsub, probe_channel, 0.0
                    self._probe = NO_PROBE
                    self._subscribe_all(pubsub)
                self._received_at = time.monotonic()
                self._silence_timeout_seconds = timings.FIRST_MESSAGE_TIMEOUT_SECONDS
                yield
        finally:
            # Not while another thread writes: redis-py would open a new connection, which nobody reads.
            with self._write_lock:
                self._pubsub = None
                try:
                    pubsub.close()
                except Exception:
                    log.debug("closing the subscription failed", exc_info=True)

    # How it is done on one server, and on a Cluster by any node: a subclass does it otherwise.

    def _new_probe_channel(self) -> str:
        # A new name each time. In a Cluster it also decides which node serves the subscription.
        return f"{PROBE_PREFIX}{secrets.token_hex(8)}"

    def _new_pubsub(self) -> Any:
        return self._redis.pubsub()

    def _subscribe(self, pubsub: Any, channels: list[str]) -> None:
        for first in range(0, len(channels), BATCH_SIZE):
            pubsub.subscribe(*channels[first : first + BATCH_SIZE])

    def _unsubscribe(self, pubsub: Any, channels: list[str]) -> None:
        pubsub.unsubscribe(*channels)

    def _subscribe_all(self, pubsub: Any) -> None:
        """The caller holds the write lock."""
        with self._lock:
            channels = list(self._channels)
        self._subscribe(pubsub, channels)

    def _is_new_connection(self, kind: str, channel: str) -> bool:
        return kind == "subscribe" and channel == self._probe_channel

    def _on_connected(self) -> None:
        """The first answer on a connection has come."""
        if self._is_answered:
            self._subscribe_again()
        self._is_answered = True

    def _subscribe_again(self) -> None:
        """On a connection that the Redis client has made by itself.

        It has subscribed to what it was told of before the loss: what another thread wanted
        in between was refused, see `_connecting_in_this_thread_only`.
        """
        with self._write_lock:
            self._subscribe_all(self._pubsub)
            known = [name.decode() if isinstance(name, bytes) else name for name in self._pubsub.channels]
            with self._lock:
                wanted = {*self._channels, self._probe_channel}
            if unwanted := [name for name in known if name not in wanted]:
                self._unsubscribe(self._pubsub, unwanted)

    def receive(self, timeout_seconds: float) -> Message | None:
        """The next message; None if there is none in time. Only while connected.

        Raises what the Redis client raises, and ConnectionError.
        """
        message = self._pubsub.get_message(timeout=timeout_seconds)
        now = time.monotonic()
        if not message:
            if self._is_dead(now):
                self._observe("silence")
                raise ConnectionError("the subscription went silent")
            return None
        self._received_at, self._silence_timeout_seconds = now, timings.SILENCE_TIMEOUT_SECONDS
        kind, channel = message["type"], message["channel"]
        kind = SHARDED_KINDS.get(kind, kind)
        channel = channel.decode() if isinstance(channel, bytes) else channel
        if self._is_new_connection(kind, channel):
            kind = "connected"
            self._on_connected()
        return Message(kind, channel, message["data"])

    def _is_dead(self, now: float) -> bool:
        probe = self._probe
        is_unheard = (
            self._received_at < probe.sent_at and now - probe.answered_at > timings.PROBE_TIMEOUT_SECONDS
        )
        return is_unheard or now - self._received_at > self._silence_timeout_seconds

    def update_channels(self, changed: Collection[str]) -> None:
        """Subscribe to those of the changed channels that are in `channels` now; leave the others.

        This is decided while holding the write lock, so that a channel that one
        thread gives up and another wants again ends up subscribed.
        """
        with self._write_lock:
            if not self._can_write():
                return  # whoever connects will subscribe to all of them
            with self._lock:
                wanted = [channel for channel in changed if channel in self._channels]
                unwanted = [channel for channel in changed if channel not in self._channels]
            try:
                if wanted:
                    self._subscribe(self._pubsub, wanted)
                if unwanted:
                    self._unsubscribe(self._pubsub, unwanted)
            except Exception:  # the receiver may be connecting again at the same time
                log.debug("changing the channels failed; the receiver will connect again", exc_info=True)

    def _can_write(self) -> bool:
        """Whether there is a connection, as far as is known. The caller holds the write lock."""
        # redis-py before 8 does not say; then a lost one is noticed by writing to it.
        return self._pubsub is not None and getattr(self._pubsub.connection, "is_connected", True)

    @property
    def probe_at(self) -> float:
        """When the next probe is to be sent, on the monotonic clock."""
        return float("inf") if self._pubsub is None else self._probe_at

    def probe_if_due(self) -> bool:
        """Publish to the probe channel every second. False if Redis could not be reached, or is a replica."""
        now = time.monotonic()
        if now < self.probe_at:
            return True
        self._probe_at = now + timings.PROBE_INTERVAL_SECONDS
        try:
            self._publish_probe(self._probe_channel)
        except (PresenceError, *FAILURES):
            self._probe_at = time.monotonic() + timings.RETRY_DELAY_SECONDS
            return False
        # One that is still on its way keeps its time.
        if self._received_at >= self._probe.sent_at:
            self._probe = _Probe(now, time.monotonic())
        return True

    def _publish_probe(self, channel: str) -> None:
        # In a Cluster any node may publish, and the script would need the one that holds its key.
        if is_cluster(self._redis):
            self._redis.execute_command("PUBLISH", channel, "1")
        else:
            self._scripts.run(self._redis, "probe", ("presence_ready",), (channel,))

    def wake_receiver(self) -> None:
        """Let `receive` return soon."""
        with self._write_lock:
            if self._can_write():
                try:
                    self._unsubscribe(self._pubsub, [self._probe_channel])  # the answer is a message
                except Exception:
                    log.debug("the receiver will notice by itself", exc_info=True)

"""Publishing by SPUBLISH on a Cluster: whether it can be done, and the text of a command that does it.

PUBLISH is passed on to every node of a Cluster. SPUBLISH (Redis 7 on) stays with the
primary of the channel's slot and its replicas, so that a change costs the same
however many nodes there are.
"""

import hashlib
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis.exceptions as redis_errors

from .compose import Script
from .redis_errors import is_refusal
from .transport import is_cluster

RETRY_SECONDS = 30.0  # where it could not be found out
REFUSAL_SECONDS = 300.0  # until a Cluster that refuses is tried again; it may have been upgraded
ANSWER_TIMEOUT_SECONDS = 1.0
_NAMES_A_NODE = 100  # that are tried to find a channel of each node

log = logging.getLogger("presence.scripts")

_PLAIN, _SHARDED = 'redis.call("PUBLISH", ', 'redis.call("SPUBLISH", '


def publish_sharded(script: Script) -> Script:
    """The same command, with SPUBLISH for each PUBLISH; its lines stay where they are."""
    text = script.text.replace(_PLAIN, _SHARDED)
    if text == script.text:
        return script
    return replace(script, text=text, sha=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class ShardedPublishing:
    """Whether commands publish by SPUBLISH. `on_change(is_on)` is called when that changes.

    `explore_at`, by time.perf_counter(), is when `explore` is to be called, after a call that
    was answered; never where it is not wanted, or the server is no Cluster.
    """

    def __init__(self, on_change: Callable[[bool], None], *, is_wanted: bool) -> None:
        self._on_change = on_change
        self.is_on = False
        self.explore_at = 0.0 if is_wanted else math.inf

    def explore(self, client: Any) -> None:
        """Find out what the server takes, in a thread of its own: calls go on meanwhile."""
        self.explore_at = math.inf
        if is_cluster(client):
            threading.Thread(
                target=self._find_out, args=(client,), name="presence-explorer", daemon=True
            ).start()

    def give_up(self, error: Exception) -> None:
        """SPUBLISH has failed in a command: publish by PUBLISH for now."""
        log.warning("SPUBLISH has failed; publishing by PUBLISH", extra={"error": str(error)})
        self._switch(False)
        self.explore_at = time.perf_counter() + REFUSAL_SECONDS

    def _find_out(self, cluster: Any) -> None:
        try:
            refusing = find_refusing_node(cluster)
        except Exception as error:  # anything: nobody else would find out
            log.info("can't find out yet whether there is sharded pub/sub", extra={"error": repr(error)})
            self.explore_at = time.perf_counter() + RETRY_SECONDS
            return
        if refusing is None:
            log.info("publishing by SPUBLISH")
            self._switch(True)
        else:
            log.info("publishing by PUBLISH: a node refuses SPUBLISH", extra={"node": refusing})
            self.explore_at = time.perf_counter() + REFUSAL_SECONDS

    def _switch(self, is_on: bool) -> None:
        self.is_on = is_on
        self._on_change(is_on)


def find_refusing_node(cluster: Any) -> str | None:
    """The name of a node that refuses SSUBSCRIBE or SPUBLISH; None if all take both.

    Tried with a message through each node that has slots. Raises redis-py's errors where
    that can't be found out now: a node does not answer, or the message does not arrive.
    """
    for node, channel in _channel_of_each_node(cluster):
        if not _takes_sharded_messages(cluster.get_redis_connection(node), channel):
            return str(node.name)
    return None


def _channel_of_each_node(cluster: Any) -> list[tuple[Any, str]]:
    primaries = {node.name for node in cluster.get_primaries()}
    found: dict[str, tuple[Any, str]] = {}
    for _ in range(_NAMES_A_NODE * len(primaries)):
        channel = f"presence_stream:{secrets.token_hex(8)}"
        node = cluster.get_node_from_key(channel)
        found.setdefault(node.name, (node, channel))
        if len(found) >= len(primaries):
            break
    return list(found.values())


def _takes_sharded_messages(client: Any, channel: str) -> bool:
    """Whether a message that is published on a connection to this node arrives on another one."""
    try:
        with client.pubsub() as pubsub:
            pubsub.ssubscribe(channel)
            _wait_for(pubsub, "ssubscribe")
            client.execute_command("SPUBLISH", channel, "1")
            _wait_for(pubsub, "smessage")
    except redis_errors.RedisError as error:
        if is_refusal(error):
            return False
        raise
    return True


def _wait_for(pubsub: Any, kind: str) -> None:
    deadline = time.monotonic() + ANSWER_TIMEOUT_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        message = pubsub.get_message(timeout=left)
        if message and message["type"] == kind:
            return
    raise redis_errors.TimeoutError(f"no {kind} in time")

"""One command, or many, to whatever client it is."""

import inspect
from typing import Any

import redis
import redis.exceptions as redis_errors

# Before redis-py 5.3, a pool takes the name of the command, and ignores it.
_command_name = inspect.signature(redis.ConnectionPool.get_connection).parameters.get("command_name")
_POOL_ARGUMENTS = ("EVALSHA",) if _command_name and _command_name.default is inspect.Parameter.empty else ()


def is_cluster(client: Any) -> bool:
    """Whether each key is on a node of its own. The first call of all connects to the Cluster."""
    return hasattr(client, "get_node_from_key")


def execute(client: Any, *command: Any) -> Any:
    """`client.execute_command` without its instrumentation, which takes a third of its time.

    The reply is bytes even if the client decodes: other systems write to the
    hash too, and what they write need not be UTF-8.
    """
    execute_pipelined = getattr(client, "execute_pipelined", None)
    if execute_pipelined:
        return execute_pipelined(*command)
    if type(client) is not redis.Redis:
        return client.execute_command(*command, NEVER_DECODE=True)
    pool: Any = client.connection_pool
    connection = pool.get_connection(*_POOL_ARGUMENTS)

    def request() -> Any:
        connection.send_command(*command)
        return connection.read_response(disable_decoding=True)

    try:
        return connection.retry.call_with_retry(request, lambda _: connection.disconnect())
    finally:
        pool.release(connection)


def execute_many(client: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
    """The reply to each EVALSHA, or the error that it failed by, in one round trip per node.

    Not by redis-py's own pipeline for Clusters: it asks one node for the keys of
    each command, so that it is slow, and fails with that node.
    """
    if not is_cluster(client):
        return _pipe(client, commands)
    by_node: dict[str, tuple[Any, list[int]]] = {}  # by name: before redis-py 6 a node has no hash
    for index, command in enumerate(commands):
        node = client.get_node_from_key(command[3])
        by_node.setdefault(node.name, (node, []))[1].append(index)
    replies: list[Any] = [None] * len(commands)
    for node, indexes in by_node.values():
        try:
            found = _pipe(client.get_redis_connection(node), [commands[index] for index in indexes])
        except (redis_errors.RedisError, OSError) as error:
            found = [error] * len(indexes)
        for index, reply in zip(indexes, found, strict=True):
            replies[index] = reply
    return replies


def _pipe(client: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command, NEVER_DECODE=True)
    replies: list[Any] = pipeline.execute(raise_on_error=False)
    return replies

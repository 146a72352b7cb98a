"""What an error of Redis means: for the call that failed by it, and for the connection that brought it."""

import re

import redis.exceptions as redis_errors

# Answers of a Redis that is alive and says "not now".
_NOT_NOW = frozenset(
    {
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOAUTH",
        "NOPERM",  # our user lacks a right; what only a script is denied is a fault
        "NOREPLICAS",
        "READONLY",
        "TRYAGAIN",
        "UNBLOCKED",
        "UNKILLABLE",
        "WRONGPASS",
    }
)
# Those of them that may be about the server or the user of this one connection. Behind the same address there
# may be another server by now: a failover moves the address, and leaves the old primary its connections.
_ONLY_HERE = frozenset(
    {"LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOPERM", "NOREPLICAS", "READONLY", "WRONGPASS"}
)
# Answers of a Cluster that say where to ask instead.
_ELSEWHERE = (redis_errors.AskError, redis_errors.MovedError, redis_errors.ClusterCrossSlotError)
_UNAVAILABLE = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ClusterError,
    redis_errors.RedisClusterException,
    OSError,
)
# Everything that a call may fail by. The errors of redis-py's Cluster client share no base with the others.
FAILURES = (redis_errors.RedisError, redis_errors.RedisClusterException, OSError)

# redis-py gives these errors types, and takes the code off their text.
_CODE_OF_TYPE = {
    redis_errors.AuthenticationError: "NOAUTH",
    redis_errors.BusyLoadingError: "LOADING",
    redis_errors.ClusterDownError: "CLUSTERDOWN",
    redis_errors.MasterDownError: "MASTERDOWN",
    redis_errors.NoPermissionError: "NOPERM",
    redis_errors.OutOfMemoryError: "OOM",
    redis_errors.ReadOnlyError: "READONLY",
    redis_errors.TryAgainError: "TRYAGAIN",
}
_CODE = re.compile(r"[A-Z]{2,}(?= )")
# Before Redis 7, a command that fails within a script has the place put before its own error.
_CODE_WITHIN_SCRIPT = re.compile(
    r"(?:ERR )?Error running script \(call to f_\w+\): @user_script:\d+: @user_script: \d+: -([A-Z]{2,}) "
)


def error_code(error: Exception) -> str:
    """The code that Redis's answer begins with (`READONLY`), also where it stands within a script's error.

    Empty if there is none. Before Redis 7, `ERR Error running script … -READONLY …` is `READONLY` too.
    """
    code = _CODE_OF_TYPE.get(type(error))
    if code:
        return code
    text = str(error)
    found = _CODE_WITHIN_SCRIPT.match(text)
    if found:
        return found[1]
    found = _CODE.match(text)
    return found[0] if found else ""


def is_out_of_memory(error: Exception) -> bool:
    """Whether Redis has reached `maxmemory`."""
    return error_code(error) == "OOM"


def is_unavailable(error: Exception) -> bool:
    """Whether the call may succeed later: no answer, or one that says "not now"."""
    return isinstance(error, _UNAVAILABLE) or error_code(error) in _NOT_NOW


def is_mended_by_reconnecting(error: Exception) -> bool:
    """Whether the same command may succeed over a new connection to the same address."""
    return error_code(error) in _ONLY_HERE


def is_refusal(error: Exception) -> bool:
    """Whether a command is unknown to the server (or a proxy before it), or denied to our user."""
    if not isinstance(error, redis_errors.ResponseError) or isinstance(error, _ELSEWHERE):
        return False
    code = error_code(error)
    return code == "NOPERM" or code not in _NOT_NOW

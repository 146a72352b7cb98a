"""When a call was made, for the scripts to tell a heartbeat from before a goodbye from one after it."""

import time

from .errors import InvalidPresence
from .limits import MAX_SENT_AT


def check_sent_at(sent_at: int) -> None:
    """Raises InvalidPresence unless this can be a time, in ms, of a client's clock."""
    if type(sent_at) is not int or not 0 <= sent_at <= MAX_SENT_AT:
        raise InvalidPresence({"sent_at": [f"Must be an integer, 0 to {MAX_SENT_AT}."]})


def now_us() -> int:
    """Microseconds since the epoch by this machine's clock, which all of its processes share."""
    return time.time_ns() // 1000


def encode_stamp(arrived_us: int | None, sent_at: int | None) -> str:
    """The stamp of a call, as lua/lib/tombstones.lua reads it.

    `arrived_us` is when it reached this application (now, where nobody has noted it), and
    `sent_at` what the client says, if it does.
    """
    if arrived_us is None:
        arrived_us = now_us()
    return f"{arrived_us}" if sent_at is None else f"{arrived_us} {sent_at}"

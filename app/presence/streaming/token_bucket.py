"""A token bucket: limits how often something is done, and allows short bursts."""

from typing import NamedTuple


class Rate(NamedTuple):
    """How fast a bucket is filled, and how many tokens it holds."""

    per_second: float
    burst: float


class TokenBucket:
    """Starts with one token. The rate may be a different one with each call."""

    __slots__ = ("_tokens", "_updated_at")

    def __init__(self) -> None:
        self._tokens = 1.0
        self._updated_at = 0.0

    def consume(self, rate: Rate, now: float) -> bool:
        """Take one token; False if there is none. `now` is on the monotonic clock, in seconds."""
        self._tokens = min(rate.burst, self._tokens + (now - self._updated_at) * rate.per_second)
        self._updated_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def available_at(self, rate: Rate) -> float:
        """When the next token is there, on the monotonic clock; in the past if it is already."""
        return self._updated_at + (1 - self._tokens) / rate.per_second

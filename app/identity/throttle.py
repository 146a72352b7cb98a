"""How often a user may call, exact over all processes."""

from typing import Any
from urllib.parse import quote

from limits import RateLimitItem

from app.identity.caller import Caller
from app.presence.errors import StoreFull, StoreUnavailable, TooManyCalls
from app.presence.records import quote_tenant, user_key
from app.presence.scripts import Scripts
from app.presence.service import Quota


class Throttle:
    """A fixed window a user: her first call opens it, the limit closes it.

    One script of our own: the `limits` library counts alike, but in a round
    trip of its own and through clients of its own.
    """

    def __init__(
        self, redis: Any, scripts: Scripts, limit: RateLimitItem, *, one_slot: bool, counts: str = "calls"
    ) -> None:
        """`one_slot`: every key may stand in one script, as everywhere but on a Cluster.

        `counts` says what is counted, apart from what others count.
        """
        self._redis = redis
        self._scripts = scripts
        self._limit = limit.amount
        self._window_ms = limit.get_expiry() * 1000
        self._one_slot = one_slot
        self._counts = counts

    def check(self, caller: Caller) -> None:
        """Count one call. Raises TooManyCalls and StoreUnavailable.

        A call that can't be counted passes where it may still be carried out: a
        full Redis lets tabs leave, and in a Cluster the count may lie on a dead
        node while the record lies on a living one.
        """
        try:
            reply = self._scripts.run(
                self._redis, "throttle", (self._key(caller),), (self._limit, self._window_ms)
            )
        except StoreFull:
            return
        except StoreUnavailable:
            if self._one_slot:
                raise
            return
        if reply[0] == "THROTTLED":
            raise TooManyCalls(reply[1] / 1000)

    def quota(self, caller: Caller) -> Quota | None:
        """What the heartbeat's own script is to count; None when it was counted here."""
        if self._one_slot:
            return Quota(self._key(caller), self._limit, self._window_ms)
        self.check(caller)
        return None

    def _key(self, caller: Caller) -> str:
        user = quote(user_key(caller.user_id), safe="")
        return f"tenant_{quote_tenant(caller.tenant)}_presence_{self._counts}:{user}"

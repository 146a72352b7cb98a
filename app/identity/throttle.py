"""How often a user may call, counted exactly across all processes."""

import time
from typing import Any
from urllib.parse import quote

from limits import RateLimitItem

from ..presence.codec import encode_user_id
from ..presence.errors import StoreFull, StoreUnavailable, TooManyCalls
from ..presence.limits import Quota
from ..presence.records import quote_tenant
from ..presence.scripts import Scripts
from ..presence.viewers import UserId
from .caller import Caller

MAX_BLOCKED_USERS = 10_000  # that a process remembers
# Then Redis is asked again: it may have lost the count, or an operator may have deleted it.
RECHECK_SECONDS = 10


class Throttle:
    """A fixed window for each user, which starts with their first call.

    It counts as the `limits` library does, in a script of our own: the library
    would need another round trip, and Redis clients of its own. A user who is over
    the limit is remembered in this process, and refused without asking Redis.
    """

    def __init__(
        self, redis: Any, scripts: Scripts, limit: RateLimitItem, *, one_slot: bool, counts: str = "calls"
    ) -> None:
        """`one_slot`: one script may use any keys, as everywhere but on a Cluster.

        `counts` names what is counted: a part of the keys, so that two throttles count apart.
        """
        self._redis = redis
        self._scripts = scripts
        self._limit = limit.amount
        self._window_ms = limit.get_expiry() * 1000
        self._one_slot = one_slot
        self._counts = counts
        # user -> when the window ends, and when to ask Redis again; monotonic seconds
        self._blocked: dict[tuple[str, UserId], tuple[float, float]] = {}

    def refuse_blocked(self, caller: Caller) -> None:
        """Raises TooManyCalls for a user who is known to be over the limit. Asks no Redis."""
        if not self._blocked:
            return
        user = caller.tenant, caller.user_id
        window_end, recheck_at = self._blocked.get(user, (0.0, 0.0))
        now = time.monotonic()
        if now < recheck_at:
            raise TooManyCalls(window_end - now)
        self._blocked.pop(user, None)

    def remember_blocked(self, caller: Caller, seconds: float) -> None:
        """Remember that Redis has refused a call of this user, whose window ends in so many seconds."""
        now = time.monotonic()
        if len(self._blocked) >= MAX_BLOCKED_USERS:
            still_blocked = {user: ends for user, ends in self._blocked.items() if now < ends[1]}
            # If most are still blocked, nearly every refusal would have to look through all of them.
            self._blocked = still_blocked if len(still_blocked) < MAX_BLOCKED_USERS / 2 else {}
        self._blocked[caller.tenant, caller.user_id] = now + seconds, now + min(seconds, RECHECK_SECONDS)

    def check(self, caller: Caller, cost: int = 1) -> None:
        """Count a call, as `cost` calls. Raises TooManyCalls and StoreUnavailable.

        A cost above the limit counts as the limit: such a call may be made once in a window.

        A call that can't be counted passes if it may still be carried out: a full
        Redis lets tabs leave, and in a Cluster the count may be on a dead node
        while the record is on a live one.
        """
        try:
            reply = self._scripts.run(
                self._redis,
                "throttle",
                (self._key(caller),),
                (self._limit, self._window_ms, min(cost, self._limit)),
            )
        except StoreFull:
            return
        except StoreUnavailable:
            if self._one_slot:
                raise
            return
        if reply[0] == "THROTTLED":
            seconds = reply[1] / 1000
            self.remember_blocked(caller, seconds)
            raise TooManyCalls(seconds)

    def quota(self, caller: Caller) -> Quota | None:
        """The quota that the call's own script counts; None on a Cluster, where it is counted here.

        Raises TooManyCalls.
        """
        if self._one_slot:
            return Quota(self._key(caller), self._limit, self._window_ms)
        self.check(caller)
        return None

    def _key(self, caller: Caller) -> str:
        user = quote(encode_user_id(caller.user_id), safe="")
        return f"tenant_{quote_tenant(caller.tenant)}_presence_{self._counts}:{user}"

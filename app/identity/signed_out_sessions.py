"""Sessions that were signed out: their cookies are still signed, and count no more."""

from typing import Any

from ..presence.errors import StoreUnavailable
from ..presence.records import quote_tenant
from ..presence.scripts import Scripts


class SignedOutSessions:
    """Remembered in Redis, so that every process knows them."""

    def __init__(self, redis: Any, scripts: Scripts) -> None:
        self._redis = redis
        self._scripts = scripts

    def add(self, tenant: str, session_id: str, lifetime_seconds: float) -> None:
        """Remember a session as long as its cookie may come back. Raises StoreUnavailable."""
        self._run(tenant, session_id, round(lifetime_seconds * 1000))

    def has(self, tenant: str, session_id: str) -> bool:
        """Whether a session was signed out; while Redis is unavailable, none was."""
        try:
            return self._run(tenant, session_id, 0)
        except StoreUnavailable:
            return False

    def _run(self, tenant: str, session_id: str, lifetime_ms: int) -> bool:
        key = f"tenant_{quote_tenant(tenant)}_presence_signed_out:{session_id}"
        is_signed_out: bool = self._scripts.run(self._redis, "sign_out", (key,), (lifetime_ms,))[0] == "OK"
        return is_signed_out

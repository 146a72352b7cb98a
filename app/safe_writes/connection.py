"""The service's Redis, for a process that has no Flask application: a job, an import, Django."""

import secrets
from functools import cache, lru_cache
from typing import Any

from ..presence.service import RecordPresenceService
from ..redis_client.client import connect
from ..settings import SettingError, Settings, read_host_settings, variable

MAX_CACHED_SERVICES = 10_000  # one a tenant


@lru_cache(MAX_CACHED_SERVICES)
def presence_service(tenant: str = "1") -> RecordPresenceService:
    """What the service knows of a tenant's records; the same object each time. Does not connect yet.

    Reads the variables of the service (REDIS_URL, PRESENCE_TTL_SECONDS, ...), which have to be the same
    here. Raises SettingError, also where REDIS_URL is not set.
    """
    settings, redis = _connection()
    return RecordPresenceService(
        redis,
        tenant,
        ttl_seconds=settings.ttl_seconds,
        timeline_seconds=settings.timeline_seconds,
        recovery_grace_seconds=settings.recovery_grace_seconds,
        claim_idle_seconds=settings.claim_idle_seconds,
        has_open_index=settings.open_index,
    )


@cache
def _connection() -> tuple[Settings, Any]:
    # The secret is that of nobody: no token is verified here.
    settings = read_host_settings(secrets.token_hex())
    if settings.is_embedded:  # this process would ask itself, and nobody would ever be there
        raise SettingError(f"{variable('redis_url')}: is not set; it has to be that of the service")
    return settings, connect(settings.redis_url)

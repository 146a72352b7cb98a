"""The service's Redis, as a Django project reaches it, and who writes."""

from functools import cache, lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied

from ...presence.service import RecordPresenceService
from ...redis_client.client import connect
from ...safe_writes.announcement_queue import AnnouncementQueue
from ...safe_writes.writer import Writer
from ...settings import SettingError, Settings, read_host_settings

MAX_CACHED_SERVICES = 10_000  # one a tenant

announcements = AnnouncementQueue()  # of this process


def presence_service(tenant: str = "1") -> RecordPresenceService:
    """What the service knows of a tenant's records; the same object each time.

    Reads the service's own variables (REDIS_URL, PRESENCE_TTL, …), which both must have alike. The
    Django setting RECORD_PRESENCE_SERVICE, a function of the tenant, takes its place, for tests for
    instance. Raises ImproperlyConfigured.
    """
    make = getattr(django_settings, "RECORD_PRESENCE_SERVICE", None)
    return make(tenant) if make is not None else _service(str(tenant))


def writer_of(
    user: Any, record_type: str, record_id: str | int, *, tab_id: str | None = None, tenant: str = "1"
) -> Writer:
    """A user of Django's as the writer of a record, under the id and name that their token says.

    Raises PermissionDenied for one who is not signed in.
    """
    if not user.is_authenticated:
        raise PermissionDenied
    user_id = user.pk if isinstance(user.pk, int) else str(user.pk)
    name = user.get_full_name() or user.get_username()
    return Writer(presence_service(tenant), record_type, record_id, user_id, name, tab_id)


@lru_cache(MAX_CACHED_SERVICES)
def _service(tenant: str) -> RecordPresenceService:
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
    """Does not connect yet."""
    try:
        settings = read_host_settings(django_settings.SECRET_KEY)
        if settings.is_embedded:  # this process would ask itself, and nobody would ever be there
            raise ImproperlyConfigured("REDIS_URL is not set: set it to that of the Record Presence service.")
        return settings, connect(settings.redis_url)
    except SettingError as error:
        raise ImproperlyConfigured(str(error)) from None

"""The service, as a Django project reaches it, and who writes."""

from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied

from ...presence.service import RecordPresenceService
from ...safe_writes import connection
from ...safe_writes.writer import Writer
from ...settings import SettingError


def presence_service(tenant: str = "1") -> RecordPresenceService:
    """What the service knows of a tenant's records.

    Reads the variables of the service (REDIS_URL, PRESENCE_TTL_SECONDS, ...), which have to be the same
    here. The Django setting RECORD_PRESENCE_SERVICE, a function of the tenant, takes their place, for
    tests for instance. Raises ImproperlyConfigured.
    """
    make = getattr(django_settings, "RECORD_PRESENCE_SERVICE", None)
    try:
        service: RecordPresenceService = (make or connection.presence_service)(str(tenant))
    except SettingError as error:
        raise ImproperlyConfigured(str(error)) from None
    return service


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

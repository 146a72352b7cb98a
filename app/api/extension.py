"""What a request needs, kept at `app.extensions["presence"]`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Request, current_app

from app.identity.bearer import BearerTokens
from app.identity.caller import Caller
from app.identity.throttle import Throttle
from app.presence.broadcast import Broadcast
from app.presence.scripts import Scripts
from app.presence.service import RecordPresenceService
from app.settings import Settings

IdentityLoader = Callable[[Request], Caller | None]


@dataclass(slots=True)
class Presence:
    """The state of the service in one application.

    `operations` describe routes of the host's own, by endpoint, for the OpenAPI document.
    """

    settings: Settings
    redis: Any
    scripts: Scripts
    broadcast: Broadcast
    throttle: Throttle
    signal_throttle: Throttle
    bearer_tokens: BearerTokens
    load_identity: IdentityLoader | None = None
    operations: dict[str, Any] = field(default_factory=dict)  # openapi.Operation
    openapi_document: dict[str, Any] | None = None
    _services: dict[str, RecordPresenceService] = field(default_factory=dict)

    def service(self, tenant: str) -> RecordPresenceService:
        """The service of one tenant."""
        service = self._services.get(tenant)
        if service is None:
            if len(self._services) >= 10_000:
                self._services.clear()
            service = self._services[tenant] = RecordPresenceService(
                self.redis,
                tenant,
                ttl_seconds=self.settings.ttl_seconds,
                timeline_seconds=self.settings.timeline_seconds,
                settle_seconds=self.settings.settle_seconds,
                scripts=self.scripts,
            )
        return service

    def check_redis(self) -> None:
        """Raises StoreUnavailable unless Redis carries out a script that writes."""
        self.scripts.run(self.redis, "ready", ("presence_ready",), ())


def presence() -> Presence:
    """The service of the application that serves this request."""
    return current_app.extensions["presence"]

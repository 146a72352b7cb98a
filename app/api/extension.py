"""What a request needs, kept at `app.extensions["record_presence"]`."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Request, current_app

from ..identity.bearer import BearerTokens
from ..identity.caller import Caller
from ..identity.failed_authentication_limit import FailedAuthenticationLimit
from ..identity.kept_bytes import KeptBytesLimit, TenantMemory
from ..identity.throttle import Throttle
from ..metrics import exposition
from ..presence.errors import StoreUnavailable
from ..presence.scripts import Scripts
from ..presence.service import RecordPresenceService
from ..presence.streaming.broadcast import Broadcast
from ..settings import Settings
from .pacing import Pacer

EXTENSION_NAME = "record_presence"  # in `app.extensions`
MAX_CACHED_SERVICES = 10_000  # one a tenant
MIN_CHECK_INTERVAL_SECONDS = 1.0  # between writes for `/health/ready`
METRICS_SHARE = 0.05  # of a process's time that rendering `/metrics` may take, which anybody may ask for
METRICS_BURST_SECONDS = 0.1  # beyond that, at once
MAX_METRICS_AGE_SECONDS = 5.0  # of their text, where it takes long to render

IdentityLoader = Callable[[Request], Caller | None]


@dataclass(slots=True)
class _Readiness:
    """Whether Redis took a write when it was last asked."""

    lock: Any = field(default_factory=threading.Lock)  # so that one of many callers asks
    check_again_at: float = 0.0  # monotonic seconds
    failure: str | None = None


@dataclass(slots=True)
class _RenderedMetrics:
    """The metrics as they were last rendered."""

    lock: Any = field(default_factory=threading.Lock)  # so that one of many callers renders them
    pacer: Pacer = field(
        default_factory=lambda: Pacer(
            share=METRICS_SHARE,
            burst_seconds=METRICS_BURST_SECONDS,
            max_wait_seconds=MAX_METRICS_AGE_SECONDS,
        )
    )
    seconds: float = 0.0  # that it took
    text: bytes = b""


@dataclass(slots=True)
class PresenceExtension:
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
    failed_authentications: FailedAuthenticationLimit
    kept_bytes: KeptBytesLimit
    tenant_memory: TenantMemory
    load_identity: IdentityLoader | None = None
    operations: dict[str, Any] = field(default_factory=dict)  # openapi.Operation
    openapi_documents: dict[str, Any] = field(default_factory=dict)  # reference.PreparedDocument, by prefix
    is_draining: Callable[[], bool] = lambda: False  # whether the server is about to stop
    has_logged_no_streams: bool = False  # once in the log of a process
    _readiness: _Readiness = field(default_factory=_Readiness)
    _metrics: _RenderedMetrics = field(default_factory=_RenderedMetrics)
    _services: dict[str, RecordPresenceService] = field(default_factory=dict)

    def service(self, tenant: str) -> RecordPresenceService:
        """The service of one tenant."""
        service = self._services.get(tenant)
        if service is None:
            if len(self._services) >= MAX_CACHED_SERVICES:
                self._services.clear()
            service = self._services[tenant] = RecordPresenceService(
                self.redis,
                tenant,
                ttl_seconds=self.settings.ttl_seconds,
                timeline_seconds=self.settings.timeline_seconds,
                recovery_grace_seconds=self.settings.recovery_grace_seconds,
                claim_idle_seconds=self.settings.claim_idle_seconds,
                has_open_index=self.settings.open_index,
                heartbeat_seconds=self.settings.heartbeat_seconds,
                scripts=self.scripts,
            )
        return service

    def check_redis(self) -> None:
        """Raises StoreUnavailable unless Redis carries out a script that writes.

        Asks at most once a second, since anybody may ask us; in between, the last outcome stands.
        """
        with self._readiness.lock:
            if time.monotonic() >= self._readiness.check_again_at:
                try:
                    self.scripts.run(self.redis, "ready", ("presence_ready",), ())
                    self._readiness.failure = None
                except StoreUnavailable as error:
                    self._readiness.failure = str(error)
                self._readiness.check_again_at = time.monotonic() + MIN_CHECK_INTERVAL_SECONDS
            if self._readiness.failure is not None:
                raise StoreUnavailable(self._readiness.failure)

    def metrics_text(self) -> bytes:
        """The metrics of all processes of this server, as Prometheus reads them.

        Where they are asked for so often that rendering would take more than 5 % of the time, the text
        is the last one again.
        """
        metrics = self._metrics
        with metrics.lock:
            if metrics.pacer.try_reserve(metrics.seconds) or not metrics.text:
                started = time.perf_counter()
                metrics.text = exposition()
                metrics.seconds = time.perf_counter() - started
            return metrics.text


def current_extension() -> PresenceExtension:
    """The extension of the application that serves this request."""
    extension: PresenceExtension = current_app.extensions[EXTENSION_NAME]
    return extension

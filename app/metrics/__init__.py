"""Prometheus metrics. No label names a tenant, a user or a record."""

import os

from prometheus_client import REGISTRY as PROCESS_REGISTRY
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

REQUEST_SECONDS = Histogram(
    "presence_request_seconds",
    "Time from request to answer, by endpoint and status.",
    ("endpoint", "status"),
    buckets=_BUCKETS,
)
SCRIPT_SECONDS = Histogram(
    "presence_script_seconds",
    "Time waited for Redis, by script and outcome: a status word, `unavailable` or `fault`. "
    "The heartbeats are the count of heartbeat and OK.",
    ("script", "outcome"),
    buckets=_BUCKETS,
)

STREAMS = Gauge("presence_streams", "Open event streams.", multiprocess_mode="livesum")
BROADCAST = Counter(
    "presence_broadcast",
    "What happened to the streams: `resync` (a record was read again), `lost` (the subscription), "
    "`silence` (it was half open), `slow_reader` (brought up to date by a snapshot), "
    "`full` (a stream was refused).",
    ("what",),
)

# The children are kept, since labels() costs more than observe().
_scripts: dict[tuple[str, str], Histogram] = {}
_requests: dict[tuple[str, int], Histogram] = {}


def observe_script(script: str, seconds: float, outcome: str) -> None:
    """Count one call of a script."""
    timed = _scripts.get((script, outcome))
    if timed is None:
        timed = _scripts[script, outcome] = SCRIPT_SECONDS.labels(script, outcome)
    timed.observe(seconds)


def observe_request(endpoint: str, status: int, seconds: float) -> None:
    """Count one request of an endpoint (a name from the URL map, never a path)."""
    timed = _requests.get((endpoint, status))
    if timed is None:
        # `presence.heartbeat`, `events.events`: what queries and alerts have known since before the endpoints
        # had names that no host has.
        label = endpoint.removeprefix("record_presence_").removeprefix("record_")
        timed = _requests[endpoint, status] = REQUEST_SECONDS.labels(label, str(status))
    timed.observe(seconds)


def count_broadcast_event(what: str) -> None:
    """Count something that happened to the streams of this process; `what` is a label of BROADCAST."""
    BROADCAST.labels(what).inc()


def exposition() -> bytes:
    """The metrics of all processes of this server, as Prometheus reads them."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(PROCESS_REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)

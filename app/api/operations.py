"""Health and metrics, for operators and their monitoring."""

from flask import Blueprint, Response

from .extension import current_extension
from .responses import RETRY_AFTER_SECONDS, failure, success

health_blueprint = Blueprint("record_presence_operations", __name__)
metrics_blueprint = Blueprint("record_presence_metrics", __name__)


@health_blueprint.get("/health/live")
def live() -> Response:
    """Say that this process answers. Checks nothing else."""
    return success({"live": True})


@health_blueprint.get("/health/ready")
def ready() -> Response:
    """Say whether Redis carries out a script that writes; 503 when not, or when this server is stopping."""
    extension = current_extension()
    if extension.is_draining():
        return failure(503, "This server is about to stop.", retry_after_seconds=RETRY_AFTER_SECONDS)
    extension.check_redis()
    return success({"ready": True})


@metrics_blueprint.get("/metrics")
def metrics() -> Response:
    """The metrics of all processes of this server, for Prometheus."""
    return Response(
        current_extension().metrics_text(), content_type="text/plain; version=0.0.4; charset=utf-8"
    )

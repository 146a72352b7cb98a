"""Health and metrics, for operators and their machines."""

from flask import Blueprint, Response

from app.api.extension import presence
from app.api.responses import success
from app.metrics import exposition

blueprint = Blueprint("operations", __name__)


@blueprint.get("/health/live")
def live() -> Response:
    """The process answers; nothing else is asked."""
    return success({"live": True})


@blueprint.get("/health/ready")
def ready() -> Response:
    """Redis answers a script; 503 when it does not."""
    presence().check_redis()
    return success({"ready": True})


@blueprint.get("/metrics")
def metrics() -> Response:
    """Metrics of all processes of this server, for Prometheus."""
    return Response(exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")

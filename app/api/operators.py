"""Calls of operators, with a token whose role is `operator`."""

from flask import Blueprint, Response

from app.api import schemas
from app.api.extension import presence
from app.api.presence import API_PREFIX
from app.api.requests import admit, check_record, read_body, read_caller
from app.api.responses import success
from app.identity.caller import Caller, Forbidden

blueprint = Blueprint("operators", __name__, url_prefix=f"{API_PREFIX}/<record_type>/<record_id>")

_EVICT = schemas.EvictTab()


@blueprint.get("/inspect")
def inspect(record_type: str, record_id: str) -> Response:
    """Why is she shown? Every tab of the record with its last heartbeat and what is left of its lease.

    Also what lies in Redis and is not shown. Changes nothing.
    """
    caller = _operator()
    check_record(record_type, record_id)
    admit(caller, f"{record_type}:{record_id}")
    inspection = presence().service(caller.tenant).inspect(record_type, record_id)
    return success({"version": inspection["version"], "tabs": inspection["tabs"]})


@blueprint.post("/evict")
def evict(record_type: str, record_id: str) -> Response:
    """Remove anybody's tab at once. The viewers are told that she was evicted.

    A page that is still open comes back with its next heartbeat.
    """
    caller = _operator()
    check_record(record_type, record_id)
    body = read_body(_EVICT)
    admit(caller, f"{record_type}:{record_id}")
    evicted = (
        presence()
        .service(caller.tenant)
        .remove_presence(record_type, record_id, body["tab_id"], reason="evicted")
    )
    return success({"evicted": evicted})


def _operator() -> Caller:
    """Raises Forbidden for everybody else."""
    caller = read_caller()
    if caller.role != "operator":
        raise Forbidden("This is for operators.")
    return caller

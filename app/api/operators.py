"""Calls for operators, with a token whose role is `operator`."""

from typing import Any

from flask import Blueprint, Response, request

from . import schemas
from .calls import ARRIVED_US, read_record_call
from .paths import RECORD_PREFIX
from .requests import read_body, read_query
from .responses import success

blueprint = Blueprint("record_presence_operators", __name__, url_prefix=RECORD_PREFIX)

_EVICT = schemas.EvictTab()
_TABS_QUERY = schemas.TabsQuery()


@blueprint.get("/inspect")
def inspect(record_type: str, record_id: str) -> Response:
    """Explain why each user is listed: every tab with its last heartbeat and what is left of its lease.

    Includes whatever is in Redis and not listed. Changes nothing. Where the list is cut, at
    `limit` or at 700 KB, `next` is the `after` of the rest.
    """
    call = read_record_call(record_type, record_id, role="operator")
    query = read_query(_TABS_QUERY)
    call.authorize_and_throttle()
    inspection = call.service.inspect(record_type, record_id, **query)
    data: dict[str, Any] = {"version": inspection["version"], "tabs": inspection["tabs"]}
    if inspection["next"] is not None:
        data["next"] = inspection["next"]
    return success(data)


@blueprint.post("/evict")
def evict(record_type: str, record_id: str) -> Response:
    """Remove any user's tab at once. The viewers are told that the user was evicted.

    A page that is still open comes back with its next heartbeat.
    """
    call = read_record_call(record_type, record_id, role="operator")
    body = read_body(_EVICT)
    call.authorize_and_throttle()
    evicted = call.service.remove_presence(
        record_type,
        record_id,
        body["tab_id"],
        reason="evicted",
        arrived_us=request.environ.get(ARRIVED_US),
    )
    return success({"evicted": evicted})

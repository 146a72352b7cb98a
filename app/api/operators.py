"""Calls for operators, with a token whose role is `operator`."""

from typing import Any

from flask import Blueprint, Response, request

from ..identity.caller import Forbidden
from . import schemas
from .calls import ARRIVED_US, authenticate, authorize_and_throttle, read_record_call
from .extension import current_extension
from .paths import API_PREFIX
from .requests import read_body, read_query
from .responses import success

blueprint = Blueprint("record_presence_operators", __name__, url_prefix=API_PREFIX)

_EVICT = schemas.EvictTab()
_TABS_QUERY = schemas.TabsQuery()
_OPEN_QUERY = schemas.OpenQuery()


@blueprint.get("/viewers/open")
def open_records() -> Response:
    """List the records of a type that anybody has open, or those that a user has open.

    A page has those that are open of up to `limit` records that may be: perhaps none, although there
    is a `next`. Needs the role `operator` or `service`; records that the caller may not see are left out.
    """
    caller = authenticate()
    if caller.role not in ("operator", "service"):
        raise Forbidden("Needs a token whose role is operator or service.")
    query = read_query(_OPEN_QUERY)
    limit = query["limit"]
    authorize_and_throttle(caller, records=limit)
    page = (
        current_extension()
        .service(caller.tenant)
        .list_open_records(query["type"], user_id=query["user"], after=query["after"], limit=limit)
    )
    data: dict[str, Any] = {"records": [found for found in page.records if caller.may_see(found["record"])]}
    if page.next is not None:
        data["next"] = page.next
    return success(data)


@blueprint.get("/<record_type>/<record_id>/inspect")
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


@blueprint.post("/<record_type>/<record_id>/evict")
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

"""The presence blueprint: read the request, ask the service, answer in the envelope."""

import hashlib
import re
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.http import parse_etags

from ..identity.caller import Caller
from ..presence.codec import encode_user_id
from ..presence.limits import DEFAULT_LIMIT, Quota
from ..presence.records import quote_tenant
from ..presence.results import ViewerList
from ..presence.viewers import Viewer
from . import schemas
from .calls import (
    ARRIVED_US,
    RecordCall,
    authenticate,
    authorize_and_throttle,
    bytes_of,
    read_record_call,
)
from .extension import current_extension
from .fast_schema import FastSchema
from .paths import API_PREFIX
from .requests import read_body, read_body_or_query, read_query, read_sent_at
from .responses import not_modified, success

MAX_ETAGS_LENGTH = 1024  # characters in If-None-Match; a browser sends one ETag of ours, of about 40

# That a compressing proxy or middleware adds to an ETag: -gzip, --gzip, ;gzip, :br.
_ENCODING_SUFFIX = re.compile(r"[-:;]{1,2}(gzip|br|zstd|deflate)\Z")

blueprint = Blueprint("record_presence", __name__, url_prefix=API_PREFIX)

_HEARTBEAT = FastSchema(schemas.Heartbeat())
_UNREGISTER = schemas.Unregister()
_SIGNAL = schemas.Signal()
_VIEWERS_QUERY = schemas.ViewerPageQuery()
_TABS_QUERY = schemas.TabsQuery()
_BATCH_QUERY = schemas.BatchQuery()


@blueprint.post("/<record_type>/<record_id>/heartbeat")
def heartbeat(record_type: str, record_id: str) -> Response:
    """Say that a tab has the record open, and what its user is doing."""
    call = read_record_call(record_type, record_id)
    body = read_body(_HEARTBEAT)
    sent_at = read_sent_at(body)
    field_bytes = bytes_of(body["dirty_fields"])
    quota = call.authorize_and_quota(field_bytes=field_bytes)
    if call.is_hidden:
        return _hidden_heartbeat(call, record_type, record_id, body, quota)
    result = call.beat(
        record_type,
        record_id,
        body["tab_id"],
        body["mode"],
        body["dirty"],
        field_bytes=field_bytes,
        active_field=body["active_field"],
        dirty_fields=body["dirty_fields"],
        base_version=body.get("base_version"),
        visible=body["visible"],
        active=body.get("active"),
        list_viewers="version" in body,
        known_version=body.get("version"),
        quota=quota,
        sent_at=sent_at,
    )
    data: dict[str, Any] = {
        "registered": True,
        "version": result.version,
        "heartbeat_seconds": call.heartbeat_seconds(),
    }
    if result.left_out:
        data["left_out"] = result.left_out
    if result.viewers is not None:
        data.update(_viewers_data(result))
        data.update(_conflict_data(result, body["tab_id"]))
        if result.is_unconfirmed:
            data["unconfirmed"] = True
    return success(data)


def _hidden_heartbeat(
    call: RecordCall, record_type: str, record_id: str, body: dict[str, Any], quota: Quota | None
) -> Response:
    """The answer to a user whom nobody is to see: nothing of the heartbeat is stored."""
    result = call.service.list_viewers(
        record_type,
        record_id,
        known_version=body.get("version"),
        limit=DEFAULT_LIMIT if "version" in body else 1,
        quota=quota,
    )
    data: dict[str, Any] = {
        "registered": False,
        "version": result.version,
        "heartbeat_seconds": call.heartbeat_seconds(),
    }
    if "version" in body and result.viewers is not None:
        data.update(_viewers_data(result))
        data.update(_conflict_data(result, body["tab_id"]))
    return success(data)


@blueprint.get("/<record_type>/<record_id>/viewers")
def viewers(record_type: str, record_id: str) -> Response:
    """List who has the record open, first arrival first.

    Where the list is cut, at `limit` or at 1 MB, `next` is the `after` of the rest.
    """
    call = read_record_call(record_type, record_id)
    query = read_query(_VIEWERS_QUERY)
    quota = call.authorize_and_quota(limit=query["limit"])
    suffix = _etag_suffix(call.caller)
    result = call.service.list_viewers(
        record_type,
        record_id,
        without_user=None if query["include_self"] else call.caller.user_id,
        known_version=_version_in(request.headers.get("If-None-Match"), suffix),
        limit=query["limit"],
        after=query["after"],
        quota=quota,
    )
    headers = (
        ("ETag", f'W/"{result.version}-{suffix}"'),
        ("Cache-Control", "private, no-cache"),
        ("Vary", "Authorization, Cookie"),
    )
    return not_modified(headers) if result.viewers is None else success(_viewers_data(result), headers)


@blueprint.get("/<record_type>/<record_id>/tabs")
def tabs(record_type: str, record_id: str) -> Response:
    """List the live tabs of the record, those first whose leases end first.

    Where the list is cut, at `limit` or at 150 KB, `next` is the `after` of the rest.
    """
    call = read_record_call(record_type, record_id)
    query = read_query(_TABS_QUERY)
    call.authorize_and_throttle()
    page = call.service.list_tabs(record_type, record_id, **query)
    data: dict[str, Any] = {"tabs": page.tabs}
    if page.next is not None:
        data["next"] = page.next
    return success(data)


@blueprint.delete("/<record_type>/<record_id>/unregister")
def unregister(record_type: str, record_id: str) -> Response:
    """Remove a tab at once, because it is closing. It is no error if the tab is already gone.

    The tab id may be in the query instead of the body, since some proxies drop a DELETE's body. A
    heartbeat that was made before this call and arrives after it does not bring the tab back.
    """
    call = read_record_call(record_type, record_id)
    body = read_body_or_query(_UNREGISTER)
    call.authorize_and_throttle()
    call.service.remove_presence(
        record_type,
        record_id,
        body["tab_id"],
        user_id=call.caller.user_id,
        arrived_us=request.environ.get(ARRIVED_US),
        sent_at=body.get("sent_at"),
    )
    return success({"unregistered": True})


@blueprint.post("/<record_type>/<record_id>/signal")
def signal(record_type: str, record_id: str) -> Response:
    """Send the record's streams what a tab is doing right now: typing, or where its cursor is.

    Nothing is stored. Signals have a rate limit of their own.
    """
    call = read_record_call(record_type, record_id, is_signal=True)
    body = read_body(_SIGNAL)
    quota = call.authorize_and_quota()
    relayed = call.service.send_signal(
        record_type,
        record_id,
        body["tab_id"],
        call.caller.user_id,
        call.caller.user_name,
        body["kind"],
        body["data"],
        quota=quota,
    )
    return success({"relayed": relayed})


@blueprint.get("/viewers")
def batch_viewers() -> Response:
    """List the viewers of up to 100 records, without the caller."""
    caller = authenticate()
    names = list(dict.fromkeys(read_query(_BATCH_QUERY)["record"]))
    authorize_and_throttle(caller, *names)
    lists = (
        current_extension()
        .service(caller.tenant)
        .list_viewers_of([tuple(name.split(":")) for name in names], without_user=caller.user_id)
    )
    records = {name: _viewers_data(result) for name, result in zip(names, lists, strict=True)}
    return success({"records": records})


def _viewers_data(result: ViewerList) -> dict[str, str | int | list[Viewer] | None]:
    data: dict[str, str | int | list[Viewer] | None]
    data = {"viewers": result.viewers, "total": result.total, "version": result.version}
    if result.next is not None:
        data["next"] = result.next
    return data


def _conflict_data(result: ViewerList, tab_id: str) -> dict[str, Any]:
    """Saves, claims and forecast, where there are any; a tab's own saves are left out."""
    data: dict[str, Any] = {}
    if result.conflicts:
        if saved := [save for save in result.conflicts.saves if save["tab_id"] != tab_id]:
            data["saved"] = saved
        if result.conflicts.claims:
            data["claims"] = result.conflicts.claims
    if result.forecast is not None:
        data["forecast"] = result.forecast
    return data


def _etag_suffix(caller: Caller) -> str:
    """Sets this caller's ETags for this URL apart from others' for the same version.

    Lists of the same version differ in which user is left out.
    """
    asker = f"{quote_tenant(caller.tenant)} {encode_user_id(caller.user_id)} {request.query_string!r}"
    return hashlib.blake2s(asker.encode(), digest_size=4).hexdigest()


def _version_in(etags: str | None, suffix: str) -> str | None:
    """The version in an ETag that this caller was given for this URL."""
    if not etags or len(etags) > MAX_ETAGS_LENGTH:
        return None
    for tag in parse_etags(etags).as_set(include_weak=True):
        own_tag = _ENCODING_SUFFIX.sub("", tag or "")  # werkzeug reads "" as None
        version, _, tag_suffix = own_tag.rpartition("-")
        if version and tag_suffix == suffix:
            return version
    return None

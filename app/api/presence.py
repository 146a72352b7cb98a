"""The presence blueprint: read the request, ask the service, answer in the envelope."""

import hashlib
import time
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.http import parse_etags

from app.api import schemas
from app.api.extension import presence
from app.api.quick import QuickSchema
from app.api.requests import (
    admit,
    check_access,
    check_record,
    read_body,
    read_body_or_query,
    read_caller,
    read_query,
)
from app.api.responses import success, unchanged
from app.identity.caller import Caller
from app.presence.records import Viewer, quote_tenant, user_key
from app.presence.service import ViewerList

API_PREFIX = "/api/v1/presence"

blueprint = Blueprint("presence", __name__, url_prefix=API_PREFIX)

_HEARTBEAT = QuickSchema(schemas.Heartbeat())
_UNREGISTER = schemas.Unregister()
_SIGNAL = schemas.Signal()
_VIEWERS_QUERY = schemas.ViewersQuery()
_BATCH_QUERY = schemas.BatchQuery()


@blueprint.post("/<record_type>/<record_id>/heartbeat")
def heartbeat(record_type: str, record_id: str) -> Response:
    """Say that a tab has the record open, and what it is doing."""
    caller = read_caller()
    check_record(record_type, record_id)
    body = read_body(_HEARTBEAT)
    check_access(caller, f"{record_type}:{record_id}")
    state = presence()
    result = state.service(caller.tenant).update_presence(
        record_type,
        record_id,
        body["tab_id"],
        caller.user_id,
        caller.user_name,
        body["mode"],
        body["dirty"],
        active_field=body["active_field"],
        dirty_fields=body["dirty_fields"],
        base_version=body.get("base_version"),
        visible=body["visible"],
        list_viewers="version" in body,
        known_version=body.get("version"),
        lease_seconds=_seconds_left(caller),
        quota=state.throttle.quota(caller),
    )
    data = {
        "registered": True,
        "version": result.version,
        "heartbeat_seconds": state.settings.heartbeat_seconds,
    }
    if result.viewers is not None:
        data["viewers"], data["total"] = result.viewers, result.total
        data.update(_notes_data(result, body["tab_id"]))
        if result.is_unconfirmed:
            data["unconfirmed"] = True
    return success(data)


@blueprint.get("/<record_type>/<record_id>/viewers")
def viewers(record_type: str, record_id: str) -> Response:
    """List who has the record open, first arrival first."""
    caller = read_caller()
    check_record(record_type, record_id)
    query = read_query(_VIEWERS_QUERY)
    check_access(caller, f"{record_type}:{record_id}")
    mark = _mark_of(caller)
    state = presence()
    result = state.service(caller.tenant).list_viewers(
        record_type,
        record_id,
        without_user=None if query["include_self"] else caller.user_id,
        known_version=_version_in(request.headers.get("If-None-Match"), mark),
        limit=query["limit"],
        quota=state.throttle.quota(caller),
    )
    headers = (
        ("ETag", f'W/"{result.version}-{mark}"'),
        ("Cache-Control", "private, no-cache"),
        ("Vary", "Authorization, Cookie"),
    )
    return unchanged(headers) if result.viewers is None else success(_viewers_data(result), headers)


@blueprint.get("/<record_type>/<record_id>/tabs")
def tabs(record_type: str, record_id: str) -> Response:
    """List every live tab of the record."""
    caller = read_caller()
    check_record(record_type, record_id)
    admit(caller, f"{record_type}:{record_id}")
    return success({"tabs": presence().service(caller.tenant).get_presence(record_type, record_id)})


@blueprint.delete("/<record_type>/<record_id>/unregister")
def unregister(record_type: str, record_id: str) -> Response:
    """Say goodbye: the tab is gone at once. A tab that is already gone is no error.

    The tab id may stand in the query instead of the body: some proxies drop a DELETE's body.
    """
    caller = read_caller()
    check_record(record_type, record_id)
    body = read_body_or_query(_UNREGISTER)
    admit(caller, f"{record_type}:{record_id}")
    presence().service(caller.tenant).remove_presence(
        record_type, record_id, body["tab_id"], user_id=caller.user_id
    )
    return success({"unregistered": True})


@blueprint.post("/<record_type>/<record_id>/signal")
def signal(record_type: str, record_id: str) -> Response:
    """Tell the record's streams what a tab is doing just now: typing, or where its cursor is.

    Nothing of it is stored. Signals are limited apart from the other calls.
    """
    caller = read_caller()
    check_record(record_type, record_id)
    body = read_body(_SIGNAL)
    check_access(caller, f"{record_type}:{record_id}")
    state = presence()
    relayed = state.service(caller.tenant).send_signal(
        record_type,
        record_id,
        body["tab_id"],
        caller.user_id,
        caller.user_name,
        body["kind"],
        body["data"],
        quota=state.signal_throttle.quota(caller),
    )
    return success({"relayed": relayed})


@blueprint.get("/viewers")
def batch_viewers() -> Response:
    """List the viewers of up to 100 records, oneself left out."""
    caller = read_caller()
    names = list(dict.fromkeys(read_query(_BATCH_QUERY)["record"]))
    admit(caller, *names)
    lists = (
        presence()
        .service(caller.tenant)
        .list_viewers_of([tuple(name.split(":")) for name in names], without_user=caller.user_id)
    )
    records = {name: _viewers_data(result) for name, result in zip(names, lists, strict=True)}
    return success({"records": records})


def _viewers_data(result: ViewerList) -> dict[str, str | int | list[Viewer] | None]:
    return {"viewers": result.viewers, "total": result.total, "version": result.version}


def _notes_data(result: ViewerList, tab_id: str) -> dict[str, Any]:
    """What there is to tell besides the viewers; a tab is not told of its own saves."""
    data: dict[str, Any] = {}
    if saved := [save for save in result.notes.saves if save["tab_id"] != tab_id]:
        data["saved"] = saved
    if result.notes.claims:
        data["claims"] = result.notes.claims
    if result.forecast is not None:
        data["forecast"] = result.forecast
    return data


def _seconds_left(caller: Caller) -> float | None:
    """A lease ends no later than the proof that it was given for."""
    return None if caller.expires_at is None else max(0.001, caller.expires_at - time.time())


def _mark_of(caller: Caller) -> str:
    """What tells this caller's ETags for this URL from others' of the same version: who is left out."""
    asker = f"{quote_tenant(caller.tenant)} {user_key(caller.user_id)} {request.query_string!r}"
    return hashlib.blake2s(asker.encode(), digest_size=4).hexdigest()


def _version_in(etags: str | None, mark: str) -> str | None:
    """The version of an ETag that we gave to this caller for this URL."""
    for tag in parse_etags(etags).as_set(include_weak=True) if etags else ():
        version, _, tag_mark = (tag or "").rpartition("-")  # werkzeug reads "" as None
        if version and tag_mark == mark:
            return version
    return None

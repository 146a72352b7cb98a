"""Saves, claims and the timeline of a record, over HTTP."""

from flask import Blueprint, Response

from app.api import schemas
from app.api.extension import presence
from app.api.presence import API_PREFIX
from app.api.requests import (
    admit,
    check_record,
    load,
    read_body,
    read_body_or_query,
    read_caller,
    read_document,
    read_query,
)
from app.api.responses import success
from app.identity.caller import Forbidden

blueprint = Blueprint("conflicts", __name__, url_prefix=f"{API_PREFIX}/<record_type>/<record_id>")

_SAVED = schemas.Saved()
_SAVED_BY_SERVER = schemas.SavedByServer()
_CLAIM = schemas.ClaimField()
_RELEASE = schemas.ReleaseField()
_TIMELINE_QUERY = schemas.TimelineQuery()


@blueprint.post("/saved")
def saved(record_type: str, record_id: str) -> Response:
    """Tell the record's viewers that a new version was saved, and which fields of it.

    With a token whose role is `service`, a server tells it in the name of `user`.
    A version is told once, however often this is called.
    """
    caller = read_caller()
    check_record(record_type, record_id)
    document = read_document()
    is_server = caller.role == "service"
    if not is_server and isinstance(document, dict) and "user" in document:
        raise Forbidden("Only a token whose role is service may name the user.")
    body = load(_SAVED_BY_SERVER if is_server else _SAVED, document)
    admit(caller, f"{record_type}:{record_id}")
    user = body.get("user") or {"id": caller.user_id, "name": caller.user_name}
    announced = (
        presence()
        .service(caller.tenant)
        .record_saved(
            record_type,
            record_id,
            body["lock_version"],
            body["fields"],
            user["id"],
            user["name"],
            body["tab_id"],
        )
    )
    return success({"announced": announced})


@blueprint.post("/claim")
def claim(record_type: str, record_id: str) -> Response:
    """Say that a tab works on a field. It keeps nobody from anything, and ends with the tab.

    Not granted while another tab has it, unless `take_over` says so.
    """
    caller = read_caller()
    check_record(record_type, record_id)
    body = read_body(_CLAIM)
    admit(caller, f"{record_type}:{record_id}")
    answer = (
        presence()
        .service(caller.tenant)
        .claim_field(
            record_type,
            record_id,
            body["tab_id"],
            caller.user_id,
            body["field"],
            take_over=body["take_over"],
        )
    )
    return success({"claimed": answer.is_granted, "claim": answer.claim})


@blueprint.delete("/claim")
def release(record_type: str, record_id: str) -> Response:
    """Let a field go. A field that the tab has not claimed is no error.

    Tab id and field may stand in the query instead of the body: some proxies drop a DELETE's body.
    """
    caller = read_caller()
    check_record(record_type, record_id)
    body = read_body_or_query(_RELEASE)
    admit(caller, f"{record_type}:{record_id}")
    presence().service(caller.tenant).release_field(
        record_type, record_id, body["tab_id"], caller.user_id, body["field"]
    )
    return success({"released": True})


@blueprint.get("/timeline")
def timeline(record_type: str, record_id: str) -> Response:
    """What happened to the record, oldest first: joins, updates, leaves, saves and claims."""
    caller = read_caller()
    check_record(record_type, record_id)
    query = read_query(_TIMELINE_QUERY)
    admit(caller, f"{record_type}:{record_id}")
    page = presence().service(caller.tenant).get_timeline(record_type, record_id, **query)
    return success({"entries": page.entries, "next": page.next})

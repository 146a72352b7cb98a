"""Saves, claims and the timeline of a record, over HTTP."""

from typing import Any

from flask import Blueprint, Response

from ..identity.caller import Forbidden
from ..identity.kept_bytes import bytes_of_claim, bytes_of_save
from . import schemas
from .calls import bytes_of, read_record_call
from .paths import RECORD_PREFIX
from .requests import load, read_body, read_body_or_query, read_document, read_query
from .responses import success

blueprint = Blueprint("record_presence_conflicts", __name__, url_prefix=RECORD_PREFIX)

_SAVED = schemas.Saved()
_SAVED_BY_SERVER = schemas.SavedByServer()
_CLAIM = schemas.ClaimField()
_RELEASE = schemas.ReleaseField()
_DECLINE = schemas.DeclineWaiting()
_CHECK = schemas.CheckFields()
_TIMELINE_QUERY = schemas.TimelineQuery()


@blueprint.post("/saved")
def saved(record_type: str, record_id: str) -> Response:
    """Announce to the record's viewers that a new version was saved, and which fields changed.

    A server announces it on behalf of `user`, with a token whose role is `service`; its
    word wins. Anybody else needs a live tab in mode `edit`. A version is announced
    once, however often this is called.
    """
    call = read_record_call(record_type, record_id)
    document = read_document()
    caller = call.caller
    is_server = caller.role == "service"
    if not is_server and isinstance(document, dict) and "user" in document:
        raise Forbidden("Only a token whose role is service may name a user.")
    body = load(_SAVED_BY_SERVER if is_server else _SAVED, document)
    field_bytes = bytes_of(body["fields"])
    call.authorize_and_throttle(field_bytes=0 if is_server else field_bytes)
    if not is_server:
        call.kept_bytes.check(caller)
    user = body.get("user") or {"id": caller.user_id, "name": caller.user_name}
    result = call.service.announce_save(
        record_type,
        record_id,
        body["lock_version"],
        body["fields"],
        user["id"],
        user["name"],
        body["tab_id"],
        told_by="host" if is_server else "viewer",
    )
    if result.is_announced and not is_server:
        call.keep(bytes_of_save(caller, field_bytes))
    data: dict[str, Any] = {"announced": result.is_announced, **_reason(result.reason)}
    if result.touched:
        data["touched"] = result.touched
    if result.more:
        data["more"] = result.more
    return success(data)


@blueprint.post("/check")
def check(record_type: str, record_id: str) -> Response:
    """Ask what writing some fields would run into, before a job, an import or an agent writes them.

    Changes nothing, and needs no tab. `stale`: another tab has saved the field after `base_version`.
    `contested`: somebody has unsaved changes in it. `claimed`: another tab has claimed it. `clear`: none of
    these. Exact for any number of viewers. An agent is seen by others with `announce`, as by a heartbeat
    of its tab in mode `edit`.
    """
    call = read_record_call(record_type, record_id)
    body = read_body(_CHECK)
    if body["announce"] and not call.caller.is_agent:
        raise Forbidden("Only an agent may announce itself.")
    call.authorize_and_throttle(field_bytes=bytes_of(body["fields"]))
    if body["announce"] and not call.is_hidden:
        call.beat(record_type, record_id, body["tab_id"], "edit", False)
    found = call.service.check_fields(
        record_type,
        record_id,
        body["fields"],
        base_version=body.get("base_version"),
        user_id=call.caller.user_id,
        tab_id=body["tab_id"],
    )
    data: dict[str, Any] = {
        "clear": found.clear,
        "stale": found.stale,
        "contested": found.contested,
        "claimed": found.claimed,
        "remembered_since": found.remembered_since,
        "version": found.version,
    }
    if found.more:
        data["more"] = found.more
    return success(data)


@blueprint.post("/claim")
def claim(record_type: str, record_id: str) -> Response:
    """Claim a field for a tab. A claim is advisory: it blocks nobody, and ends with the tab.

    Needs a live tab in mode `edit`. Not granted while another tab holds the field, unless
    `take_over` is true and the field was not taken over a moment ago. With `wait`, the tab has the field
    as soon as the other one lets it go. The field `*` is the whole record.
    """
    call = read_record_call(record_type, record_id)
    body = read_body(_CLAIM)
    call.authorize_and_throttle()
    call.kept_bytes.check(call.caller)
    result = call.service.claim_field(
        record_type,
        record_id,
        body["tab_id"],
        call.caller.user_id,
        body["field"],
        take_over=body["take_over"],
        wait=body["wait"],
    )
    if result.is_granted or result.place is not None:
        call.keep(bytes_of_claim(call.caller, bytes_of([body["field"]])))
    return success(
        {
            "claimed": result.is_granted,
            "claim": result.claim,
            **({} if result.place is None else {"place": result.place}),
            **_reason(result.reason),
            **_version(result.version),
        }
    )


@blueprint.delete("/claim")
def release(record_type: str, record_id: str) -> Response:
    """Release a field, or wait for it no longer. It is no error if the tab has not claimed it.

    The first who waits for the field has it then.
    Tab id and field may be in the query instead of the body, since some proxies drop a DELETE's body.
    """
    call = read_record_call(record_type, record_id)
    body = read_body_or_query(_RELEASE)
    call.authorize_and_throttle()
    result = call.service.release_field(
        record_type, record_id, body["tab_id"], call.caller.user_id, body["field"]
    )
    return success({"released": True, **_version(result.version)})


@blueprint.post("/claim/decline")
def decline(record_type: str, record_id: str) -> Response:
    """Send away those who wait for a field that this tab has claimed.

    They are told: in the next list of claims they do not wait any more, while the claim is the same.
    """
    call = read_record_call(record_type, record_id)
    body = read_body(_DECLINE)
    call.authorize_and_throttle()
    result = call.service.decline_waiting(
        record_type, record_id, body["tab_id"], call.caller.user_id, body["field"]
    )
    return success({"declined": result.declined, **_version(result.version)})


@blueprint.get("/timeline")
def timeline(record_type: str, record_id: str) -> Response:
    """List what happened to the record, oldest first: joins, updates, leaves, saves and claims."""
    call = read_record_call(record_type, record_id)
    query = read_query(_TIMELINE_QUERY)
    call.authorize_and_throttle(limit=query["limit"])
    page = call.service.get_timeline(record_type, record_id, **query)
    return success({"entries": page.entries, "next": page.next})


def _version(version: str | None) -> dict[str, str]:
    return {"version": version} if version else {}


def _reason(reason: str | None) -> dict[str, str]:
    return {"reason": reason} if reason else {}

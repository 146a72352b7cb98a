"""The demo's own calls: read and save a flow, and fetch a window's next token."""

import re
from typing import Any

from flask import Blueprint, Response, current_app
from marshmallow import Schema, ValidationError, fields, validate
from werkzeug.exceptions import HTTPException

from app.api.extension import presence
from app.api.openapi import Operation
from app.api.requests import check_access, read_body, read_caller
from app.api.responses import RETRY_AFTER_SECONDS, failure, failure_of, success
from app.api.schemas import Body, Conflict, StrictInteger, tab_id_field
from app.demo.flows import STATUSES, FlowNotFound, Flows, FlowsUnavailable
from app.demo.people import NOBODY, PEOPLE, TENANT, TOKEN_SECONDS, person_by_handle, window_token
from app.identity.caller import Caller, Forbidden
from app.versioned import announce, answer_refusals

PREFIX = "/api/v1/flows"
FLOW_ID = "<int:flow_id>"

blueprint = Blueprint("api", __name__)


# No database keeps NUL or half a surrogate pair.
_CONTROLS = r"\x00-\x08\x0b\x0c\x0e-\x1f"
_CONTROL = re.compile(rf"[{_CONTROLS}\ud800-\udfff]")
_BLANKS = r"\t\n\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # what `str.strip` takes
# The same for JSON Schema.
TEXT_PATTERN = f"^[^{_CONTROLS}]*$"
NAME_PATTERN = f"^[^{_CONTROLS}]*[^{_CONTROLS}{_BLANKS}][^{_CONTROLS}]*$"


def _printable(text: str) -> None:
    if _CONTROL.search(text):
        raise ValidationError("Must not have control characters.")


def _not_blank(text: str) -> None:
    if not text.strip():
        raise ValidationError("Give the flow a name.")


def _text(longest: int, *more: Any, pattern: str = TEXT_PATTERN) -> fields.String:
    return fields.String(
        required=True,
        validate=[validate.Length(max=longest, error=f"At most {longest} characters."), _printable, *more],
        metadata={"pattern": pattern},
    )


class SaveFlow(Body):
    """A whole flow, the version that it was loaded with, and in which tab."""

    tab_id = tab_id_field(required=False, load_default=None, allow_none=True)
    lock_version = StrictInteger(required=True, validate=validate.Range(min=1))
    name = _text(120, _not_blank, pattern=NAME_PATTERN)
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    owner = fields.String(required=True, validate=validate.OneOf([person.handle for person in PEOPLE]))
    description = _text(4000)
    steps = _text(4000)


class Flow(Schema):
    """A flow, and who saved it last."""

    id = fields.Integer(required=True)
    name = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    owner = fields.String(required=True)
    description = fields.String(required=True)
    steps = fields.String(required=True)
    lock_version = fields.Integer(required=True)
    saved_at = fields.String(required=True, metadata={"format": "date-time"})
    saved_by = fields.String(required=True)


class OneFlow(Schema):
    flow = fields.Nested(Flow, required=True)


class FlowConflict(Conflict):
    """Somebody has saved the flow since the version that was sent; nothing was written."""

    current = fields.Nested(Flow, required=True, metadata={"description": "As it stands there now."})


# Not throttled by Redis, and there without it.
OPERATIONS = {
    "demo.api.read_flow": Operation(None, None, OneFlow, (403, 404), common=(401, 503)),
    "demo.api.save_flow": Operation(
        SaveFlow,
        None,
        OneFlow,
        (400, 403, 404, 409, 413, 415, 422),
        common=(401, 503),
        refusals={409: FlowConflict},
    ),
}

_SAVE_FLOW = SaveFlow()


def flows() -> Flows:
    """The flows of the application that serves this request."""
    return current_app.extensions["demo_flows"]


@blueprint.get(f"{PREFIX}/{FLOW_ID}")
def read_flow(flow_id: int) -> Response:
    """One flow."""
    _flow_caller(flow_id)
    return success({"flow": flows().get(flow_id).as_data()})


@blueprint.put(f"{PREFIX}/{FLOW_ID}")
def save_flow(flow_id: int) -> Response:
    """Save a flow; refused when somebody else saved since `lock_version` was loaded.

    Its viewers are told from here: a page that is closed right after saving tells nobody.
    """
    caller = _flow_caller(flow_id)
    values: dict[str, Any] = read_body(_SAVE_FLOW)
    lock_version, tab_id = values.pop("lock_version"), values.pop("tab_id")
    saved = flows().save(flow_id, lock_version, values, by=caller.user_name)
    announce(caller, "flow", flow_id, saved, tab_id=tab_id)
    return success({"flow": saved.data})


@blueprint.get("/demo/people/<handle>/token")
def next_token(handle: str) -> Response:
    """A fresh token for a window of one of the demo's people, and of nobody else."""
    person = person_by_handle(handle)
    if person is None:
        return failure(404, NOBODY)
    token = window_token(presence().bearer_tokens, person)
    return success({"token": token, "token_seconds": TOKEN_SECONDS})


def _flow_caller(flow_id: int) -> Caller:
    """Not throttled by Redis: a save must not depend on presence."""
    caller = read_caller()
    if caller.tenant != TENANT:
        raise Forbidden("The flows belong to the demo's people.")
    check_access(caller, f"flow:{flow_id}")
    return caller


@blueprint.errorhandler(FlowNotFound)
def _not_found(error: FlowNotFound) -> Response:
    return failure(404, str(error))


@blueprint.errorhandler(FlowsUnavailable)
def _unavailable(error: FlowsUnavailable) -> Response:
    return failure(503, str(error), retry_after_seconds=RETRY_AFTER_SECONDS)


answer_refusals(blueprint)
blueprint.register_error_handler(HTTPException, failure_of)

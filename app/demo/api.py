"""The demo's own calls: read a flow, save it, and fetch the next token of a window."""

import re
from typing import Any

from flask import Blueprint, Response, current_app
from marshmallow import Schema, ValidationError, fields, validate
from werkzeug.exceptions import HTTPException

from ..api.calls import authenticate, authorize, throttle_call
from ..api.extension import current_extension
from ..api.openapi import Operation, Tag
from ..api.refusals import answer_to_refused_call
from ..api.requests import read_body
from ..api.responses import RETRY_AFTER_SECONDS, failure, failure_of, success
from ..api.schemas import Body, Conflict, StrictInteger, tab_id_field
from ..identity.caller import Caller, Forbidden, Unauthenticated
from ..presence.errors import TooManyCalls
from ..versioned import announce, answer_refusals
from .flows import STATUSES, FlowNotFound, Flows, FlowsUnavailable
from .people import NOBODY, PEOPLE, TENANT, TOKEN_SECONDS, person_by_handle, window_token

PREFIX = "/api/v1/flows"
FLOW_ID = "<int:flow_id>"

blueprint = Blueprint("api", __name__)


# No database stores NUL or half a surrogate pair.
_CONTROLS = r"\x00-\x08\x0b\x0c\x0e-\x1f"
_CONTROL = re.compile(rf"[{_CONTROLS}\ud800-\udfff]")
_BLANKS = r"\t\n\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # what `str.strip` removes
# The same for JSON Schema.
TEXT_PATTERN = f"^[^{_CONTROLS}]*$"
NAME_PATTERN = f"^[^{_CONTROLS}]*[^{_CONTROLS}{_BLANKS}][^{_CONTROLS}]*$"


def _printable(text: str) -> None:
    if _CONTROL.search(text):
        raise ValidationError("Must not contain control characters.")


def _not_blank(text: str) -> None:
    if not text.strip():
        raise ValidationError("Give the flow a name.")


def _text(max_length: int, *more: Any, pattern: str = TEXT_PATTERN) -> fields.String:
    length = validate.Length(max=max_length, error=f"Must be at most {max_length} characters.")
    return fields.String(
        required=True,
        validate=[length, _printable, *more],
        metadata={"pattern": pattern},
    )


class SaveFlow(Body):
    """A whole flow, the version that it was loaded with, and the tab that saves it."""

    tab_id = tab_id_field(required=False, load_default=None, allow_none=True)
    lock_version = StrictInteger(required=True, validate=validate.Range(min=1))
    name = _text(120, _not_blank, pattern=NAME_PATTERN)
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    owner = fields.String(required=True, validate=validate.OneOf([person.handle for person in PEOPLE]))
    description = _text(4000)
    steps = _text(4000)


class Flow(Schema):
    """A flow, and who last saved it."""

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
    """The flow was saved by somebody else after the version that was sent; nothing was written."""

    current = fields.Nested(  # type: ignore[assignment]  # a Dict of the base, described in full
        Flow, required=True, metadata={"description": "The flow as it is stored now."}
    )


_TAG = Tag("Demo: flows", "The records of the demo. They are not part of the presence API.")
OPERATIONS = {
    "demo.api.read_flow": Operation(None, None, OneFlow, (403, 404), common=(401, 503), tag=_TAG),
    "demo.api.save_flow": Operation(
        SaveFlow,
        None,
        OneFlow,
        (400, 403, 404, 409, 413, 415, 422),
        refusals={409: FlowConflict},
        tag=_TAG,
    ),
}

_SAVE_FLOW = SaveFlow()


def flows() -> Flows:
    """The flows of the application that serves this request."""
    flows: Flows = current_app.extensions["demo_flows"]
    return flows


@blueprint.get(f"{PREFIX}/{FLOW_ID}")
def read_flow(flow_id: int) -> Response:
    """Read one flow."""
    _flow_caller(flow_id)
    return success({"flow": flows().get(flow_id).as_data()})


@blueprint.put(f"{PREFIX}/{FLOW_ID}")
def save_flow(flow_id: int) -> Response:
    """Save a flow, unless somebody else has saved it since it was loaded.

    `lock_version` is that of the flow as it was loaded. The server announces the save,
    because a page that is closed right after saving could not.
    """
    caller = _flow_caller(flow_id)
    values: dict[str, Any] = read_body(_SAVE_FLOW)
    lock_version, tab_id = values.pop("lock_version"), values.pop("tab_id")
    saved = flows().save(flow_id, lock_version, values, by=caller.user_name)
    announce(caller, "flow", flow_id, saved, tab_id=tab_id)
    return success({"flow": saved.data})


@blueprint.get("/demo/people/<handle>/token")
def next_token(handle: str) -> Response:
    """Fetch a fresh token for a window of one of the demo's people."""
    person = person_by_handle(handle)
    if person is None:
        return failure(404, NOBODY)
    token = window_token(current_extension().bearer_tokens, person)
    return success({"token": token, "token_seconds": TOKEN_SECONDS})


def _flow_caller(flow_id: int) -> Caller:
    """The caller, counted like any other; not while Redis is away, since a save must not depend on it."""
    caller = authenticate()
    throttle_call()
    if caller.tenant != TENANT:
        raise Forbidden("Only the demo's people may see its flows.")
    authorize(caller, f"flow:{flow_id}")
    return caller


@blueprint.errorhandler(FlowNotFound)
def _not_found(error: FlowNotFound) -> Response:
    return failure(404, str(error))


@blueprint.errorhandler(FlowsUnavailable)
def _unavailable(error: FlowsUnavailable) -> Response:
    return failure(503, str(error), retry_after_seconds=RETRY_AFTER_SECONDS)


def _refused(error: Exception) -> Response:
    """As the presence API refuses: the call is counted, and kept waiting for a moment."""
    return failure_of(answer_to_refused_call(error))


answer_refusals(blueprint)
for _refusal in (Forbidden, TooManyCalls, Unauthenticated):
    blueprint.register_error_handler(_refusal, _refused)
blueprint.register_error_handler(HTTPException, failure_of)

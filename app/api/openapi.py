"""The OpenAPI document, made from the URL map and the schemas that validate."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from marshmallow import Schema, fields, validate

from ..identity.session import CSRF_HEADER
from ..presence.validation import RECORD_ID_PATTERN, RECORD_TYPE_PATTERN
from . import schemas
from .extension import EXTENSION_NAME

_RECORD_PARAMETERS = {
    "record_type": ("type", RECORD_TYPE_PATTERN, "flow"),
    "record_id": ("id", RECORD_ID_PATTERN, "12"),
}
_EVERYWHERE = (401, 429, 503)


class Tag(NamedTuple):
    """A group of calls. `description` is Markdown, as are all descriptions of the document."""

    name: str
    description: str


class Operation(NamedTuple):
    """What a route takes and answers: schemas, and the statuses of its own. Without `data` it is a stream.

    `common` are the statuses that it shares with all others; `refusals` are the
    schemas of `data` in a failure, by status. `example` is a body.
    """

    body: type[Schema] | tuple[type[Schema], ...] | None  # one of several
    query: type[Schema] | None
    data: type[Schema] | None
    statuses: tuple[int, ...]
    common: tuple[int, ...] = _EVERYWHERE
    refusals: Mapping[int, type[Schema]] = MappingProxyType({})
    example: Mapping[str, Any] | None = None
    tag: Tag = Tag("Application", "Calls of the application that presence is part of.")


_PRESENCE = Tag("Presence", "Which tabs have a record open, and who its viewers are.")
_EVENTS = Tag("Live events", "Every change of the viewers as it happens, without polling.")
_CONFLICTS = Tag(
    "Saves and claims", "Who saved which fields, who is working on one, and what happened before."
)
_OPERATORS = Tag(
    "Operators",
    "Find out which records are open and why a user is listed, and remove a tab. Needs a token whose role is"
    " `operator`.",
)
_TAB_ID = "tab-7f3c"  # in the examples
_WRITE_STATUSES = (400, 403, 409, 413, 415, 422)

# In the order of the reference: groups by their first call.
_OPERATIONS = {
    "record_presence.heartbeat": Operation(
        schemas.Heartbeat,
        None,
        schemas.Registered,
        _WRITE_STATUSES,
        example={
            "tab_id": _TAB_ID,
            "mode": "edit",
            "dirty": True,
            "active_field": "title",
            "dirty_fields": ["title"],
            "base_version": 7,
            "version": None,
            "visible": True,
        },
        tag=_PRESENCE,
    ),
    "record_presence.unregister": Operation(
        schemas.Unregister, None, schemas.Unregistered, _WRITE_STATUSES, tag=_PRESENCE
    ),
    "record_presence.viewers": Operation(
        None, schemas.ViewerPageQuery, schemas.Viewers, (304, 403, 422), tag=_PRESENCE
    ),
    "record_presence.batch_viewers": Operation(
        None, schemas.BatchQuery, schemas.Batch, (403, 422), tag=_PRESENCE
    ),
    "record_presence.tabs": Operation(None, schemas.TabsQuery, schemas.Tabs, (403, 422), tag=_PRESENCE),
    "record_presence.signal": Operation(
        schemas.Signal,
        None,
        schemas.Signalled,
        _WRITE_STATUSES,
        example={"tab_id": _TAB_ID, "kind": "typing", "data": {"field": "title"}},
        tag=_PRESENCE,
    ),
    "record_presence_events.events": Operation(None, schemas.EventsQuery, None, (204, 403, 422), tag=_EVENTS),
    "record_presence_conflicts.saved": Operation(
        (schemas.Saved, schemas.SavedByServer),
        None,
        schemas.Announced,
        _WRITE_STATUSES,
        example={"tab_id": _TAB_ID, "lock_version": 8, "fields": ["title"]},
        tag=_CONFLICTS,
    ),
    "record_presence_conflicts.check": Operation(
        schemas.CheckFields,
        None,
        schemas.Checked,
        _WRITE_STATUSES,
        example={"fields": ["title", "steps"], "base_version": 7},
        tag=_CONFLICTS,
    ),
    "record_presence_conflicts.claim": Operation(
        schemas.ClaimField,
        None,
        schemas.Claimed,
        _WRITE_STATUSES,
        example={"tab_id": _TAB_ID, "field": "title", "take_over": False, "wait": False},
        tag=_CONFLICTS,
    ),
    "record_presence_conflicts.release": Operation(
        schemas.ReleaseField,
        None,
        schemas.Released,
        _WRITE_STATUSES,
        example={"tab_id": _TAB_ID, "field": "title"},
        tag=_CONFLICTS,
    ),
    "record_presence_conflicts.decline": Operation(
        schemas.DeclineWaiting,
        None,
        schemas.Declined,
        _WRITE_STATUSES,
        example={"tab_id": _TAB_ID, "field": "title"},
        tag=_CONFLICTS,
    ),
    "record_presence_conflicts.timeline": Operation(
        None, schemas.TimelineQuery, schemas.Timeline, (403, 422), tag=_CONFLICTS
    ),
    "record_presence_operators.open_records": Operation(
        None, schemas.OpenQuery, schemas.OpenRecords, (403, 404, 422), tag=_OPERATORS
    ),
    "record_presence_operators.inspect": Operation(
        None, schemas.TabsQuery, schemas.Inspection, (403, 422), tag=_OPERATORS
    ),
    "record_presence_operators.evict": Operation(
        schemas.EvictTab, None, schemas.Evicted, (400, 403, 413, 415, 422), tag=_OPERATORS
    ),
}
_EVENT_STREAM = {
    "description": "A stream of events, which stays open until the client closes it.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_FAILURE_SCHEMA = {
    "type": "object",
    "required": ["success", "message"],
    "properties": {
        "success": {"type": "boolean", "enum": [False]},
        "message": {"type": "string", "description": "What went wrong, in a sentence."},
        "errors": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
            "description": "What is wrong with which field or parameter.",
        },
        "data": {"type": "object", "description": "Only where a save was refused: the record as it is now."},
    },
}
_FAILURE = {"$ref": "#/components/schemas/Failure"}
_FAILURE_EXAMPLE = {"success": False, "message": "…"}
_INVALID_EXAMPLE = {**_FAILURE_EXAMPLE, "errors": {"tab_id": ["…"]}}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before calling again.", "schema": {"type": "integer"}}
}
_STATUS_DESCRIPTIONS = {
    204: "This server has no streams. Ask with heartbeats, or for the viewers, instead.",
    304: "Unchanged since the ETag that was sent in `If-None-Match`.",
    400: "The body is not valid JSON.",
    401: "The caller did not prove an identity: there is no token or session, or it is invalid or expired.",
    403: "The caller may not do this: the record, the call or a field is not allowed, or a session's "
    "CSRF token is missing or wrong.",
    404: "There is no such record, or it is not kept here which records are open.",
    409: "The tab id belongs to another user.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    422: "A field or parameter is invalid. `errors` says which.",
    429: "Too many calls, or tabs of one record. Call again after `Retry-After` seconds.",
    503: "Redis, the keys that verify tokens, or the application's database can't be reached. "
    "Call again after `Retry-After` seconds.",
}
_DESCRIPTION = """\
Who has this record open right now, in which tabs, and who is editing.

Every answer but the event stream is JSON in one envelope: `{"success": true, "data": {…}}` or \
`{"success": false, "message": "…", "errors": {"field": ["…"]}}`.

The caller's identity and tenant come from a bearer token or a session, never from the body or the URL. \
To try a call on this page, choose **Authorize** and paste a token. For development, \
`flask token --sub 42 --name Alice --tenant 1` prints one.
"""


def build_document(app: Flask) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the service in `app`, then of what is in `PresenceExtension.operations`.

    The calls and their groups are in the order of the reference.
    """
    marshmallow = MarshmallowPlugin()
    described = {**_OPERATIONS, **app.extensions[EXTENSION_NAME].operations}
    rules = [
        (rule, operation)
        for endpoint, operation in described.items()
        for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
        if rule.endpoint == endpoint
    ]
    spec = APISpec(
        title="Record Presence",
        version="1",
        openapi_version="3.1.0",
        info={"description": _DESCRIPTION},
        plugins=[marshmallow],
    )
    converter: Any = marshmallow.converter  # made by the spec; apispec has no types
    converter.add_attribute_function(_pattern)
    _add_security_schemes(spec, app)
    spec.components.schema("Failure", _FAILURE_SCHEMA)
    for tag in dict.fromkeys(operation.tag for _, operation in rules):
        spec.tag(tag._asdict())
    for rule, operation in rules:
        path, parameters = _path(rule.rule)
        method = next(method for method in sorted(rule.methods or ()) if method not in {"HEAD", "OPTIONS"})
        spec.path(path, operations={method.lower(): _operation(app, rule.endpoint, operation, parameters)})
    document: dict[str, Any] = spec.to_dict()
    for schema in (schemas.ClaimField, schemas.CheckFields):
        document["components"]["schemas"][schema.__name__]["not"] = schema.refused
    return document


def _add_security_schemes(spec: APISpec, app: Flask) -> None:
    bearer = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A signed JWT with `sub`, `name`, `tenant` and `exp`.",
    }
    session = {
        "type": "apiKey",
        "in": "cookie",
        "name": app.config["SESSION_COOKIE_NAME"],
        "description": "The cookie of a signed-in user, which the browser sends by itself. "
        f"Every call that is not a GET also needs the header `{CSRF_HEADER}`.",
    }
    spec.components.security_scheme("bearer", bearer)
    spec.components.security_scheme("session", session)


def _pattern(_converter: Any, field: "fields.Field[Any]", **_: Any) -> dict[str, str]:
    patterns = [check.regex for check in field.validators if isinstance(check, validate.Regexp)]
    return {"pattern": _whole(patterns[0])} if patterns else {}


def _whole(pattern: re.Pattern[Any]) -> str:
    """The pattern for JSON Schema, which searches and knows no \\Z."""
    return f"^{pattern.pattern.removesuffix(schemas.PATTERN_END)}$"


def _path(rule: str) -> tuple[str, list[dict[str, Any]]]:
    parameters = []
    schema: dict[str, Any]
    example: str | int
    for converter, argument in re.findall(r"<(?:(int):)?(\w+)>", rule):
        if converter:
            name, schema, example = argument, {"type": "integer", "minimum": 0}, 12
        else:
            name, pattern, example = _RECORD_PARAMETERS[argument]
            schema = {"type": "string", "pattern": _whole(pattern)}
        parameters.append(
            {"in": "path", "name": name, "required": True, "schema": schema, "example": example}
        )
        rule = re.sub(rf"<(int:)?{argument}>", f"{{{name}}}", rule)
    return rule, parameters


def _operation(
    app: Flask, endpoint: str, described: Operation, parameters: list[dict[str, Any]]
) -> dict[str, Any]:
    docstring = " ".join((app.view_functions[endpoint].__doc__ or "").split())
    summary, _, description = docstring.partition(". ")
    query = [{"in": "query", "schema": described.query}] if described.query else []
    operation: dict[str, Any] = {
        "operationId": endpoint.rpartition(".")[2],
        "tags": [described.tag.name],
        "summary": summary.removesuffix("."),
        "security": [{"bearer": []}, {"session": []}],
        "parameters": parameters + query,
        "responses": _responses(described),
    }
    if description:
        operation["description"] = description
    if body := described.body:
        schema = {"anyOf": list(body)} if isinstance(body, tuple) else body
        operation["requestBody"] = {"required": True, "content": _json(schema, described.example)}
    return operation


def _responses(described: Operation) -> dict[str, dict[str, Any]]:
    responses = {"200": _success(described.data) if described.data else _EVENT_STREAM}
    for status in sorted({*described.statuses, *described.common}):
        responses[str(status)] = _failure(status, described.refusals.get(status))
    return responses


def _success(data: type[Schema]) -> dict[str, Any]:
    envelope = {
        "type": "object",
        "required": ["success", "data"],
        "properties": {"success": {"type": "boolean", "enum": [True]}, "data": data},
    }
    return {"description": "Success.", "content": _json(envelope)}


def _failure(status: int, refusal: type[Schema] | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _STATUS_DESCRIPTIONS[status]}
    if refusal:
        answer["description"] = " ".join((refusal.__doc__ or "").split())
        data = {"type": "object", "required": ["data"], "properties": {"data": refusal}}
        answer["content"] = _json({"allOf": [_FAILURE, data]})
    elif status >= 400:
        answer["content"] = _json(_FAILURE, _INVALID_EXAMPLE if status == 422 else _FAILURE_EXAMPLE)
    if status in {429, 503}:
        answer["headers"] = _RETRY_AFTER
    return answer


def _json(schema: Any, example: Mapping[str, Any] | None = None) -> dict[str, Any]:
    content = {"schema": schema, "example": example} if example else {"schema": schema}
    return {"application/json": content}

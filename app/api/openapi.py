"""The OpenAPI document, made from the URL map and the schemas that validate."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Blueprint, Flask, Response, current_app, json, render_template
from marshmallow import Schema, fields, validate

from app.api import schemas
from app.api.headers import secure
from app.presence.records import RECORD_ID, RECORD_TYPE

# Its own stylesheet and a template of a name of its own: a host has its own.
blueprint = Blueprint(
    "openapi",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/api/docs/static",
)

# Here too, for a host application that gives its pages no policy.
blueprint.after_request(secure)

_RECORD_PARAMETERS = {
    "record_type": ("type", RECORD_TYPE, "flow"),
    "record_id": ("id", RECORD_ID, "12"),
}
_EVERYWHERE = (401, 429, 503)


class Operation(NamedTuple):
    """What a route takes and answers: schemas, and the statuses of its own.

    `common` are those that it has like all others; `refusals` say what stands
    in `data` of a failure, by status.
    """

    body: type[Schema] | tuple[type[Schema], ...] | None  # one of several
    query: type[Schema] | None
    data: type[Schema] | None
    statuses: tuple[int, ...]
    common: tuple[int, ...] = _EVERYWHERE
    refusals: Mapping[int, type[Schema]] = MappingProxyType({})


_OPERATIONS = {
    "presence.heartbeat": Operation(
        schemas.Heartbeat, None, schemas.Registered, (400, 403, 409, 413, 415, 422)
    ),
    "presence.viewers": Operation(None, schemas.ViewersQuery, schemas.Viewers, (304, 403, 422)),
    "presence.tabs": Operation(None, None, schemas.Tabs, (403, 422)),
    "presence.unregister": Operation(
        schemas.Unregister,
        None,
        schemas.Unregistered,
        (400, 403, 409, 413, 415, 422),
    ),
    "presence.batch_viewers": Operation(None, schemas.BatchQuery, schemas.Batch, (403, 422)),
    "presence.signal": Operation(schemas.Signal, None, schemas.Signalled, (400, 403, 409, 413, 415, 422)),
    "conflicts.saved": Operation(
        (schemas.Saved, schemas.SavedByServer), None, schemas.Announced, (400, 403, 409, 413, 415, 422)
    ),
    "conflicts.claim": Operation(schemas.ClaimField, None, schemas.Claimed, (400, 403, 409, 413, 415, 422)),
    "conflicts.release": Operation(
        schemas.ReleaseField, None, schemas.Released, (400, 403, 409, 413, 415, 422)
    ),
    "conflicts.timeline": Operation(None, schemas.TimelineQuery, schemas.Timeline, (403, 422)),
    "operators.inspect": Operation(None, None, schemas.Inspection, (403, 422)),
    "operators.evict": Operation(schemas.EvictTab, None, schemas.Evicted, (400, 403, 413, 415, 422)),
    "events.events": Operation(None, schemas.EventsQuery, None, (403, 422)),
}
# endpoint -> what its answer is, where that is not the envelope
_MEDIA_TYPES = {"events.events": "text/event-stream"}
_FAILURE = {"$ref": "#/components/schemas/Failure"}
_MEANING = {
    304: "Unchanged since the ETag sent in If-None-Match.",
    400: "The body is not JSON.",
    401: "No identity, or none that holds.",
    403: "No CSRF token, or a record, call or field that is not for this caller.",
    404: "There is no such record.",
    409: "The tab id belongs to another user.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "A field or parameter is not valid; `errors` says which.",
    429: "Too many calls; see Retry-After.",
    503: "Redis, the keys of the tokens or the demo's database are out of reach; see Retry-After.",
}


def build_document(app: Flask) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the service in `app`, and of what else is in `Presence.operations`."""
    marshmallow = MarshmallowPlugin(schema_name_resolver=lambda schema: _schema_name(schema))
    spec = APISpec(
        title="Record Presence",
        version="1",
        openapi_version="3.1.0",
        info={"description": "Who has this record open right now, in which tabs, and who is editing."},
        plugins=[marshmallow],
    )
    marshmallow.converter.add_attribute_function(_pattern)
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    spec.components.security_scheme("session", {"type": "apiKey", "in": "cookie", "name": "session"})
    spec.components.schema(
        "Failure",
        {
            "type": "object",
            "required": ["success", "message"],
            "properties": {
                "success": {"type": "boolean", "enum": [False]},
                "message": {"type": "string"},
                "errors": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
                "data": {"type": "object", "description": "What stands there now, of a refused save."},
            },
        },
    )
    described = {**_OPERATIONS, **app.extensions["presence"].operations}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        if rule.endpoint in described:
            path, parameters = _path(rule.rule)
            method = next(
                method for method in sorted(rule.methods or ()) if method not in {"HEAD", "OPTIONS"}
            )
            operation = _operation(app, rule.endpoint, described[rule.endpoint], parameters)
            spec.path(path, operations={method.lower(): operation})
    return spec.to_dict()


def _schema_name(schema: Any) -> str:
    from apispec.ext.marshmallow.common import resolve_schema_cls

    return resolve_schema_cls(schema).__name__


def _pattern(_converter: Any, field: fields.Field, **_: Any) -> dict[str, str]:
    patterns = [check.regex for check in field.validators if isinstance(check, validate.Regexp)]
    return {"pattern": _whole(patterns[0])} if patterns else {}


def _whole(pattern: re.Pattern[str]) -> str:
    """The pattern for JSON Schema, which searches and knows no \\Z."""
    return f"^{pattern.pattern.removesuffix(schemas.END)}$"


def _path(rule: str) -> tuple[str, list[dict[str, Any]]]:
    parameters = []
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
    body, query, data, statuses, common, refusals = described
    view = app.view_functions[endpoint]
    summary, _, description = (view.__doc__ or "").strip().partition("\n")
    operation: dict[str, Any] = {
        "operationId": endpoint.rpartition(".")[2],
        "summary": summary,
        "security": [{"bearer": []}, {"session": []}],
        "parameters": parameters + ([{"in": "query", "schema": query}] if query else []),
        "responses": {
            "200": {
                "description": "Done.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["success", "data"],
                            "properties": {"success": {"type": "boolean", "enum": [True]}, "data": data},
                        }
                    }
                },
            }
        },
    }
    if media_type := _MEDIA_TYPES.get(endpoint):
        operation["responses"]["200"]["content"] = {media_type: {"schema": {"type": "string"}}}
    if description.strip():
        operation["description"] = " ".join(description.split())
    if body:
        schema = {"anyOf": list(body)} if isinstance(body, tuple) else body
        content = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
    for status in sorted({*statuses, *common}):
        answer: dict[str, Any] = {"description": _MEANING[status]}
        if refusal := refusals.get(status):
            answer["description"] = " ".join((refusal.__doc__ or "").split())
            schema = {
                "allOf": [_FAILURE, {"type": "object", "required": ["data"], "properties": {"data": refusal}}]
            }
            answer["content"] = {"application/json": {"schema": schema}}
        elif status >= 400:
            answer["content"] = {"application/json": {"schema": _FAILURE}}
        if status in {429, 503}:
            answer["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
        operation["responses"][str(status)] = answer
    return operation


def _document() -> dict[str, Any]:
    state = current_app.extensions["presence"]
    if state.openapi_document is None:
        state.openapi_document = build_document(current_app)
    return state.openapi_document


@blueprint.get("/api/docs")
def docs() -> str:
    """The document as a page; it needs no internet and no script."""
    document = _document()
    return render_template("presence/docs.html", document=document, dump=json.dumps)


@blueprint.get("/api/docs/openapi.json")
def openapi_json() -> Response:
    """The document itself."""
    return Response(json.dumps(_document()), mimetype="application/json")

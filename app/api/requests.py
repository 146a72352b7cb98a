"""Reading the body and the query of a request, within bounds."""

import re
from functools import cache
from typing import Any

from flask import request
from marshmallow import EXCLUDE, Schema, ValidationError, fields
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from ..presence.errors import InvalidPresence
from .fast_schema import FastSchema
from .field_errors import errors_by_field
from .responses import BadRequest
from .schemas import SentAtQuery
from .strict_json import TooManyValues, read_json

MAX_BODY_BYTES = 64 * 1024
MAX_QUERY_PARAMETERS = 200  # twice the records of a batch

_ONLY_SENT_AT = re.compile(rb"sent_at=([0-9]{1,15})")
_SENT_AT_QUERY = SentAtQuery()


def read_body(schema: Schema | FastSchema) -> dict[str, Any]:
    """The JSON body, validated. Raises BadRequest (400, 413, 415) and InvalidPresence."""
    return load(schema, read_document())


def read_document() -> Any:
    """The JSON body, not validated. Raises BadRequest (400, 413, 415) and InvalidPresence."""
    _check_content_type()
    return _parse(_read_text())


def _check_content_type() -> None:
    # Nearly every client sends exactly this header; `is_json` would parse it.
    if request.environ.get("CONTENT_TYPE") == "application/json" or request.is_json:
        return
    if request.mimetype.partition(",")[0].strip() != "application/json":  # sent twice, it is joined
        raise BadRequest(415, "The body must be application/json.")


def _parse(text: bytes) -> Any:
    try:
        return read_json(text)
    except TooManyValues as error:
        raise InvalidPresence({"body": [f"Has {error}."]}) from None
    except ValueError:
        if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise BadRequest(415, "The body must not be compressed.") from None
        raise BadRequest(400, "The body is not JSON.") from None


def _read_text() -> bytes:
    try:
        # Not Flask's MAX_CONTENT_LENGTH, which would limit the host's uploads as well, nor the request's
        # own, which Flask 3.0 can't set. A stream that the host has begun to read is left as it is.
        # One more than allowed, because a chunked body is cut there without an error.
        if "stream" not in request.__dict__:
            request.stream = get_input_stream(request.environ, max_content_length=MAX_BODY_BYTES + 1)
        text = request.get_data(cache=False)
        if len(text) > MAX_BODY_BYTES:
            raise RequestEntityTooLarge
    except RequestEntityTooLarge:
        raise BadRequest(413, f"The body is larger than {MAX_BODY_BYTES} bytes.") from None
    except Exception:  # each server has its own error for bad chunks
        raise BadRequest(400, "The body is incomplete.") from None
    return text


def read_query(schema: Schema, *, partial: bool = False) -> dict[str, Any]:
    """The query parameters, validated; with `partial` none is required. Raises InvalidPresence.

    A parameter that is not a list may be given only once.
    """
    if not request.query_string:
        return dict(_load_empty_query(schema, partial))
    if request.query_string.count(b"&") >= MAX_QUERY_PARAMETERS:
        raise InvalidPresence({"query": [f"Must have at most {MAX_QUERY_PARAMETERS} parameters."]})
    document: dict[str, Any] = {}
    for name, values in request.args.lists():
        if isinstance(field := schema.fields.get(name), fields.List):
            document[name] = values
        elif field and len(values) > 1:
            raise InvalidPresence({name: ["May be given only once."]})
        else:
            document[name] = values[0]
    return load(schema, document, unknown=EXCLUDE, partial=partial)


@cache
def _load_empty_query(schema: Schema, partial: bool) -> dict[str, Any]:
    return load(schema, {}, partial=partial)


def read_body_or_query(schema: Schema) -> dict[str, Any]:
    """The JSON body, or the query where there is none: some proxies drop the body of a DELETE.

    Raises BadRequest and InvalidPresence, also for an invalid query beside a valid body.
    """
    if not (request.content_length or "Transfer-Encoding" in request.headers):
        return read_query(schema)
    text = _read_text()
    if not text:  # of a chunked body, nothing may be left
        return read_query(schema)
    query = read_query(schema, partial=True)
    _check_content_type()
    return {**query, **load(schema, _parse(text))}


def read_sent_at(body: dict[str, Any]) -> int | None:
    """When the client says that it has sent this: in the body, or else in the query.

    Our own client says it in the query, which a server of an earlier release ignores.
    """
    if "sent_at" in body or not request.query_string:
        return body.get("sent_at")
    if only := _ONLY_SENT_AT.fullmatch(request.query_string):  # nearly always, and marshmallow takes long
        return int(only[1])
    sent_at: int | None = read_query(_SENT_AT_QUERY).get("sent_at")
    return sent_at


def load(schema: Schema | FastSchema, document: Any, **options: Any) -> dict[str, Any]:
    """Validate a document with its schema, and return what it loads. Raises InvalidPresence."""
    try:
        loaded: dict[str, Any] = schema.load(document, **options)
        return loaded
    except ValidationError as error:
        raise InvalidPresence(errors_by_field(error)) from None

"""The envelope of every answer, and the one place where errors get their status."""

import json
import logging
import math
from collections.abc import Callable
from typing import Any

import orjson
from flask import Flask, Request, Response, request
from werkzeug import datastructures
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RoutingException

from app.identity.caller import Forbidden, KeysUnavailable, Unauthenticated
from app.presence.errors import (
    InvalidPresence,
    StoreUnavailable,
    TabOwnedByAnotherUser,
    TooManyCalls,
    TooManyStreams,
)

RETRY_WHEN_FULL_SECONDS = 10  # meanwhile a client polls; streams end after a quarter of an hour at the latest
RETRY_AFTER_SECONDS = 2  # when Redis is away; clients add their jitter

Headers = tuple[tuple[str, str], ...]

_HEADERS: Headers = (("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff"))
NOT_KEPT: Headers = (("Cache-Control", "no-store"),)

log = logging.getLogger("presence.api")

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _encode_quickly(envelope: dict[str, Any]) -> bytes:
    """The same as UTF-8, in a tenth of the time where orjson can: it knows no integer of over 64 bits."""
    try:
        return orjson.dumps(envelope)
    except orjson.JSONEncodeError:
        return _encode(envelope).encode()


class BadRequest(Exception):
    """A body that can't be read as what it claims to be."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Answer(Response):
    """A response whose headers are ready to be sent.

    Werkzeug would copy them and look for what only others have: a Location to
    be made absolute, a length to be counted.
    """

    default_mimetype = None  # a 304 has no content

    def get_wsgi_headers(self, environ: dict[str, Any]) -> datastructures.Headers:
        return self.headers


def success(data: dict[str, Any], headers: Headers = NOT_KEPT) -> Response:
    """200 with `data` in the envelope; `headers` say how long it may be kept."""
    text = _encode_quickly({"success": True, "data": data})
    return Answer([text], "200 OK", (*_HEADERS, *headers, ("Content-Length", str(len(text)))))


def unchanged(headers: Headers) -> Response:
    """304: the caller has it already."""
    return Answer([], "304 NOT MODIFIED", headers)


def failure(
    status: int,
    message: str,
    *,
    errors: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    retry_after_seconds: float | None = None,
) -> Response:
    """An error in the envelope. `Retry-After` is rounded up to whole seconds."""
    envelope: dict[str, Any] = {"success": False, "message": message}
    if errors is not None:
        envelope["errors"] = errors
    if data is not None:
        envelope["data"] = data
    # The name of a field that nobody knows may be half a surrogate pair, which has no UTF-8.
    response = Response(_encode(envelope).encode("utf-8", "replace"), status, (*_HEADERS, *NOT_KEPT))
    if retry_after_seconds is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after_seconds)))
    return response


def failure_of(error: Exception) -> Response:
    """The answer to an error, whichever layer raised it."""
    match error:
        case BadRequest():
            return failure(error.status, str(error))
        case InvalidPresence():
            return failure(422, "The request is not valid.", errors=error.errors)
        case Unauthenticated():
            response = failure(401, str(error))
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        case Forbidden():
            return failure(403, str(error))
        case TabOwnedByAnotherUser():
            return failure(409, "This tab id belongs to another user.")
        case TooManyCalls():
            return failure(429, str(error), retry_after_seconds=error.retry_after_seconds)
        case StoreUnavailable() | KeysUnavailable():
            missing = "store" if isinstance(error, StoreUnavailable) else "keys"
            log.warning(f"{missing} unavailable", extra={"error": str(error), "path": request.path})
            return failure(
                503, "Presence is not available right now.", retry_after_seconds=RETRY_AFTER_SECONDS
            )
        case TooManyStreams():
            return failure(503, str(error), retry_after_seconds=RETRY_WHEN_FULL_SECONDS)
        case HTTPException():
            response = failure(error.code or 500, f"{error.name}.")
            for name, value in error.get_headers():
                if name == "Allow":
                    response.headers[name] = value
            return response
    log.error("unexpected error", extra={"path": request.path}, exc_info=error)
    return failure(500, "Something went wrong here. It has been logged.")


def answer_errors(app: Flask, is_ours: Callable[[Request], bool]) -> None:
    """Answer every error on our paths in the envelope; leave other paths to the host.

    In Flask's own two methods for errors, not by registering handlers: a
    host's `errorhandler(404)` would come before ours, whichever is first.
    """
    handle_user_exception, handle_exception = app.handle_user_exception, app.handle_exception

    def handle(error: Exception) -> Any:
        # The router's redirects are exceptions as well.
        if is_ours(request) and not isinstance(error, RoutingException):
            return failure_of(error)
        return handle_user_exception(error)

    def handle_late(error: Exception) -> Response:
        """What an after_request function or a session raised."""
        return failure_of(error) if is_ours(request) else handle_exception(error)

    app.handle_user_exception = handle  # type: ignore[method-assign]
    app.handle_exception = handle_late  # type: ignore[method-assign]

"""The envelope of every answer, and the one place where each error gets its status."""

import logging
import math
from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response, current_app, request
from werkzeug import datastructures
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RoutingException

from ..identity.caller import Forbidden, KeysUnavailable, Unauthenticated, UnknownKey
from ..presence import json_codec
from ..presence.errors import (
    InvalidPresence,
    NoOpenIndex,
    ScriptFault,
    ScriptInvalid,
    StoreUnavailable,
    TabHasLeft,
    TabOwnedByAnotherUser,
    TooManyCalls,
    TooManyStreams,
    TooManyStreamsOfUser,
    TooManyTabs,
    TooMuchKept,
    TooMuchKeptOfTenant,
)
from .field_errors import limit_errors

RETRY_WHEN_FULL_SECONDS = 10  # a client polls meanwhile; every stream ends within a quarter of an hour
RETRY_AFTER_SECONDS = 2  # when Redis is unavailable; clients add their own jitter

MAX_LOGGED_REFUSALS = 20  # different ones, in the log of a process

_UNAVAILABLE = "Presence is not available right now."

Headers = tuple[tuple[str, str], ...]

_HEADERS: Headers = (("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff"))
NO_STORE: Headers = (("Cache-Control", "no-store"),)

log = logging.getLogger("presence.api")


class BadRequest(Exception):
    """A body that can't be read as what it claims to be; `status` is 400, 413 or 415."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PreparedResponse(Response):
    """A response whose headers are ready to be sent.

    Werkzeug would copy them, and check for things that ours never need: a Location
    to be made absolute, a length to be computed.
    """

    default_mimetype = None  # a 304 has no content

    def get_wsgi_headers(self, environ: dict[str, Any]) -> datastructures.Headers:
        return self.headers


def success(data: dict[str, Any], headers: Headers = NO_STORE) -> Response:
    """200 with `data` in the envelope; `headers` say whether and how it may be cached."""
    text = json_codec.dumps({"success": True, "data": data})
    return PreparedResponse([text], "200 OK", (*_HEADERS, *headers, ("Content-Length", str(len(text)))))


def not_modified(headers: Headers) -> Response:
    """304: the caller already has this version."""
    return PreparedResponse([], "304 NOT MODIFIED", headers)


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
    # The name of an unknown field may be half a surrogate pair, which UTF-8 can't encode.
    text = json_codec.encode_text(envelope).encode("utf-8", "replace")
    response = Response(text, status, (*_HEADERS, *NO_STORE))
    if retry_after_seconds is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after_seconds)))
    return response


def failure_of(error: Exception) -> Response:
    """The answer to an error, whichever layer raised it."""
    match error:
        case BadRequest():
            return failure(error.status, str(error))
        case InvalidPresence():
            return failure(422, "The request is not valid.", errors=limit_errors(error.errors))
        case Unauthenticated():
            response = failure(401, str(error))
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        case Forbidden():
            return failure(403, str(error))
        case NoOpenIndex():
            return failure(404, str(error))
        case TabOwnedByAnotherUser():
            return failure(409, "This tab id belongs to another user.")
        case TabHasLeft():
            return failure(409, "This tab has said goodbye after this heartbeat was sent.")
        case TooManyCalls() | TooManyTabs() | TooMuchKept() | TooMuchKeptOfTenant():
            return failure(429, str(error), retry_after_seconds=error.retry_after_seconds)
        case UnknownKey():  # not logged: anybody may name a key
            return failure(503, _UNAVAILABLE, retry_after_seconds=error.retry_after_seconds)
        case StoreUnavailable() | KeysUnavailable():
            missing = "store" if isinstance(error, StoreUnavailable) else "keys"
            log.warning(f"{missing} unavailable", extra={"error": str(error), "path": request.path})
            return failure(503, _UNAVAILABLE, retry_after_seconds=RETRY_AFTER_SECONDS)
        case TooManyStreamsOfUser():
            return failure(429, str(error), retry_after_seconds=RETRY_WHEN_FULL_SECONDS)
        case TooManyStreams():
            return failure(503, str(error), retry_after_seconds=RETRY_WHEN_FULL_SECONDS)
        case HTTPException():
            response = failure(error.code or 500, _message_of(error))
            for name, value in error.get_headers():
                if name == "Allow":
                    response.headers[name] = value
            return response
    log.error("unexpected error", extra={"path": request.path}, exc_info=error)
    if isinstance(error, ScriptFault | ScriptInvalid) and current_app.debug:
        return failure(500, str(error))
    return failure(500, "Something went wrong on our side. It has been logged.")


def _message_of(error: HTTPException) -> str:
    """Its name, and what it says beyond that; the log learns how to mend what only the host can."""
    has_reason = error.description and error.description != getattr(type(error), "description", None)
    message = f"{error.name}: {error.description}" if has_reason else f"{error.name}."
    if error.code not in {404, 405}:
        _log_refusal(message, request.path)
    return message


_logged_refusals: set[str] = set()  # in this process


def _log_refusal(message: str, path: str) -> None:
    # Ours has other exceptions: this one is of a function or an extension of the host, for each heartbeat.
    if message not in _logged_refusals and len(_logged_refusals) < MAX_LOGGED_REFUSALS:
        _logged_refusals.add(message)
        log.warning(
            f"the application itself refuses calls ({message}): let its before_request functions and"
            " extensions leave out the paths of Record Presence",
            extra={"path": path},
        )


def register_error_handlers(
    app: Flask,
    is_presence_path: Callable[[Request], bool],
    answer_to_refused_call: Callable[[Exception], Exception],
) -> None:
    """Answer every error on our own paths in the envelope; leave other paths to the host.

    `answer_to_refused_call` is asked which error to answer with, since a refused call may be one too many.

    Replaces two methods of Flask instead of registering handlers, because a host's
    `errorhandler(404)` would take precedence over ours.
    """
    handle_user_exception, handle_exception = app.handle_user_exception, app.handle_exception

    def handle(error: Exception) -> Any:
        # The router raises its redirects as exceptions.
        if is_presence_path(request) and not isinstance(error, RoutingException):
            return failure_of(answer_to_refused_call(error))
        return handle_user_exception(error)

    def handle_unhandled(error: Exception) -> Response:
        """For errors raised by an after_request function or a session."""
        return failure_of(error) if is_presence_path(request) else handle_exception(error)

    app.handle_user_exception = handle  # type: ignore[assignment, method-assign]
    app.handle_exception = handle_unhandled  # type: ignore[assignment, method-assign]

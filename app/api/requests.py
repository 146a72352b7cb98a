"""Reading a request: who calls, which record, what the body says."""

from functools import cache
from typing import Any

from flask import request, session
from marshmallow import EXCLUDE, Schema, ValidationError, fields
from werkzeug.exceptions import RequestEntityTooLarge

from app.api.extension import presence
from app.api.quick import QuickSchema
from app.api.responses import BadRequest
from app.api.schemas import read_json
from app.identity.caller import Caller, Forbidden, Unauthenticated
from app.identity.session import CSRF_HEADER, caller_of, check_csrf_token
from app.presence.errors import InvalidPresence
from app.presence.records import record_errors

MAX_BODY_BYTES = 64 * 1024
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def read_caller() -> Caller:
    """Who calls, by her proof. Raises Unauthenticated, and Forbidden without a CSRF token.

    A bearer token comes first, then the host's loader, then the session.
    """
    state = presence()
    authorization = request.headers.get("Authorization")
    if authorization:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("The Authorization header must read: Bearer <token>.")
        return state.bearer_tokens.identify(token.strip())
    caller = state.load_identity(request) if state.load_identity else None
    if caller and state.bearer_tokens.is_reserved(caller.tenant):
        raise Unauthenticated("This tenant is none of the host's.")
    caller = caller or caller_of(session)
    if caller is None:
        raise Unauthenticated("Who are you? Send a bearer token or sign in.")
    if caller.needs_csrf_token and request.method not in _SAFE_METHODS:
        check_csrf_token(session, request.headers.get(CSRF_HEADER))
    return caller


def check_record(record_type: str, record_id: str) -> None:
    """Raises InvalidPresence when the path names no record."""
    if errors := record_errors(record_type, record_id):
        raise InvalidPresence(errors)


def check_access(caller: Caller, *record_names: str) -> None:
    """Raises Forbidden unless the caller's proof covers all of these records."""
    for name in record_names:
        if not caller.may_see(name):
            raise Forbidden(f"You may not see {name}.")


def admit(caller: Caller, *record_names: str) -> None:
    """Let the caller through to these records. Raises Forbidden and TooManyCalls.

    Comes last before the service: what is wrong in a request is said without
    asking Redis.
    """
    check_access(caller, *record_names)
    presence().throttle.check(caller)


def read_body(schema: Schema | QuickSchema) -> dict[str, Any]:
    """The JSON body, validated. Raises BadRequest (400, 413, 415) and InvalidPresence."""
    return load(schema, read_document())


def read_document() -> Any:
    """The JSON body as it is. Raises BadRequest (400, 413, 415)."""
    # What nearly all clients send is known without taking it apart.
    if request.environ.get("CONTENT_TYPE") != "application/json" and not request.is_json:
        raise BadRequest(415, "The body must be application/json.")
    text = _read_text()
    try:
        return read_json(text)
    except ValueError:
        raise BadRequest(400, "The body is not JSON.") from None


def _read_text() -> bytes:
    try:
        # Not Flask's MAX_CONTENT_LENGTH, which would limit the host's uploads as well.
        # One more than allowed, because a body in chunks is cut there without an error.
        request.max_content_length = MAX_BODY_BYTES + 1
        text = request.get_data(cache=False)
        if len(text) > MAX_BODY_BYTES:
            raise RequestEntityTooLarge
    except RequestEntityTooLarge:
        raise BadRequest(413, f"The body is larger than {MAX_BODY_BYTES} bytes.") from None
    except Exception:  # every server has its own for bad chunks
        raise BadRequest(400, "The body did not arrive whole.") from None
    return text


def read_query(schema: Schema, *, partial: bool = False) -> dict[str, Any]:
    """The query parameters, validated; with `partial` none is required. Raises InvalidPresence.

    What is no list may stand only once.
    """
    if not request.query_string:
        return dict(_load_nothing(schema, partial))
    document: dict[str, Any] = {}
    for name, values in request.args.lists():
        if isinstance(field := schema.fields.get(name), fields.List):
            document[name] = values
        elif field and len(values) > 1:
            raise InvalidPresence({name: ["Stands more than once."]})
        else:
            document[name] = values[0]
    return load(schema, document, unknown=EXCLUDE, partial=partial)


@cache
def _load_nothing(schema: Schema, partial: bool) -> dict[str, Any]:
    return load(schema, {}, partial=partial)


def read_body_or_query(schema: Schema) -> dict[str, Any]:
    """The JSON body, or the query where there is none: some proxies drop the body of a DELETE.

    Raises BadRequest and InvalidPresence; also for a query that is wrong beside a good body.
    """
    has_body = request.content_length or "Transfer-Encoding" in request.headers
    query = read_query(schema, partial=bool(has_body))
    return read_body(schema) if has_body else query


def load(schema: Schema | QuickSchema, document: Any, **options: Any) -> dict[str, Any]:
    """What a schema makes of a document. Raises InvalidPresence."""
    try:
        return schema.load(document, **options)
    except ValidationError as error:
        raise InvalidPresence(_by_field(error)) from None


def _by_field(error: ValidationError) -> dict[str, list[str]]:
    """One list of messages a field, also for errors inside a list."""
    errors: dict[str, list[str]] = {}
    for name, messages in error.normalized_messages().items():
        if isinstance(messages, dict):
            messages = [f"{index}: {text}" for index, texts in messages.items() for text in texts]
        errors[str(name).strip("_") if name == "_schema" else str(name)] = messages
    return errors

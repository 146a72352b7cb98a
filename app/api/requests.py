"""Reading a request: who makes it, about which record, with which parameters."""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from math import ceil
from typing import Any

from flask import request, session
from marshmallow import EXCLUDE, Schema, ValidationError, fields
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from ..identity.caller import Caller, Forbidden, KeysUnavailable, Unauthenticated, UnknownKey
from ..identity.failed_authentication_limit import client_address
from ..identity.kept_bytes import KeptBytesLimit, TenantMemory
from ..identity.session import caller_of
from ..identity.throttle import Throttle
from ..presence.errors import InvalidPresence, StoreUnavailable, TooManyCalls
from ..presence.greenlets import runs_greenlets
from ..presence.limits import Quota
from ..presence.service import RecordPresenceService
from ..presence.validation import record_errors
from .csrf import check_csrf
from .extension import PresenceExtension, current_extension
from .fast_schema import FastSchema
from .field_errors import errors_by_field
from .pacing import MAX_SHARE, Pacer
from .paths import API_PREFIX
from .responses import BadRequest
from .schemas import SentAtQuery
from .strict_json import TooManyValues, read_json

MAX_BODY_BYTES = 64 * 1024
MAX_QUERY_PARAMETERS = 200  # twice the records of a batch
RECORDS_PER_CALL = 10  # in a batch or a stream; so many count as one call
MIN_HEARTBEAT_SECONDS = 1.0  # that a client is told, unless a shorter interval is set
REFUSAL_PAUSE_SECONDS = 0.1  # before a call that is over a limit, or has no valid proof, is answered
REFUSAL_SECONDS = 0.0005  # that such a call takes; together, they are answered at the pace of this
MAX_REFUSAL_PAUSE_SECONDS = 1.0
VIEWERS_PER_CALL = 100  # of one record, or entries of its timeline; the same
FIELD_BYTES_PER_CALL = 512  # of names of unsaved or saved fields, which are stored more than once; the same

_refusals = Pacer(share=MAX_SHARE, burst_seconds=0.0, max_wait_seconds=MAX_REFUSAL_PAUSE_SECONDS)

# In the WSGI environment.
ARRIVED_US = "presence.arrived_us"  # when the request began, see presence/stamps.py
_CALL = "presence.call"
_BEARER = re.compile(r"(?:^|,)\s*bearer[ \t]+([^\s,]+)", re.IGNORECASE)
_NO_BEARER = "The Authorization header must read: Bearer <token>."
_ONLY_SENT_AT = re.compile(rb"sent_at=([0-9]{1,15})")
_SENT_AT_QUERY = SentAtQuery()
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Call:
    """A call whose caller is known. It counts against the caller's limit, whatever comes of it."""

    __slots__ = ("_throttle", "caller", "is_counted")

    def __init__(self, caller: Caller, throttle: Throttle) -> None:
        self._throttle = throttle
        self.caller = caller
        self.is_counted = False  # true as soon as a script has been asked to count it

    def begin(self) -> None:
        """Leave the call where `answer_to_refused_call` finds it.

        Raises TooManyCalls for a user who is known to be over the limit, and Forbidden without a CSRF token.
        """
        self._throttle.refuse_blocked(self.caller)
        request.environ[_CALL] = self
        if self.caller.needs_csrf_token and request.method not in _SAFE_METHODS:
            check_csrf()

    def count(self, cost: int = 1) -> None:
        """Count the call, as `cost` calls, in a round trip to Redis.

        Raises TooManyCalls and StoreUnavailable.
        """
        self.is_counted = True
        self._throttle.check(self.caller, cost)

    def quota(self) -> Quota | None:
        """The quota that the service's own script counts, which saves a round trip.

        None where one script can't do both, as in a Cluster: then it is counted here. Raises TooManyCalls.
        """
        self.is_counted = True
        return self._throttle.quota(self.caller)

    def remember_blocked(self, error: TooManyCalls) -> None:
        """Answer this user's next calls without Redis, until the window ends."""
        self._throttle.remember_blocked(self.caller, error.retry_after_seconds)


def authenticate() -> Caller:
    """The caller, by their proof of identity.

    A bearer token comes first, then the host's identity loader, then the session.
    Raises Unauthenticated, Forbidden without a CSRF token, and TooManyCalls for a
    user who is known to be over the limit.
    """
    extension = current_extension()
    call = Call(_identify(extension), extension.throttle)
    call.begin()
    return call.caller


def _identify(extension: PresenceExtension) -> Caller:
    authorization = request.headers.get("Authorization")
    token = _bearer_token(authorization) if authorization else None
    if token:
        return extension.bearer_tokens.find(token) or _verify(extension, token)
    caller = extension.load_identity(request) if extension.load_identity else None
    if caller and extension.bearer_tokens.is_reserved(caller.tenant):
        raise Unauthenticated("This tenant is reserved: only its own tokens may name it.")
    caller = caller or caller_of(session)
    if caller is None and authorization:
        raise Unauthenticated(_NO_BEARER)
    if caller is None:
        raise Unauthenticated("No proof of identity: send a bearer token or sign in.")
    return caller


def _bearer_token(authorization: str) -> str | None:
    """The token of the header; None where it has credentials of other schemes only.

    A browser sends those for a proxy that asks for a password, and a proxy may add its own: servers join
    them with commas. Raises Unauthenticated for a header without a token, or with two.
    """
    scheme, _, token = authorization.partition(" ")
    is_bearer = scheme.lower() == "bearer"
    if is_bearer and token and "," not in token:
        return token.strip()
    tokens = set(_BEARER.findall(authorization))
    if len(tokens) == 1:
        return str(tokens.pop())
    if tokens or is_bearer:
        raise Unauthenticated(_NO_BEARER)
    return None


def _verify(extension: PresenceExtension, token: str) -> Caller:
    """Check a token that was not seen in the last minute. Raises TooManyCalls for its address as well."""
    trusts_forwarded_for = extension.settings.trust_forwarded_for
    address = client_address(request.environ, trusts_forwarded_for=trusts_forwarded_for)
    extension.failed_authentications.check(address)
    try:
        return extension.bearer_tokens.identify(token)
    except (Unauthenticated, UnknownKey):
        extension.failed_authentications.count_failure(address)
        raise


class RecordCall(Call):
    """A call about one record: who makes it, and the service that carries it out.

    All views refuse in the same order: no identity, a caller who is known to be over
    the limit, no role, an invalid record name (these four in `read_record_call`), an
    invalid body or query (in the view), a record that the caller may not see, and last
    a call beyond the limit (in the `authorize_…` methods).
    """

    __slots__ = ("_extension", "record_name")

    def __init__(
        self, caller: Caller, throttle: Throttle, extension: PresenceExtension, record_name: str
    ) -> None:
        super().__init__(caller, throttle)
        self._extension = extension
        self.record_name = record_name

    @property
    def service(self) -> RecordPresenceService:
        """The service of the caller's tenant."""
        return self._extension.service(self.caller.tenant)

    def heartbeat_seconds(self, seconds_left: float | None) -> float:
        """When the caller's tab should send its next heartbeat.

        At most a third of its lease, which ends with the proof: `seconds_left`, None for a proof
        that does not expire. A third of a lease below 3 s is raised to 1 s.
        """
        settings = self._extension.settings
        seconds = settings.heartbeat_seconds
        lease_seconds = settings.ttl_seconds
        if seconds_left is not None and seconds_left < lease_seconds:
            lease_seconds = seconds_left
        if seconds * 3 <= lease_seconds:
            return seconds
        return min(seconds, max(MIN_HEARTBEAT_SECONDS, int(lease_seconds / 3 * 1000) / 1000))

    @property
    def kept_bytes(self) -> KeptBytesLimit:
        """What is kept of each user."""
        return self._extension.kept_bytes

    def keep(self, kept_bytes: int) -> None:
        """Note that so many bytes are kept for the caller."""
        self._extension.kept_bytes.add(self.caller, kept_bytes)
        self._extension.tenant_memory.add(self.caller.tenant, kept_bytes)

    @property
    def tenant_memory(self) -> TenantMemory:
        """What each tenant takes up."""
        return self._extension.tenant_memory

    def authorize_and_throttle(self, *, limit: int = VIEWERS_PER_CALL, field_bytes: int = 0) -> None:
        """Count the call, in a round trip to Redis. Raises Forbidden and TooManyCalls.

        `limit` is how many viewers or entries it asks for: every hundred count as a call, and
        so do 512 bytes of names of fields.
        """
        authorize(self.caller, self.record_name)
        self.count(_cost(1, limit) + field_bytes // FIELD_BYTES_PER_CALL)

    def authorize_and_quota(self, *, limit: int = VIEWERS_PER_CALL, field_bytes: int = 0) -> Quota | None:
        """Authorize, and return the quota for the service's script to count, which saves a round trip.

        None if the call is counted here: one that counts as more than one call, and
        any call in a Cluster, where one script can't do both. Raises Forbidden, and
        TooManyCalls if it is counted here.
        """
        authorize(self.caller, self.record_name)
        if limit > VIEWERS_PER_CALL or field_bytes >= FIELD_BYTES_PER_CALL:
            self.count(_cost(1, limit) + field_bytes // FIELD_BYTES_PER_CALL)
            return None
        return self.quota()


def read_record_call(
    record_type: str, record_id: str, role: str | None = None, *, is_signal: bool = False
) -> RecordCall:
    """The call about this record, by an authenticated caller; with `role`, only by one with that role.

    Signals are counted apart from other calls. Raises what `authenticate` raises,
    Forbidden and InvalidPresence.
    """
    extension = current_extension()
    caller = _identify(extension)
    throttle = extension.signal_throttle if is_signal else extension.throttle
    call = RecordCall(caller, throttle, extension, f"{record_type}:{record_id}")
    call.begin()
    if role and caller.role != role:
        raise Forbidden(f"Needs a token whose role is {role}.")
    if errors := record_errors(record_type, record_id):
        raise InvalidPresence(errors)
    return call


def authorize(caller: Caller, *record_names: str) -> None:
    """Raise Forbidden unless the caller may see all of these records."""
    for name in record_names:
        if not caller.may_see(name):
            raise Forbidden(f"You may not see {name}.")


def authorize_and_throttle(
    caller: Caller, *record_names: str, records: int = 0, limit: int = VIEWERS_PER_CALL
) -> None:
    """Count the call, about these records, up to `limit` viewers of each. Raises Forbidden and TooManyCalls.

    `records` is how many others it may be about. Every ten records count as a call. Comes last, right
    before the service is called: an invalid request costs no round trip before it is known to be invalid.
    """
    authorize(caller, *record_names)
    request.environ[_CALL].count(_cost(len(record_names) + records, limit))


def bytes_of(names: Sequence[str]) -> int:
    """Of these names together, in UTF-8."""
    return len("".join(names).encode()) if names else 0


def throttle_call() -> None:
    """Count the call of this request now; it passes while Redis is unavailable. Raises TooManyCalls."""
    with suppress(StoreUnavailable):
        request.environ[_CALL].count()


def _cost(records: int, limit: int) -> int:
    """How many calls a call counts as that asks for so many viewers, or entries, of so many records."""
    return max(1, ceil(records / RECORDS_PER_CALL)) * max(1, ceil(limit / VIEWERS_PER_CALL))


def answer_to_refused_call(error: Exception) -> Exception:
    """The error to answer with: this one, or TooManyCalls. Pauses where nobody or too much was counted."""
    error = _count_refused_call(error)
    if isinstance(error, TooManyCalls | Unauthenticated | UnknownKey):
        pause_before_refusal()
    return error


def pause_before_refusal() -> None:
    """Keep a client that nobody can be counted for, or who is over a limit, waiting for a moment.

    It can call again as often as it likes, on many connections, and each answer takes its time from everybody
    else's. Only where waiting costs nothing: a greenlet may wait, while a thread would be missing elsewhere.
    """
    if runs_greenlets():
        time.sleep(REFUSAL_PAUSE_SECONDS + _refusals.reserve(REFUSAL_SECONDS))


def _count_refused_call(error: Exception) -> Exception:
    """The error to answer with: this one, or TooManyCalls.

    Counts a call that was refused before a script could count it, and one to a path or with a
    method that does not exist. A call without a proof of identity counts against nobody.
    """
    if _CALL not in request.environ and isinstance(error, HTTPException):
        if not request.path.startswith(f"{API_PREFIX}/"):
            return error
        try:
            authenticate()
        except TooManyCalls as too_many:
            return too_many
        except (Unauthenticated, Forbidden, KeysUnavailable):
            pass
    call: Call | None = request.environ.get(_CALL)
    if call is None:
        return error
    if isinstance(error, TooManyCalls):
        call.remember_blocked(error)
    elif not (call.is_counted or isinstance(error, StoreUnavailable)):
        try:
            call.count()
        except TooManyCalls as too_many:
            return too_many
        except StoreUnavailable:
            pass  # it is refused in any case
    return error


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

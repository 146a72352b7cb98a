"""Who makes a call, about which record, and what it costs its caller."""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from typing import Any

from flask import request, session

from ..identity.caller import Caller, Forbidden, Unauthenticated, UnknownKey
from ..identity.failed_authentication_limit import client_address
from ..identity.kept_bytes import (
    ENTRY_COPIES,
    OPEN_INDEX_BYTES,
    KeptBytesLimit,
    TenantMemory,
    bytes_of_unsaved,
)
from ..identity.session import caller_of
from ..identity.throttle import Throttle
from ..presence.errors import InvalidPresence, StoreUnavailable, TooManyCalls
from ..presence.limits import Quota
from ..presence.results import ViewerList
from ..presence.service import RecordPresenceService
from ..presence.validation import record_errors
from .csrf import check_csrf
from .extension import PresenceExtension, current_extension

RECORDS_PER_CALL = 10  # in a batch or a stream; so many count as one call
VIEWERS_PER_CALL = 100  # of one record, or entries of its timeline; the same
FIELD_BYTES_PER_CALL = 512  # of names of unsaved or saved fields, which are stored more than once; the same
MIN_HEARTBEAT_SECONDS = 1.0  # that a client is told, unless a shorter interval is set
# A page that keeps its token until the very end has the next one only after that: until its heartbeat
# arrives, the tab must not expire, or others would see it leave and its claims would be lost.
MIN_LEASE_SECONDS = 10.0

# In the WSGI environment.
ARRIVED_US = "presence.arrived_us"  # when the request began, see presence/stamps.py
CALL = "presence.call"
_BEARER = re.compile(r"(?:^|,)\s*bearer[ \t]+([^\s,]+)", re.IGNORECASE)
_NO_BEARER = "The Authorization header must read: Bearer <token>."
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Call:
    """A call whose caller is known. It counts against the caller's limit, whatever comes of it."""

    __slots__ = ("_throttle", "caller", "is_counted")

    def __init__(self, caller: Caller, throttle: Throttle) -> None:
        self._throttle = throttle
        self.caller = caller
        self.is_counted = False  # true as soon as a script has been asked to count it

    def begin(self) -> None:
        """Leave the call where refusals.py finds it.

        Raises TooManyCalls for a user who is known to be over the limit, and Forbidden without a CSRF token.
        """
        self._throttle.refuse_blocked(self.caller)
        request.environ[CALL] = self
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

    def lease_seconds(self) -> float | None:
        """How long the caller's tab lives after this heartbeat; None for as long as the settings say.

        No longer than the caller's proof, but for a grace, and an agent's tab has a lease of its own.
        """
        seconds_left = self._proof_seconds_left()
        lease_seconds = None if seconds_left is None else max(seconds_left, MIN_LEASE_SECONDS)
        if not self.caller.is_agent:
            return lease_seconds
        agent_seconds = self._extension.settings.agent_ttl_seconds
        return agent_seconds if lease_seconds is None else min(lease_seconds, agent_seconds)

    @property
    def is_hidden(self) -> bool:
        """Whether nobody is to see the caller: nothing of their tabs is stored."""
        return self.caller.role is not None and self.caller.role in self._extension.settings.hidden_roles

    def beat(
        self,
        record_type: str,
        record_id: str,
        tab_id: str,
        mode: str,
        dirty: bool,
        *,
        field_bytes: int = 0,
        **state: Any,
    ) -> ViewerList:
        """Register or renew a tab of the caller, for as long and as much as they may, and count what is kept.

        `field_bytes` are those of its unsaved fields; `state` as in `update_presence`, which says what
        is raised.
        """
        caller, memory = self.caller, self.tenant_memory
        result = self.service.update_presence(
            record_type,
            record_id,
            tab_id,
            caller.user_id,
            caller.user_name,
            mode,
            dirty,
            profile=caller.profile,
            lease_seconds=self.lease_seconds(),
            may_join=not memory.is_full(caller.tenant),
            is_logged=self.kept_bytes.has_room(caller),
            arrived_us=request.environ.get(ARRIVED_US),
            **state,
        )
        profile_bytes = len(caller.profile.text) if caller.profile else 0
        unsaved = len(state.get("dirty_fields", ()))
        index_bytes = bytes_of_unsaved(caller, unsaved, field_bytes) if unsaved else 0
        memory.count_tab(caller.tenant, field_bytes + profile_bytes, index_bytes)
        if result.has_joined and self._extension.settings.open_index:
            memory.add(caller.tenant, OPEN_INDEX_BYTES)
        if result.timeline_bytes:
            self.keep(ENTRY_COPIES * result.timeline_bytes)
        return result

    def heartbeat_seconds(self) -> float:
        """When the caller's tab should send its next heartbeat.

        At most a third of what is left of its proof and of its lease. A third of a lease below 3 s is
        raised to 1 s.
        """
        settings = self._extension.settings
        seconds = settings.heartbeat_seconds
        lease_seconds = settings.agent_ttl_seconds if self.caller.is_agent else settings.ttl_seconds
        seconds_left = self._proof_seconds_left()
        if seconds_left is not None and seconds_left < lease_seconds:
            lease_seconds = seconds_left
        if seconds * 3 <= lease_seconds:
            return seconds
        return min(seconds, max(MIN_HEARTBEAT_SECONDS, int(lease_seconds / 3 * 1000) / 1000))

    def _proof_seconds_left(self) -> float | None:
        """Until the caller's proof expires; None if it does not expire."""
        expires_at = self.caller.expires_at
        return None if expires_at is None else expires_at - time.time()

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
    request.environ[CALL].count(_cost(len(record_names) + records, limit))


def bytes_of(names: Sequence[str]) -> int:
    """Of these names together, in UTF-8."""
    return len("".join(names).encode()) if names else 0


def throttle_call() -> None:
    """Count the call of this request now; it passes while Redis is unavailable. Raises TooManyCalls."""
    with suppress(StoreUnavailable):
        request.environ[CALL].count()


def _cost(records: int, limit: int) -> int:
    """How many calls a call counts as that asks for so many viewers, or entries, of so many records."""
    return max(1, ceil(records / RECORDS_PER_CALL)) * max(1, ceil(limit / VIEWERS_PER_CALL))

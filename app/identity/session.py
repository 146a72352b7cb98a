"""Cookie sessions: a caller in Flask's signed session, and the session's CSRF token."""

import hmac
import secrets
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from flask import Flask, Request, Response, current_app, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import BadSignature, URLSafeTimedSerializer

from .caller import Caller, Forbidden
from .proof_cache import ProofCache
from .signed_out_sessions import SignedOutSessions

CSRF_HEADER = "X-CSRF-TOKEN"
MAX_COOKIE_HEADER_LENGTH = 8190  # characters; several headers may be joined, and each cookie takes time

_CALLER_KEY, _CSRF_KEY, _ID_KEY = "presence_caller", "presence_csrf", "presence_session"


def sign_in(session: MutableMapping[str, Any], caller: Caller) -> None:
    """Start a new session for a caller; nothing of an earlier one remains.

    Raises ValueError for an agent, which a session could not tell from a user.
    """
    if caller.is_agent:
        raise ValueError("an agent can't sign in: it needs a token or an identity loader")
    session.clear()
    session[_CALLER_KEY] = {
        "user_id": caller.user_id,
        "user_name": caller.user_name,
        "tenant": caller.tenant,
        "records": None if caller.records is None else list(caller.records),
        **({"picture": caller.picture} if caller.picture else {}),
        **({"about": dict(caller.about)} if caller.about else {}),
    }
    session[_ID_KEY] = secrets.token_urlsafe(16)
    csrf_token(session)


def sign_out(session: MutableMapping[str, Any]) -> None:
    """End a session. Its cookie counts no more, wherever a copy of it is kept.

    In this process at once, in others within a minute. Raises StoreUnavailable; this browser is signed
    out even so.
    """
    ended = dict(session)
    session.clear()
    interface = current_app.session_interface
    if isinstance(interface, CachedSessionInterface):
        interface.sign_out(ended, current_app.permanent_session_lifetime.total_seconds())


def caller_of(session: MutableMapping[str, Any]) -> Caller | None:
    """The caller that `sign_in` put there, if any."""
    kept = session.get(_CALLER_KEY)
    if not kept:
        return None
    records = kept["records"]
    return Caller(
        user_id=kept["user_id"],
        user_name=kept["user_name"],
        tenant=kept["tenant"],
        records=None if records is None else tuple(records),
        picture=kept.get("picture"),
        about=kept.get("about"),
    )


def csrf_token(session: MutableMapping[str, Any]) -> str:
    """The session's token. It lasts as long as the session, so that it never expires in an open tab."""
    token: str | None = session.get(_CSRF_KEY)
    if token is None:
        token = session[_CSRF_KEY] = secrets.token_urlsafe(32)
    return token


def is_csrf_token(session: MutableMapping[str, Any], sent: str) -> bool:
    """Whether `sent` is the session's token."""
    kept: str = session.get(_CSRF_KEY) or ""
    return kept != "" and hmac.compare_digest(kept.encode(), sent.encode("utf-8", "replace"))


def check_csrf_token(session: MutableMapping[str, Any], sent: str | None) -> None:
    """Raises Forbidden unless `sent` is the session's token."""
    if not is_csrf_token(session, sent or ""):
        raise Forbidden(f"The {CSRF_HEADER} header is missing or wrong.")


class CachedSessionInterface(SecureCookieSessionInterface):
    """Flask's sessions, whose cookie is verified once a minute instead of at every call.

    The cookie is Secure if the request came over TLS, so the demo works without TLS too.
    """

    def __init__(self, app: Flask, signed_out: SignedOutSessions) -> None:
        serializer = super().get_signing_serializer(app)
        self._signed_out = signed_out
        self._serializer = _CachedSerializer(serializer, self._is_signed_out) if serializer else None

    def sign_out(self, content: dict[str, Any], lifetime_seconds: float) -> None:
        """Refuse the cookies of the session with this content. Raises StoreUnavailable."""
        if not (session_id := content.get(_ID_KEY)):
            return
        if self._serializer:
            self._serializer.forget(lambda kept: kept.get(_ID_KEY) == session_id)
        self._signed_out.add(content[_CALLER_KEY]["tenant"], session_id, lifetime_seconds)

    def _is_signed_out(self, content: dict[str, Any]) -> bool:
        session_id = content.get(_ID_KEY)
        return session_id is not None and self._signed_out.has(content[_CALLER_KEY]["tenant"], session_id)

    def get_signing_serializer(self, app: Flask) -> "_CachedSerializer | None":  # type: ignore[override]
        return self._serializer

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        # Nearly every caller has a bearer token and no cookie.
        if not 0 < len(request.environ.get("HTTP_COOKIE", "")) <= MAX_COOKIE_HEADER_LENGTH:
            return self.session_class()
        return super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.modified or session.permanent or "Vary" in response.headers:
            super().save_session(app, session, response)
        elif session.accessed:
            response.headers["Vary"] = "Cookie"  # all that Flask would do here, in a quarter of the time


class _CachedSerializer:
    """What Flask uses of a cookie serializer. It remembers verified cookies for a minute at most."""

    def __init__(
        self, serializer: URLSafeTimedSerializer, is_signed_out: Callable[[dict[str, Any]], bool]
    ) -> None:
        self._serializer = serializer
        self._is_signed_out = is_signed_out  # asks Redis
        self._proofs = ProofCache[Any]()

    def dumps(self, content: Any) -> str | bytes:
        return self._serializer.dumps(content)

    def loads(self, cookie: str, max_age: int) -> Any:
        """The content, as a copy that the caller may change.

        Raises BadSignature, also for a session that was signed out.
        """
        now = time.time()
        content = self._proofs.find(cookie, now)
        if content is None:
            content, signed_at = self._serializer.loads(cookie, max_age=max_age, return_timestamp=True)
            if self._is_signed_out(content):
                raise BadSignature("signed out")
            self._proofs.remember(cookie, content, now, signed_at.timestamp() + max_age)
        return _copy(content)

    def forget(self, is_meant: Callable[[Any], bool]) -> None:
        """Verify such cookies anew."""
        self._proofs.forget(is_meant)


def _copy(content: Any) -> Any:
    """A deep copy of what a session's JSON can hold; `copy.deepcopy` takes five times as long."""
    kind = type(content)
    if kind is dict:
        return {name: value if type(value) is str else _copy(value) for name, value in content.items()}
    if kind is list or kind is tuple:
        return kind(map(_copy, content))
    return content

"""Cookie sessions: a caller kept in Flask's signed session, and its CSRF token."""

import hmac
import pickle
import secrets
import time
from collections.abc import MutableMapping
from typing import Any

from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from itsdangerous import URLSafeTimedSerializer

from app.identity.caller import Caller, Forbidden
from app.identity.verified import VerifiedProofs

CSRF_HEADER = "X-CSRF-TOKEN"

_CALLER, _TOKEN = "presence_caller", "presence_csrf"


def sign_in(session: MutableMapping[str, Any], caller: Caller) -> None:
    """Keep a caller in the session, which starts anew: nothing of an earlier one remains."""
    session.clear()
    session[_CALLER] = {
        "user_id": caller.user_id,
        "user_name": caller.user_name,
        "tenant": caller.tenant,
        "records": None if caller.records is None else list(caller.records),
    }
    csrf_token(session)


def caller_of(session: MutableMapping[str, Any]) -> Caller | None:
    """The caller that `sign_in` kept, if any."""
    kept = session.get(_CALLER)
    if not kept:
        return None
    records = kept["records"]
    return Caller(
        user_id=kept["user_id"],
        user_name=kept["user_name"],
        tenant=kept["tenant"],
        records=None if records is None else tuple(records),
    )


def csrf_token(session: MutableMapping[str, Any]) -> str:
    """The session's token; it lives as long as the session, so that no open tab outlives it."""
    if _TOKEN not in session:
        session[_TOKEN] = secrets.token_urlsafe(32)
    return session[_TOKEN]


def check_csrf_token(session: MutableMapping[str, Any], sent: str | None) -> None:
    """Raises Forbidden unless `sent` is the session's token."""
    kept = session.get(_TOKEN)
    if not kept or not sent or not hmac.compare_digest(kept.encode(), sent.encode("utf-8", "replace")):
        raise Forbidden(f"The {CSRF_HEADER} header is missing or wrong.")


class Sessions(SecureCookieSessionInterface):
    """Flask's sessions, whose cookie is verified once a minute instead of at every call.

    A browser that came by TLS sends the cookie back by nothing else; the demo without TLS works too.
    """

    def __init__(self, app: Flask) -> None:
        signer = super().get_signing_serializer(app)
        self._cookies = signer and _KnownCookies(signer)

    def get_signing_serializer(self, app: Flask) -> "_KnownCookies | None":  # type: ignore[override]
        return self._cookies

    def open_session(self, app: Flask, request: Request) -> SessionMixin | None:
        # A caller with a bearer token, that is: nearly every one.
        if "HTTP_COOKIE" not in request.environ:
            return self.session_class()
        return super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.modified or session.permanent or "Vary" in response.headers:
            super().save_session(app, session, response)
        elif session.accessed:
            response.headers["Vary"] = "Cookie"  # all that is left to do, in a quarter of the time


class _KnownCookies:
    """What Flask asks of a cookie's signer. What it verified it remembers, for a minute at most."""

    def __init__(self, signer: URLSafeTimedSerializer) -> None:
        self._signer = signer
        self._verified = VerifiedProofs[bytes]()

    def dumps(self, content: Any) -> str | bytes:
        return self._signer.dumps(content)

    def loads(self, cookie: str, max_age: int) -> Any:
        """The content, each time anew. Raises BadSignature."""
        now = time.time()
        pickled = self._verified.find(cookie, now)
        if pickled is not None:
            return pickle.loads(pickled)  # noqa: S301 - pickled below, of what was verified
        content, signed_at = self._signer.loads(cookie, max_age=max_age, return_timestamp=True)
        self._verified.remember(cookie, pickle.dumps(content), now, signed_at.timestamp() + max_age)
        return content

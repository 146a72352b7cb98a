"""Bearer tokens: JWTs of the host application."""

import hashlib
import hmac
import re
import time
from typing import Any

import jwt

from app.identity.caller import Caller, Unauthenticated
from app.identity.keys import PublicKeys
from app.identity.verified import VerifiedProofs
from app.presence.records import NO_USER_ID, clean_name, is_user_id
from app.settings import SettingError, Settings

LEEWAY_SECONDS = 5  # between the issuer's clock and ours
ROLES = ("operator", "service")
LONGEST_TOKEN = 8000  # characters; with the header's name still what gunicorn takes for one header

_MOMENTS = {"exp", "nbf", "iat"}
_EVERY_RECORD = object()
_PATTERN = re.compile(r"[A-Za-z0-9_*?-]{1,64}(:[A-Za-z0-9_*?-]{1,64})?\Z", re.ASCII)


def signing_key(settings: Settings) -> str:
    """The key for HS algorithms; without PRESENCE_JWT_KEY, one derived from SECRET_KEY."""
    if settings.jwt_key:
        return settings.jwt_key
    return _derived_key(settings, "presence bearer token")


def _derived_key(settings: Settings, purpose: str) -> str:
    return hmac.new(settings.secret_key.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def _checked_key(settings: Settings) -> str:
    key = signing_key(settings)
    for algorithm in settings.jwt_algorithms:
        try:
            jwt.get_algorithm_by_name(algorithm).prepare_key(key)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise SettingError(f"PRESENCE_JWT_KEY: {error} ({algorithm})") from None
    return key


class BearerTokens:
    """Verifies tokens. A token that was verified is remembered for a minute.

    A tenant may be reserved: it has a key of its own, which signs for no other tenant, and
    no other key signs for it.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises SettingError for a key that no token can be verified with."""
        self._settings = settings
        self._reserved: dict[str, str] = {}  # tenant, and `kid` of its tokens -> key
        self._key = None if settings.jwt_jwks_url else _checked_key(settings)
        self._public_keys = PublicKeys(settings.jwt_jwks_url) if settings.jwt_jwks_url else None
        self._verified = VerifiedProofs[Caller]()

    def identify(self, token: str) -> Caller:
        """The caller that a token names. Raises Unauthenticated and KeysUnavailable."""
        now = time.time()
        caller = self._verified.find(token, now)
        if caller is None:
            caller = self._verify(token)
            self._verified.remember(token, caller, now, caller.expires_at or now)
        return caller

    def reserve(self, tenant: str) -> None:
        """Let no tokens name this tenant but those of `issue`, and no other caller be in it."""
        self._reserved[tenant] = _derived_key(self._settings, f"presence tenant {tenant}")

    def is_reserved(self, tenant: str) -> bool:
        """Whether only tokens of `issue`, and sessions, may name this tenant."""
        return tenant in self._reserved

    def issue(self, tenant: str, claims: dict[str, Any], lifetime_seconds: float) -> str:
        """A token of a tenant that was reserved."""
        now = int(time.time())
        claims = {"iat": now, "exp": now + int(lifetime_seconds), **claims, "tenant": tenant}
        return jwt.encode(claims, self._reserved[tenant], algorithm="HS256", headers={"kid": tenant})

    def _verify(self, token: str) -> Caller:
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated("The token is too long.")
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            if kid in self._reserved:
                claims = _decode(token, self._reserved[kid], ["HS256"])
                is_in_place = claims["tenant"] == kid
            else:
                settings = self._settings
                claims = _decode(
                    token,
                    self._key or self._public_keys.find(kid),  # type: ignore[union-attr]
                    list(settings.jwt_algorithms),
                    audience=settings.jwt_audience,
                    issuer=settings.jwt_issuer,
                )
                is_in_place = claims["tenant"] not in self._reserved
            if not is_in_place:
                raise Unauthenticated("The tenant is not one that this token may name.")
            return _caller(claims)
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
            raise Unauthenticated("The token is not valid.") from None


def _decode(
    token: str, key: Any, algorithms: list[str], *, audience: str | None = None, issuer: str | None = None
) -> dict[str, Any]:
    return jwt.decode(
        token,
        key,
        algorithms=algorithms,
        audience=audience,
        issuer=issuer,
        leeway=LEEWAY_SECONDS,
        options={
            "require": ["sub", "name", "tenant", "exp"],
            "verify_aud": audience is not None,
            "verify_sub": False,  # PyJWT takes strings only; ours may be an integer
        },
    )


def _caller(claims: dict[str, Any]) -> Caller:
    user_id, name, tenant = claims["sub"], claims["name"], claims["tenant"]
    if not is_user_id(user_id):
        raise Unauthenticated(f"The claim sub: {NO_USER_ID}")
    if not isinstance(name, str):
        raise Unauthenticated("The claim name must be a string.")
    if isinstance(tenant, bool) or not isinstance(tenant, int | str) or not 0 < len(str(tenant)) <= 128:
        raise Unauthenticated("The claim tenant must be 1 to 128 characters.")
    records = claims.get("records", _EVERY_RECORD)
    if records is not _EVERY_RECORD and not (
        isinstance(records, list)
        and all(isinstance(pattern, str) and _PATTERN.match(pattern) for pattern in records)
    ):
        # null as well: whoever has no list to give has not meant every record.
        raise Unauthenticated("The claim records must be a list of patterns such as flow:*.")
    for claim in _MOMENTS & claims.keys():
        if type(claims[claim]) not in (int, float):  # PyJWT reads text too, by Python's rules
            raise Unauthenticated(f"The claim {claim} must be a number.")
    expires_at = float(claims["exp"])
    if expires_at <= time.time():  # the leeway is for clocks that say "not yet"
        raise Unauthenticated("The token has expired.")
    return Caller(
        user_id=user_id,
        user_name=clean_name(name),
        tenant=str(tenant),
        records=None if records is _EVERY_RECORD else tuple(records),
        expires_at=expires_at,
        needs_csrf_token=False,
        # Hosts have roles of their own, which mean nothing here.
        role=role if (role := claims.get("role")) in ROLES else None,
    )


def issue_token(settings: Settings, claims: dict[str, Any], lifetime_seconds: float) -> str:
    """Sign a token that this service accepts; for HS algorithms only.

    Raises ValueError when the settings verify with a public key.
    """
    algorithm = settings.jwt_algorithms[0]
    if not algorithm.startswith("HS"):
        raise ValueError(f"{algorithm} tokens are signed by their issuer, not here")
    now = int(time.time())
    claims = {"iat": now, "exp": now + int(lifetime_seconds), **claims}
    if settings.jwt_audience:
        claims.setdefault("aud", settings.jwt_audience)
    if settings.jwt_issuer:
        claims.setdefault("iss", settings.jwt_issuer)
    return jwt.encode(claims, signing_key(settings), algorithm=algorithm)

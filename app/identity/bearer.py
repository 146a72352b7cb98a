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
from app.presence.records import clean_name, is_well_formed
from app.settings import SettingError, Settings

LEEWAY_SECONDS = 5  # between the issuer's clock and ours
ROLES = ("operator", "service")
LONGEST_TOKEN = 8192  # characters

_PATTERN = re.compile(r"[A-Za-z0-9_*?-]{1,64}(:[A-Za-z0-9_*?-]{1,64})?\Z", re.ASCII)


def signing_key(settings: Settings) -> str:
    """The key for HS algorithms; without PRESENCE_JWT_KEY, one derived from SECRET_KEY."""
    if settings.jwt_key:
        return settings.jwt_key
    return hmac.new(settings.secret_key.encode(), b"presence bearer token", hashlib.sha256).hexdigest()


def _checked_key(settings: Settings) -> str:
    key = signing_key(settings)
    for algorithm in settings.jwt_algorithms:
        try:
            jwt.get_algorithm_by_name(algorithm).prepare_key(key)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise SettingError(f"PRESENCE_JWT_KEY: {error} ({algorithm})") from None
    return key


class BearerTokens:
    """Verifies tokens. A token that was verified is remembered for a minute."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingError for a key that no token can be verified with."""
        self._settings = settings
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

    def _verify(self, token: str) -> Caller:
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated("The token is too long.")
        settings = self._settings
        try:
            claims = jwt.decode(
                token,
                self._key or self._public_keys.find(jwt.get_unverified_header(token).get("kid")),
                algorithms=list(settings.jwt_algorithms),
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
                leeway=LEEWAY_SECONDS,
                options={
                    "require": ["sub", "name", "tenant", "exp"],
                    "verify_aud": settings.jwt_audience is not None,
                    "verify_sub": False,  # PyJWT takes strings only; ours may be an integer
                },
            )
            return _caller(claims)
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
            raise Unauthenticated("The token is not valid.") from None


def _caller(claims: dict[str, Any]) -> Caller:
    user_id, name, tenant, records = (claims.get(claim) for claim in ("sub", "name", "tenant", "records"))
    if isinstance(user_id, bool) or not isinstance(user_id, int | str) or user_id == "":
        raise Unauthenticated("The claim sub must be an integer or a string.")
    if len(str(user_id)) > 255:
        raise Unauthenticated("The claim sub is too long.")
    if isinstance(user_id, str) and not is_well_formed(user_id):
        raise Unauthenticated("The claim sub must be whole characters.")
    if not isinstance(name, str):
        raise Unauthenticated("The claim name must be a string.")
    if isinstance(tenant, bool) or not isinstance(tenant, int | str) or not 0 < len(str(tenant)) <= 128:
        raise Unauthenticated("The claim tenant must be 1 to 128 characters.")
    if records is not None and not (
        isinstance(records, list)
        and all(isinstance(pattern, str) and _PATTERN.match(pattern) for pattern in records)
    ):
        raise Unauthenticated("The claim records must be a list of patterns such as flow:*.")
    expires_at = float(claims["exp"])
    if expires_at <= time.time():  # the leeway is for clocks that say "not yet"
        raise Unauthenticated("The token has expired.")
    return Caller(
        user_id=user_id,
        user_name=clean_name(name),
        tenant=str(tenant),
        records=None if records is None else tuple(records),
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

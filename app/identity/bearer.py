"""Bearer tokens: JWTs that the host application issues."""

import hashlib
import math
import time
from typing import Any

import jwt

from ..presence.validation import clean_name, is_user_id
from ..presence.viewers import AgentId
from ..settings import SettingError, Settings
from ..tokens import MAX_TOKEN_LENGTH, ROLES, check_claims, derive_key, derive_key_for, encode
from .caller import Caller, Unauthenticated
from .jwks_client import JwksClient
from .proof_cache import ProofCache

LEEWAY_SECONDS = 5  # for a difference between the issuer's clock and ours

_INVALID = "The token is not valid."


def signing_key(settings: Settings) -> str:
    """The key for HS algorithms: PRESENCE_JWT_KEY, or else one derived from SECRET_KEY."""
    if settings.jwt_key:
        return settings.jwt_key
    return derive_key(settings.secret_key)


def _checked_key(settings: Settings) -> str:
    key = signing_key(settings)
    for algorithm in settings.jwt_algorithms:
        try:
            jwt.get_algorithm_by_name(algorithm).prepare_key(key)
        except NotImplementedError:
            hint = "pip install 'record-presence[jwks]'"
            raise SettingError(f"PRESENCE_JWT_ALGORITHMS: {algorithm} needs cryptography: {hint}") from None
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise SettingError(f"PRESENCE_JWT_KEY: {error} ({algorithm})") from None
    return key


class BearerTokens:
    """Verifies tokens. A token is remembered for a minute, whether it was found to be valid or not.

    A reserved tenant has a key of its own, which signs for no other tenant, and no
    other key signs for it.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises SettingError for a key that can't verify any token."""
        self._settings = settings
        self._reserved: dict[str, str] = {}  # tenant, which is also the `kid` of its tokens -> key
        self._key = None if settings.jwt_jwks_url else _checked_key(settings)
        self._jwks = JwksClient(settings.jwt_jwks_url) if settings.jwt_jwks_url else None
        self._proofs = ProofCache[Caller]()
        self._refused = ProofCache[str]()  # digest of the token -> why

    def find(self, token: str) -> Caller | None:
        """The caller that a token was found to name in the last minute; None for a token not seen since.

        Raises Unauthenticated for one that was found to be invalid. Checks no signature.
        """
        now = time.time()
        caller = self._proofs.find(token, now)
        if caller is None and (message := self._refused.find(_digest(token), now)):
            raise Unauthenticated(message)
        return caller

    def identify(self, token: str) -> Caller:
        """The caller that a token names. Raises Unauthenticated and KeysUnavailable."""
        caller = self.find(token)
        if caller is None:
            key_id, key = self._find_key(token)
            now = time.time()
            try:
                caller = self._verify(token, key_id, key)
            except _NotYetValid:
                raise
            except Unauthenticated as error:
                self._refused.remember(_digest(token), str(error), now, math.inf)
                raise
            self._proofs.remember(token, caller, now, caller.expires_at or now)
        return caller

    def reserve(self, tenant: str) -> None:
        """Accept this tenant only in tokens of `issue`, and from no other kind of caller but a session."""
        self._reserved[tenant] = derive_key_for(self._settings.secret_key, f"presence tenant {tenant}")

    def is_reserved(self, tenant: str) -> bool:
        """Whether this tenant is accepted only in tokens of `issue` and in sessions."""
        return tenant in self._reserved

    def issue(self, tenant: str, claims: dict[str, Any], lifetime_seconds: float) -> str:
        """Sign a token of a reserved tenant."""
        return encode({**claims, "tenant": tenant}, self._reserved[tenant], lifetime_seconds, key_id=tenant)

    def _find_key(self, token: str) -> tuple[str | None, Any]:
        """The name of a token's key, and the key. Checks no signature.

        Raises Unauthenticated, which is not to be remembered: the issuer may add a key at any time.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise Unauthenticated("The token is too long.")
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = (key_id and self._reserved.get(key_id)) or self._key
            return key_id, key or self._jwks.find(key_id)  # type: ignore[union-attr]
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated(_INVALID) from None

    def _verify(self, token: str, key_id: str | None, key: Any) -> Caller:
        try:
            if key_id in self._reserved:
                claims = _decode(token, key, ["HS256"])
                may_name_tenant = claims["tenant"] == key_id
            else:
                settings = self._settings
                claims = _decode(
                    token,
                    key,
                    list(settings.jwt_algorithms),
                    audience=settings.jwt_audience,
                    issuer=settings.jwt_issuer,
                )
                may_name_tenant = claims["tenant"] not in self._reserved
            if not may_name_tenant:
                raise Unauthenticated("This token may not name this tenant.")
            return _caller(claims, {*ROLES, *self._settings.hidden_roles})
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired.") from None
        except jwt.ImmatureSignatureError:
            raise _NotYetValid(_INVALID) from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
            raise Unauthenticated(_INVALID) from None


class _NotYetValid(Unauthenticated):
    """By its `nbf` or `iat`. It may be valid in a moment, so it must not be remembered as refused."""


def _digest(token: str) -> str:
    return hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


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
            "verify_sub": False,  # PyJWT accepts only strings; ours may be an integer
        },
    )


def _caller(claims: dict[str, Any], roles: set[str]) -> Caller:
    try:
        check_claims(claims)
    except ValueError as error:
        raise Unauthenticated(str(error)) from None
    expires_at = float(claims["exp"])
    if expires_at <= time.time():  # the leeway is only for `nbf` and `iat`
        raise Unauthenticated("The token has expired.")
    user_id, name = claims["sub"], clean_name(claims["name"])
    if agent := _agent(claims.get("act")):
        agent_id, agent_name = agent
        user_id, name = AgentId(agent_id, user_id, name), agent_name
    return Caller(
        user_id=user_id,
        user_name=name,
        tenant=str(claims["tenant"]),
        records=tuple(claims["records"]) if "records" in claims else None,
        expires_at=expires_at,
        needs_csrf_token=False,
        # A host may have roles of its own, which mean nothing here.
        role=role if isinstance(role := claims.get("role"), str) and role in roles else None,
        picture=claims.get("picture"),
        about=claims.get("about"),
    )


def _agent(act: Any) -> tuple[str, str] | None:
    """The program that acts on the user's behalf (RFC 8693), by id and name; None if none is named."""
    if not isinstance(act, dict):
        return None
    agent_id, name = act.get("sub"), act.get("name")
    if not isinstance(agent_id, str) or not is_user_id(agent_id):
        return None
    return agent_id, clean_name(name if isinstance(name, str) and name else agent_id)


def symmetric_algorithm(settings: Settings) -> str:
    """The algorithm to sign with. Raises ValueError if the settings verify with a public key."""
    algorithm = settings.jwt_algorithms[0]
    if not algorithm.startswith("HS"):
        raise ValueError(f"{algorithm} tokens can be signed only by their issuer")
    return algorithm


def required_claims(settings: Settings) -> dict[str, str]:
    """The `aud` and `iss` that a token must have."""
    required = {"aud": settings.jwt_audience, "iss": settings.jwt_issuer}
    return {claim: value for claim, value in required.items() if value}


def issue_token(settings: Settings, claims: dict[str, Any], lifetime_seconds: float) -> str:
    """Sign these claims as they are, with the key of this service; for HS algorithms only.

    `record_presence.tokens.sign` needs no settings, and refuses what the service would refuse.
    Raises ValueError if the settings verify with a public key.
    """
    return encode(
        {**required_claims(settings), **claims},
        signing_key(settings),
        lifetime_seconds,
        algorithm=symmetric_algorithm(settings),
    )

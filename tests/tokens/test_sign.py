"""Tokens that a host's own server signs, without Flask."""

import subprocess
import sys
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from record_presence.identity.bearer import BearerTokens
from record_presence.tokens import derive_key, sign
from tests.api.client import SETTINGS

KEY = "a key of the tests, and long enough"
SERVICE = replace(SETTINGS, jwt_key=KEY)


def identify(token, settings=SERVICE):
    return BearerTokens(settings).identify(token)


def test_signing_imports_neither_flask_nor_redis_nor_marshmallow():
    script = (
        "import sys, record_presence.tokens; "
        "print(*{name.split('.')[0] for name in sys.modules}"
        " & {'flask', 'werkzeug', 'click', 'redis', 'marshmallow', 'limits', 'gevent', 'gunicorn'})"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == ""


def test_service_accepts_a_token_and_knows_all_that_it_says():
    token = sign(42, "Alice", key=KEY, tenant="acme", records=["order:*"], role="service")
    caller = identify(token)

    assert (caller.user_id, caller.user_name, caller.tenant) == (42, "Alice", "acme")
    assert (caller.records, caller.role, caller.needs_csrf_token) == (("order:*",), "service", False)


def test_token_without_records_covers_all_of_the_tenant():
    caller = identify(sign("u-7", "Bob", key=KEY))

    assert (caller.user_id, caller.tenant, caller.records) == ("u-7", "1", None)


def test_one_pattern_is_no_list_of_letters():
    assert identify(sign(42, "Alice", key=KEY, records="order:*")).records == ("order:*",)


def test_no_patterns_cover_no_record():
    assert identify(sign(42, "Alice", key=KEY, records=[])).records == ()


def test_key_that_is_derived_from_the_secret_key_is_the_one_that_the_service_derives():
    assert identify(sign(42, "Alice", key=derive_key(SETTINGS.secret_key)), SETTINGS).user_id == 42


def test_further_claims_are_signed_and_can_change_nothing_else():
    settings = replace(SERVICE, jwt_audience="presence", jwt_issuer="shop")
    claims = {"aud": "presence", "iss": "shop", "sub": 1, "tenant": "other"}
    caller = identify(sign(42, "Alice", key=KEY, claims=claims), settings)

    assert (caller.user_id, caller.tenant) == (42, "1")


def test_token_of_a_private_key_is_verified_with_the_public_one():
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    settings = replace(SETTINGS, jwt_key=public.decode(), jwt_algorithms=("RS256",))
    token = sign(42, "Alice", key=pem, algorithm="RS256", key_id="2026")

    assert identify(token, settings).user_id == 42
    assert jwt.get_unverified_header(token)["kid"] == "2026"


@pytest.mark.parametrize(
    ("user_id", "name", "options", "message"),
    [
        ("", "Alice", {}, "The claim sub: "),
        (True, "Alice", {}, "The claim sub: "),
        (None, "Alice", {}, "The claim sub: "),
        (42, None, {}, "The claim name must be a string"),
        (42, "Alice", {"tenant": ""}, "The claim tenant"),
        (42, "Alice", {"tenant": None}, "The claim tenant"),
        (42, "Alice", {"records": ["order:[1]"]}, "The claim records"),
        (42, "Alice", {"role": "admin"}, "The role must be one of"),
        (42, "Alice", {"lifetime_seconds": 0}, "The lifetime"),
        (42, "Alice", {"lifetime_seconds": float("nan")}, "The lifetime"),
        (42, "Alice", {"key": "too short"}, "The key must have at least 32 bytes"),
        (42, "Alice", {"claims": {"nbf": "tomorrow"}}, "The claim nbf"),
        (42, "x" * 8000, {}, "The token is too long"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_the_service_would_refuse_is_not_signed(user_id, name, options, message):
    with pytest.raises(ValueError, match=message):
        sign(user_id, name, **{"key": KEY, **options})

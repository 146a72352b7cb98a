"""Bearer tokens: which hold, whom they name, and what every trick is answered with."""

import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fakeredis
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from record_presence import create_app
from record_presence.identity import bearer
from record_presence.identity import jwks_client as keys_module
from record_presence.identity.bearer import LEEWAY_SECONDS, BearerTokens, issue_token, signing_key
from record_presence.identity.caller import KeysUnavailable, Unauthenticated, UnknownKey
from record_presence.settings import SettingError, Settings
from tests.api.client import PREFIX, SETTINGS, data_of, failure_of, token
from tests.waiting import wait_until

KEY = signing_key(SETTINGS)
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_PEM = (
    RSA_KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


def claims(**changes):
    """Good claims, changed; None leaves one out."""
    every = {"sub": 42, "name": "Alice", "tenant": "1", "exp": int(time.time()) + 600, **changes}
    return {name: value for name, value in every.items() if value is not None}


def part(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def sign(header, payload, key=KEY):
    """A token of any header at all, signed with HMAC-SHA256."""
    signed = f"{part(header)}.{part(payload)}"
    return f"{signed}.{part(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest())}"


def identify(text, settings=SETTINGS):
    return BearerTokens(settings).identify(text)


@pytest.fixture(scope="module")
def client():
    app = create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    return app.test_client()


def call(client, text):
    return client.get(f"{PREFIX}/flow/12/tabs", headers={"Authorization": f"Bearer {text}"})


# Whom a token names


def test_token_names_user_tenant_and_records():
    caller = identify(token(42, "Alice", "acme", records=["flow:*", "form:1"]))

    assert (caller.user_id, caller.user_name, caller.tenant) == (42, "Alice", "acme")
    assert caller.records == ("flow:*", "form:1")
    assert caller.expires_at == pytest.approx(time.time() + 600, abs=20)
    assert not caller.needs_csrf_token


@pytest.mark.parametrize("user_id", [42, "42", 0, -1, 2**63, 10**30, "u-7", "Zoë", " "])
def test_user_id_keeps_its_type(user_id):
    caller = identify(token(user_id))

    assert caller.user_id == user_id
    assert type(caller.user_id) is type(user_id)


def test_tenant_may_be_a_number():
    assert identify(token(tenant=7)).tenant == "7"


def test_long_name_is_cut_and_half_a_character_replaced():
    assert identify(token(name="x" * 1_000)).user_name == "x" * 200
    assert identify(token(name="Zo\ud83d")).user_name == "Zo?"


@pytest.mark.parametrize(
    ("patterns", "seen", "unseen"),
    [
        (None, ["flow:1", "form:x"], []),
        ([], [], ["flow:1"]),
        (["flow:*"], ["flow:1", "flow:a-b_C"], ["form:1", "flow2:1"]),
        (["flow:12"], ["flow:12"], ["flow:1", "flow:123", "form:12"]),
        (["flow:1?"], ["flow:12"], ["flow:1", "flow:123"]),
        (["*"], ["flow:12", "form:1"], []),
        (["*:12"], ["flow:12", "form:12"], ["flow:1"]),
        (["flow"], [], ["flow:12"]),
    ],
)
def test_patterns_say_which_records(patterns, seen, unseen):
    extra = {} if patterns is None else {"records": patterns}
    caller = identify(token(**extra))

    assert all(caller.may_see(name) for name in seen)
    assert not any(caller.may_see(name) for name in unseen)


# What does not hold


@pytest.mark.parametrize("claim", ["sub", "name", "tenant", "exp"])
def test_claim_that_is_missing_is_refused(claim):
    with pytest.raises(Unauthenticated):
        identify(sign({"alg": "HS256"}, claims(**{claim: None})))


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": True},
        {"sub": False},
        {"sub": 1.5},
        {"sub": ""},
        {"sub": ["42"]},
        {"sub": {"id": 42}},
        {"sub": "x" * 256},
        {"sub": "u\ud83d"},
        {"sub": 10**300},
        {"name": 42},
        {"name": ["Alice"]},
        {"tenant": ""},
        {"tenant": True},
        {"tenant": ["1"]},
        {"tenant": "x" * 129},
        {"records": "flow:*"},
        {"records": [1]},
        {"records": ["flow:[1]"]},
        {"records": [""]},
        {"records": {"flow:1": True}},
        {"exp": "soon"},
        {"exp": str(int(time.time()) + 86_400)},
        {"exp": f" {int(time.time()) + 86_400} "},
        {"exp": f"{int(time.time()) + 86_400:_}"},
        {
            "exp": str(int(time.time()) + 86_400).translate(
                {48 + digit: 0xFF10 + digit for digit in range(10)}
            )
        },
        {"nbf": "0"},
        {"iat": "0"},
        {"exp": True},
        {"exp": 0},
        {"exp": -1},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"exp": []},
        {"exp": int(time.time()) - 1},
        {"nbf": int(time.time()) + 86_400},
        {"iat": int(time.time()) + 86_400},
    ],
    ids=lambda changes: next(iter(changes)),  # not the values: the time is another in each process
)
def test_claim_of_a_wrong_kind_is_401(client, changes):
    failure_of(call(client, sign({"alg": "HS256"}, claims(**changes))), 401)


def test_records_that_are_null_are_refused_and_not_taken_for_all(client):
    failure_of(call(client, sign({"alg": "HS256"}, {**claims(), "records": None})), 401)


def test_moment_may_have_a_fraction(client):
    data_of(call(client, sign({"alg": "HS256"}, claims(exp=time.time() + 600.5))))


def test_expired_token_is_told_that_it_has_expired(client):
    assert "expired" in failure_of(call(client, token(seconds=-60)), 401)["message"]


def test_token_that_was_accepted_before_ends_with_its_time(monkeypatch):
    tokens = BearerTokens(SETTINGS)
    text = token(seconds=30)
    tokens.identify(text)
    later = time.time() + 31
    monkeypatch.setattr(bearer.time, "time", lambda: later)

    with pytest.raises(Unauthenticated):
        tokens.identify(text)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": ""},
        {"alg": None},
        {"alg": "HS384"},
        {"alg": "RS256"},
        {"alg": ["HS256"]},
        {"alg": {"HS256": 1}},
        {},
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        [],
        "HS256",
        None,
        7,
    ],
    ids=str,
)
def test_header_that_does_not_say_our_algorithm_is_401(client, header):
    failure_of(call(client, sign(header, claims())), 401)


def test_unsigned_token_is_401(client):
    unsigned = f"{part({'alg': 'none'})}.{part(claims())}."

    failure_of(call(client, unsigned), 401)
    failure_of(call(client, unsigned.replace(part({"alg": "none"}), part({"alg": "HS256"}))), 401)


def test_header_has_no_say_in_which_key_counts(client):
    for trick in (
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1"},
        {"jku": "http://127.0.0.1:1/"},
        {"x5u": "http://127.0.0.1:1/"},
        {"jwk": {"kty": "oct", "k": part(b"mine" * 8)}},
    ):
        failure_of(call(client, sign({"alg": "HS256", **trick}, claims(), key="mine" * 8)), 401)
        assert call(client, sign({"alg": "HS256", **trick}, claims())).status_code == 200


@pytest.mark.parametrize("key", ["", "another key of thirty-two characters", SETTINGS.secret_key])
def test_signature_of_another_key_is_401(client, key):
    failure_of(call(client, sign({"alg": "HS256"}, claims(), key=key)), 401)


def test_token_that_was_changed_is_401(client):
    header, _, signature = token().split(".")

    failure_of(call(client, f"{header}.{part(claims(sub=1))}.{signature}"), 401)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "a.b.c",
        "..",
        ". .",
        "é.é.é",
        "\x7f",
        "x" * 8_192,
        "x" * 8_193,
        f"{part({'alg': 'HS256'})}.{part([1])}.x",
        sign({"alg": "HS256"}, b"null"),
        sign({"alg": "HS256"}, b"[" * 3_000),
        sign({"alg": "HS256"}, b"\xff\xfe"),
        sign({"alg": "HS256"}, b'{"sub":' + b"9" * 5_000 + b"}"),
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_text_that_is_no_token_is_401(client, text):
    failure_of(call(client, text), 401)


def test_token_longer_than_allowed_is_401_though_it_is_signed(client):
    failure_of(call(client, token(padding="x" * bearer.MAX_TOKEN_LENGTH)), 401)


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Basic YTpi", "Token x", "bearer", "é"])
def test_authorization_of_another_kind_is_401(client, value):
    response = client.get(f"{PREFIX}/flow/12/tabs", headers={"Authorization": value})

    failure_of(response, 401)
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_name_of_the_scheme_is_of_any_case(client):
    response = client.get(f"{PREFIX}/flow/12/tabs", headers={"Authorization": f"bEaReR  {token()} "})

    data_of(response)


def test_token_in_the_url_or_body_is_no_proof(client):
    failure_of(client.get(f"{PREFIX}/flow/12/tabs?access_token={token()}&token={token()}"), 401)
    failure_of(client.post(f"{PREFIX}/flow/12/heartbeat", json={"token": token()}), 401)


# Audience and issuer


@pytest.mark.parametrize(("setting", "claim"), [("jwt_audience", "aud"), ("jwt_issuer", "iss")])
def test_audience_and_issuer_must_be_ours_when_they_are_set(setting, claim):
    settings = Settings(secret_key=SETTINGS.secret_key, **{setting: "ours"})

    assert identify(token(settings=settings), settings).user_id == 42
    for value in ("theirs", "", None, 7, "our", "ours "):
        with pytest.raises(Unauthenticated):
            identify(sign({"alg": "HS256"}, claims(**{claim: value})), settings)


def test_audience_may_be_one_of_many():
    settings = Settings(secret_key=SETTINGS.secret_key, jwt_audience="ours")

    assert identify(sign({"alg": "HS256"}, claims(aud=["theirs", "ours"])), settings).user_id == 42


def test_audience_that_nobody_asked_for_is_no_matter():
    assert identify(sign({"alg": "HS256"}, claims(aud="theirs", iss="them"))).user_id == 42


# Keys


def test_key_of_its_own_takes_the_place_of_the_derived_one():
    settings = Settings(secret_key=SETTINGS.secret_key, jwt_key="k" * 32)

    assert identify(token(settings=settings), settings).user_id == 42
    with pytest.raises(Unauthenticated):
        identify(token(), settings)


def test_public_key_verifies_and_signs_nothing():
    settings = Settings(jwt_key=PUBLIC_PEM, jwt_algorithms=("RS256",))

    assert identify(jwt.encode(claims(), RSA_KEY, "RS256"), settings).user_id == 42
    with pytest.raises(ValueError, match="RS256"):
        issue_token(settings, claims(), 60)


def test_public_key_is_no_secret_to_sign_with():
    settings = Settings(jwt_key=PUBLIC_PEM, jwt_algorithms=("RS256",))

    for algorithm in ("HS256", "RS256", "none"):
        with pytest.raises(Unauthenticated):
            identify(sign({"alg": algorithm}, claims(), key=PUBLIC_PEM), settings)


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (PUBLIC_PEM, ("HS256",)),
        ("not a key of any kind at all", ("RS256",)),
        (PUBLIC_PEM, ("ES256",)),
        (PUBLIC_PEM[:80], ("RS256",)),
    ],
    ids=["public key as a secret", "no key", "key of another kind", "half a key"],
)
def test_key_that_does_not_fit_the_algorithm_stops_the_start(key, algorithms):
    with pytest.raises(SettingError, match=r"^PRESENCE_JWT_KEY: .+$"):
        BearerTokens(Settings(jwt_key=key, jwt_algorithms=algorithms))


# Keys from a URL


class Keys:
    """A JWKS URL on this machine: what it serves, and how often it was asked."""

    def __init__(self):
        self.body = b""
        self.status = 200
        self.requests = 0
        self.mute = threading.Event()  # set: it answers
        self.mute.set()
        self.location = None
        self.pause_seconds = 0.0  # between two bytes
        keys = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                keys.requests += 1
                keys.mute.wait(5)
                self.send_response(keys.status)
                if keys.location:
                    self.send_header("Location", keys.location)
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked may have gone
                    if not keys.pause_seconds:
                        self.wfile.write(keys.body)
                        return
                    for byte in keys.body:
                        self.wfile.write(bytes([byte]))
                        time.sleep(keys.pause_seconds)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.settings = Settings(
            jwt_jwks_url=f"http://127.0.0.1:{self._server.server_port}/keys", jwt_algorithms=("ES256",)
        )

    def serve(self, **private_keys):
        keys = []
        for kid, key in private_keys.items():
            members = jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key(), as_dict=True)
            keys.append({**members, "kid": kid, "use": "sig", "alg": "ES256"})
        self.body = json.dumps({"keys": keys}).encode()

    def close(self):
        self.mute.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def keys():
    keys = Keys()
    yield keys
    keys.close()


OLD, NEW = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def of(kid, key, **changes):
    return jwt.encode(claims(**changes), key, "ES256", headers={"kid": kid})


def test_keys_are_fetched_once_and_named_by_kid(keys):
    keys.serve(old=OLD, new=NEW)
    tokens = BearerTokens(keys.settings)

    assert tokens.identify(of("old", OLD)).user_id == 42
    assert tokens.identify(of("new", NEW, sub=43)).user_id == 43
    assert keys.requests == 1
    with pytest.raises(Unauthenticated):
        tokens.identify(of("old", NEW))


def test_token_of_a_new_key_is_accepted_without_a_restart(keys, monkeypatch):
    keys.serve(old=OLD)
    tokens = BearerTokens(keys.settings)
    tokens.identify(of("old", OLD))
    keys.serve(new=NEW)
    later = time.monotonic() + 31  # unknown names may not make us fetch more often
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: later)

    assert tokens.identify(of("new", NEW)).user_id == 42
    with pytest.raises(Unauthenticated):
        tokens.identify(of("old", OLD, sub=43))


def test_unknown_key_names_do_not_flood_the_key_server(keys):
    keys.serve(old=OLD)
    tokens = BearerTokens(keys.settings)
    with pytest.raises(Unauthenticated):
        tokens.identify(of("made-up", NEW))
    for number in range(20):
        with pytest.raises(UnknownKey):
            tokens.identify(of(f"made-up-{number}", NEW))

    assert keys.requests == 1


def test_token_of_a_key_that_was_added_a_moment_ago_is_503_until_the_keys_are_fetched_again(
    keys, monkeypatch, caplog
):
    keys.serve(old=OLD)
    app = create_app(keys.settings, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    client = app.test_client()
    data_of(call(client, of("old", OLD)))
    keys.serve(new=NEW)
    response = call(client, of("new", NEW))

    failure_of(response, 503)
    assert 25 <= int(response.headers["Retry-After"]) <= 30
    assert "keys unavailable" not in caplog.text
    later = time.monotonic() + 31
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: later)
    data_of(call(client, of("new", NEW)))


def test_token_that_was_refused_is_not_checked_again_for_a_minute(monkeypatch):
    tokens = BearerTokens(SETTINGS)
    forged = token(settings=Settings(secret_key="the secret of another house"))
    expired = token(seconds=-1)
    for bad in (forged, expired):
        with pytest.raises(Unauthenticated) as first:
            tokens.identify(bad)
        with monkeypatch.context() as patch:
            patch.setattr(jwt, "decode", None)
            with pytest.raises(Unauthenticated) as second:
                tokens.identify(bad)
        assert str(first.value) == str(second.value)


def test_token_that_is_not_valid_yet_is_accepted_as_soon_as_it_is():
    tokens = BearerTokens(SETTINGS)
    early = token(nbf=int(time.time()) + LEEWAY_SECONDS + 2)  # one to two seconds from now
    with pytest.raises(Unauthenticated):
        tokens.identify(early)

    assert wait_until(lambda: caller_or_none(tokens, early)).user_id == 42


def caller_or_none(tokens, proof):
    try:
        return tokens.identify(proof)
    except Unauthenticated:
        return None


def test_memory_of_refused_tokens_is_bounded(monkeypatch):
    monkeypatch.setattr("record_presence.identity.proof_cache.MAX_PROOFS", 10)
    tokens = BearerTokens(SETTINGS)
    for number in range(25):
        with pytest.raises(Unauthenticated):
            tokens.identify(token(number, seconds=-1))

    assert len(tokens._refused) <= 10


@pytest.mark.parametrize("header", [{"alg": "HS256", "kid": "old"}, {"alg": "none", "kid": "old"}])
def test_public_key_of_the_url_is_no_secret_to_sign_with(keys, header):
    keys.serve(old=OLD)
    public = OLD.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    for secret in (public.decode(), keys.body.decode()):
        with pytest.raises(Unauthenticated):
            identify(sign(header, claims(), key=secret), keys.settings)


@pytest.mark.parametrize("kid", [None, "", 7, ["old"], {"old": 1}, "x" * 5_000], ids=lambda kid: str(kid)[:9])
def test_token_without_a_known_kid_is_refused(keys, kid):
    keys.serve(old=OLD)
    header = {"alg": "ES256"} if kid is None else {"alg": "ES256", "kid": kid}

    with pytest.raises(Unauthenticated):
        identify(sign(header, claims()), keys.settings)


def test_keys_out_of_reach_are_503_not_a_reason_to_sign_in_again(keys):
    keys.status = 500
    app = create_app(keys.settings, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))

    failure_of(call(app.test_client(), of("old", OLD)), 503)


def test_service_takes_tokens_again_when_the_keys_are_back(keys, monkeypatch):
    keys.status = 500
    tokens = BearerTokens(keys.settings)
    with pytest.raises(KeysUnavailable):
        tokens.identify(of("old", OLD))
    keys.status = 200
    keys.serve(old=OLD)
    later = time.monotonic() + keys_module.RETRY_DELAY_SECONDS
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: later)

    assert tokens.identify(of("old", OLD)).user_id == 42


@pytest.mark.measured
def test_nobody_queues_for_a_key_server_that_hangs(keys, monkeypatch):
    monkeypatch.setattr(keys_module, "FETCH_TIMEOUT_SECONDS", 0.3)
    keys.mute.clear()
    tokens = BearerTokens(keys.settings)

    def ask(number):
        with pytest.raises(KeysUnavailable):
            tokens.identify(of("old", OLD, sub=number))

    started = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(ask, range(10)))

    assert time.monotonic() - started < 1.5
    assert keys.requests == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "x"}]}'])
def test_key_server_that_serves_no_keys_lets_nobody_in(keys, body):
    keys.body = body

    with pytest.raises(KeysUnavailable):
        identify(of("old", OLD), keys.settings)


def test_withdrawn_key_counts_no_longer_than_five_minutes(keys, monkeypatch):
    keys.serve(old=OLD, new=NEW)
    tokens = BearerTokens(keys.settings)
    tokens.identify(of("old", OLD))
    keys.serve(new=NEW)
    later = time.monotonic() + 301
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: later)

    with pytest.raises(Unauthenticated):
        tokens.identify(of("old", OLD, sub=43))


def test_known_keys_are_good_for_an_hour_while_the_key_server_is_away(keys, monkeypatch):
    keys.serve(old=OLD)
    tokens = BearerTokens(keys.settings)
    tokens.identify(of("old", OLD))
    keys.status = 500
    now = time.monotonic()
    for minutes, sub in ((6, 43), (59, 44)):
        monkeypatch.setattr(keys_module.time, "monotonic", lambda minutes=minutes: now + minutes * 60)
        assert tokens.identify(of("old", OLD, sub=sub)).user_id == sub
    with pytest.raises(KeysUnavailable):
        tokens.identify(of("new", NEW))
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: now + 61 * 60)
    with pytest.raises(KeysUnavailable):
        tokens.identify(of("old", OLD, sub=45))


@pytest.mark.measured
def test_made_up_key_name_keeps_nobody_waiting_whose_key_is_known(keys, monkeypatch):
    keys.serve(old=OLD)
    tokens = BearerTokens(keys.settings)
    tokens.identify(of("old", OLD))
    keys.mute.clear()
    later = time.monotonic() + 31
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: later)
    with ThreadPoolExecutor(1) as pool:
        made_up = pool.submit(tokens.identify, of("made-up", NEW))
        wait_until(lambda: keys.requests == 2)
        started = time.perf_counter()
        tokens.identify(of("old", OLD, sub=43))
        took = time.perf_counter() - started
        keys.mute.set()

        assert took < 0.5
        with pytest.raises(Unauthenticated):
            made_up.result()


def test_key_server_that_sends_without_end_is_cut_off(keys, monkeypatch):
    keys.serve(old=OLD)
    keys.body = keys.body[:-1] + b" " * keys_module.MAX_JWKS_BYTES + b"}"

    with pytest.raises(KeysUnavailable, match="bytes"):
        identify(of("old", OLD), keys.settings)


@pytest.mark.measured
def test_key_server_that_drips_is_given_up_in_time(keys, monkeypatch):
    monkeypatch.setattr(keys_module, "FETCH_TIMEOUT_SECONDS", 0.3)
    keys.serve(old=OLD)
    keys.pause_seconds = 0.05
    started = time.monotonic()
    with pytest.raises(KeysUnavailable):
        identify(of("old", OLD), keys.settings)

    assert time.monotonic() - started < 1.0


def test_key_server_that_sends_elsewhere_is_not_followed(keys):
    keys.serve(old=OLD)
    keys.status = 302
    keys.location = f"{keys.settings.jwt_jwks_url}/elsewhere"

    with pytest.raises(KeysUnavailable, match="302"):
        identify(of("old", OLD), keys.settings)
    assert keys.requests == 1


@pytest.mark.parametrize(
    "changes",
    [{"use": "enc"}, {"kid": None}, {"kty": "oct", "k": "c2VjcmV0" * 8, "alg": "HS256"}, {"crv": "P-521"}],
    ids=str,
)
def test_key_that_is_not_for_signing_signs_nothing(keys, changes):
    keys.serve(old=OLD, new=NEW)
    document = json.loads(keys.body)
    document["keys"][0].update(changes)
    keys.body = json.dumps(document).encode()

    with pytest.raises(Unauthenticated):
        identify(of("old", OLD), keys.settings)
    with pytest.raises(Unauthenticated):
        identify(sign({"alg": "HS256", "kid": "old"}, claims(), key="secret" * 8), keys.settings)
    assert identify(of("new", NEW), keys.settings).user_id == 42

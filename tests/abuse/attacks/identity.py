"""What somebody may do without a proof of identity, with a bad one, or with an old one."""

import base64
import json
from collections.abc import Iterator
from itertools import count, repeat

from record_presence.demo.people import TENANT
from record_presence.identity.bearer import issue_token
from tests.abuse.attack import attack, round_robin
from tests.abuse.attacker import Attacker, beat_body, http_request
from tests.api.client import SETTINGS

HEARTBEAT = "doc/1/heartbeat"
MAX_TOKEN_CHARACTERS = 8000
FORWARDED = {"X-Forwarded-For": "203.0.113.9"}  # as nginx sets it: the attacker's one address
BEFORE_IDENTITY = "a pause before a refusal; nginx.conf limits an address"


def _base64(data: bytes) -> str:
    """As in a token."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bad_signatures(attacker: Attacker, **headers: str) -> Iterator[bytes]:
    """Beats with tokens that are well-formed, each with another wrong signature."""
    head, payload, _ = attacker.token().split(".")
    for number in count():
        signature = _base64(number.to_bytes(32, "big"))
        yield http_request("POST", HEARTBEAT, f"{head}.{payload}.{signature}", beat_body(), headers=headers)


@attack(
    "Tokens with ever new wrong signatures, from an address that may be a proxy's",
    BEFORE_IDENTITY,
    {401},
    short_calls=20,
    row="8",
    before="1 to 2 ms each, and nothing limited calls before identity (suspected)",
)
def bad_tokens(attacker: Attacker) -> None:
    attacker.flood(_bad_signatures(attacker))


@attack(
    "The same from an address that is known: behind nginx, `PRESENCE_TRUST_FORWARDED_FOR=yes`",
    "600 a minute and address, then 429 without a look at the token",
    {401, 429},
    stopped_with=429,
    row="8",
    before="no limit",
    settings={"PRESENCE_TRUST_FORWARDED_FOR": "yes"},
    short_calls=160,
)
def bad_tokens_of_one_address(attacker: Attacker) -> None:
    is_short = attacker.calls is not None
    attacker.flood(_bad_signatures(attacker, **FORWARDED), connections=50 if is_short else 100)


@attack(
    "One bad token again and again", "remembered for a minute: no signature is checked", {401}, short_calls=20
)
def one_bad_token(attacker: Attacker) -> None:
    attacker.flood(repeat(next(_bad_signatures(attacker))))


@attack("Bad tokens of 7,900 characters", BEFORE_IDENTITY, {401}, short_calls=20)
def huge_bad_tokens(attacker: Attacker) -> None:
    head, _, signature = attacker.token().split(".")

    def requests() -> Iterator[bytes]:
        for number in count():
            claims = {"sub": number, "filling": "x" * 5500}
            payload = _base64(json.dumps(claims).encode())
            yield http_request("POST", HEARTBEAT, f"{head}.{payload}.{signature}", beat_body())

    attacker.flood(requests())


@attack(
    "Tokens whose header is JSON 2,000 deep, and other nonsense",
    BEFORE_IDENTITY,
    {401, 400, 431},
    short_calls=20,
)
def nonsense_tokens(attacker: Attacker) -> None:
    deep = _base64(b'{"alg":' + b"[" * 2000 + b"]" * 2000 + b"}")
    tokens = [f"{deep}.e30.x", "...", "x", "a" * MAX_TOKEN_CHARACTERS, "e30.e30.", f"{'.' * 5000}"]
    attacker.flood(round_robin([http_request("POST", HEARTBEAT, each, beat_body()) for each in tokens]))


@attack(
    "Tokens with ever new key ids, of a JWKS issuer",
    "the URL is fetched once in 30 s; 503 with Retry-After until then",
    {401, 503},
    row="8",
    before="a final 401 within the cool-down",
    with_jwks=True,
    short_calls=20,
)
def unknown_key_ids(attacker: Attacker) -> None:
    _, payload, signature = attacker.token().split(".")

    def tokens() -> Iterator[bytes]:
        for number in count():
            header = json.dumps({"alg": "RS256", "kid": f"key-{number}"}).encode()
            head = _base64(header)
            yield http_request("POST", HEARTBEAT, f"{head}.{payload}.{signature}", beat_body())

    first = tokens()
    for _ in range(2):
        reply = attacker.ask(next(first))
    attacker.must(
        reply.status == 503 and "retry-after" in reply.headers, f"{reply.status} within the cool-down"
    )
    attacker.flood(first)


@attack(
    "The demo beside a real Redis: `GET /demo/people/alice/operator-token`",
    "the demo is off with a REDIS_URL unless `PRESENCE_DEMO=yes`",
    {404},
    row="7",
    before="on by default: an operator's token without sign-in",
    seconds=1.0,
)
def demo_by_default(attacker: Attacker) -> None:
    for path in ("/demo/people/alice/operator-token", "/", "/flows/1", "/api/v1/flows/1", "/sign-in"):
        attacker.must(attacker.ask(http_request("GET", path)).status == 404, f"{path} is served")


def _demo_token(attacker: Attacker) -> str:
    token: str = attacker.ask(http_request("GET", "/demo/people/alice/token")).data["token"]
    return token


@attack(
    "With the demo on: saves of a flow at full speed",
    "counted as any call",
    {200, 409, 422, 429},
    stopped_with=429,
    row="7",
    before="`PUT` flows never 429",
    with_demo=True,
)
def demo_saves(attacker: Attacker) -> None:
    proof = _demo_token(attacker)
    flow = {"name": "x", "status": "draft", "owner": "Alice Moreau", "description": "x" * 4000, "steps": ""}
    body = {**flow, "lock_version": 1, "tab_id": "t1"}
    attacker.flood(repeat(http_request("PUT", "/api/v1/flows/1", proof, body)))


@attack(
    "With the demo on: its tokens in another tenant, and another's tokens in the demo",
    "the tenant has a key of its own",
    {200, 401, 403},
    with_demo=True,
    seconds=1.0,
)
def demo_tokens_elsewhere(attacker: Attacker) -> None:
    head, payload, signature = _demo_token(attacker).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    moved = _base64(json.dumps({**claims, "tenant": attacker.tenant}).encode())
    reply = attacker.beat("doc/1", proof=f"{head}.{moved}.{signature}")
    attacker.must(reply.status == 401, "a token of the demo in another tenant is accepted")
    outsider = issue_token(SETTINGS, {"sub": "x", "name": "x", "tenant": TENANT}, 600)
    reply = attacker.beat("flow/1", proof=outsider)
    attacker.must(reply.status == 401, "the demo accepts a token of the service's own key")


@attack(
    "The copy of a cookie whose user has signed out",
    "remembered as over for as long as a session lasts",
    {200, 303, 401},
    row="8",
    before="still works",
    with_demo=True,
    seconds=2.0,
)
def signed_out_cookie(attacker: Attacker) -> None:
    page = attacker.ask(http_request("GET", "/flows/1"))
    cookie = {"Cookie": page.headers["set-cookie"].partition(";")[0]}
    csrf = page.body.partition(b'name="csrf-token" content="')[2].partition(b'"')[0].decode()
    listed = attacker.ask(http_request("GET", "flow/1/viewers", headers=cookie))
    attacker.must(listed.status == 200, "the cookie does not work at all")
    form = {**cookie, "Content-Type": "application/x-www-form-urlencoded"}
    signed_out = attacker.ask(
        http_request("POST", "/sign-out", None, f"csrf_token={csrf}".encode(), headers=form)
    )
    attacker.must(signed_out.status == 303, f"signing out: {signed_out.status}")
    copied = attacker.ask(http_request("GET", "flow/1/viewers", headers=cookie))
    attacker.must(copied.status == 401, "the copy of a cookie outlives the sign-out")


@attack(
    "With the demo on: pages without a cookie, each of which makes a session",
    BEFORE_IDENTITY,
    {200},
    with_demo=True,
    short_calls=20,
)
def demo_pages(attacker: Attacker) -> None:
    attacker.flood(repeat(http_request("GET", "/")))

"""Calls that are refused, which must cost little and must count."""

import gzip
import json
from collections.abc import Iterator
from itertools import repeat

from tests.abuse.attack import attack, round_robin
from tests.abuse.attacker import Attacker, beat_body, http_request

BODY_BYTES = 64 * 1024  # the largest that is read
COUNTED = "counted as any call"
HEARTBEAT = "doc/1/heartbeat"


def _flood_body(attacker: Attacker, body: bytes, **headers: str) -> None:
    attacker.flood(repeat(http_request("POST", HEARTBEAT, attacker.token(), body, headers=headers)))


def _filled(start: str, item: str, end: str) -> bytes:
    """A body as large as allowed, of as many items as fit."""
    count = (BODY_BYTES - len(start) - len(end)) // (len(item) + 1)
    return (start + ",".join([item] * count) + end).encode()


@attack(
    "422: `dirty_fields: [0, 0, …]` of 64 KB",
    "counted; lengths before items; 20 errors",
    {422, 429},
    stopped_with=429,
    row="3",
    before="218 ms and an answer of 917 KB; never 429; an honest beat 1.58 s",
)
def zeros(attacker: Attacker) -> None:
    _flood_body(attacker, _filled('{"tab_id":"t1","mode":"view","dirty":false,"dirty_fields":[', "0", "]}"))


@attack(
    "422: 6,000 unknown keys",
    "the same",
    {422, 429},
    stopped_with=429,
    row="3",
    before="28 ms and an answer of 161 KB; 600 calls each of 422 and 403 uncounted",
)
def unknown_keys(attacker: Attacker) -> None:
    keys = {f"k{number}": 0 for number in range(6000)}
    _flood_body(attacker, json.dumps(keys, separators=(",", ":")).encode()[:BODY_BYTES])


@attack(
    "422: 100 names that are wrong, each of 350 bytes with escapes",
    "the same; an error names at most five items",
    {422, 429},
    stopped_with=429,
)
def wrong_names(attacker: Attacker) -> None:
    body = beat_body(dirty_fields=["\\u0000" * 50] * 100, active_field="\u202e" * 2000, mode="x" * 5000)
    _flood_body(attacker, json.dumps(body).encode())


@attack(
    "403, 404, 405, 409, 413, 415, 422 and 400 in turn",
    COUNTED,
    {200, 400, 403, 404, 405, 409, 413, 415, 422, 429},
    stopped_with=429,
    row="3",
    before="uncounted",
)
def refusals_of_each_kind(attacker: Attacker) -> None:
    proof = attacker.token()
    attacker.beat("doc/9", "taken", proof=attacker.token("colleague"))
    limited = attacker.token(records=["other:*"])
    text = {"Content-Type": "text/plain"}
    requests = [
        http_request("POST", HEARTBEAT, limited, beat_body()),
        http_request("GET", "no/such/path/at/all", proof),
        http_request("PUT", HEARTBEAT, proof, beat_body()),
        http_request("POST", "doc/9/heartbeat", proof, beat_body("taken")),
        http_request("POST", HEARTBEAT, proof, b" " * (BODY_BYTES + 1)),
        http_request("POST", HEARTBEAT, proof, beat_body(), headers=text),
        http_request("POST", f"doc/{'9' * 65}/heartbeat", proof, beat_body()),
        http_request("POST", HEARTBEAT, proof, b"{"),
    ]
    attacker.flood(round_robin(requests))


@attack("Lists 30,000 deep", "counted; the depth is bounded", {400, 422, 429}, stopped_with=429)
def deep_json(attacker: Attacker) -> None:
    depth = 30_000
    _flood_body(attacker, b'{"tab_id":' + b"[" * depth + b"]" * depth + b"}")


@attack(
    "A signal with data 500 deep",
    "counted apart: 600 a minute",
    {200, 400, 422, 429},
    short_calls=150,
    stopped_with=429,
)
def deep_signal(attacker: Attacker) -> None:
    attacker.beat("doc/1")
    body = b'{"tab_id":"t1","kind":"typing","data":' + b"[" * 500 + b"]" * 500 + b"}"
    attacker.flood(repeat(http_request("POST", "doc/1/signal", attacker.token(), body)))


@attack("Duplicate keys, 5,000 of them", COUNTED, {400, 422, 429}, stopped_with=429)
def duplicate_keys(attacker: Attacker) -> None:
    _flood_body(attacker, _filled("{", '"tab_id":"t1"', "}"))


@attack("An integer of 60,000 digits", COUNTED, {400, 422, 429}, stopped_with=429)
def huge_integer(attacker: Attacker) -> None:
    _flood_body(
        attacker, b'{"tab_id":"t1","mode":"view","dirty":false,"base_version":' + b"9" * 60_000 + b"}"
    )


@attack("A gzip bomb as body: 64 MB in 64 KB", "never unpacked", {400, 415, 422, 429}, stopped_with=429)
def compressed_body(attacker: Attacker) -> None:
    _flood_body(attacker, gzip.compress(b" " * (60 << 20))[:BODY_BYTES], **{"Content-Encoding": "gzip"})


@attack("A batch with 2,000 parameters in the query", "counted; 200 at most", {422, 429}, stopped_with=429)
def many_query_parameters(attacker: Attacker) -> None:
    query = "&".join(["a="] * 2000)
    attacker.flood(repeat(http_request("GET", f"viewers?{query}", attacker.token())))


@attack("Headers: Range, 8 KB of ETags, 40 of 1 KB", "ignored; counted", {200, 429}, stopped_with=429)
def odd_headers(attacker: Attacker) -> None:
    attacker.beat("doc/1")
    headers = {
        "Range": "bytes=" + ",".join(f"{n}-{n}" for n in range(500)),
        "If-None-Match": ", ".join(f'W/"{n}"' for n in range(700)),
        **{f"X-Filling-{n}": "x" * 1000 for n in range(40)},
    }
    attacker.flood(repeat(http_request("GET", "doc/1/viewers", attacker.token(), headers=headers)))


@attack(
    "Ever new records with names of 64 characters, read in four ways",
    "counted; nothing is kept of a record that nobody has open",
    {200, 429},
    stopped_with=429,
)
def reads_of_new_records(attacker: Attacker) -> None:
    proof = attacker.token()

    def requests() -> Iterator[bytes]:
        for number in range(1_000_000):
            record = f"{'t' * 64}/{number:064d}"
            for kind in ("viewers", "tabs", "timeline", "viewers?include_self=true"):
                yield http_request("GET", f"{record}/{kind}", proof)

    attacker.flood(requests())


@attack(
    "Control: one user's good heartbeats at full speed, far over the limit",
    "429 without Redis",
    {200, 429},
    stopped_with=429,
    is_control=True,
)
def control_good_beats_over_the_limit(attacker: Attacker) -> None:
    attacker.flood(repeat(http_request("POST", HEARTBEAT, attacker.token(), beat_body())))


@attack(
    "Control: good heartbeats of 200 users of a tenant at full speed",
    "each is within their limit",
    {200, 429},
    is_control=True,
    users=200,
)
def control_good_beats(attacker: Attacker) -> None:
    proofs = attacker.users(200)
    attacker.flood(
        round_robin(
            http_request("POST", f"doc/{n}/heartbeat", proof, beat_body()) for n, proof in enumerate(proofs)
        )
    )

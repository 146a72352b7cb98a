"""Connections and calls that need no identity: slow, idle, many, or in one piece."""

import contextlib
import time
from itertools import repeat

from tests.abuse.attack import attack, round_robin
from tests.abuse.attacker import Attacker, Wire, beat_body, http_request

SLOW_CLIENTS, IDLE_CLIENTS = 400, 1000
GIVEN_UP_SECONDS = 10.0  # for a head or a body that trickles, from its first bytes
SLACK_SECONDS = 3.0
BEFORE_IDENTITY = "calls without an identity take turns; nginx.conf limits an address"
START = b"POST /api/v1/presence/doc/1/heartbeat HTTP/1.1\r\nHost: x\r\n"


def _trickle(attacker: Attacker, start: bytes, drip: bytes) -> None:
    """Send the start on many connections, then a byte a second, until the server has hung up on all."""
    is_short = attacker.calls is not None
    wires = [Wire(attacker.port) for _ in range(20 if is_short else SLOW_CLIENTS)]
    for wire in wires:
        wire.send(start)
    ends_at = time.monotonic() + (0 if is_short else GIVEN_UP_SECONDS + SLACK_SECONDS)
    left = wires
    while left and time.monotonic() < ends_at:
        time.sleep(0.5)
        for wire in left:
            with contextlib.suppress(OSError):
                wire.send(drip)
        left = [wire for wire in left if not wire.is_closed_by_server() and not _is_answered(wire)]
    attacker.must(is_short or not left, f"{len(left)} of {len(wires)} slow clients are still served")
    for wire in wires:
        wire.close()
    attacker.tally.statuses[0] += len(wires)


def _is_answered(wire: Wire) -> bool:
    return bool(wire.read_for(0.0001, 1 << 16))


@attack(
    f"{SLOW_CLIENTS} heads that trickle",
    "a head is given up after 10 s",
    {0},
    row="8",
    before="holds a connection for 75 s",
    seconds=15.0,
)
def slow_heads(attacker: Attacker) -> None:
    _trickle(attacker, START + b"X-Slow: ", b"x")


@attack(f"{SLOW_CLIENTS} bodies that trickle", "a body is given up after 10 s", {0}, seconds=15.0)
def slow_bodies(attacker: Attacker) -> None:
    head = http_request("POST", "doc/1/heartbeat", attacker.token(), headers={"Content-Length": "60000"})
    _trickle(attacker, head.replace(b"\r\n\r\n", b"\r\nContent-Type: application/json\r\n\r\n"), b" ")


@attack(
    f"{IDLE_CLIENTS} connections that have called once and are kept",
    "closed after 75 s; a process holds 10,000; nginx.conf limits an address",
    {200},
)
def idle_connections(attacker: Attacker) -> None:
    wires = [Wire(attacker.port) for _ in range(50 if attacker.calls else IDLE_CLIENTS)]
    for wire in wires:
        attacker.tally.note(wire.exchange(http_request("GET", "/health/live")))
    time.sleep(0.2 if attacker.calls else min(3.0, attacker.seconds_left + 2))
    for wire in wires:
        wire.close()


@attack(
    "1,000 heartbeats pipelined on each of 4 connections",
    "counted; a pause between pipelined requests, and before a 429",
    {200, 429},
    stopped_with=429,
    before="everybody else waited 2 s, for all that were sent at once",
)
def pipelined_calls(attacker: Attacker) -> None:
    request = http_request("POST", "doc/1/heartbeat", attacker.token(), beat_body())
    wires = [Wire(attacker.port) for _ in range(4)]
    for wire in wires:
        wire.send(request * 1000)
    while attacker.seconds_left and not (attacker.calls and attacker.tally.statuses[429]):
        for wire in wires:
            with contextlib.suppress(OSError):
                attacker.tally.note(wire.read())
    for wire in wires:
        wire.close()


@attack(
    "Heads with 50 headers of 8 KB, unauthenticated",
    "64 KiB a head; a pause before the 431; nginx.conf limits an address",
    {0, 431},
    short_calls=20,
)
def large_heads(attacker: Attacker) -> None:
    headers = {f"X-{number}": "x" * 8000 for number in range(45)}
    attacker.flood(repeat(http_request("GET", "doc/1/viewers", headers=headers)))


@attack(
    "`GET /health/ready` at full speed",
    "one write a second; takes turns; nginx.conf answers it to this machine only",
    {200},
    row="suspected",
    before="a write to Redis for each, open to all (suspected)",
)
def readiness_probes(attacker: Attacker) -> None:
    attacker.flood(repeat(http_request("GET", "/health/ready")))


@attack(
    "Far over the limit on 100 connections",
    "429 without Redis, after a pause; nginx.conf limits an address",
    {200, 429},
    stopped_with=429,
)
def refused_on_many_connections(attacker: Attacker) -> None:
    request = http_request("POST", "doc/1/heartbeat", attacker.token(), beat_body())
    attacker.flood(repeat(request), connections=20 if attacker.calls else 100)


@attack(
    "`GET /metrics` at full speed",
    "rendered in 5 % of the time; takes turns; nginx.conf answers it to this machine only",
    {200},
    short_calls=20,
)
def metrics(attacker: Attacker) -> None:
    attacker.flood(repeat(http_request("GET", "/metrics")))


@attack("The API reference and its files at full speed", BEFORE_IDENTITY, {200, 304, 308}, short_calls=60)
def reference(attacker: Attacker) -> None:
    paths = ["/api/docs", "/api/docs/openapi.json", "/static/presence/presence.js"]
    attacker.flood(round_robin([http_request("GET", path) for path in paths]))


@attack(
    "Calls without a proof, to paths that do and do not exist", BEFORE_IDENTITY, {401, 404}, short_calls=20
)
def anonymous_calls(attacker: Attacker) -> None:
    paths = ["doc/1/viewers", "no/such/path/there", "/", "/favicon.ico", "/" + "a/" * 2000]
    attacker.flood(round_robin([http_request("GET", path) for path in paths]))


@attack(
    "Control: `GET /health/live` at full speed, which does nothing",
    "calls without an identity take turns",
    {200},
    is_control=True,
)
def control_liveness(attacker: Attacker) -> None:
    attacker.flood(repeat(http_request("GET", "/health/live")))

"""Streams: many of them, unread ones, large snapshots, and opening them again and again."""

from collections.abc import Iterator
from itertools import count, repeat

from tests.abuse.attack import attack, field_name, field_names, round_robin
from tests.abuse.attacker import Attacker, Reply, Wire, beat_body, http_request

RECORDS = 100  # of a stream
MAX_STREAMS_PER_USER = 20
MAX_EVENT_BYTES = 1_100_000  # a snapshot's viewers are 1 MB at most
ALL_RECORDS = "&".join(f"record=doc:{number}" for number in range(RECORDS))


def _open(attacker: Attacker, query: str, proof: str, **headers: str) -> tuple[Wire, Reply]:
    """A stream, of which only the head was read."""
    wire = Wire(attacker.port)
    wire.send(http_request("GET", f"events?{query}", proof, headers=headers))
    try:
        reply = wire.read()
    except OSError:
        reply = Reply(0)
    attacker.tally.note(reply)
    return wire, reply


def _fill(attacker: Attacker, proofs: list[str]) -> None:
    """Let these users open all records with as many and as large fields as they may name."""
    attacker.flood(
        http_request(
            "POST",
            f"doc/{number}/heartbeat",
            proof,
            beat_body(f"t{user}", active_field=field_name(number), dirty_fields=field_names(user)),
        )
        for user, proof in enumerate(proofs)
        for number in range(RECORDS)
    )


@attack(
    "One user opens 200 streams and holds them",
    "20 a user and process, then 429",
    {200, 429},
    stopped_with=429,
    row="4",
    before="200 opened in a minute and held",
)
def held_streams(attacker: Attacker) -> None:
    proof = attacker.token()
    wires = [_open(attacker, "record=doc:1", proof)[0] for _ in range(200 if attacker.calls is None else 40)]
    opened = attacker.tally.statuses[200]
    attacker.must(opened <= MAX_STREAMS_PER_USER, f"{opened} streams of one user")
    wires[0].read_for(min(attacker.seconds_left, 1.0 if attacker.calls else 60.0), 1 << 20)
    for wire in wires:
        wire.close()


@attack(
    "A tenant's ten users fill a process of 100 streams; another tenant asks for one",
    "the newest stream of the tenant with most makes room",
    {200, 429, 503},
    row="4",
    before="with `PRESENCE_MAX_STREAMS=100` all 100 by one user; another tenant got 503",
    settings={"PRESENCE_MAX_STREAMS": "100"},
    users=10,
)
def streams_of_a_full_process(attacker: Attacker) -> None:
    wires = [_open(attacker, "record=doc:1", proof)[0] for proof in attacker.users(10) for _ in range(15)]
    late = attacker.token("late", tenant="another")
    for number in range(5):
        wire, reply = _open(attacker, f"record=doc:{number}", late)
        attacker.must(reply.status == 200, f"another tenant's stream: {reply.status}")
        wires.append(wire)
    wires[0].read_for(0.3, 1 << 20)
    for wire in wires:
        wire.close()


@attack(
    "Streams of 100 records that nobody reads, while their viewers change",
    "a stream of 100 records counts as ten calls; 256 KB wait for a reader, then one snapshot does",
    {200, 429},
    row="4",
    before="40 unread streams of 100 records of 51 KB: 5.3 MB each",
    seconds=6.0,
    users=33,
)
def unread_streams(attacker: Attacker) -> None:
    _fill(attacker, attacker.users(2))
    wires = [
        _open(attacker, ALL_RECORDS, attacker.token())[0] for _ in range(40 if attacker.calls is None else 21)
    ]
    writers = attacker.users(30, "writer")

    def changes() -> Iterator[bytes]:
        for number in count():
            tab_id = f"w{number % 30}"
            body = beat_body(tab_id, active_field=field_name(number), dirty_fields=field_names(number))
            yield http_request("POST", f"doc/{number % RECORDS}/heartbeat", writers[number % 30], body)

    attacker.flood(changes())
    for wire in wires:
        wire.close()


@attack(
    "A batch of 100 full records, again and again",
    "1 MB an answer; counts as ten calls",
    {200, 429},
    stopped_with=429,
    row="4",
    before="5.1 MB and 50 ms, counted as one call",
    users=3,
    seconds=8.0,
)
def batches_of_full_records(attacker: Attacker) -> None:
    _fill(attacker, attacker.users(2))
    attacker.flood(repeat(http_request("GET", f"viewers?{ALL_RECORDS}", attacker.token())))


@attack(
    "Snapshot bomb: 100 users with 200 fields on one record, whose stream is opened again and again",
    "1 MB a snapshot; each opening counts",
    {200, 429},
    row="4",
    short_calls=60,
    users=101,
)
def snapshots_of_a_full_record(attacker: Attacker) -> None:
    attacker.flood(
        http_request(
            "POST",
            "doc/1/heartbeat",
            proof,
            beat_body(f"t{n}", dirty_fields=field_names(0), active_field=field_name(n)),
        )
        for n, proof in enumerate(attacker.users(100))
    )
    opened = 0
    while attacker.seconds_left and opened < (attacker.calls or 200):
        wire, reply = _open(attacker, "record=doc:1&limit=1000", attacker.token())
        if reply.status == 200:
            _note_events(attacker, wire.read_for(0.5 if opened < 3 else 0.01, 4 << 20))
        wire.close()
        opened += 1 if attacker.calls is None else 10


def _note_events(attacker: Attacker, received: bytes) -> None:
    largest = max((len(event) for event in received.split(b"\n\n")), default=0)
    attacker.tally.largest_answer_bytes = max(attacker.tally.largest_answer_bytes, largest)
    attacker.must(largest <= MAX_EVENT_BYTES, f"an event of {largest:,} bytes")


@attack(
    "Streams of 50 users opened and left at once, each of 100 records that nobody else has asked for",
    "each opening counts as ten calls",
    {200, 429},
    short_calls=30,
    users=50,
)
def stream_churn(attacker: Attacker) -> None:
    proofs = round_robin(attacker.users(50))
    for number in range(attacker.calls or 100_000):
        records = "&".join(f"record=doc:{number}-{place}" for place in range(RECORDS))
        _open(attacker, records, next(proofs))[0].close()
        if not attacker.seconds_left:
            break


@attack(
    "`Last-Event-ID` that is huge, of another record, a number, or no version at all",
    "what is no version gets a snapshot; counted",
    {200, 429, 431},
)
def odd_event_ids(attacker: Attacker) -> None:
    attacker.beat("doc/1")
    ids = ["9" * 8000, "0", "-1", "99999999999999999-ffffffff", "x" * 9000, "1-1-1-1", "\u00ff" * 100]
    for number in range(30 if attacker.calls else 250):
        query = "record=doc:1&include_self=true"
        odd = ids[number % len(ids)]
        wire, reply = _open(attacker, query, attacker.token(), **{"Last-Event-ID": odd})
        if reply.status == 200 and number < len(ids):
            received = wire.read_until(b"event: snapshot", 1 << 20)
            attacker.must(b"event: snapshot" in received, f"no snapshot for Last-Event-ID {odd[:20]}")
        wire.close()


@attack(
    "Signals of 1 KB to a record with 20 unread streams, at full speed",
    "600 a minute, never stored; a slow reader's queue is bounded",
    {200, 429},
    stopped_with=429,
    short_calls=150,
)
def signals(attacker: Attacker) -> None:
    wires = [_open(attacker, "record=doc:1", attacker.token())[0] for _ in range(MAX_STREAMS_PER_USER)]
    proof = attacker.token("sender")
    attacker.beat("doc/1", proof=proof)
    body = {"tab_id": "t1", "kind": "cursor", "data": "x" * 1000}
    attacker.flood(repeat(http_request("POST", "doc/1/signal", proof, body)))
    for wire in wires:
        wire.close()


@attack(
    "Come and go: register, unregister, as fast as possible, beside 20 streams",
    "counted; a record's changes are sent at most 20 times a second",
    {200, 429},
    stopped_with=429,
)
def come_and_go(attacker: Attacker) -> None:
    wires = [
        _open(attacker, "record=doc:1", attacker.token("reader"))[0] for _ in range(MAX_STREAMS_PER_USER)
    ]
    proof = attacker.token()
    pair = [
        http_request("POST", "doc/1/heartbeat", proof, beat_body()),
        http_request("DELETE", "doc/1/unregister?tab_id=t1", proof),
    ]
    attacker.flood(round_robin(pair))
    for wire in wires:
        wire.close()

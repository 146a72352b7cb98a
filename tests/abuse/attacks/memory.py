"""Attacks on Redis's memory, and on those who read what was put there."""

from collections.abc import Iterator
from itertools import count, repeat

from tests.abuse.attack import LIMIT_LIFTED, attack, field_name, field_names, round_robin
from tests.abuse.attacker import Attacker, beat_body, http_request

COLLEAGUE = "colleague"
LONGEST_TAB_ID = 128  # characters


def _crammed_beats(proof: str, record: str, tabs: int = 50, user: str = "") -> Iterator[bytes]:
    """Beats of many tabs of a user, each with other fields than before, two of them with lists."""
    for number in count():
        doing: dict[str, object] = {"active_field": field_name(number)}
        if number % tabs < 2:
            doing["dirty_fields"] = field_names(number)
        body = beat_body(f"{user}t{number % tabs}", **doing)
        yield http_request("POST", f"{record}/heartbeat", proof, body)


@attack(
    "Timeline flood: 50 tabs of one user, fields of 512 bytes; `GET timeline?limit=1000` on 3 connections",
    "entries say what changed, 256 KB a record; a page of 1,000 counts as ten calls",
    {200, 429},
    stopped_with=429,
    row="1",
    before="timeline 114 MB; Redis busy 0.5–0.9 s a call, others' beats 1.1–1.3 s or 503; process at 530 MB",
)
def timeline_flood(attacker: Attacker) -> None:
    colleague = attacker.token(COLLEAGUE)
    attacker.beat("doc/1", "c1", proof=colleague)
    beats = _crammed_beats(attacker.token(), "doc/1")
    for _ in range(100):
        attacker.ask(next(beats))
    attacker.flood(repeat(http_request("GET", "doc/1/timeline?limit=1000", attacker.token())), connections=3)


@attack(
    "The same by 40 users of a tenant: 800 beats, then all read the whole timeline again and again",
    "the same bounds for a record, whoever fills it",
    {200, 429},
    row="1",
    short_calls=150,
    users=40,
)
def timeline_flood_by_many(attacker: Attacker) -> None:
    proofs = attacker.users(40)
    writers = [_crammed_beats(proof, "doc/1", 20, f"{user}-") for user, proof in enumerate(proofs)]
    attacker.flood((next(beats) for _, beats in zip(range(800), round_robin(writers), strict=False)))
    reads = (http_request("GET", "doc/1/timeline?limit=1000", proof) for proof in proofs)
    attacker.flood(round_robin(reads), connections=3)


@attack(
    "`saved` on ever new records that nobody has open, 100 names of 512 bytes",
    "only a live editing tab may tell; else nothing is kept",
    {200},
    row="2",
    before="58 KB a call, kept 24 h: 16.7 GB a day (computed)",
    settings=LIMIT_LIFTED,
)
def saves_of_unopened_records(attacker: Attacker) -> None:
    proof = attacker.token()
    reply = attacker.call(
        "POST", "doc/0/saved", {"tab_id": "t1", "lock_version": 1, "fields": ["title"]}, proof=proof
    )
    attacker.must(reply.data.get("announced") is False, "a save of a record that nobody has open is told")
    attacker.flood(
        http_request(
            "POST", f"doc/{n}/saved", proof, {"tab_id": "t1", "lock_version": 1, "fields": field_names(n)}
        )
        for n in count(1)
    )


@attack(
    "The same with the role `service`",
    "a save that nobody sees leaves no key",
    {200},
    row="2",
    settings=LIMIT_LIFTED,
)
def saves_of_unopened_records_by_a_service(attacker: Attacker) -> None:
    proof = attacker.token(role="service")
    user = {"id": 1, "name": "Alice"}
    attacker.flood(
        http_request(
            "POST", f"doc/{n}/saved", proof, {"lock_version": 1, "fields": field_names(n), "user": user}
        )
        for n in count(1)
    )


@attack(
    "Beats with 100 unsaved fields of 512 bytes on ever new records",
    "512 bytes of names count as a call",
    {200, 429},
    stopped_with=429,
    row="2",
    before="175 KB a call at the peak",
)
def fields_on_new_records(attacker: Attacker) -> None:
    proof = attacker.token()
    attacker.flood(
        http_request("POST", f"doc/{n}/heartbeat", proof, beat_body(dirty_fields=field_names(n)))
        for n in count()
    )


@attack(
    "Changing fields on 200 records where a colleague is, so that the timelines stay a day",
    "512 bytes of names count as a call; a budget of a user's bytes in timelines",
    {200, 429},
    stopped_with=429,
    row="2",
)
def fields_beside_a_colleague(attacker: Attacker) -> None:
    colleague, proof, records = attacker.token(COLLEAGUE), attacker.token(), 200
    attacker.flood(
        http_request("POST", f"doc/{n}/heartbeat", colleague, beat_body("c1")) for n in range(records)
    )
    attacker.flood(
        http_request(
            "POST",
            f"doc/{n % records}/heartbeat",
            proof,
            beat_body(active_field=field_name(n), dirty_fields=field_names(n)),
        )
        for n in count()
    )


@attack(
    "Saves with 100 names of 512 bytes, by an editing tab on 200 records where a colleague is",
    "32 KB of saves a record while it is open; a budget of the bytes that a user's saves keep",
    {200, 429},
    row="2",
    settings=LIMIT_LIFTED,
)
def saves_beside_a_colleague(attacker: Attacker) -> None:
    colleague, proof, records = attacker.token(COLLEAGUE), attacker.token(), 200
    for who, tab in ((colleague, "c1"), (proof, "t1")):
        attacker.flood(
            http_request("POST", f"doc/{n}/heartbeat", who, beat_body(tab)) for n in range(records)
        )
    attacker.flood(
        http_request(
            "POST",
            f"doc/{n % records}/saved",
            proof,
            {"tab_id": "t1", "lock_version": n // records + 1, "fields": field_names(n)},
        )
        for n in count()
    )


@attack(
    "20 claims of fields of 512 bytes on each of ever new records",
    "20 claims a record and user; a budget of the bytes that a user's claims keep",
    {200, 429},
    settings=LIMIT_LIFTED,
)
def claims_on_new_records(attacker: Attacker) -> None:
    proof = attacker.token()

    def requests() -> Iterator[bytes]:
        for n in count():
            yield http_request("POST", f"doc/{n}/heartbeat", proof, beat_body())
            for place in range(20):
                body = {"tab_id": "t1", "field": field_name(n * 100 + place)}
                yield http_request("POST", f"doc/{n}/claim", proof, body)

    attacker.flood(requests(), connections=1)  # a claim needs the tab that was registered before


@attack(
    "50 tabs with ids of 128 characters on each of ever new records, each in another field",
    "20 active fields a viewer; the limit of calls",
    {200, 429},
    stopped_with=429,
)
def tabs_on_new_records(attacker: Attacker) -> None:
    proof = attacker.token()
    attacker.flood(
        http_request(
            "POST",
            f"doc/{n // 50}/heartbeat",
            proof,
            beat_body(f"{n:0{LONGEST_TAB_ID}d}", active_field=field_name(n)),
        )
        for n in count()
    )


@attack(
    "100 users of one tenant with 100 unsaved fields of 512 bytes on ever new records",
    "the bounds of each user; the tenant's budget",
    {200, 429},
    short_calls=60,
    users=100,
)
def fields_of_a_tenants_many_users(attacker: Attacker) -> None:
    proofs = attacker.users(100)
    attacker.flood(
        http_request("POST", f"doc/{n}/heartbeat", proof, beat_body(dirty_fields=field_names(n)))
        for n, proof in enumerate(round_robin(proofs))
    )


@attack(
    "More than 50 tabs of one user on a record",
    "the 51st is refused until another is closed",
    {200, 429},
    stopped_with=429,
)
def fifty_tabs_and_more(attacker: Attacker) -> None:
    for number in range(60):
        reply = attacker.beat("doc/1", f"t{number}")
        attacker.must((reply.status == 200) == (number < 50), f"tab {number + 1}: {reply.status}")
        if reply.status == 429:
            attacker.must("retry-after" in reply.headers, "429 without Retry-After")
    attacker.must(attacker.beat("doc/1", "t3").status == 200, "a tab that lives was ended")
    attacker.must(attacker.beat("doc/2").status == 200, "another record is refused as well")

"""Answers that are as large as one can make them, page after page."""

import json
from itertools import repeat
from typing import Any

from tests.abuse.attack import attack, field_name, field_names
from tests.abuse.attacker import Attacker, beat_body, http_request

USERS, TABS = 150, 3
SHORT_USERS, SHORT_TABS = 40, 1  # a viewer has as many fields as allowed with one tab
SHORT_CALLS = 250  # more than the limit of one user
LONG_NAME = "\u202eA\u0000\r\n\x1b[31m" + "\N{PILE OF POO}" * 300


def _crowd(attacker: Attacker) -> None:
    """Many users of the tenant on one record, each with as much of everything as is allowed."""
    users, tabs = (USERS, TABS) if attacker.calls is None else (SHORT_USERS, SHORT_TABS)
    proofs = [attacker.token(f"{n:0255d}", name=LONG_NAME) for n in range(users)]
    attacker.flood(
        http_request(
            "POST",
            "doc/1/heartbeat",
            proof,
            beat_body(f"{user:0120d}-{tab}", active_field=field_name(tab), dirty_fields=field_names(tab)),
        )
        for tab in range(tabs)
        for user, proof in enumerate(proofs)
    )


def _page_through(attacker: Attacker, path: str, proof: str) -> int:
    """How many pages there are; follows `next` as far as the user may call."""
    after: Any = ""
    for page in range(1000):
        reply = attacker.call("GET", f"{path}{after}", proof=proof)
        after = reply.data.get("next")
        if not after:
            return page + 1
        after = f"&after={after}"
    attacker.must(False, "pages without an end")
    return 1000


@attack(
    "`viewers?limit=1000` of a record with 150 users full of fields, page after page, again and again",
    "1 MB an answer; `limit=1000` counts as ten calls",
    {200, 429},
    stopped_with=429,
    short_calls=SHORT_CALLS,
    users=151,
)
def pages_of_viewers(attacker: Attacker) -> None:
    _crowd(attacker)
    _page_through(attacker, "doc/1/viewers?limit=1000", attacker.token())
    attacker.flood(repeat(http_request("GET", "doc/1/viewers?limit=1000", attacker.token())))


@attack(
    "`tabs` of the same record, page after page, again and again",
    "1 MB an answer",
    {200, 429},
    stopped_with=429,
    short_calls=SHORT_CALLS,
    users=151,
)
def pages_of_tabs(attacker: Attacker) -> None:
    _crowd(attacker)
    _page_through(attacker, "doc/1/tabs?limit=1000", attacker.token())
    attacker.flood(repeat(http_request("GET", "doc/1/tabs?limit=1000", attacker.token())))


@attack(
    "`inspect` by an operator of the tenant",
    "1 MB an answer; counted as any call",
    {200, 429},
    stopped_with=429,
    short_calls=SHORT_CALLS,
    users=151,
)
def pages_of_an_inspection(attacker: Attacker) -> None:
    _crowd(attacker)
    operator = attacker.token("operator", role="operator")
    _page_through(attacker, "doc/1/inspect?limit=1000", operator)
    attacker.flood(repeat(http_request("GET", "doc/1/inspect?limit=1000", operator)))


@attack(
    "Heartbeats that ask for the list of that record each time (`version: null`)",
    "100 viewers, 1 MB an answer",
    {200, 429},
    stopped_with=429,
    short_calls=SHORT_CALLS,
    users=151,
)
def beats_that_ask_for_a_long_list(attacker: Attacker) -> None:
    _crowd(attacker)
    body = beat_body(version=None, base_version=1, dirty_fields=field_names(0))
    attacker.flood(repeat(http_request("POST", "doc/1/heartbeat", attacker.token(), body)))


@attack(
    "Names with controls, newlines, ESC and direction overrides; ids of 255 characters",
    "left out of names; ids are kept as they are, within their bound",
    {200, 401},
    row="8",
    before="names keep bidi controls, newlines and ESC",
    seconds=2.0,
)
def hostile_names(attacker: Attacker) -> None:
    for user in ("\u202e" * 255, "x" * 255, -1, 10**254, "../../etc", "'; FLUSHALL --", "{tenant_honest}"):
        attacker.beat("doc/1", f"t{hash(str(user)) % 10**9}", proof=attacker.token(user, name=LONG_NAME))
    viewers = attacker.call("GET", "doc/1/viewers").data["viewers"]
    attacker.must(len(viewers) == 7, f"{len(viewers)} viewers of 7")
    for viewer in viewers:
        attacker.must(
            not set(viewer["name"]) & set("\u202e\u0000\r\n\x1b"), "a name keeps what disturbs text around it"
        )
    for tenant in ("honest:x", "{honest}", "honest\r\nFLUSHALL", "h" * 129, "*"):
        reply = attacker.beat("doc/0", "t1", proof=attacker.token(name="x", tenant=tenant))
        attacker.must(reply.status in (200, 401), f"tenant {tenant[:20]}: {reply.status}")
        data = attacker.call("GET", "doc/0/viewers", proof=attacker.token(name="x", tenant=tenant)).data
        attacker.must("user-0" not in json.dumps(data), "another tenant's viewers are shown")

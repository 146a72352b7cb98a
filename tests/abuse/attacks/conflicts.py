"""Saves, claims and tabs that somebody tells or takes though they are not theirs."""

import time
from itertools import repeat

from tests.abuse.attack import attack
from tests.abuse.attacker import Attacker, Reply, http_request

LARGEST_VERSION = 2**53 - 1
TAKE_OVER_SECONDS = 5
SAVED, CLAIM = "doc/1/saved", "doc/1/claim"


def _save(attacker: Attacker, version: int, *, tab_id: str = "t1", proof: str | None = None) -> Reply:
    body = {"tab_id": tab_id, "lock_version": version, "fields": ["title"]}
    return attacker.call("POST", SAVED, body, proof=proof)


def _save_by_server(attacker: Attacker, version: int) -> Reply:
    body = {"lock_version": version, "fields": ["title"], "user": {"id": 7, "name": "Victim"}}
    return attacker.call("POST", SAVED, body, proof=attacker.token("server", role="service"))


def _is_told_by_server(attacker: Attacker, victim: str, version: int) -> bool:
    """Whether the victim is warned of the server's own save of this version."""
    body = {"base_version": version - 1, "version": None, "dirty_fields": ["title"]}
    data = attacker.beat("doc/1", "v1", proof=victim, **body).data
    saves = [save for save in data.get("saved", []) if save["lock_version"] == version]
    return [save["user"]["id"] for save in saves] == [7] and bool(data["forecast"]["collisions"])


@attack(
    "Saves forged by somebody who never opened the record: versions 8 to 12, and near 2^53-1",
    "only a live editing tab may tell: `announced: false`; 409 for another's tab",
    {200, 409},
    row="5",
    before="the server's own save of version 8 is answered `announced: true` and dropped; no collision shown",
)
def saves_by_a_stranger(attacker: Attacker) -> None:
    victim = attacker.token("victim")
    attacker.beat("doc/1", "v1", proof=victim, base_version=7, dirty_fields=["title"])
    for version in (*range(8, 13), LARGEST_VERSION - 1, LARGEST_VERSION):
        told = _save(attacker, version).data["announced"]
        attacker.must(told is False, f"version {version} was announced")
        by_victims_tab = _save(attacker, version, tab_id="v1").status
        attacker.must(by_victims_tab == 409, f"version {version} by the victim's tab: {by_victims_tab}")
    attacker.must(_save_by_server(attacker, 8).data.get("announced") is True, "the server's save was dropped")
    attacker.must(_is_told_by_server(attacker, victim, 8), "the victim is not warned of the server's save")


@attack(
    "Saves forged by an editing tab: the next version, 2^53-1, and 60 steps of 1,000",
    "the service's word wins, also for a lower version; a page's step is at most 1,000",
    {200},
    row="5",
)
def saves_by_an_editor(attacker: Attacker) -> None:
    victim = attacker.token("victim")
    attacker.beat("doc/1", "v1", proof=victim, base_version=7, dirty_fields=["title"])
    attacker.beat("doc/1", base_version=7)
    _save(attacker, 8)
    attacker.must(
        _save(attacker, LARGEST_VERSION).data.get("reason") == "version_too_far", "a jump to 2^53-1 is told"
    )
    for step in range(1, 61):
        _save(attacker, 8 + 1000 * step)
    attacker.must(_save_by_server(attacker, 8).data.get("announced") is True, "the server's save was dropped")
    attacker.must(_is_told_by_server(attacker, victim, 8), "the victim is not warned of the server's save")


@attack(
    "A viewing tab claims all 100 fields",
    "a claim needs a live tab in mode `edit`",
    {200},
    row="6",
    before="all claimed; the colleague gets `claimed: false, claim: null`, also with `take_over`",
)
def claims_by_a_viewing_tab(attacker: Attacker) -> None:
    attacker.beat("doc/1", mode="view")
    for number in range(100):
        reply = attacker.call("POST", CLAIM, {"tab_id": "t1", "field": f"field-{number}"})
        attacker.must(reply.data.get("claimed") is False, "a viewing tab may claim")


@attack(
    "Ten users with editing tabs claim 20 fields each, 200 on one record",
    "20 a user; whoever has most loses the oldest to a colleague",
    {200},
    row="6",
)
def claims_of_all_fields(attacker: Attacker) -> None:
    claimed = 0
    for user, proof in enumerate(attacker.users(10)):
        attacker.beat("doc/1", f"t{user}", proof=proof)
        for number in range(21 if user == 0 else 20):
            body = {"tab_id": f"t{user}", "field": f"field-{user}-{number}"}
            claimed += attacker.call("POST", CLAIM, body, proof=proof).data.get("claimed", False)
        attacker.must(claimed <= 20 or user > 0, "more than 20 claims of a user")
    colleague = attacker.token("colleague")
    attacker.beat("doc/1", "c1", proof=colleague)
    reply = attacker.call("POST", CLAIM, {"tab_id": "c1", "field": "mine"}, proof=colleague)
    attacker.must(reply.data.get("claimed") is True, "a colleague can claim nothing")


@attack(
    "A field is taken over from its editor again and again, from two tabs",
    "once in 5 s; the one from whom it was taken may take it back at once",
    {200},
    row="6",
    before="10 of 10 take-overs",
)
def take_overs(attacker: Attacker) -> None:
    victim = attacker.token("victim")
    attacker.beat("doc/1", "v1", proof=victim)
    attacker.call("POST", CLAIM, {"tab_id": "v1", "field": "title"}, proof=victim)
    for tab in ("t1", "t2"):
        attacker.beat("doc/1", tab)
    started = time.monotonic()

    def take(tab_id: str, proof: str | None = None) -> bool:
        body = {"tab_id": tab_id, "field": "title", "take_over": True}
        return bool(attacker.call("POST", CLAIM, body, proof=proof).data["claimed"])

    takers = ["t1" if take("t1") else "nobody"]
    takers += [tab for tab in ("t2", "t2", "t2") if take(tab)]
    attacker.must(take("v1", victim), "the victim can't take the field back")
    takers += [tab for tab in ("t1", "t2") * 5 if take(tab)]
    if time.monotonic() - started < TAKE_OVER_SECONDS - 1:
        attacker.must(takers == ["t1"], f"{len(takers)} of 14 take-overs")


@attack(
    "Claim, release and take-over as fast as possible, watched by streams",
    "counted; claims are sent at most 20 times a second",
    {200, 429},
    stopped_with=429,
)
def claims_churn(attacker: Attacker) -> None:
    proof = attacker.token()
    attacker.beat("doc/1", proof=proof)
    body = {"tab_id": "t1", "field": "title"}
    pair = [http_request(method, CLAIM, proof, body) for method in ("POST", "DELETE")]
    attacker.flood(request for _ in repeat(None) for request in pair)


@attack(
    "Tabs: ids from `GET tabs`, taken while their tab lives, and evicted without the role",
    "409 while it lives; 403",
    {200, 403, 409},
    row="8",
    before="a gone tab's id can be taken; the client takes a new id once",
)
def tabs_of_others(attacker: Attacker) -> None:
    victim = attacker.token("victim")
    attacker.beat("doc/1", "v1", proof=victim)
    [tab_id] = attacker.call("GET", "doc/1/tabs").data["tabs"]
    attacker.must(attacker.beat("doc/1", tab_id).status == 409, "a live tab was taken")
    attacker.must(
        attacker.call("DELETE", "doc/1/unregister", {"tab_id": tab_id}).status == 409, "a live tab was ended"
    )
    attacker.must(
        attacker.call("POST", "doc/1/evict", {"tab_id": tab_id}).status == 403, "evicted without the role"
    )
    attacker.must(attacker.call("GET", "doc/1/inspect").status == 403, "inspected without the role")
    attacker.must(tab_id in attacker.call("GET", "doc/1/tabs").data["tabs"], "the victim's tab is gone")

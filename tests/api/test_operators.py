"""What operators may: see why somebody is shown, and remove a tab."""

import re
from dataclasses import replace

import pytest
from limits import parse

from record_presence import create_app
from record_presence.presence.records import Record
from record_presence.redis_client.client import connect
from tests.api.client import SETTINGS, Person, contents, data_of, failure_of
from tests.lua.commands import state_of

RECORD = Record("1", "flow", "12")


@pytest.fixture
def app(emptied_app):
    return emptied_app


@pytest.fixture
def operator(app):
    return Person(app, "ops", "Olga", role="operator")


def tabs(operator):
    return {tab["tab_id"]: tab for tab in data_of(operator.inspect())["tabs"]}


def test_operator_sees_every_tab_with_its_lease_and_why_it_is_shown(alice, bob, operator):
    alice.heartbeat(mode="edit", dirty=True, active_field="title", dirty_fields=["title"])
    version = data_of(bob.heartbeat(tab_id="t2", visible=False))["version"]
    data = data_of(operator.inspect())
    found = {tab["tab_id"]: tab for tab in data["tabs"]}
    tab = found["t1"]

    assert data["version"] == version
    assert list(found) == ["t1", "t2"]
    assert 85_000 < tab["lease_left_ms"] <= 90_000
    assert tab["is_shown"] is True
    assert tab["tab"] == data_of(alice.tabs())["tabs"]["t1"]
    assert tab["reason"].startswith(
        f"Shown: last heartbeat at {tab['tab']['last_seen_at']}, the lease ends in "
    )


def test_operator_sees_what_is_not_shown_and_why(app, alice, operator):
    redis = app.extensions["presence"].redis
    alice.heartbeat(tab_id="over")
    alice.heartbeat(tab_id="odd")
    redis.zincrby(RECORD.seen_key, -91_500, "over")
    redis.hset(RECORD.tabs_key, "odd", '["42"]')
    redis.hset(RECORD.tabs_key, "by hand", state_of(7, "Ghost"))
    redis.zadd(RECORD.seen_key, {"half": redis.time()[0] * 1000 + 50_000})
    before = contents(redis)
    found = tabs(operator)

    assert not any(tab["is_shown"] for tab in found.values())
    assert re.match(
        r"Not shown: the lease ended 1\.\d s ago; the next call sweeps it\.", found["over"]["reason"]
    )
    assert found["odd"]["reason"] == "Not shown: the state is not in the format of this service."
    assert found["by hand"]["reason"] == "Not shown: another system wrote this field, and it has no lease."
    assert (
        found["half"]["reason"] == "Not shown: there is a lease without a state; the next call repairs that."
    )
    assert -2_500 < found["over"]["lease_left_ms"] <= -1_500
    assert found["by hand"]["lease_left_ms"] is None
    assert found["by hand"]["tab"]["user_name"] == "Ghost"
    assert found["odd"]["tab"] is None
    assert found["half"]["tab"] is None
    assert contents(redis) == before


def test_reason_agrees_with_what_is_shown(app, alice, bob, operator):
    redis = app.extensions["presence"].redis
    alice.heartbeat()
    bob.heartbeat(tab_id="t2")
    redis.zincrby(RECORD.seen_key, -91_000, "t2")
    shown = [tab_id for tab_id, tab in tabs(operator).items() if tab["is_shown"]]

    assert shown == list(data_of(operator.tabs())["tabs"]) == ["t1"]
    assert list(tabs(operator)) == ["t1"]  # the call before has swept


def test_record_that_nobody_has_open_has_no_tabs(operator):
    assert data_of(operator.inspect()) == {"version": "0", "tabs": []}


def test_evicted_tab_is_gone_and_the_viewers_are_told_why(alice, bob, operator):
    alice.heartbeat()
    bob.heartbeat(tab_id="t2")

    assert data_of(operator.evict()) == {"evicted": True}
    assert data_of(operator.evict()) == {"evicted": False}
    assert data_of(bob.viewers())["viewers"] == []
    leave = data_of(bob.timeline())["entries"][-1]
    assert (leave["kind"], leave["user"]["id"], leave["reason"]) == ("leave", 42, "evicted")


def test_page_that_is_still_open_comes_back_with_its_next_heartbeat(alice, bob, operator):
    alice.heartbeat()
    operator.evict()
    alice.heartbeat()

    assert [viewer["id"] for viewer in data_of(bob.viewers())["viewers"]] == [42]


def test_claim_of_an_evicted_tab_ends(alice, bob, operator):
    alice.heartbeat()
    bob.heartbeat(tab_id="t2")
    alice.claim()
    operator.evict()

    assert "claims" not in data_of(bob.heartbeat(tab_id="t2", version=None))


@pytest.mark.parametrize("wrong", [{}, {"tab_id": None}, {"tab_id": "a b"}, {"tab_id": "t1", "user": 42}])
def test_wrong_eviction_is_422(operator, wrong):
    failure_of(operator.call("POST", "flow/12/evict", json=wrong), 422)


# Who may


CALLS = {"inspect": lambda person: person.inspect(), "evict": lambda person: person.evict()}


@pytest.mark.parametrize("role", [None, "service"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_everybody_else_is_403(app, alice, call, role):
    alice.heartbeat()
    before = contents(app.extensions["presence"].redis)
    person = Person(app, **({"role": role} if role else {}))

    assert failure_of(call(person), 403)["message"] == "Needs a token whose role is operator."
    assert contents(app.extensions["presence"].redis) == before


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_operator_of_another_tenant_or_of_other_records_sees_and_removes_nothing(app, alice, call):
    alice.heartbeat()
    elsewhere = Person(app, "ops", "Olga", tenant="2", role="operator")
    of_others = Person(app, "ops", "Olga", records=["flow:13"], role="operator")

    assert data_of(call(elsewhere)) in ({"version": "0", "tabs": []}, {"evicted": False})
    failure_of(call(of_others), 403)
    assert list(data_of(alice.tabs())["tabs"]) == ["t1"]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_caller_without_a_proof_is_401(app, call):
    unknown = Person(app)
    del unknown.headers["Authorization"]

    failure_of(call(unknown), 401)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_operators_calls_are_counted_too(redis, call):
    app = create_app(replace(SETTINGS, rate_limit=parse("1/minute")), redis=redis)
    operator = Person(app, role="operator")
    data_of(call(operator))

    failure_of(call(operator), 429)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_redis_that_is_away_is_503(call):
    app = create_app(SETTINGS, redis=connect("redis://127.0.0.1:1"))

    failure_of(call(Person(app, role="operator")), 503)


@pytest.mark.parametrize("path", ["inspect", "evict"])
def test_path_that_names_no_record_is_422(operator, path):
    method, body = ("GET", None) if path == "inspect" else ("POST", {"tab_id": "t1"})

    failure_of(operator.call(method, f"Flow/12/{path}", json=body), 422)

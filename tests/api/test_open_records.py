"""Which records of a tenant are open: for operators, and for servers of the host's."""

from dataclasses import replace

import pytest
from limits import parse

from record_presence import create_app
from record_presence.presence.errors import StoreUnavailable
from tests.api.client import SETTINGS, Person, data_of, failure_of


@pytest.fixture
def app(emptied_app):
    return emptied_app


@pytest.fixture
def operator(app):
    return Person(app, "ops", "Olga", role="operator")


def ask(person, **query):
    return person.call("GET", "viewers/open", query_string=query)


def found(person, **query):
    return [record["record"] for record in data_of(ask(person, **query))["records"]]


@pytest.mark.parametrize("role", ["operator", "service"])
def test_open_records_of_a_type_with_who_edits_and_who_has_unsaved_work(app, alice, bob, role):
    alice.heartbeat(mode="edit", dirty=True, dirty_fields=["title"])
    bob.heartbeat(tab_id="t2")
    bob.heartbeat("order/7", tab_id="t2", mode="edit")
    summariser = Person(app, act={"sub": "summariser", "name": "Summariser"})
    summariser.heartbeat(tab_id="t3")
    data = data_of(ask(Person(app, "ops", "Olga", role=role), type="flow"))

    [record] = data["records"]
    assert data.keys() == {"records"}
    since = record.pop("since")
    assert since.endswith("+00:00")
    assert record == {
        "record": "flow:12",
        "people": 2,
        "agents": 1,
        "editing": [{"id": 42, "name": "Alice"}],
        "unsaved": [{"id": 42, "name": "Alice"}],
    }


def test_where_a_user_is(app, alice, bob, operator):
    alice.heartbeat(mode="edit")
    alice.heartbeat("order/7", tab_id="t2")
    bob.heartbeat("flow/13", tab_id="t3")
    Person(app, "42", "Text").heartbeat("flow/14")

    assert found(operator, user="42") == ["order:7", "flow:12"]
    assert found(operator, user='"42"') == ["flow:14"]
    assert found(operator, user="42", type="flow") == ["flow:12"]
    assert found(operator, user="nobody") == []
    [order, flow] = data_of(ask(operator, user="42"))["records"]
    assert (flow["viewer"]["name"], flow["viewer"]["mode"], order["viewer"]["mode"]) == (
        "Alice",
        "edit",
        "view",
    )


def test_list_goes_on_from_next_and_ends(alice, operator):
    for number in range(5):
        alice.heartbeat(f"flow/{number}", tab_id=f"t{number}")
    first = data_of(ask(operator, type="flow", limit=3))
    rest = data_of(ask(operator, type="flow", limit=3, after=first["next"]))

    assert [record["record"] for record in first["records"]] == ["flow:0", "flow:1", "flow:2"]
    assert [record["record"] for record in rest["records"]] == ["flow:3", "flow:4"]
    assert "next" not in rest


def test_record_that_is_closed_is_not_open(alice, operator):
    alice.heartbeat()
    alice.unregister()

    assert data_of(ask(operator, type="flow")) == {"records": []}


def test_caller_sees_their_own_tenant_and_the_records_that_they_may_see(app, alice):
    alice.heartbeat()
    alice.heartbeat("flow/13", tab_id="t2")
    Person(app, tenant="2").heartbeat("flow/14")

    assert found(Person(app, "ops", role="operator", records=["flow:13"]), type="flow") == ["flow:13"]
    assert found(Person(app, "ops", role="operator", tenant="2"), type="flow") == ["flow:14"]


@pytest.mark.parametrize("claims", [{}, {"role": "editor"}])
def test_everybody_else_is_403(app, claims):
    answer = failure_of(ask(Person(app, **claims), type="flow"), 403)

    assert answer["message"] == "Needs a token whose role is operator or service."


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "type"),
        ({"type": "Flow"}, "type"),
        ({"user": ""}, "user"),
        ({"user": "9" * 300}, "user"),
        ({"type": "flow", "limit": "101"}, "limit"),
        ({"type": "flow", "limit": "0"}, "limit"),
        ({"type": "flow", "after": "no cursor"}, "after"),
        ({"type": "flow", "after": "a" * 300}, "after"),
    ],
)
def test_wrong_query_is_422_and_names_the_parameter(operator, query, field):
    assert list(failure_of(ask(operator, **query), 422)["errors"]) == [field]


@pytest.mark.parametrize(("limit", "calls"), [(100, 10), (20, 2), (1, 1)])
def test_call_counts_by_the_records_that_it_looks_at(redis, limit, calls):
    app = create_app(replace(SETTINGS, rate_limit=parse("1000/minute")), redis=redis)
    data_of(ask(Person(app, 9, role="operator"), type="flow", limit=limit))

    assert int(redis.get("tenant_1_presence_calls:9")) == calls


def test_service_without_an_index_answers_404(redis):
    app = create_app(replace(SETTINGS, open_index=False), redis=redis)
    data_of(Person(app).heartbeat())

    failure_of(ask(Person(app, role="operator"), type="flow"), 404)
    assert redis.keys("*_open:*") == []


def test_index_that_redis_does_not_take_fails_no_heartbeat(redis):
    app = create_app(SETTINGS, redis=redis)
    scripts = app.extensions["presence"].scripts
    run = scripts.run

    def refuse(client, name, *call):
        if name.startswith("open_"):
            raise StoreUnavailable(name)
        return run(client, name, *call)

    scripts.run = refuse
    data_of(Person(app).heartbeat())
    failure_of(ask(Person(app, role="operator"), type="flow"), 503)


def test_reply_has_its_bound_whatever_names_people_have(app, operator):
    service = app.extensions["presence"].service("1")
    for number in range(20):
        for user in range(30):
            name = "\N{WHITE SMILING FACE}" * 200
            service.update_presence(
                "flow", number, f"t{user}", f"{user}" + "\u263a" * 250, name, "edit", True
            )
    answer = ask(operator, type="flow")

    assert len(answer.data) < 1_000_000
    assert [record["people"] for record in data_of(answer)["records"]] == [30] * 20

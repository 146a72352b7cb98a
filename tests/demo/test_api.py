"""Reading and saving a flow over HTTP."""

import json

import pytest

from tests.api.client import data_of, failure_of, token
from tests.demo.visitor import API, Visitor, values_of


def bearer(user_id=2, name="Bob Tanaka", tenant="demo", **claims):
    return {"Authorization": f"Bearer {token(user_id, name, tenant, **claims)}"}


def test_flow_is_read_with_its_version(alice):
    flow = data_of(alice.client.get(f"{API}/1"))["flow"]

    assert flow == alice.flow()
    assert flow["name"] == "Customer onboarding"
    assert flow["lock_version"] == 1
    assert flow["saved_at"].endswith("+00:00")


def test_save_makes_the_next_version_in_the_callers_name(alice):
    before = alice.flow()
    after = data_of(alice.save(1, values_of(before, name="Onboarding, improved")))["flow"]

    assert (after["name"], after["lock_version"], after["saved_by"]) == (
        "Onboarding, improved",
        2,
        "Alice Moreau",
    )
    assert after["saved_at"] > before["saved_at"]
    assert alice.flow() == after


def test_save_that_changes_nothing_makes_no_version(alice):
    before = alice.flow()

    assert data_of(alice.save(1, values_of(before)))["flow"] == before


def test_save_of_an_old_version_is_refused_and_writes_nothing(alice, app):
    loaded = alice.flow()
    alice.save(1, values_of(loaded, name="Alice was first"))
    saved = alice.flow()
    bob = Visitor(app)
    bob.sign_in("bob")
    answer = failure_of(bob.save(1, values_of(loaded, description="Bob's words")), 409)

    assert answer["message"] == "Alice Moreau saved version 2 in the meantime."
    assert alice.flow() == saved


@pytest.mark.parametrize("sent", ["", "wrong", "é"])
def test_save_without_the_csrf_token_is_403_and_writes_nothing(alice, sent):
    flow = alice.flow()
    failure_of(alice.save(1, values_of(flow, name="Forged"), **{"X-CSRF-TOKEN": sent}), 403)

    assert alice.flow() == flow


def test_bearer_token_saves_without_a_cookie(app, alice):
    answer = app.test_client().put(
        f"{API}/1", json=values_of(alice.flow(), name="By token"), headers=bearer()
    )

    assert data_of(answer)["flow"]["saved_by"] == "Bob Tanaka"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
        (bearer(seconds=-60), 401),
        (bearer(tenant="another"), 403),
        (bearer(records=["flow:2"]), 403),
        (bearer(records=["task:*"]), 403),
    ],
    ids=["nobody", "nonsense", "expired", "another tenant", "another flow", "another type"],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_who_may_not_gets_nothing(app, alice, method, headers, status):
    flow = alice.flow()
    answer = app.test_client().open(
        f"{API}/1", method=method, json=values_of(flow, name="Not mine"), headers=headers
    )

    failure_of(answer, status)
    assert alice.flow() == flow


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("lock_version", None),
        ("lock_version", "1"),
        ("lock_version", 0),
        ("lock_version", 1.5),
        ("lock_version", True),
        ("name", ""),
        ("name", "   "),
        ("name", "x" * 121),
        ("name", 42),
        ("name", None),
        ("name", "nul\0"),
        ("name", "half \ud83d"),
        ("status", "gone"),
        ("owner", "mallory"),
        ("description", "x" * 4001),
        ("description", ["a"]),
        ("steps", "x" * 4001),
        ("saved_by", "Somebody else"),
        ("id", 2),
    ],
)
def test_wrong_field_is_named_and_nothing_written(alice, field, wrong):
    flow = alice.flow()
    answer = failure_of(alice.save(1, {**values_of(flow, name="New"), field: wrong}), 422)

    assert list(answer["errors"]) == [field]
    assert alice.flow() == flow


@pytest.mark.parametrize("field", ["lock_version", "name", "status", "owner", "description", "steps"])
def test_missing_field_is_named(alice, field):
    values = values_of(alice.flow())
    del values[field]

    assert list(failure_of(alice.save(1, values), 422)["errors"]) == [field]


def test_longest_texts_of_any_script_are_saved(alice):
    longest = {"name": "🙂" * 120, "description": "語" * 4000, "steps": "🙂" * 4000}
    values = json.dumps(values_of(alice.flow(), **longest), ensure_ascii=False)  # as browsers write it
    headers = {"X-CSRF-TOKEN": alice.open("/").csrf_token, "Content-Type": "application/json"}
    flow = data_of(alice.client.put(f"{API}/1", data=values.encode(), headers=headers))["flow"]

    assert {name: flow[name] for name in longest} == longest


@pytest.mark.parametrize("flow_id", [0, 99, 2**31 - 1, 2**31, 2**63, "x", "1/"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_unknown_flow_is_404(app, alice, method, flow_id):
    answer = app.test_client().open(
        f"{API}/{flow_id}", method=method, json=values_of(alice.flow()), headers=bearer()
    )

    failure_of(answer, 404)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"data": "{", "content_type": "application/json"}, 400),
        ({"data": "name=x", "content_type": "application/x-www-form-urlencoded"}, 415),
        ({"json": []}, 422),
    ],
    ids=["no JSON", "a form", "no object"],
)
def test_body_that_is_no_flow_is_refused(app, options, status):
    failure_of(app.test_client().put(f"{API}/1", headers=bearer(), **options), status)

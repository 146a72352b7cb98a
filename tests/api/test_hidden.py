"""Users with a role that nobody sees."""

import dataclasses

import pytest

from record_presence import create_app
from tests.api.client import SETTINGS, Person, contents, data_of
from tests.viewers import viewer


@pytest.fixture
def app(redis):
    return create_app(dataclasses.replace(SETTINGS, hidden_roles=("auditor", "operator")), redis=redis)


@pytest.mark.parametrize("role", ["auditor", "operator"])
def test_hidden_user_sees_others_and_is_seen_by_nobody(app, alice, redis, role):
    auditor = Person(app, 7, "Auditor", role=role)
    alice.heartbeat(mode="edit")
    before = contents(redis)
    answer = data_of(auditor.heartbeat(tab_id="x1", mode="edit", dirty=True, version=None))

    assert answer["viewers"] == [viewer(mode="edit")]
    assert (answer["registered"], answer["total"], answer["heartbeat_seconds"]) == (False, 1, 30)
    again = data_of(auditor.heartbeat(tab_id="x1", version=answer["version"]))
    assert again == {"registered": False, "version": answer["version"], "heartbeat_seconds": 30}
    assert "viewers" not in data_of(auditor.heartbeat(tab_id="x1"))
    assert contents(redis) == before
    assert data_of(alice.heartbeat(mode="edit", version=None))["viewers"] == []


def test_hidden_user_can_neither_claim_nor_tell_of_a_save_nor_signal(app, alice):
    auditor = Person(app, 7, "Auditor", role="auditor")
    alice.heartbeat()
    auditor.heartbeat(tab_id="x1", mode="edit")

    assert data_of(auditor.claim(tab_id="x1"))["claimed"] is False
    assert data_of(auditor.saved(tab_id="x1"))["announced"] is False
    agent = Person(app, role="auditor", act={"sub": "bot"})
    ask = {"fields": ["title"], "tab_id": "x2", "announce": True}
    assert data_of(agent.call("POST", "flow/12/check", json=ask))["clear"] == ["title"]
    assert data_of(alice.viewers(include_self="true"))["total"] == 1
    signal = {"tab_id": "x1", "kind": "typing"}
    assert data_of(auditor.call("POST", "flow/12/signal", json=signal))["relayed"] is False


def test_role_that_is_not_hidden_is_seen(app, alice):
    Person(app, 7, "Visitor", role="visitor").heartbeat(tab_id="x1")
    Person(app, 8, "Service", role="service").heartbeat(tab_id="x2")

    assert [shown["name"] for shown in data_of(alice.viewers())["viewers"]] == ["Visitor", "Service"]

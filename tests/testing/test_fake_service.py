"""record_presence.testing, as the tests of a host use it."""

import pytest
from flask import Flask

from record_presence import init_app
from record_presence.identity.caller import Caller
from record_presence.presence.service import RecordPresenceService
from record_presence.testing import FakeService
from record_presence.versioned import Saved, announce
from tests.api.client import PREFIX, SETTINGS, data_of, failure_of
from tests.waiting import wait_until


@pytest.fixture
def app():
    app = Flask("shop")
    init_app(app, SETTINGS, identity_loader=lambda request: Caller("olga", "Olga", "1"))
    return app


@pytest.fixture
def presence(app):
    with FakeService(app) as presence:
        yield presence


def viewers(app, **options):
    return data_of(app.test_client().get(f"{PREFIX}/order/7/viewers", **options))["viewers"]


def test_people_come_edit_and_leave_by_a_line_of_code(app, presence):
    alice = presence.join("order:7", "Alice")
    bob = presence.join("order:7", "Bob", 43)
    alice.edit("note", "total")
    alice.focus("note")

    assert [(viewer["id"], viewer["mode"], viewer["has_dirty_tab"]) for viewer in viewers(app)] == [
        ("alice", "edit", True),
        (43, "view", False),
    ]
    assert viewers(app)[0]["active_fields"] == ["note"]
    assert presence.viewers("order:7") == viewers(app)
    alice.view()
    assert not viewers(app)[0]["has_dirty_tab"]
    alice.leave()
    assert presence.names("order:7") == ["Bob"]
    bob.leave()
    assert viewers(app) == []


def test_somebody_with_two_tabs_is_there_until_the_second_is_closed(presence):
    first, second = presence.join("order:7", "Alice"), presence.join("order:7", "Alice")
    assert presence.viewers("order:7")[0]["tabs"] == 2
    first.leave()
    assert presence.names("order:7") == ["Alice"]
    second.leave()
    assert presence.names("order:7") == []


def test_save_of_a_person_is_told_and_leaves_nothing_unsaved(presence):
    alice = presence.join("order:7", "Alice")
    alice.edit("note")
    alice.save(2, "note")

    [save] = presence.saves("order:7")
    assert (save["lock_version"], save["fields"], save["user"]) == (
        2,
        ["note"],
        {"id": "alice", "name": "Alice"},
    )
    assert not presence.viewers("order:7")[0]["has_dirty_tab"]


def test_save_by_the_code_of_the_host_is_told(app, presence):
    presence.join("order:7", "Alice")
    with app.app_context():
        announce(Caller("bob", "Bob", "1"), "order", 7, Saved(5, ["note"], {}))

    assert [save["lock_version"] for save in presence.saves("order:7")] == [5]


def test_field_that_somebody_has_claimed_is_theirs_until_it_is_taken_over_or_released(presence):
    alice, bob = presence.join("order:7", "Alice"), presence.join("order:7", "Bob")
    assert not alice.claim("note")  # a viewer can't claim anything
    alice.edit()
    bob.edit()

    assert alice.claim("note")
    assert not bob.claim("note")
    alice.release("note")
    assert bob.claim("note")
    assert alice.claim("note", take_over=True)


def test_field_that_somebody_waits_for_is_handed_over_or_kept(presence):
    alice, bob = presence.join("order:7", "Alice"), presence.join("order:7", "Bob")
    alice.edit()
    bob.edit()
    alice.claim("note")

    assert not bob.claim("note", wait=True)
    assert [each["user"]["name"] for each in presence.claims("order:7")["note"]["waiting"]] == ["Bob"]
    assert alice.decline("note") == 1
    alice.release("note")
    assert presence.claims("order:7") == {}
    alice.claim("note")
    bob.claim("note", wait=True)
    alice.release("note")
    claim = presence.claims("order:7")["note"]
    assert (claim["user"]["name"], claim["passed_from"]["name"]) == ("Bob", "Alice")


def test_field_of_who_looks_away_passes_on(app):
    with FakeService(app, claim_idle_seconds=0.05) as presence:
        alice, bob = presence.join("order:7", "Alice"), presence.join("order:7", "Bob")
        alice.edit()
        bob.edit()
        alice.claim("note")
        bob.claim("note", wait=True)
        alice.look_away()
        wait_until(lambda: presence.claims("order:7")["note"]["user"]["name"] == "Bob")


def test_save_names_those_whose_unsaved_fields_it_touched(app, presence):
    alice, bob = presence.join("order:7", "Alice"), presence.join("order:7", "Bob")
    alice.edit("note")
    told = bob.save(2, "note", "title")
    assert [viewer["name"] for viewer in told.touched["note"]] == ["Alice"]
    with app.app_context():
        caller = Caller("bob", "Bob", "1")
        told = announce(caller, "order", 7, Saved(3, ["note", "title"], {}))
        assert told
        assert told.touched == {"note": [{"id": "alice", "name": "Alice", "away": False}]}
        assert not announce(caller, "order", 8, Saved(3, ["note"], {}))
        assert not announce(caller, "order", 7, Saved(3, [], {}))


def test_call_with_the_token_of_a_user_is_theirs(app, presence):
    alice = presence.headers("Alice", records=["order:7"])
    body = {"tab_id": "t1", "mode": "edit", "dirty": False}
    data_of(app.test_client().post(f"{PREFIX}/order/7/heartbeat", json=body, headers=alice))

    assert presence.names("order:7") == ["Alice"]
    failure_of(app.test_client().get(f"{PREFIX}/order/8/viewers", headers=alice), 403)


def test_store_that_is_away_is_503_and_comes_back_with_all_that_it_had(app, presence):
    presence.join("order:7", "Alice")
    presence.fail()
    failure_of(app.test_client().get(f"{PREFIX}/order/7/viewers"), 503)
    presence.recover()

    assert [viewer["name"] for viewer in viewers(app)] == ["Alice"]


def test_nothing_is_left_for_the_next_test(app):
    before = app.extensions["record_presence"]
    with FakeService(app) as presence:
        presence.join("order:7", "Alice")
    with FakeService(app) as presence:
        assert presence.names("order:7") == []

    assert app.extensions["record_presence"] is before


def test_code_without_flask_gets_the_service_itself():
    presence = FakeService(tenant="acme")
    presence.join("order:7", "Alice")

    assert [viewer["name"] for viewer in presence.presence.get_unique_viewers("order", 7)] == ["Alice"]
    assert RecordPresenceService(presence.redis, "acme").get_presence("order", 7).keys() == {"tab-1"}
    with pytest.raises(ValueError, match="application"):
        presence.headers("Alice")


def test_application_without_presence_is_named():
    with pytest.raises(ValueError, match="init_app was not called"):
        FakeService(Flask("shop"))

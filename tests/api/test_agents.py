"""Programs that work on behalf of a user, and what a proof says about people besides their names."""

import pytest
from flask import Flask

from record_presence import init_app
from record_presence.identity.caller import Caller
from record_presence.identity.session import sign_in
from record_presence.presence.viewers import AgentId
from tests.api.client import PREFIX, SETTINGS, Person, data_of, failure_of
from tests.lua.commands import leases
from tests.viewers import viewer

PICTURE = "https://example.com/alice.png"
SUMMARISER = viewer("summariser", "Summariser", agent={"for": {"id": 42, "name": "Alice"}})


@pytest.fixture
def summariser(app):
    return Person(app, act={"sub": "summariser", "name": "Summariser"})


def test_agent_is_a_viewer_of_its_own(alice, bob, summariser):
    alice.heartbeat()
    summariser.heartbeat(tab_id="s1")

    assert data_of(bob.viewers())["viewers"] == [viewer(), SUMMARISER]
    assert data_of(alice.viewers())["viewers"] == [SUMMARISER]
    assert data_of(summariser.viewers())["viewers"] == [viewer()]
    failure_of(alice.unregister("s1"), 409)
    failure_of(summariser.unregister("t1"), 409)
    assert data_of(summariser.unregister("s1")) == {"unregistered": True}


def test_agent_has_a_lease_of_its_own(app, summariser, redis):
    Person(app, seconds=86_400).heartbeat()
    Person(app, seconds=86_400, act={"sub": "bot"}).heartbeat(tab_id="s1")
    answer = data_of(summariser.heartbeat(tab_id="s2"))

    left_ms = leases(redis)
    assert 85_000 < left_ms["t1"] <= 90_000
    assert 70_000 < left_ms["s1"] <= 75_000
    assert 70_000 < left_ms["s2"] <= 75_000
    assert answer["heartbeat_seconds"] == 25


def test_agent_that_checks_may_be_seen_by_it(alice, bob, summariser, redis):
    alice.heartbeat(mode="edit", dirty=True, dirty_fields=["title"])
    ask = {"fields": ["title", "body"], "tab_id": "s1"}
    quiet = data_of(summariser.call("POST", "flow/12/check", json=ask))
    assert data_of(bob.viewers())["total"] == 1

    seen = data_of(summariser.call("POST", "flow/12/check", json={**ask, "announce": True}))
    assert (seen["clear"], list(seen["contested"])) == (["body"], ["title"])
    assert seen["version"] != quiet["version"]
    assert data_of(bob.viewers())["viewers"][1] == {**SUMMARISER, "mode": "edit"}
    assert 70_000 < leases(redis)["s1"] <= 75_000


def test_only_an_agent_with_a_tab_announces_itself(alice, bob, summariser):
    ask = {"fields": ["title"], "announce": True}
    failure_of(alice.call("POST", "flow/12/check", json={**ask, "tab_id": "t1"}), 403)
    failure_of(summariser.call("POST", "flow/12/check", json=ask), 422)
    assert data_of(bob.viewers())["viewers"] == []

    alice.heartbeat(mode="edit")
    failure_of(summariser.call("POST", "flow/12/check", json={**ask, "tab_id": "t1"}), 409)
    assert data_of(bob.viewers())["viewers"] == [viewer(mode="edit")]


def test_agent_saves_and_claims_in_its_own_name(alice, summariser):
    alice.heartbeat(mode="edit")
    summariser.heartbeat(tab_id="s1", mode="edit")
    summariser.claim("title", tab_id="s1")
    summariser.saved(tab_id="s1")

    user = {"id": "summariser", "name": "Summariser", "agent": {"for": {"id": 42}}}
    answer = data_of(alice.heartbeat(mode="edit", version=None, base_version=7))
    assert answer["claims"]["title"]["user"] == user
    assert [save["user"] for save in answer["saved"]] == [user]
    assert [save["own"] for save in answer["forecast"]["saves"]] == [False]
    assert [entry["user"] for entry in data_of(alice.timeline())["entries"][1:]] == [user] * 3


@pytest.mark.parametrize("act", ["summariser", {}, {"sub": 7}, {"sub": ""}, {"sub": "x" * 256}, None, []])
def test_claim_act_that_names_no_program_is_of_no_agent(app, bob, act):
    Person(app, act=act).heartbeat()

    assert data_of(bob.viewers())["viewers"] == [viewer()]


def test_agent_without_a_name_is_called_by_its_id(app, bob):
    Person(app, act={"sub": "bot", "act": {"sub": "before it"}}).heartbeat()

    [bot] = data_of(bob.viewers())["viewers"]
    assert (bot["id"], bot["name"]) == ("bot", "bot")


def test_runaway_agent_takes_no_calls_from_its_user():
    assert AgentId("bot", 42) != "bot"
    assert AgentId("bot", 42) == AgentId("bot", 42, "Alice")
    assert len({AgentId("bot", 42), AgentId("bot", "42"), AgentId("bot", 43), "bot", 42}) == 5


def test_picture_and_about_of_the_token_are_shown(app, bob):
    about = {"title": "Nurse"}
    Person(app, picture=PICTURE, about=about).heartbeat()

    assert data_of(bob.viewers())["viewers"] == [viewer(picture=PICTURE, about=about)]
    Person(app, picture="http://example.com/insecure.png").heartbeat()
    assert data_of(bob.viewers())["viewers"] == [viewer()]


@pytest.mark.parametrize("name", ["picture", "about", "agent", "act"])
def test_body_can_not_say_who_somebody_is(alice, name):
    failure_of(alice.heartbeat(**{name: PICTURE}), 422)


def test_loader_of_a_host_says_the_same(redis):
    host, callers = (
        Flask(__name__),
        {
            "a1": Caller(AgentId("bot", 42, "Alice"), "Bot", "1", needs_csrf_token=False),
            "b1": Caller(43, "Bob", "1", needs_csrf_token=False, picture=PICTURE),
            "c1": Caller(44, "Carol", "1", needs_csrf_token=False),
        },
    )
    init_app(host, SETTINGS, redis=redis, identity_loader=lambda request: callers[request.json["tab_id"]])
    for tab_id in callers:
        body = {"tab_id": tab_id, "mode": "view", "dirty": False, "version": None}
        answer = data_of(host.test_client().post(f"{PREFIX}/flow/12/heartbeat", json=body))

    assert [(shown["id"], shown.get("agent"), shown.get("picture")) for shown in answer["viewers"]] == [
        ("bot", {"for": {"id": 42, "name": "Alice"}}, None),
        (43, None, PICTURE),
    ]


def test_agent_can_not_sign_in():
    with pytest.raises(ValueError, match="agent"):
        sign_in({}, Caller(AgentId("bot", 42), "Bot", "1"))

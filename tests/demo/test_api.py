"""Reading and saving a flow over HTTP."""

import json
import signal
import time
from dataclasses import replace
from functools import partial

import fakeredis
import pytest
from limits import parse

from record_presence import create_app
from record_presence.demo.people import TENANT
from record_presence.redis_client.client import connect
from record_presence.safe_writes.announcement_queue import AnnouncementQueue
from record_presence.versioned.announcements import QUEUE_EXTENSION
from tests.api.client import data_of, failure_of, token
from tests.demo.visitor import API, Visitor, values_of
from tests.redis_server import RedisServer
from tests.waiting import wait_until

CALL_SECONDS = 2.2  # what a call without an answer takes at most, and the rest of the save


def bearer(user_id=2, name="Bob Tanaka", tenant=TENANT, **claims):
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


def test_save_of_an_old_version_is_refused_and_writes_nothing(alice, bob):
    loaded = alice.flow()
    alice.save(1, values_of(loaded, name="Alice was first"))
    saved = alice.flow()
    answer = failure_of(bob.save(1, values_of(loaded, description="Bob's words")), 409, has_data=True)

    assert answer["message"] == "Alice Moreau saved version 2 in the meantime."
    assert alice.flow() == saved


def test_refused_save_tells_what_stands_there_now_and_where_it_differs(alice, bob):
    loaded = alice.flow()
    alice.save(1, values_of(loaded, steps="One", name="Ours", status="paused"))
    sent = values_of(loaded, description="Bob's words", status="paused", name="His")
    answer = failure_of(bob.save(1, sent), 409, has_data=True)
    current = data_of(bob.client.get(f"{API}/1"))["flow"]

    assert answer["data"] == {
        "current": current,
        "lock_version": 2,
        "saved_by": "Alice Moreau",
        "saved_at": current["saved_at"],
        "fields": ["name", "description", "steps"],  # both paused it; in the form's order
    }


def test_refused_save_that_would_write_what_stands_there_differs_in_nothing(alice, bob):
    loaded = alice.flow()
    alice.save(1, values_of(loaded, name="The same"))
    answer = failure_of(bob.save(1, values_of(loaded, name="The same")), 409, has_data=True)

    assert answer["data"]["fields"] == []


def test_version_that_is_not_there_yet_is_refused_too(alice):
    answer = failure_of(alice.save(1, values_of(alice.flow(), lock_version=99)), 409, has_data=True)

    assert answer["data"]["lock_version"] == 1


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
    ("make_headers", "status"),
    [
        (dict, 401),
        (partial(dict, Authorization="Bearer nonsense"), 401),
        (partial(bearer, seconds=-60), 401),
        (partial(bearer, tenant="another"), 403),
        (partial(bearer, records=["flow:2"]), 403),
        (partial(bearer, records=["task:*"]), 403),
    ],
    ids=["nobody", "nonsense", "expired", "another tenant", "another flow", "another type"],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_who_may_not_gets_nothing(app, alice, method, make_headers, status):
    flow = alice.flow()
    answer = app.test_client().open(
        f"{API}/1", method=method, json=values_of(flow, name="Not mine"), headers=make_headers()
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


# What the save tells the viewers


@pytest.fixture
def presence(app):
    """The demo's presence, as its server speaks to it."""
    return app.extensions["presence"].service(TENANT)


def watch_flow(presence, tab_id="b1", user_id=2, name="Bob Tanaka"):
    """Somebody with the flow open, and the saves that they hear of."""
    answer = presence.update_presence("flow", 1, tab_id, user_id, name, list_viewers=True)
    return answer.conflicts.saves


def test_save_is_announced_by_the_server_itself(alice, presence):
    watch_flow(presence)
    flow = data_of(alice.save(1, values_of(alice.flow(), tab_id="a1", steps="One", name="New")))["flow"]
    [save] = watch_flow(presence)

    assert save.pop("saved_at") >= flow["saved_at"][:22]
    assert save == {
        "lock_version": 2,
        "fields": ["name", "steps"],
        "user": {"id": 1, "name": "Alice Moreau"},
        "tab_id": "a1",
    }


def test_page_that_announces_the_same_save_again_adds_nothing(alice, presence):
    watch_flow(presence)
    alice.save(1, values_of(alice.flow(), tab_id="a1", name="New"))
    told = watch_flow(presence)
    presence.record_saved("flow", 1, 2, ["name"], 1, "Alice Moreau", "a1")

    assert watch_flow(presence) == told


@pytest.mark.parametrize("more", [{}, {"tab_id": None}])
def test_save_without_a_tab_is_announced_without_one(alice, presence, more):
    watch_flow(presence)
    alice.save(1, values_of(alice.flow(), name="New", **more))

    assert watch_flow(presence)[0]["tab_id"] is None


def test_save_that_changed_nothing_or_was_refused_is_not_announced(alice, bob, presence):
    watch_flow(presence)
    loaded = alice.flow()
    alice.save(1, values_of(loaded, tab_id="a1"))
    assert watch_flow(presence) == []

    alice.save(1, values_of(loaded, tab_id="a1", name="New"))
    bob.save(1, values_of(loaded, tab_id="b1", name="Newer"))
    assert [save["lock_version"] for save in watch_flow(presence)] == [2]


def test_save_in_a_tab_that_is_anothers_is_saved_and_told_without_the_tab(alice, presence):
    watch_flow(presence, "b1")
    answer = alice.save(1, values_of(alice.flow(), tab_id="b1", name="New"))

    assert data_of(answer)["flow"]["name"] == "New"
    [save] = watch_flow(presence)
    assert (save["user"]["id"], save["tab_id"]) == (1, None)


@pytest.mark.parametrize("wrong", ["", "a b", "x" * 129, 7])
def test_wrong_tab_id_is_named_and_nothing_written(alice, wrong):
    flow = alice.flow()
    answer = failure_of(alice.save(1, values_of(flow, name="New", tab_id=wrong)), 422)

    assert list(answer["errors"]) == ["tab_id"]
    assert alice.flow() == flow


@pytest.mark.measured
def test_redis_out_of_reach_neither_fails_nor_delays_a_save(settings, caplog):
    app = create_app(settings, redis=connect("redis://127.0.0.1:1"))
    app.extensions[QUEUE_EXTENSION] = AnnouncementQueue(start=lambda thread: None)  # never tries again
    alice = Visitor(app)
    alice.sign_in("alice")
    values = values_of(alice.flow(), name="Without presence", tab_id="a1")
    started = time.monotonic()
    answer = alice.save(1, values)

    assert data_of(answer)["flow"]["lock_version"] == 2
    assert time.monotonic() - started < CALL_SECONDS
    assert "a save was not announced" in caplog.text


@pytest.mark.measured
def test_redis_that_hangs_delays_a_save_by_one_call_at_most(settings, redis_server, caplog):
    alice = Visitor(create_app(settings, redis=connect(f"unix://{redis_server.socket}")))
    alice.sign_in("alice")
    values = values_of(alice.flow(), name="Without presence", tab_id="a1")
    headers = {"X-CSRF-TOKEN": alice.open("/").csrf_token}
    redis_server.signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        answer = alice.save(1, values, **headers)
        took = time.monotonic() - started
    finally:
        redis_server.signal(signal.SIGCONT)

    assert data_of(answer)["flow"]["lock_version"] == 2
    assert took < CALL_SECONDS
    assert "a save was not announced" in caplog.text


def test_save_that_a_full_redis_would_not_hear_of_is_told_when_there_is_room(settings, caplog):
    redis = RedisServer()
    try:
        app = create_app(settings, redis=connect(f"unix://{redis.socket}"))
        presence = app.extensions["presence"].service(TENANT)
        alice = Visitor(app)
        alice.sign_in("alice")
        values = values_of(alice.flow(), name="Told late", tab_id="a1")
        headers = {"X-CSRF-TOKEN": alice.open("/").csrf_token}
        watch_flow(presence)
        with redis.client() as client:
            client.config_set("maxmemory", 1)
            answer = alice.save(1, values, **headers)
            client.config_set("maxmemory", 0)

        assert data_of(answer)["flow"]["lock_version"] == 2
        assert "a save was not announced" in caplog.text
        [save] = wait_until(lambda: watch_flow(presence))
        assert (save["lock_version"], save["fields"], save["tab_id"]) == (2, ["name"], "a1")
        assert save["user"] == {"id": 1, "name": "Alice Moreau"}
    finally:
        redis.close()


def test_calls_about_flows_count_like_any_others(settings):
    app = create_app(
        replace(settings, rate_limit=parse("3/minute")),
        redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()),
    )
    alice = Visitor(app)
    alice.sign_in("alice")
    csrf = {"X-CSRF-TOKEN": alice.open("/flows/1").csrf_token}
    values = values_of(alice.flow(), name="Save")
    data_of(alice.save(1, values, **csrf))
    failure_of(alice.save(1, values, **csrf), 409, has_data=True)
    failure_of(alice.save(1, {}, **csrf), 422)

    failure_of(alice.save(1, values, **csrf), 429)
    failure_of(alice.client.get("/api/v1/flows/1"), 429)


def test_refused_calls_about_flows_are_kept_waiting_like_any_others(settings, monkeypatch):
    app = create_app(
        replace(settings, rate_limit=parse("2/minute")),
        redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()),
    )
    alice = Visitor(app)
    alice.sign_in("alice")
    pauses = []
    monkeypatch.setattr("record_presence.api.refusals.pause_before_refusal", lambda: pauses.append("made"))
    failure_of(alice.client.put("/api/v1/flows/1", json={}), 403)  # without a CSRF token, and counted
    assert pauses == []

    data_of(alice.client.get("/api/v1/flows/1"))
    failure_of(alice.client.get("/api/v1/flows/1"), 429)
    failure_of(app.test_client().get("/api/v1/flows/1"), 401)
    assert len(pauses) == 2

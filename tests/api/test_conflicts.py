"""Saves, claims, forecasts and the timeline over HTTP."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from limits import parse

from record_presence import create_app
from record_presence.presence.limits import DEFAULT_CLAIM_IDLE_SECONDS
from record_presence.presence.records import Record
from record_presence.redis_client.client import connect
from tests.api.client import SETTINGS, Person, contents, data_of, failure_of
from tests.viewers import JUST_NOW

ALICE, BOB = {"id": 42, "name": "Alice"}, {"id": 43, "name": "Bob"}
TIMELINE = Record("1", "flow", "12").timeline_key


@pytest.fixture
def app(emptied_app):
    return emptied_app


@pytest.fixture
def anybody(embedded_app):
    """Whose calls are refused before Redis is asked."""
    return Person(embedded_app)


@pytest.fixture
def service_role(app):
    """A server of the host's, which speaks in its users' names."""
    return Person(app, "crm", "The CRM", role="service")


@pytest.fixture
def both_there(alice, bob):
    """Alice has the record open in t1 and t1b, Bob in t2."""
    alice.heartbeat(tab_id="t1", mode="edit")
    alice.heartbeat(tab_id="t1b", mode="edit")
    bob.heartbeat(tab_id="t2", mode="edit")


def told(person, tab_id, **body):
    """What a heartbeat that asks for it is answered besides the viewers."""
    data = data_of(person.heartbeat(tab_id=tab_id, version=None, **body))
    return {name: data[name] for name in ("saved", "claims", "forecast") if name in data}


def version_of(person):
    return data_of(person.viewers())["version"]


def just_now(text):
    moment = datetime.fromisoformat(text)
    return moment.tzinfo is not None and abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


def entries(person, **query):
    return data_of(person.timeline(**query))["entries"]


# Saves


@pytest.mark.usefixtures("both_there")
def test_save_is_told_to_the_others_by_their_next_heartbeat(alice, bob):
    assert data_of(alice.saved(fields=["steps", "name", "name"])) == {"announced": True}
    [save] = told(bob, "t2")["saved"]

    assert just_now(save.pop("saved_at"))
    assert save == {"lock_version": 8, "fields": ["name", "steps"], "user": ALICE, "tab_id": "t1"}


@pytest.mark.usefixtures("both_there")
def test_saving_tab_is_not_told_of_its_own_save_and_her_other_tab_is(alice):
    alice.saved(tab_id="t1")

    assert told(alice, "t1") == {}
    assert [save["tab_id"] for save in told(alice, "t1b")["saved"]] == ["t1"]


@pytest.mark.usefixtures("both_there")
def test_save_makes_whoever_knows_the_version_before_ask_again(alice, bob):
    version = data_of(bob.heartbeat(tab_id="t2", version=None))["version"]
    assert "saved" not in data_of(bob.heartbeat(tab_id="t2", version=version))
    alice.saved()

    assert "saved" in data_of(bob.heartbeat(tab_id="t2", version=version))


@pytest.mark.usefixtures("both_there")
def test_save_sent_again_is_answered_alike_and_told_once(alice, bob):
    assert data_of(alice.saved()) == data_of(alice.saved())
    assert len(told(bob, "t2")["saved"]) == 1
    assert [entry["kind"] for entry in entries(bob)].count("saved") == 1


def test_save_that_nobody_hears_of_is_said_to_be_so(alice):
    assert data_of(alice.saved()) == {"announced": False, "reason": "not_editing"}


def test_save_told_by_a_server_that_nobody_hears_of_is_said_to_be_so(service_role):
    assert data_of(service_role.saved(user=ALICE)) == {"announced": False, "reason": "nobody_there"}


@pytest.mark.usefixtures("both_there")
def test_user_whose_tab_only_views_is_not_believed(alice, bob):
    bob.heartbeat(tab_id="t3")

    assert data_of(bob.saved(tab_id="t3")) == {"announced": False, "reason": "not_editing"}
    assert told(alice, "t1") == {}


@pytest.mark.usefixtures("both_there")
def test_save_that_was_dropped_says_why(alice, bob):
    alice.saved()

    assert data_of(bob.saved(tab_id="t2")) == {"announced": False, "reason": "already_told"}
    assert data_of(bob.saved(tab_id="t2", lock_version=1_009)) == {
        "announced": False,
        "reason": "version_too_far",
    }


@pytest.mark.usefixtures("both_there")
def test_word_of_the_server_wins_over_what_a_user_made_up(service_role, alice, bob):
    for lock_version in range(8, 13):
        bob.saved(tab_id="t2", lock_version=lock_version, fields=["made up"])

    assert data_of(service_role.saved(user=ALICE)) == {"announced": True}
    ahead = told(alice, "t1b", mode="edit", dirty=True, dirty_fields=["name"], base_version=7)["forecast"]
    assert [(save["lock_version"], save["user"]) for save in ahead["saves"]] == [(8, ALICE)]
    assert ahead["collisions"] == ["name"]


@pytest.mark.usefixtures("both_there")
def test_save_in_somebody_elses_tab_is_409(app, alice, bob):
    before = contents(app.extensions["presence"].redis)

    assert failure_of(bob.saved(tab_id="t1"), 409)["message"] == "This tab id belongs to another user."
    assert contents(app.extensions["presence"].redis) == before


@pytest.mark.usefixtures("both_there")
def test_server_tells_of_a_save_in_its_users_name(service_role, alice, bob):
    assert data_of(service_role.saved(user=ALICE, tab_id="t1")) == {"announced": True}
    assert data_of(service_role.saved(user={"id": "u-7", "name": "Zoë"}, tab_id=None, lock_version=9)) == {
        "announced": True
    }
    first, second = told(bob, "t2")["saved"]

    assert (first["user"], first["tab_id"]) == (ALICE, "t1")
    assert (second["user"], second["tab_id"]) == ({"id": "u-7", "name": "Zoë"}, None)
    assert [save["lock_version"] for save in told(alice, "t1")["saved"]] == [9]


@pytest.mark.usefixtures("both_there")
def test_server_may_leave_the_tab_out(service_role, bob):
    body = {"lock_version": 8, "fields": [], "user": ALICE}

    assert data_of(service_role.call("POST", "flow/12/saved", json=body)) == {"announced": True}
    assert told(bob, "t2")["saved"][0]["tab_id"] is None


@pytest.mark.usefixtures("both_there")
def test_server_that_names_a_tab_of_another_user_is_409(service_role):
    failure_of(service_role.saved(user=BOB, tab_id="t1"), 409)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user"),
        ({"user": None}, "user"),
        ({"user": {"id": 42}}, "user"),
        ({"user": {"id": 42, "name": "Alice", "more": 1}}, "user"),
        ({"user": {"id": "", "name": "Nobody"}}, "user"),
        ({"user": {"id": True, "name": "Nobody"}}, "user"),
        ({"user": {"id": 1.5, "name": "Nobody"}}, "user"),
        ({"user": {"id": [], "name": "Nobody"}}, "user"),
        ({"user": {"id": "half \ud83d", "name": "Nobody"}}, "user"),
        ({"user": {"id": "x" * 256, "name": "Endless"}}, "user"),
        ({"user": {"id": 10**4_000, "name": "Endless"}}, "user"),
        ({"user": {"id": 42, "name": 7}}, "user"),
    ],
)
def test_server_that_names_no_user_or_none_that_can_be_is_422(embedded_app, body, field):
    server = Person(embedded_app, "crm", "The CRM", role="service")

    assert list(failure_of(server.saved(**body), 422)["errors"]) == [field]


@pytest.mark.parametrize("role", [None, "operator"])
def test_nobody_else_speaks_in_anothers_name(embedded_app, role):
    person = Person(embedded_app, **({"role": role} if role else {}))

    failure_of(person.saved(user=BOB), 403)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("tab_id", None),
        ("tab_id", "a b"),
        ("tab_id", "x" * 129),
        ("lock_version", None),
        ("lock_version", -1),
        ("lock_version", "8"),
        ("lock_version", 8.5),
        ("lock_version", True),
        ("lock_version", 2**53),
        ("fields", None),
        ("fields", "name"),
        ("fields", ["name", 7]),
        ("fields", [""]),
        ("fields", ["x" * 129]),
        ("fields", ["a\nb"]),
        ("fields", ["\ud83d"]),
        ("fields", [f"field {number}" for number in range(101)]),
        ("saved_at", "2026-11-25"),
    ],
)
def test_wrong_field_of_a_save_is_422(anybody, field, wrong):
    assert list(failure_of(anybody.saved(**{field: wrong}), 422)["errors"]) == [field]


@pytest.mark.parametrize("field", ["tab_id", "lock_version", "fields"])
def test_missing_field_of_a_save_is_422(anybody, field):
    body = {"tab_id": "t1", "lock_version": 8, "fields": []}
    del body[field]

    assert list(failure_of(anybody.call("POST", "flow/12/saved", json=body), 422)["errors"]) == [field]


@pytest.mark.usefixtures("both_there")
def test_greatest_version_comes_back_as_it_was(alice, bob):
    alice.saved(lock_version=2**53 - 1, fields=[])

    assert [save["lock_version"] for save in told(bob, "t2")["saved"]] == [2**53 - 1]


# The forecast


@pytest.mark.usefixtures("both_there")
def test_forecast_tells_what_saving_would_run_into(alice, bob):
    bob.saved(tab_id="t2", lock_version=8, fields=["name", "steps"])
    bob.heartbeat(tab_id="t2", mode="edit", dirty=True, dirty_fields=["status"])
    forecast = told(
        alice, "t1", mode="edit", dirty=True, dirty_fields=["status", "name", "owner"], base_version=7
    )["forecast"]
    [save] = forecast["saves"]

    assert just_now(save.pop("saved_at"))
    assert save == {
        "lock_version": 8,
        "fields": ["name", "steps"],
        "user": BOB,
        "tab_id": "t2",
        "own": False,
        "touches": ["name"],
    }
    assert forecast["collisions"] == ["name"]
    assert forecast["contested"] == {"status": [BOB]}
    assert forecast["base_version"] == 7
    assert just_now(forecast["remembered_since"])


@pytest.mark.usefixtures("both_there")
def test_forecast_says_of_a_save_in_her_other_tab_that_it_was_her_own(alice, bob):
    alice.saved(tab_id="t1", lock_version=8)
    ahead = told(alice, "t1b", dirty=True, dirty_fields=["name"], base_version=7)["forecast"]
    of_bob = told(bob, "t2", dirty=True, dirty_fields=["name"], base_version=7)["forecast"]

    assert [(save["own"], save["touches"]) for save in ahead["saves"]] == [(True, ["name"])]
    assert [save["own"] for save in of_bob["saves"]] == [False]
    assert told(alice, "t1", base_version=7)["forecast"]["saves"] == []


@pytest.mark.usefixtures("both_there")
def test_forecast_leaves_out_what_the_form_was_loaded_with(alice, bob):
    for lock_version in (7, 8, 9):
        bob.saved(tab_id="t2", lock_version=lock_version)
    versions = {
        base_version: [
            save["lock_version"] for save in told(alice, "t1", base_version=base_version)["forecast"]["saves"]
        ]
        for base_version in (6, 7, 9, 10)
    }

    assert versions == {6: [7, 8, 9], 7: [8, 9], 9: [], 10: []}


@pytest.mark.usefixtures("both_there")
def test_forecast_comes_with_the_viewers_and_only_when_it_is_asked_for(alice):
    version = data_of(alice.heartbeat(version=None))["version"]

    assert "forecast" not in told(alice, "t1")
    assert "forecast" in told(alice, "t1", base_version=7)
    assert "forecast" not in data_of(alice.heartbeat(base_version=7, version=version))
    assert "forecast" not in data_of(alice.heartbeat(base_version=7))


@pytest.mark.usefixtures("both_there")
def test_unsaved_fields_of_others_make_whoever_knows_the_version_before_ask_again(alice, bob):
    body = {"dirty": True, "dirty_fields": ["name"], "base_version": 7}
    version = data_of(alice.heartbeat(version=None, **body))["version"]
    bob.heartbeat(tab_id="t2", dirty=True, dirty_fields=["name"])
    data = data_of(alice.heartbeat(version=version, **body))

    assert data["forecast"]["contested"] == {"name": [BOB]}
    bob.heartbeat(tab_id="t2", mode="edit")
    assert data_of(alice.heartbeat(version=data["version"], **body))["forecast"]["contested"] == {}


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("base_version", None),
        ("base_version", -1),
        ("base_version", "7"),
        ("base_version", 7.5),
        ("base_version", 2**53),
        ("dirty_fields", None),
        ("dirty_fields", "name"),
        ("dirty_fields", [7]),
        ("dirty_fields", ["\x00"]),
        ("dirty_fields", [f"field {number}" for number in range(101)]),
    ],
)
def test_wrong_field_of_a_heartbeat_is_422(anybody, field, wrong):
    assert list(failure_of(anybody.heartbeat(**{field: wrong}), 422)["errors"]) == [field]


def test_unsaved_fields_are_shown_in_the_lists(alice, bob):
    alice.heartbeat(dirty=True, dirty_fields=["steps", "name", "name"])
    [viewer] = data_of(bob.viewers())["viewers"]

    assert viewer["dirty_fields"] == ["name", "steps"]
    assert data_of(bob.tabs())["tabs"]["t1"]["dirty_fields"] == ["name", "steps"]
    alice.heartbeat()
    assert "dirty_fields" not in data_of(bob.viewers())["viewers"][0]


# Claims


@pytest.mark.usefixtures("both_there")
def test_claim_is_answered_and_told_with_its_holder(alice, bob):
    data = data_of(alice.claim())
    assert just_now(data["claim"]["since"])
    since = data["claim"]["since"]

    claim = {"user": ALICE, "tab_id": "t1", "since": since}
    assert data == {"claimed": True, "claim": claim, "version": version_of(alice)}
    assert told(bob, "t2")["claims"] == {"title": data["claim"]}
    assert told(alice, "t1")["claims"] == {"title": data["claim"]}


@pytest.mark.usefixtures("both_there")
def test_field_that_another_has_claimed_is_given_only_to_who_takes_it_over(alice, bob):
    held = data_of(alice.claim())["claim"]

    assert data_of(bob.claim(tab_id="t2")) == {
        "claimed": False,
        "claim": held,
        "version": version_of(alice),
    }
    taken = data_of(bob.claim(tab_id="t2", take_over=True))
    assert (taken["claimed"], taken["claim"]["user"], taken["claim"]["taken_from"]) == (True, BOB, ALICE)
    assert told(alice, "t1")["claims"] == {"title": taken["claim"]}


@pytest.mark.usefixtures("both_there")
def test_claim_is_released_by_the_query_where_a_proxy_drops_the_body(alice, bob):
    alice.claim("title")
    answer = alice.call("DELETE", "flow/12/claim?tab_id=t1&field=title")

    assert data_of(answer) == {"released": True, "version": version_of(alice)}
    assert "claims" not in told(bob, "t2")
    missing = failure_of(alice.call("DELETE", "flow/12/claim?tab_id=t1"), 422)
    assert list(missing["errors"]) == ["field"]


@pytest.mark.usefixtures("both_there")
def test_whole_number_is_one_however_it_is_written(alice, bob):
    beat = {"tab_id": "t1", "mode": "edit", "dirty": False, "version": None}
    answer = alice.call("POST", "flow/12/heartbeat", json={**beat, "base_version": 7.0})

    assert data_of(alice.saved(lock_version=8.0))["announced"]
    assert json.dumps(told(bob, "t2")["saved"][0]["lock_version"]) == "8"
    assert json.dumps(data_of(answer)["forecast"]["base_version"]) == "7"


@pytest.mark.usefixtures("both_there")
def test_claim_is_released_by_its_tab_alone(alice, bob):
    claimed = data_of(alice.claim())["version"]
    assert data_of(bob.release(tab_id="t2")) == {"released": True, "version": claimed}
    assert "claims" in told(bob, "t2")
    released = data_of(alice.release())
    assert released == {"released": True, "version": version_of(alice)}
    assert released["version"] != claimed
    assert data_of(alice.release()) == released
    assert told(bob, "t2") == {}


@pytest.mark.usefixtures("both_there")
def test_claim_keeps_nobody_from_saving(alice, bob):
    alice.claim("name")

    assert data_of(bob.saved(tab_id="t2", fields=["name"])) == {"announced": True}


def test_tab_that_is_not_registered_claims_nothing(alice):
    assert data_of(alice.claim()) == {"claimed": False, "claim": None, "reason": "not_editing"}
    assert data_of(alice.release()) == {"released": True}


@pytest.mark.usefixtures("both_there")
def test_claim_that_is_not_given_says_why_where_the_claim_does_not(alice, bob):
    bob.heartbeat(tab_id="t3")
    alice.claim()
    bob.claim(tab_id="t2", take_over=True)
    alice.claim(take_over=True)
    held = told(bob, "t2", mode="edit")["claims"]["title"]

    assert data_of(bob.claim("name", tab_id="t3"))["reason"] == "not_editing"
    assert data_of(bob.claim(tab_id="t2", take_over=True)) == {
        "claimed": False,
        "claim": held,
        "reason": "taken_recently",
        "version": version_of(alice),
    }
    for number in range(20):
        assert data_of(bob.claim(f"field {number}", tab_id="t2"))["claimed"]
    assert data_of(bob.claim("one more", tab_id="t2"))["reason"] == "too_many"


@pytest.mark.usefixtures("both_there")
def test_claim_in_somebody_elses_tab_is_409(alice, bob):
    alice.claim()

    for call in (bob.claim, bob.release):
        failure_of(call(tab_id="t1"), 409)
    failure_of(bob.claim(tab_id="t1", take_over=True), 409)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("tab_id", None),
        ("tab_id", ""),
        ("field", None),
        ("field", ""),
        ("field", "x" * 129),
        ("field", "a\tb"),
        ("field", ["name"]),
        ("more", 1),
    ],
)
def test_wrong_field_of_a_claim_is_422(anybody, field, wrong):
    for call in (anybody.claim, anybody.release):
        body = {"field": "title", field: wrong}
        assert list(failure_of(call(**body), 422)["errors"]) == [field]


@pytest.mark.parametrize("wrong", [1, "true", None])
def test_taking_over_is_true_or_false(anybody, wrong):
    assert list(failure_of(anybody.claim(take_over=wrong), 422)["errors"]) == ["take_over"]
    assert list(failure_of(anybody.release(take_over=True), 422)["errors"]) == ["take_over"]


# The timeline


def test_timeline_tells_what_happened_in_order(alice, bob):
    alice.heartbeat(mode="edit", dirty=True, active_field="name", dirty_fields=["name"])
    alice.claim("name")
    bob.heartbeat(tab_id="t2", mode="edit")
    bob.claim("name", tab_id="t2", take_over=True)
    alice.saved()
    bob.release("name", tab_id="t2")
    alice.unregister()
    told_entries = entries(bob)
    times = [entry.pop("at") for entry in told_entries]
    ids = [entry.pop("id") for entry in told_entries]

    assert all(just_now(moment) for moment in times)
    assert times == sorted(times)
    assert len(set(ids)) == len(ids)
    shown = {"tabs": 1, "mode": "edit", "has_dirty_tab": False, "active_fields": [], "dirty_fields": []}
    shown |= {"away": False, "since": JUST_NOW}
    assert told_entries == [
        {
            "kind": "join",
            "user": ALICE,
            "mode": "edit",
            "tabs": 1,
            "has_dirty_tab": True,
            "active_fields": ["name"],
            "dirty_fields": ["name"],
            "away": False,
            "since": JUST_NOW,
        },
        {"kind": "claimed", "user": ALICE, "tab_id": "t1", "field": "name"},
        {"kind": "join", "user": BOB, **shown},
        {"kind": "claimed", "user": BOB, "tab_id": "t2", "field": "name", "taken_from": ALICE},
        {"kind": "saved", "user": ALICE, "tab_id": "t1", "lock_version": 8, "fields": ["name"]},
        {"kind": "released", "user": BOB, "tab_id": "t2", "field": "name"},
        {"kind": "leave", "user": ALICE, "reason": "left", "since": JUST_NOW},
    ]


def test_timeline_is_read_page_by_page(alice):
    alice.heartbeat(mode="edit")
    for lock_version in range(1, 7):
        alice.saved(lock_version=lock_version)
    pages, since = [], {}
    while True:
        data = data_of(alice.timeline(limit=3, **since))
        pages.append([entry.get("lock_version", 0) for entry in data["entries"]])
        if data["next"] is None:
            break
        assert data["next"] == data["entries"][-1]["id"]
        since = {"since": data["next"]}

    assert pages == [[0, 1, 2], [3, 4, 5], [6]]


def test_page_says_what_a_viewer_with_many_fields_shows_whatever_came_before(alice):
    fields = [f"field {number:03} {'x' * 80}" for number in range(80)]
    alice.heartbeat(dirty=True, dirty_fields=fields)
    alice.heartbeat(dirty=True, dirty_fields=[*fields[1:], "steps"], active_field="name")
    told = entries(alice)
    paged, since = [], {}
    while since is not None:
        data = data_of(alice.timeline(limit=3, **since))
        paged += data["entries"]
        since = {"since": data["next"]} if data["next"] else None

    assert paged == told
    assert told[-1]["kind"] == "update"
    assert (told[-1]["active_fields"], told[-1]["dirty_fields"]) == (["name"], [*fields[1:], "steps"])


def test_page_of_long_entries_of_the_release_before_is_cut_and_goes_on(app, alice):
    redis = app.extensions["presence"].redis
    names = [f"field {number}" + "x" * 500 for number in range(100)]
    for number in range(40):
        redis.xadd(TIMELINE, {"e": json.dumps(["join", str(number), "Alice", 1, 1, 1, 0, *names])})
    redis.xadd(TIMELINE, {"e": json.dumps(["leave", "40", "Alice", "left", 1])})
    found, since, pages = [], {}, 0
    while since is not None:
        answer = alice.timeline(limit=1000, **since)
        assert len(answer.data) <= 1_048_576
        data, pages = data_of(answer), pages + 1
        found += [entry["user"]["id"] for entry in data["entries"]]
        since = {"since": data["next"]} if data["next"] else None

    assert (found, pages) == (list(range(41)), 3)


def test_page_that_ends_with_the_last_entry_has_no_next(alice):
    alice.heartbeat(mode="edit")
    for lock_version in range(2):
        alice.saved(lock_version=lock_version)

    assert data_of(alice.timeline(limit=3))["next"] is None


def test_timeline_goes_on_from_the_last_entry_that_is_known(alice):
    alice.heartbeat(mode="edit")
    alice.saved(lock_version=1)
    last = entries(alice)[-1]["id"]
    assert data_of(alice.timeline(since=last)) == {"entries": [], "next": None}
    alice.saved(lock_version=2)

    assert [entry["lock_version"] for entry in entries(alice, since=last)] == [2]


def test_page_has_a_hundred_entries_unless_another_limit_is_given(app, alice):
    redis = app.extensions["presence"].redis
    for number in range(150):
        redis.xadd(TIMELINE, {"e": f'["leave","42","user {number}","left",1]'})

    assert len(entries(alice)) == 100
    assert len(entries(alice, limit=1000)) == 150


def test_timeline_of_a_record_that_nobody_had_open_is_empty(alice):
    assert data_of(alice.timeline()) == {"entries": [], "next": None}


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "x"),
        ("since", ""),
        ("since", "yesterday"),
        ("since", "1-2-3"),
        ("since", "-"),
        ("since", "(1-2"),
        ("since", "12345678901234567-0"),
        ("since", "١-٢"),
    ],
)
def test_wrong_page_is_422(anybody, field, wrong):
    assert list(failure_of(anybody.timeline(**{field: wrong}), 422)["errors"]) == [field]


def test_timeline_that_is_turned_off_is_empty(redis):
    alice = Person(create_app(replace(SETTINGS, timeline_seconds=0), redis=redis))
    alice.heartbeat()
    alice.saved()

    assert entries(alice) == []
    assert not redis.exists(TIMELINE)


def test_timeline_is_kept_as_long_as_the_setting_says(redis):
    app = create_app(replace(SETTINGS, timeline_seconds=600), redis=redis)
    Person(app).heartbeat()
    assert 170 <= redis.ttl(TIMELINE) <= 180  # nobody else has been there
    Person(app, 43, "Bob").heartbeat(tab_id="t2")

    assert 590 <= redis.ttl(TIMELINE) <= 600


# Who may


CALLS = {
    "saved": lambda person: person.saved(),
    "claim": lambda person: person.claim(),
    "release": lambda person: person.release(),
    "timeline": lambda person: person.timeline(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_who_may_not_gets_nothing(app, call):
    unknown, stranger, owner = Person(app), Person(app, records=["flow:13"]), Person(app)
    del unknown.headers["Authorization"]
    owner.heartbeat()
    before = contents(app.extensions["presence"].redis)

    failure_of(call(unknown), 401)
    failure_of(call(stranger), 403)
    assert contents(app.extensions["presence"].redis) == before


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_other_tenant_is_another_record(app, alice, call):
    alice.heartbeat(mode="edit")
    alice.claim()
    before = entries(alice)
    other = Person(app, tenant="2")
    data = data_of(call(other))

    assert data in (
        {"announced": False, "reason": "not_editing"},
        {"claimed": False, "claim": None, "reason": "not_editing"},
        {"released": True},
        {"entries": [], "next": None},
    )
    assert entries(alice) == before


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_calls_are_counted(redis, call):
    alice = Person(create_app(replace(SETTINGS, rate_limit=parse("2/minute")), redis=redis))
    data_of(call(alice))
    data_of(call(alice))

    failure_of(call(alice), 429)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_redis_that_is_away_is_503(call):
    failure_of(call(Person(create_app(SETTINGS, redis=connect("redis://127.0.0.1:1")))), 503)


@pytest.mark.parametrize("path", ["saved", "claim", "timeline"])
@pytest.mark.parametrize("record", ["Flow/12", "flow/a:b", "1flow/12"])
def test_path_that_names_no_record_is_422(anybody, record, path):
    method, body = ("GET", None) if path == "timeline" else ("POST", {"tab_id": "t1"})

    failure_of(anybody.call(method, f"{record}/{path}", json=body), 422)


@pytest.mark.parametrize(("method", "path"), [("POST", "saved"), ("POST", "claim"), ("DELETE", "claim")])
def test_body_that_is_none_is_refused(anybody, method, path):
    path = f"flow/12/{path}"

    failure_of(anybody.call(method, path, data="{", content_type="application/json"), 400)
    failure_of(anybody.call(method, path, data="a=b", content_type="application/x-www-form-urlencoded"), 415)
    failure_of(anybody.call(method, path, data=" " * 65_537, content_type="application/json"), 413)
    failure_of(anybody.call(method, path, json=[]), 422)


@pytest.mark.parametrize(("method", "path"), [("GET", "saved"), ("PUT", "claim"), ("POST", "timeline")])
def test_other_methods_are_405(anybody, method, path):
    failure_of(anybody.call(method, f"flow/12/{path}"), 405)


def own_contested(response):
    forecast = data_of(response)["forecast"]
    return forecast["own_tabs"], forecast["own_contested"]


def test_unsaved_fields_of_the_users_other_tabs_are_part_of_the_forecast(alice, bob):
    def beat(tab_id, *fields, version=None):
        body = {"mode": "edit", "dirty": bool(fields), "dirty_fields": list(fields), "base_version": 7}
        return alice.heartbeat(tab_id=tab_id, version=version, **body)

    assert own_contested(beat("t1", "name", "steps")) == (0, [])
    assert own_contested(beat("t2")) == (1, [])
    answer = beat("t1", "name", "steps")
    assert own_contested(answer) == (1, [])
    known = data_of(answer)["version"]

    assert own_contested(beat("t2", "steps", "status")) == (1, ["steps"])
    assert own_contested(beat("t1", "name", "steps", version=known)) == (1, ["steps"])
    # One that nobody else can see changes: the other tab learns of it all the same.
    known = data_of(beat("t1", "name", "steps"))["version"]
    beat("t2", "status")
    assert own_contested(beat("t1", "name", "steps", version=known)) == (1, [])
    assert "own_contested" not in data_of(bob.heartbeat(tab_id="t3", version=None))


def test_own_other_tabs_are_known_also_beyond_the_viewers_that_are_listed(redis, app, alice):
    for number in range(130):
        Person(app, 1000 + number, f"Somebody {number}").heartbeat(tab_id=f"crowd-{number}")
    body = {"mode": "edit", "dirty": True, "dirty_fields": ["name"], "base_version": 7, "version": None}
    alice.heartbeat(tab_id="t1", **body)
    response = alice.heartbeat(tab_id="t2", **body)

    assert own_contested(response) == (1, ["name"])
    viewers = data_of(response)["viewers"]
    assert (len(viewers), data_of(response)["total"]) == (100, 130)
    assert 42 not in [viewer["id"] for viewer in viewers]


# A restored backup


def test_restored_version_that_the_host_tells_is_told_and_forgets_those_above(alice, service_role):
    data_of(alice.heartbeat(mode="edit"))
    by_bob = {"tab_id": None, "user": {"id": 43, "name": "Bob"}}
    for lock_version in (6, 7, 8):
        data_of(service_role.saved(lock_version=lock_version, fields=["title"], **by_bob))
    restored = data_of(service_role.saved(lock_version=6, fields=["body"], **by_bob))
    assert restored == {"announced": True}

    # Alice has loaded version 5, which the backup has put back.
    ahead = data_of(alice.heartbeat(mode="edit", dirty_fields=["body"], base_version=5, version=None))[
        "forecast"
    ]
    assert [(save["lock_version"], save["fields"]) for save in ahead["saves"]] == [(6, ["body"])]
    assert ahead["collisions"] == ["body"]
    told = [entry for entry in data_of(alice.timeline())["entries"] if entry["kind"] == "saved"]
    assert [entry["lock_version"] for entry in told] == [6, 7, 8, 6]
    assert told[-1]["fields"] == ["body"]


def test_lower_version_that_a_page_tells_forgets_nothing(alice, bob, service_role):
    data_of(bob.heartbeat(tab_id="t2", mode="edit"))
    by_bob = {"tab_id": None, "user": {"id": 43, "name": "Bob"}}
    for lock_version in (6, 7, 8):
        data_of(service_role.saved(lock_version=lock_version, fields=["title"], **by_bob))
    data_of(bob.saved(tab_id="t2", lock_version=5, fields=["body"]))

    saved = data_of(alice.heartbeat(version=None))["saved"]
    assert [save["lock_version"] for save in saved] == [5, 6, 7, 8]


# Before a write


def checked(person, *fields, **body):
    data = data_of(person.call("POST", "flow/12/check", json={"fields": list(fields), **body}))
    data.pop("version")
    return data


@pytest.mark.usefixtures("both_there")
def test_check_says_which_fields_are_clear_and_what_is_in_the_way_of_the_others(service_role, alice, bob):
    alice.heartbeat(tab_id="t1", mode="edit", dirty=True, dirty_fields=["steps", "name"])
    bob.saved(tab_id="t2", lock_version=8, fields=["body", "name"])
    bob.claim(tab_id="t2", field="owner")
    found = checked(service_role, "title", "body", "steps", "owner", "name", base_version=7)

    assert just_now(found.pop("remembered_since"))
    assert all(just_now(stale.pop("saved_at")) for stale in found["stale"].values())
    assert just_now(found["claimed"]["owner"].pop("since"))
    of_alice = {"id": 42, "name": "Alice", "away": False}
    assert found == {
        "clear": ["title"],
        "stale": {name: {"lock_version": 8, "user": BOB} for name in ("body", "name")},
        "contested": {"steps": [of_alice], "name": [of_alice]},
        "claimed": {"owner": {"user": BOB, "tab_id": "t2"}},
    }
    assert checked(service_role, "body")["clear"] == ["body"]  # without a version, nothing is stale


@pytest.mark.usefixtures("both_there")
def test_check_holds_nothing_against_the_askers_own_tab(alice, bob):
    alice.heartbeat(tab_id="t1", mode="edit", dirty=True, dirty_fields=["name"])
    alice.claim(tab_id="t1", field="name")
    alice.saved(tab_id="t1", lock_version=8, fields=["name"])

    assert checked(alice, "name", tab_id="t1", base_version=7)["clear"] == ["name"]
    assert checked(alice, "name", tab_id="t1b", base_version=7)["clear"] == []
    failure_of(bob.call("POST", "flow/12/check", json={"fields": ["name"], "tab_id": "t1"}), 409)


def test_check_of_a_record_that_nobody_has_open_knows_of_no_saves(service_role):
    assert checked(service_role, "title", "*", base_version=7) == {
        "clear": ["title", "*"],
        "stale": {},
        "contested": {},
        "claimed": {},
        "remembered_since": None,
    }


@pytest.mark.usefixtures("both_there")
def test_check_of_the_whole_record_finds_whatever_is_in_its_way(service_role, alice, bob):
    alice.heartbeat(tab_id="t1", mode="edit", dirty=True, dirty_fields=["name"])
    bob.claim(tab_id="t2", field="*")
    found = checked(service_role, "*", "steps")

    assert [user["id"] for user in found["contested"]["*"]] == [42]
    assert found["claimed"]["steps"]["field"] == "*"
    assert "field" not in found["claimed"]["*"]


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("fields", None),
        ("fields", []),
        ("fields", "name"),
        ("fields", [7]),
        ("fields", [""]),
        ("fields", [f"field {number}" for number in range(101)]),
        ("base_version", -1),
        ("base_version", "7"),
        ("tab_id", "a b"),
        ("more", 1),
    ],
)
def test_wrong_field_of_a_check_is_422(anybody, field, wrong):
    body = {"fields": ["name"], field: wrong}

    assert list(failure_of(anybody.call("POST", "flow/12/check", json=body), 422)["errors"]) == [field]


@pytest.mark.usefixtures("both_there")
def test_save_names_whose_unsaved_fields_it_has_touched(service_role, alice, bob):
    bob.heartbeat(tab_id="t2", mode="edit", dirty=True, dirty_fields=["name"])
    alice.heartbeat(tab_id="t1", mode="edit", dirty=True, dirty_fields=["name"])
    touched = {"name": [{"id": 43, "name": "Bob", "away": False}]}

    assert data_of(alice.saved(fields=["name", "steps"])) == {"announced": True, "touched": touched}
    by_server = service_role.saved(user=ALICE, tab_id=None, lock_version=9, fields=["name"])
    assert data_of(by_server)["touched"] == touched
    assert data_of(alice.saved(lock_version=10, fields=["steps"])) == {"announced": True}


def test_forecast_and_check_find_the_one_viewer_of_many_who_has_a_field(app, alice):
    for user in range(1_000, 1_200):
        Person(app, user, f"User {user}").heartbeat(tab_id=f"t{user}")
    late = Person(app, 2_000, "Late")
    late.heartbeat(tab_id="late", mode="edit", dirty=True, dirty_fields=["name"])
    body = {"mode": "edit", "dirty": True, "dirty_fields": ["name", "steps"], "base_version": 7}
    data = data_of(alice.heartbeat(tab_id="t1", version=None, **body))

    assert 2_000 not in {viewer["id"] for viewer in data["viewers"]}
    assert data["forecast"]["contested"] == {"name": [{"id": 2_000, "name": "Late"}]}
    assert checked(alice, "name", "steps", tab_id="t1")["clear"] == ["steps"]


# Who waits


@pytest.mark.usefixtures("both_there")
def test_who_waits_is_shown_and_has_the_field_next(alice, bob):
    alice.claim(tab_id="t1", field="name")
    asked = data_of(bob.claim(tab_id="t2", field="name", wait=True))
    held = told(alice, "t1b")["claims"]["name"]

    assert (asked["claimed"], asked["place"], asked["claim"]["tab_id"]) == (False, 1, "t1")
    assert just_now(held["waiting"][0].pop("since"))
    assert held["waiting"] == [{"user": BOB, "tab_id": "t2"}]
    data_of(alice.call("DELETE", "flow/12/claim", json={"tab_id": "t1", "field": "name"}))
    held = told(bob, "t2", mode="edit")["claims"]["name"]
    assert (held["tab_id"], held["passed_from"], "waiting" in held) == ("t2", ALICE, False)
    assert [entry.get("passed_from") for entry in entries(bob) if entry["kind"] == "claimed"] == [None, ALICE]


@pytest.mark.usefixtures("both_there")
def test_who_waits_for_somebody_away_reads_when_the_field_passes_on(alice, bob):
    alice.claim(tab_id="t1", field="name")
    alice.call("DELETE", "flow/12/unregister", json={"tab_id": "t1b"})
    bob.claim(tab_id="t2", field="name", wait=True)
    assert "passes_at" not in told(bob, "t2", mode="edit")["claims"]["name"]
    told(alice, "t1", mode="edit", active=False)
    passes_at = told(bob, "t2", mode="edit")["claims"]["name"]["passes_at"]

    left_seconds = (datetime.fromisoformat(passes_at) - datetime.now(UTC)).total_seconds()
    assert DEFAULT_CLAIM_IDLE_SECONDS - 10 < left_seconds <= DEFAULT_CLAIM_IDLE_SECONDS
    assert "passes_at" not in told(alice, "t1", mode="edit")["claims"]["name"]


@pytest.mark.usefixtures("both_there")
def test_holder_sends_away_who_waits(alice, bob):
    alice.claim(tab_id="t1", field="name")
    bob.claim(tab_id="t2", field="*", wait=True)
    body = {"tab_id": "t1", "field": "name"}

    assert data_of(alice.call("POST", "flow/12/claim/decline", json=body))["declined"] == 1
    assert "waiting" not in told(alice, "t1b")["claims"]["name"]
    failure_of(bob.call("POST", "flow/12/claim/decline", json=body), 409)
    assert data_of(bob.call("POST", "flow/12/claim/decline", json={**body, "tab_id": "t9"})) == {
        "declined": 0
    }


def test_nobody_takes_a_field_and_waits_for_it_at_once(anybody):
    failure = failure_of(anybody.claim(take_over=True, wait=True), 422)
    assert failure["errors"] == {"wait": ["Must not be given together with take_over."]}
    assert list(failure_of(anybody.claim(wait="yes"), 422)["errors"]) == ["wait"]

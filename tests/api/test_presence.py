"""The contract, call by call: what comes back, under which status, and what was written."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from record_presence import create_app
from record_presence.presence.limits import DEFAULT_LIMIT, MAX_SAVES
from record_presence.presence.records import Record
from record_presence.redis_client.client import connect
from tests.api.client import SETTINGS, Person, contents, data_of, failure_of
from tests.lua.commands import leases
from tests.viewers import viewer

RECORD = Record("1", "flow", "12")

ALICE = viewer()


# heartbeat


def test_heartbeat_registers_a_tab_and_says_when_to_beat_next(alice):
    data = data_of(alice.heartbeat())

    assert list(data) == ["registered", "version", "heartbeat_seconds"]
    assert data["registered"] is True
    assert data["heartbeat_seconds"] == 30
    assert data["version"]


def test_fifty_first_tab_of_a_user_is_asked_to_wait_for_a_lease(alice):
    for number in range(50):
        data_of(alice.heartbeat(tab_id=f"t{number}"))

    answer = alice.heartbeat(tab_id="one-more")

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "90")
    assert "50 tabs of this record" in answer.get_json()["message"]
    assert data_of(alice.heartbeat(tab_id="t0"))["registered"]


def test_heartbeat_that_names_too_many_fields_is_registered_and_told_what_was_left_out(alice):
    names = [f"field-{number:03}" for number in range(300)]
    alice.heartbeat(tab_id="t1", dirty=True, dirty_fields=names[:100])
    alice.heartbeat(tab_id="t2", dirty=True, dirty_fields=names[100:200])

    for _ in range(2):
        data = data_of(alice.heartbeat(tab_id="t3", dirty=True, dirty_fields=names[199:202]))
        assert list(data) == ["registered", "version", "heartbeat_seconds", "left_out"]
        assert data["left_out"] == {"dirty_fields": names[200:202]}


def test_forecast_covers_unsaved_fields_that_were_left_out(alice, bob):
    names = [f"field-{number:03}" for number in range(300)]
    alice.heartbeat(tab_id="t1", dirty=True, dirty_fields=names[:100])
    alice.heartbeat(tab_id="t2", dirty=True, dirty_fields=names[100:200])
    bob.heartbeat(tab_id="t9", mode="edit", dirty=True, dirty_fields=["field-250"])

    data = data_of(
        alice.heartbeat(tab_id="t3", dirty=True, dirty_fields=["field-250"], base_version=7, version=None)
    )

    assert data["left_out"] == {"dirty_fields": ["field-250"]}
    assert [user["name"] for user in data["forecast"]["contested"]["field-250"]] == ["Bob"]


def test_heartbeat_lists_the_others_when_asked_with_null(alice, bob):
    bob.heartbeat(tab_id="t2", mode="edit", dirty=True, active_field="title")
    data = data_of(alice.heartbeat(version=None))

    assert data["total"] == 1
    assert data["viewers"] == [
        viewer(43, "Bob", mode="edit", has_dirty_tab=True, active_fields=["title"]),
    ]


def test_heartbeat_lists_nobody_to_one_who_is_alone(alice):
    data = data_of(alice.heartbeat(version=None))

    assert (data["viewers"], data["total"]) == ([], 0)


def test_heartbeat_lists_no_viewers_when_the_version_sent_is_current(alice):
    version = data_of(alice.heartbeat())["version"]

    assert list(data_of(alice.heartbeat(version=version))) == ["registered", "version", "heartbeat_seconds"]


@pytest.mark.parametrize("version", ["0", "", "?", "not ours", "1700000000000000-deadbeef", "日本"])
def test_heartbeat_lists_viewers_when_the_version_sent_is_another(alice, bob, version):
    bob.heartbeat(tab_id="t2")
    data = data_of(alice.heartbeat(version=version))

    assert [viewer["name"] for viewer in data["viewers"]] == ["Bob"]


def test_version_changes_when_somebody_comes_edits_or_goes_and_not_when_all_stay(alice, bob):
    versions = [
        data_of(alice.heartbeat())["version"],
        data_of(bob.heartbeat(tab_id="t2"))["version"],
        data_of(bob.heartbeat(tab_id="t2", mode="edit"))["version"],
        data_of(bob.heartbeat(tab_id="t2", mode="edit", dirty=True))["version"],
        data_of(bob.heartbeat(tab_id="t2", mode="edit", dirty=True, active_field="title"))["version"],
    ]
    bob.unregister("t2")
    versions.append(data_of(alice.heartbeat())["version"])

    assert len(set(versions)) == 6
    assert data_of(alice.heartbeat())["version"] == versions[-1]


def test_viewers_come_in_the_order_of_their_arrival(app, alice):
    for user_id, name in ((9, "Zoë"), ("u-1", "Ada"), (1, "Mia")):
        Person(app, user_id, name).heartbeat(tab_id=f"tab-{user_id}")
    Person(app, 9, "Zoë").heartbeat(tab_id="another")

    assert [viewer["name"] for viewer in data_of(alice.viewers())["viewers"]] == ["Zoë", "Ada", "Mia"]


@pytest.mark.parametrize("user_id", [2**63, 10**40, -(10**40), "u-7"])
def test_user_id_comes_back_with_all_its_digits(app, alice, user_id):
    Person(app, user_id, "Zoë").heartbeat(tab_id="t9")

    [viewer] = data_of(alice.viewers())["viewers"]
    assert (viewer["id"], viewer["name"]) == (user_id, "Zoë")


def test_lease_ends_with_the_token_that_it_was_given_for(app, redis):
    Person(app, seconds=20).heartbeat()

    assert 0 < max(leases(redis).values()) <= 20_000


@pytest.mark.parametrize(
    ("seconds_left", "greatest"),
    [(60, 20), (12, 4), (6, 2), (3, 1), (600, 30)],
    ids=lambda value: f"{value} s",
)
def test_client_is_told_to_beat_within_a_third_of_the_lease_that_its_token_allows(
    app, seconds_left, greatest
):
    data = data_of(Person(app, seconds=seconds_left).heartbeat())

    # A token ends with a whole second: up to one second of what it has left is over.
    assert max(1, greatest - 0.4) <= data["heartbeat_seconds"] <= greatest


@pytest.mark.parametrize(
    ("lease", "set_to", "told"), [(90, 45, 30), (90, 30, 30), (9, 8, 3), (2, 1.5, 1), (1, 0.5, 0.5)]
)
def test_client_is_told_to_beat_within_a_third_of_every_lease(redis, lease, set_to, told):
    settings = replace(SETTINGS, ttl_seconds=lease, heartbeat_seconds=set_to)
    alice = Person(create_app(settings, redis=redis))

    assert data_of(alice.heartbeat())["heartbeat_seconds"] == told


def test_tab_lives_for_a_moment_after_its_token_so_that_the_next_one_is_in_time(app, redis):
    data_of(Person(app, seconds=3).heartbeat())

    assert 5_000 < max(leases(redis).values()) <= 10_000


def test_tab_without_a_heartbeat_is_gone_when_its_lease_is_over(alice, bob, redis):
    alice.heartbeat()
    redis.zincrby(RECORD.seen_key, -90_001, "t1")

    assert data_of(bob.viewers())["viewers"] == []
    assert data_of(bob.tabs())["tabs"] == {}


def test_field_written_by_hand_without_a_lease_never_shows(alice, bob, redis):
    redis.hset(RECORD.tabs_key, "ghost", '["9","Ghost","edit",true,""]')

    assert data_of(alice.viewers())["viewers"] == []
    assert data_of(alice.tabs())["tabs"] == {}
    assert data_of(bob.heartbeat(version=None))["viewers"] == []


# viewers


def test_viewers_leave_oneself_out(alice, bob):
    alice.heartbeat()
    bob.heartbeat(tab_id="t2")

    data = data_of(alice.viewers())

    assert [viewer["name"] for viewer in data["viewers"]] == ["Bob"]
    assert data["total"] == 1


def test_viewers_include_oneself_when_asked(alice):
    version = data_of(alice.heartbeat())["version"]

    assert data_of(alice.viewers(include_self="true")) == {"viewers": [ALICE], "total": 1, "version": version}
    assert data_of(alice.viewers(include_self="false"))["viewers"] == []


def test_viewers_are_cut_at_the_limit_and_counted_whole(app, alice):
    for user_id in range(5):
        Person(app, f"u{user_id}", f"User {user_id}").heartbeat(tab_id=f"t{user_id}")

    data = data_of(alice.viewers(limit=2))

    assert [viewer["name"] for viewer in data["viewers"]] == ["User 0", "User 1"]
    assert data["total"] == 5


@pytest.mark.parametrize("user_id", [42, "42", "u-7", 0, -3, 2**63, 10**30, "Zoë 😀", '"><script>'])
def test_user_id_comes_back_with_the_type_it_came_with(app, alice, user_id):
    person = Person(app, user_id, "X", tenant="2")
    person.heartbeat()

    [viewer] = data_of(person.viewers(include_self="true"))["viewers"]

    assert viewer["id"] == user_id
    assert type(viewer["id"]) is type(user_id)
    assert data_of(person.tabs())["tabs"]["t1"]["user_id"] == user_id


def test_name_of_html_comes_back_verbatim_as_json(app, bob):
    name = '<img src=x onerror=alert(1)>"&amp;</script>'
    Person(app, 7, name).heartbeat()
    response = bob.viewers()

    assert data_of(response)["viewers"][0]["name"] == name
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_viewers_answer_304_while_nothing_changes(alice, bob):
    bob.heartbeat(tab_id="t2")
    first = alice.viewers()
    second = alice.viewers(etag=first.headers["ETag"])

    assert (second.status_code, second.data) == (304, b"")
    assert second.headers["ETag"] == first.headers["ETag"]
    assert first.headers["Cache-Control"] == second.headers["Cache-Control"] == "private, no-cache"
    assert first.headers["Vary"] == "Authorization, Cookie"
    assert "Content-Type" not in second.headers

    bob.heartbeat(tab_id="t2", mode="edit")
    third = alice.viewers(etag=first.headers["ETag"])

    assert data_of(third)["viewers"][0]["mode"] == "edit"
    assert third.headers["ETag"] != first.headers["ETag"]


def test_viewers_know_their_etag_among_others(alice):
    etag = alice.viewers().headers["ETag"]

    assert alice.viewers(etag=f'"other", {etag}').status_code == 304


def test_etag_of_another_caller_is_not_honoured(app, alice, bob):
    alice.heartbeat()
    etag = alice.viewers().headers["ETag"]

    assert len(data_of(bob.viewers(etag=etag))["viewers"]) == 1
    assert Person(app, "42", "Alice").viewers(etag=etag).status_code == 200


@pytest.mark.parametrize("query", [{"include_self": "true"}, {"limit": 1}])
def test_etag_of_another_question_is_not_honoured(alice, query):
    alice.heartbeat()
    etag = alice.viewers().headers["ETag"]

    assert alice.viewers(etag=etag, **query).status_code == 200


@pytest.mark.parametrize("etag", ["*", '"', "W/", '"-"', '""', "0", 'W/"0-00000000"', "é"])
def test_etag_that_we_never_gave_counts_as_none(alice, etag):
    assert alice.viewers(etag=etag).status_code == 200


def test_viewers_of_an_empty_record_are_nobody(alice, redis):
    assert data_of(alice.viewers()) == {"viewers": [], "total": 0, "version": "0"}
    assert contents(redis) == {}


def test_head_of_viewers_has_the_headers_alone(alice):
    head = alice.call("HEAD", "flow/12/viewers")

    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["ETag"] == alice.viewers().headers["ETag"]


# tabs


def test_tabs_show_what_each_tab_does(alice, bob):
    alice.heartbeat(mode="edit", dirty=True, active_field="description", visible=False)
    bob.heartbeat(tab_id="a:b.c-d_E")

    tabs = data_of(alice.tabs())["tabs"]
    moments = [datetime.fromisoformat(tab.pop("last_seen_at")) for tab in tabs.values()]

    assert tabs == {
        "t1": {
            "user_id": 42,
            "user_name": "Alice",
            "mode": "edit",
            "dirty": True,
            "active_field": "description",
            "away": True,
        },
        "a:b.c-d_E": {
            "user_id": 43,
            "user_name": "Bob",
            "mode": "view",
            "dirty": False,
            "active_field": None,
        },
    }
    assert all(moment.tzinfo == UTC for moment in moments)
    assert all(abs(datetime.now(UTC) - moment) < timedelta(minutes=1) for moment in moments)


# away


@pytest.mark.parametrize(
    ("sent", "is_away"),
    [
        ({}, False),
        ({"visible": False}, True),
        ({"active": False}, True),
        ({"active": True, "visible": False}, False),
    ],
)
def test_user_is_away_whose_tab_is_not_active(alice, bob, sent, is_away):
    bob.heartbeat(tab_id="t2", **sent)

    assert data_of(alice.heartbeat(version=None))["viewers"] == [viewer(43, "Bob", away=is_away)]


@pytest.mark.parametrize("active", [1, "yes", None])
def test_active_is_true_or_false(alice, active):
    assert failure_of(alice.heartbeat(active=active), 422)["errors"].keys() == {"active"}


# unregister


def test_unregister_removes_the_tab_at_once(alice, bob, redis):
    alice.heartbeat()

    assert data_of(alice.unregister()) == {"unregistered": True}
    assert data_of(bob.viewers())["viewers"] == []
    assert contents(redis) == {}


def test_unregister_takes_the_tab_id_from_the_query_as_well(alice, redis):
    alice.heartbeat()
    response = alice.call("DELETE", "flow/12/unregister", query_string={"tab_id": "t1", "_": 1})

    assert data_of(response) == {"unregistered": True}
    assert contents(redis) == {}


def test_unregister_reads_the_query_when_a_proxy_has_dropped_the_body_and_left_its_type(alice, redis):
    alice.heartbeat()
    response = alice.call(
        "DELETE", "flow/12/unregister", query_string={"tab_id": "t1"}, content_type="application/json"
    )

    assert data_of(response) == {"unregistered": True}
    assert contents(redis) == {}


def test_unregister_of_a_tab_that_is_already_gone_is_no_error(alice):
    assert data_of(alice.unregister("never-was")) == {"unregistered": True}


def test_unregister_keeps_the_users_other_tab(alice, bob):
    alice.heartbeat(tab_id="t1", mode="edit")
    alice.heartbeat(tab_id="t2")
    alice.unregister("t1")

    assert data_of(bob.viewers())["viewers"] == [ALICE]


# batch


def test_batch_lists_the_viewers_of_every_record(alice, bob):
    bob.heartbeat("flow/1", tab_id="t2")
    bob.heartbeat("form/a-b_C", tab_id="t3", mode="edit")
    alice.heartbeat("flow/1")

    records = data_of(alice.batch("flow:1", "form:a-b_C", "flow:3"))["records"]

    assert list(records) == ["flow:1", "form:a-b_C", "flow:3"]
    assert [viewer["name"] for viewer in records["flow:1"]["viewers"]] == ["Bob"]
    assert records["flow:1"]["total"] == 1
    assert records["form:a-b_C"]["viewers"][0]["mode"] == "edit"
    assert records["flow:3"] == {"viewers": [], "total": 0, "version": "0"}


def test_batch_has_the_same_versions_as_the_single_call(alice, bob):
    bob.heartbeat("flow/1", tab_id="t2")

    assert data_of(alice.batch("flow:1"))["records"]["flow:1"] == data_of(alice.viewers("flow/1"))


def test_batch_takes_a_hundred_records_and_not_one_more(alice):
    names = [f"flow:{number}" for number in range(101)]

    assert len(data_of(alice.batch(*names[:100]))["records"]) == 100
    assert "record" in failure_of(alice.batch(*names), 422)["errors"]


def test_batch_asks_and_answers_a_record_named_twice_once(app, alice, monkeypatch):
    asked = []
    monkeypatch.setattr(app.extensions["presence"].scripts, "_observe", lambda name, *_: asked.append(name))

    assert list(data_of(alice.batch("flow:1", "flow:2", "flow:1"))["records"]) == ["flow:1", "flow:2"]
    assert asked.count("viewers") == 2


@pytest.mark.parametrize("name", ["flow", "flow:", ":1", "Flow:1", "flow:1:2", "flow:a b", "", "flow:1\n"])
def test_batch_refuses_a_name_that_names_no_record(alice, name):
    errors = failure_of(alice.batch("flow:1", name), 422)["errors"]

    assert errors == {"record": ["1: Must read type:id."]}


def test_batch_needs_a_record(alice):
    assert "record" in failure_of(alice.batch(), 422)["errors"]


# Whose is it


def test_tab_of_another_user_is_neither_renewed_nor_removed(alice, bob, redis):
    alice.heartbeat()
    before = contents(redis)

    failure_of(bob.heartbeat(), 409)
    failure_of(bob.unregister(), 409)
    assert contents(redis) == before


def test_same_number_of_another_type_is_another_user(app, alice, redis):
    alice.heartbeat()
    before = contents(redis)

    failure_of(Person(app, "42", "Alice").heartbeat(), 409)
    assert contents(redis) == before


def test_tenants_do_not_see_each_other(app, alice):
    alice.heartbeat()
    stranger = Person(app, 43, "Eve", tenant="2")

    assert data_of(stranger.viewers())["viewers"] == []
    assert data_of(stranger.tabs())["tabs"] == {}
    assert data_of(stranger.batch("flow:12"))["records"]["flow:12"]["viewers"] == []
    assert data_of(stranger.unregister())["unregistered"] is True
    assert data_of(stranger.heartbeat(version=None))["viewers"] == []
    assert data_of(alice.viewers(include_self="true"))["viewers"] == [ALICE]


@pytest.mark.parametrize(
    "tenant", ["1_record_presence:flow:12", "{1}", "*", "1}:seen", "a b\n", "日本", "\ud800", "1/../2"]
)
def test_tenant_of_any_text_has_keys_of_its_own(app, alice, tenant):
    alice.heartbeat()
    stranger = Person(app, 43, "Eve", tenant=tenant)

    assert data_of(stranger.viewers())["viewers"] == []
    assert data_of(stranger.heartbeat())["registered"] is True
    assert data_of(alice.viewers())["viewers"] == []


def test_record_that_no_pattern_lists_is_forbidden_to_every_call(app, alice, redis):
    alice.heartbeat()
    before = contents(redis)
    stranger = Person(app, 43, "Eve", records=["flow:13", "form:*"])

    for response in (
        stranger.heartbeat(tab_id="t2"),
        stranger.viewers(),
        stranger.tabs(),
        stranger.unregister(),
        stranger.batch("flow:13", "flow:12"),
    ):
        failure_of(response, 403)
    assert contents(redis) == before
    assert "records" in data_of(stranger.batch("flow:13", "form:any"))


# Redis away


def test_every_call_answers_503_with_retry_after_while_redis_is_away():
    alice = Person(create_app(SETTINGS, redis=connect("redis://127.0.0.1:1")))

    for response in (
        alice.heartbeat(),
        alice.viewers(),
        alice.tabs(),
        alice.unregister(),
        alice.batch("flow:1"),
        alice.call("GET", "events?record=flow:1"),
        alice.call("POST", "flow/12/signal", json={"tab_id": "t1", "kind": "typing"}),
    ):
        failure_of(response, 503)
        assert 1 <= int(response.headers["Retry-After"]) <= 5


# Redis that has lost its data


def test_heartbeat_after_a_loss_says_that_others_may_come_back(app, redis, alice, bob):
    alice.heartbeat()
    known = data_of(bob.heartbeat(tab_id="t2", version=None))["version"]
    redis.flushall()

    lost = data_of(bob.heartbeat(tab_id="t2", version=known))
    assert (lost["viewers"], lost["unconfirmed"]) == ([], True)
    alice.heartbeat()
    again = data_of(bob.heartbeat(tab_id="t2", version=None))
    assert [viewer["name"] for viewer in again["viewers"]] == ["Alice"]
    assert "unconfirmed" not in again


def test_list_of_somebody_who_did_not_know_the_record_is_confirmed(alice, bob):
    known = data_of(bob.heartbeat(tab_id="t2", version=None))["version"]
    alice.heartbeat()

    for version in (None, known, "0", "9" * 64, "nonsense", "-", "\u0661-x"):
        assert "unconfirmed" not in data_of(bob.heartbeat(tab_id="t2", version=version))


def test_list_is_confirmed_after_more_saves_than_are_remembered(alice, bob):
    data_of(alice.heartbeat(mode="edit"))
    known = data_of(bob.heartbeat(tab_id="t2", version=None))["version"]
    for lock_version in range(1, MAX_SAVES + 2):
        data_of(alice.saved(lock_version=lock_version))

    answer = data_of(bob.heartbeat(tab_id="t2", version=known, base_version=0))
    assert len(answer["forecast"]["saves"]) == MAX_SAVES
    assert "unconfirmed" not in answer  # nothing was lost


# Lists page by page


def test_viewers_go_on_where_the_page_before_was_cut(alice, app):
    for number in range(5):
        Person(app, 100 + number, f"Person {number}").heartbeat(tab_id=f"p{number}")
    alice.heartbeat(tab_id="t1")

    first = data_of(alice.viewers(limit=3))
    rest = data_of(alice.viewers(limit=3, after=first["next"]))

    assert [viewer["id"] for viewer in first["viewers"]] == [100, 101, 102]
    assert [viewer["id"] for viewer in rest["viewers"]] == [103, 104]
    assert (first["total"], rest["total"]) == (5, 5)
    assert "next" not in rest
    assert "next" not in data_of(alice.viewers())


def test_tabs_go_on_where_the_page_before_was_cut(alice):
    for number in range(5):
        alice.heartbeat(tab_id=f"t{number}")

    first = data_of(alice.tabs(limit=3))
    rest = data_of(alice.tabs(limit=3, after=first["next"]))

    assert len(first["tabs"]) == 3
    assert first["tabs"].keys() | rest["tabs"].keys() == {f"t{number}" for number in range(5)}
    assert "next" not in rest


@pytest.mark.parametrize("after", ["-1", "x", "1.5", str(2**53)])
def test_place_in_the_viewers_that_no_page_has_given_is_422(alice, after):
    assert list(failure_of(alice.viewers(after=after), 422)["errors"]) == ["after"]


@pytest.mark.parametrize("after", ["x", "1", "-t1", "1-t 1", "1e3-t1"])
def test_place_in_the_tabs_that_no_page_has_given_is_422(alice, after):
    assert list(failure_of(alice.tabs(after=after), 422)["errors"]) == ["after"]


def test_lists_of_a_batch_share_a_megabyte(alice, bob, monkeypatch):
    monkeypatch.setattr("record_presence.presence.service.lists.MAX_REPLY_BYTES", 300)
    bob.heartbeat(tab_id="t1")

    records = data_of(alice.batch("flow:12", "flow:13", "flow:14"))["records"]

    cut = records["flow:12"]
    assert (cut["viewers"], cut["total"], cut["next"]) == ([], 1, 0)
    assert "next" not in records["flow:13"]
    assert data_of(alice.viewers(after=cut["next"]))["viewers"] == [{**ALICE, "id": 43, "name": "Bob"}]


def test_list_of_a_heartbeat_that_is_cut_says_where_the_rest_begins(app):
    for number in range(DEFAULT_LIMIT + 5):
        data_of(Person(app, number, "Somebody").heartbeat(tab_id=f"t{number}"))
    alice = Person(app, 7_000, "Alice")
    first = data_of(alice.heartbeat(tab_id="a", version=None))
    rest = data_of(alice.viewers(after=first["next"]))

    listed = [viewer["id"] for viewer in first["viewers"] + rest["viewers"]]
    assert listed == list(range(DEFAULT_LIMIT + 5))
    assert "next" not in rest
    assert "next" not in data_of(Person(app, 1, tenant="2").heartbeat(version=None))

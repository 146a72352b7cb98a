"""What is wrong with a request is said within bounds, and lengths are looked at before items."""

import json

import pytest

from record_presence.api import strict_json
from record_presence.api.field_errors import REST, limit_errors
from record_presence.presence.errors import InvalidPresence
from tests.api.client import Person, failure_of

HEARTBEAT = {"tab_id": "t1", "mode": "view", "dirty": False}
SERVICE = {"user": {"id": 1, "name": "Alice"}, "lock_version": 1, "fields": []}


@pytest.fixture
def app(embedded_app):
    return embedded_app


def send(person, body, call="heartbeat"):
    return person.call("POST", f"flow/12/{call}", json=body)


def errors_of(response):
    """They are few and short, whatever was sent."""
    errors = failure_of(response, 422)["errors"]
    assert sum(map(len, errors.values())) <= 21
    assert len(response.data) <= 8192
    return errors


MANY = {f"unknown_{number}": 0 for number in range(2_000)}
LONG = {f"{number}{chr(1) * 200}": 0 for number in range(15)}
ABUSE = {
    "a list of 21,000 zeros": {**HEARTBEAT, "dirty_fields": [0] * 21_000},
    "a list of a thousand zeros": {**HEARTBEAT, "dirty_fields": [0] * 1000},
    "a list of a hundred zeros": {**HEARTBEAT, "dirty_fields": [0] * 100},
    "2,000 unknown names": {**HEARTBEAT, **MANY},
    "100 unknown names": {**HEARTBEAT, **dict(list(MANY.items())[:100])},
    "a name of 60,000 characters": {**HEARTBEAT, "x" * 60_000: 0},
    "long names that grow in JSON": {**HEARTBEAT, **LONG},
    "a tab id of 60,000 characters": {**HEARTBEAT, "tab_id": "x" * 60_000},
}


@pytest.mark.parametrize("body", ABUSE.values(), ids=ABUSE)
def test_answer_to_a_wrong_body_is_short(alice, body):
    errors_of(send(alice, body))


def test_inner_objects_are_bounded_as_well(app):
    server = Person(app, role="service")
    for user in ({**SERVICE["user"], **MANY}, {**SERVICE["user"], **LONG}, [0] * 20_000):
        assert next(iter(errors_of(send(server, {**SERVICE, "user": user}, "saved")))) in {"user", "body"}


def test_signal_of_many_values_is_refused_at_any_depth(alice):
    for data in ([0] * 20_000, [[[0] * 20_000]], {"a": MANY}):
        errors_of(send(alice, {"tab_id": "t1", "kind": "typing", "data": data}, "signal"))


def test_list_that_is_too_long_is_refused_before_its_items_are_looked_at(alice):
    body = {**HEARTBEAT, "dirty_fields": [0] * 101}

    assert errors_of(send(alice, body)) == {"dirty_fields": ["Longer than maximum length 100."]}


def test_list_names_its_first_wrong_items(alice):
    body = {**HEARTBEAT, "dirty_fields": ["name", 0, "steps", *[0] * 50]}

    messages = errors_of(send(alice, body))["dirty_fields"]
    assert [message.partition(":")[0] for message in messages] == ["1", "3", "4", "5", "6"]


def test_batch_of_too_many_records_is_refused_before_they_are_looked_at(alice):
    assert errors_of(alice.batch(*["?"] * 101)) == {"record": ["Length must be between 1 and 100."]}


def test_query_of_very_many_parameters_is_refused_unread(alice):
    response = alice.call("GET", "flow/12/viewers", query_string="&" * 1000)

    assert list(errors_of(response)) == ["query"]


def test_header_of_very_many_etags_is_as_good_as_none(alice):
    etag = alice.viewers().headers["ETag"]

    assert alice.viewers(etag=etag).status_code == 304
    assert alice.viewers(etag=", ".join([etag] * 100)).status_code == 200


def test_few_errors_are_told_as_they_are():
    errors = {"tab_id": ["Missing."], "mode": ["Must be one of: view, edit.", "Too long."]}

    assert limit_errors(errors) == errors


def test_rest_is_noted_after_the_twentieth_error():
    limited = limit_errors({f"field_{number}": ["Unknown field."] for number in range(21)})

    assert list(limited) == [*(f"field_{number}" for number in range(20)), REST]


def test_error_that_the_service_itself_finds_is_bounded_too():
    error = InvalidPresence({f"{number}" * 50: ["x" * 2000] for number in range(10)})

    assert len(json.dumps(limit_errors(error.errors))) < 8192


def test_large_body_with_as_many_values_as_any_may_have_is_read():
    text = json.dumps([["x" * 20] * 999]).encode()

    assert len(text) > strict_json.LARGE_BYTES
    assert strict_json.read_json(text) == json.loads(text)

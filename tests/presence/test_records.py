"""Names and keys of records, and what is read back from them."""

import json

import pytest
from redis.crc import key_slot

from app.presence.errors import InvalidPresence
from app.presence.records import (
    Record,
    clean_name,
    decode_tab,
    decode_viewers,
    encode_state,
    record_errors,
    user_key,
)

HOSTILE_TENANTS = [
    "1_record_presence:flow",
    "}{",
    "}x",
    "{",
    "}",
    "{}",
    "{a}b",
    "a:b",
    "a/b",
    "a b",
    "%7D",
    "Ünï",
    "😀",
    "\x00",
    "\n",
    "*",
    "?",
    "\ud800",
    "\udfff",
    "__proto__",
]


def test_key_of_the_tabs_is_the_one_that_other_systems_read():
    assert Record("1", "flow", "12").tabs_key == "tenant_1_record_presence:flow:12"


def test_siblings_stand_under_the_literal_braces_of_the_tabs_key():
    record = Record("1", "flow", "12")

    assert record.seen_key == "{tenant_1_record_presence:flow:12}:seen"
    assert record.viewers_key == "{tenant_1_record_presence:flow:12}:viewers"
    assert record.order_key == "{tenant_1_record_presence:flow:12}:order"
    assert record.channel == record.tabs_key
    assert record.name == "flow:12"


@pytest.mark.parametrize("tenant", ["1", *HOSTILE_TENANTS])
def test_keys_of_a_record_share_a_slot_whatever_the_tenant_is_called(tenant):
    record = Record(tenant, "flow", "12")

    keys = [record.tabs_key, record.seen_key, record.viewers_key, record.order_key]

    assert len({key_slot(key.encode()) for key in keys}) == 1


def test_no_two_tenants_share_a_key():
    tenants = ["1", "a", "a%3Ab", "%257D", "A", "%3F", *HOSTILE_TENANTS]

    assert len({Record(tenant, "flow", "1").tabs_key for tenant in tenants}) == len(tenants)


def test_tenant_must_have_a_name():
    with pytest.raises(InvalidPresence) as refusal:
        Record("", "flow", "1")
    assert list(refusal.value.errors) == ["tenant"]


@pytest.mark.parametrize("name", ["f", "flow", "flow_step2", "a" * 64])
def test_record_type_of_the_contract_is_accepted(name):
    assert record_errors(name, "1") == {}


@pytest.mark.parametrize(
    "name",
    ["", "Flow", "1flow", "_flow", "flow-step", "flow:1", "a" * 65, "flow\n", "flöw", None, 7, b"flow"],
)
def test_record_type_outside_the_contract_is_refused(name):
    assert list(record_errors(name, "1")) == ["type"]


@pytest.mark.parametrize("name", ["1", "A-b_9", "550e8400-e29b-41d4-a716-446655440000", "x" * 64])
def test_record_id_of_the_contract_is_accepted(name):
    assert record_errors("flow", name) == {}


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a.b", "}", "x" * 65, "1\n", "١", None, 7, b"1"])
def test_record_id_outside_the_contract_is_refused(name):
    assert list(record_errors("flow", name)) == ["id"]


@pytest.mark.parametrize("user_id", [0, -1, 42, 2**53 + 1, 10**40, "42", "a", '"', "Zoë", "😀", "\x00", "#"])
def test_user_key_keeps_the_id_and_its_type(user_id):
    back = json.loads(user_key(user_id))

    assert back == user_id
    assert type(back) is type(user_id)


@pytest.mark.parametrize("user_id", [None, True, False, "", 4.2, b"42", [42], {"id": 42}])
def test_user_id_of_another_type_is_refused(user_id):
    with pytest.raises(InvalidPresence) as refusal:
        user_key(user_id)
    assert list(refusal.value.errors) == ["user_id"]


def test_lone_surrogate_becomes_something_that_can_be_stored():
    assert clean_name("Zoë \ud83d!") == "Zoë ?!"


def test_user_id_with_half_a_character_is_refused_since_it_would_become_anothers():
    with pytest.raises(InvalidPresence):
        user_key("u\ud83d")


def test_long_name_is_cut():
    assert clean_name("ü" * 500) == "ü" * 200


def test_tab_is_read_back_as_it_was_written():
    state = encode_state(user_key("u-7"), "Zoë", "edit", True, "title", {})

    assert decode_tab(state, 1_700_000_090_000, 90_000) == {
        "user_id": "u-7",
        "user_name": "Zoë",
        "mode": "edit",
        "dirty": True,
        "active_field": "title",
        "last_seen_at": "2023-11-14T22:13:20.000+00:00",
    }


@pytest.mark.parametrize(
    ("doing", "text"),
    [
        (("view", False, None), '["42","Alice"]'),
        (("edit", False, None), '["42","Alice",1]'),
        (("view", True, None), '["42","Alice",2]'),
        (("edit", True, None), '["42","Alice",3]'),
        (("view", False, "title"), '["42","Alice",0,"title"]'),
        (("edit", True, "title"), '["42","Alice",3,"title"]'),
    ],
)
def test_state_leaves_out_what_is_usual_and_is_read_back(doing, text):
    mode, dirty, active_field = doing

    assert encode_state("42", "Alice", mode, dirty, active_field, {}) == text
    tab = decode_tab(text, 1_700_000_090_000, 90_000)
    assert (tab["mode"], tab["dirty"], tab["active_field"]) == doing


def test_last_heartbeat_of_a_tab_with_a_lease_of_its_own_is_told_by_that_lease():
    state = encode_state("42", "Alice", "view", False, None, {"lease_ms": 20_000})

    tab = decode_tab(state, 1_700_000_020_000, 90_000)

    assert tab["last_seen_at"] == "2023-11-14T22:13:20.000+00:00"
    assert tab["active_field"] is None


@pytest.mark.parametrize(
    "extras", [None, [], 7, "x", {"lease_ms": "long"}, {"lease_ms": 10**30}, {"lease_ms": -1}]
)
def test_extras_that_somebody_else_wrote_are_passed_over(extras):
    state = json.dumps(["42", "Alice", 0, "", extras])

    assert decode_tab(state, 1_700_000_090_000, 90_000)["last_seen_at"] == "2023-11-14T22:13:20.000+00:00"


def test_viewers_are_sorted_by_arrival_and_not_by_id():
    pairs = ["7", '["Bob",2,1,0,0]', '"a"', '["Ann",10,2,1,1,"body",1,"title",1]', "1", '["Cem",1,1,0,0]']

    assert [viewer["name"] for viewer in decode_viewers(pairs)] == ["Cem", "Bob", "Ann"]
    assert decode_viewers(pairs)[2] == {
        "id": "a",
        "name": "Ann",
        "tabs": 2,
        "mode": "edit",
        "has_dirty_tab": True,
        "active_fields": ["body", "title"],
    }

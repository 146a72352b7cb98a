"""Keys of records, for every tenant's name."""

import pytest
from redis.crc import key_slot

from record_presence.presence.errors import InvalidPresence
from record_presence.presence.records import Record

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


def test_sibling_keys_have_the_tabs_key_in_literal_braces():
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

"""What Redis holds, and what is read back from it."""

import json
import subprocess
import sys

import pytest

from record_presence.presence import json_codec
from record_presence.presence.codec import decode_tab, decode_viewer_page, encode_state, encode_user_id
from record_presence.presence.errors import InvalidPresence


@pytest.mark.parametrize("user_id", [0, -1, 42, 2**53 + 1, 10**40, "42", "a", '"', "Zoë", "😀", "\x00", "#"])
def test_encoded_user_id_keeps_the_id_and_its_type(user_id):
    back = json.loads(encode_user_id(user_id))

    assert back == user_id
    assert type(back) is type(user_id)


@pytest.mark.parametrize("user_id", [None, True, False, "", 4.2, b"42", [42], {"id": 42}])
def test_user_id_of_another_type_is_refused(user_id):
    with pytest.raises(InvalidPresence) as refusal:
        encode_user_id(user_id)
    assert list(refusal.value.errors) == ["user_id"]


def test_user_id_with_a_lone_surrogate_is_refused():
    with pytest.raises(InvalidPresence):
        encode_user_id("u\ud83d")


def test_tab_is_read_back_as_it_was_written():
    state = encode_state(encode_user_id("u-7"), "Zoë", "edit", True, "title", {})

    assert decode_tab(state, 1_700_000_090_000, 90_000) == {
        "user_id": "u-7",
        "user_name": "Zoë",
        "mode": "edit",
        "dirty": True,
        "active_field": "title",
        "last_seen_at": "2023-11-14T22:13:20.000+00:00",
    }


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("view", False, None), '["42","Alice"]'),
        (("edit", False, None), '["42","Alice",1]'),
        (("view", True, None), '["42","Alice",2]'),
        (("edit", True, None), '["42","Alice",3]'),
        (("view", False, "title"), '["42","Alice",0,"title"]'),
        (("edit", True, "title"), '["42","Alice",3,"title"]'),
    ],
)
def test_state_leaves_out_defaults_and_is_read_back(flags, text):
    mode, dirty, active_field = flags

    assert encode_state("42", "Alice", mode, dirty, active_field, {}) == text
    tab = decode_tab(text, 1_700_000_090_000, 90_000)
    assert (tab["mode"], tab["dirty"], tab["active_field"]) == flags


def test_last_heartbeat_of_a_tab_with_its_own_lease_is_computed_from_it():
    state = encode_state("42", "Alice", "view", False, None, {"lease_ms": 20_000})

    tab = decode_tab(state, 1_700_000_020_000, 90_000)

    assert tab["last_seen_at"] == "2023-11-14T22:13:20.000+00:00"
    assert tab["active_field"] is None


@pytest.mark.parametrize(
    "extras", [None, [], 7, "x", {"lease_ms": "long"}, {"lease_ms": 10**30}, {"lease_ms": -1}]
)
def test_extras_that_another_system_wrote_are_ignored(extras):
    state = json.dumps(["42", "Alice", 0, "", extras])

    assert decode_tab(state, 1_700_000_090_000, 90_000)["last_seen_at"] == "2023-11-14T22:13:20.000+00:00"


def test_viewers_are_sorted_by_arrival_and_not_by_id():
    pairs = ["7", '["Bob",2,1,0,0]', '"a"', '["Ann",10,2,1,1,"body",1,"title",1]', "1", '["Cem",1,1,0,0]']

    assert [viewer["name"] for viewer in decode_viewer_page(pairs, None, 0)[0]] == ["Cem", "Bob", "Ann"]
    assert decode_viewer_page(pairs, None, 0)[0][2] == {
        "id": "a",
        "name": "Ann",
        "tabs": 2,
        "mode": "edit",
        "has_dirty_tab": True,
        "active_fields": ["body", "title"],
        "away": False,
        "since": "1970-01-01T00:00:00.000+00:00",
    }


VALUES = [
    {"name": "Zoë \u2028 😀", "\x00\x1f\x7f": [1, -0.5, True, None, "", '"\\/\b\f\n\r\t'], "a": {}},
    {"id": 10**40, "small": -(2**63), "large": 2**64 - 1},
    [],
    "",
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_json_is_the_same_text_with_and_without_orjson(value):
    code = """
import sys
sys.modules["orjson"] = None  # as if it were not installed
from record_presence.presence import json_codec
value = eval(sys.argv[1])
assert json_codec.loads(json_codec.dumps(value)) == value
sys.stdout.buffer.write(json_codec.dumps(value))
"""
    shown = subprocess.run([sys.executable, "-c", code, ascii(value)], capture_output=True, check=True)

    assert shown.stdout == json_codec.dumps(value)
    assert json.loads(shown.stdout) == value

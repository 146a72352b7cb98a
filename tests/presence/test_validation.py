"""The rules for names of records and users."""

import pytest

from record_presence.presence.validation import clean_name, record_errors


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


def test_lone_surrogate_in_a_name_becomes_a_question_mark():
    assert clean_name("Zoë \ud83d!") == "Zoë ?!"


def test_long_name_is_cut():
    assert clean_name("ü" * 500) == "ü" * 200


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("Alice\nBob: saved", "Alice Bob: saved"),
        ("Al\r\n\tice", "Al ice"),
        ("\x1b[31mAlice\x07\x00\x7f", "[31mAlice"),
        ("Alice\u202e (admin)\u2066\u200f", "Alice (admin)"),
        ("A\ufefflice\u2060\ue000", "Alice"),
        ("山田\u3000太郎", "山田 太郎"),
        ("A\u2028B\xa0C", "A B C"),
    ],
)
def test_name_loses_what_would_disturb_the_text_around_it(name, cleaned):
    assert clean_name(name) == cleaned


KEPT = ["Alice Moreau", "Zoë", "ليلى حداد", "محمد\u200cرضا", "👩\u200d💻 Ada", "O'Neil-Šmíd Jr."]


@pytest.mark.parametrize("name", KEPT)
def test_name_that_disturbs_nothing_is_kept(name):
    assert clean_name(name) == name

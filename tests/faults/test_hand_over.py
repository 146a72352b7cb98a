"""What the judge of fields that are handed over says is wrong. Times are in seconds."""

import pytest

from tests.faults.hand_over import Hold, Turns

UNDONE_SINCE, OVER_AT = 10.0, 12.0
TURNS = [("a", 1, 3), ("b", 3.1, 9), ("c", 12.5, 14), ("a", 14.2, 16), ("b", 16.1, 17)]


def misses(holds=TURNS, unserved=()):
    turns = Turns("r1", "releases", [Hold(*hold) for hold in holds], list(unserved))
    return list(turns.misses(UNDONE_SINCE, OVER_AT, turn_seconds=5))


def test_one_turn_after_the_other_is_right():
    assert misses() == []


@pytest.mark.parametrize("second", [("x", 2, 4), ("x", 13, 13.5)])
def test_two_who_have_the_field_at_once_are_told(second):
    assert misses([*TURNS, second])[0].endswith("have the field")


def test_what_may_have_been_undone_is_not_held_against_anybody():
    assert misses([*TURNS, ("x", 8, 11), ("y", 10.5, 13)], unserved=[11]) == []


def test_queue_that_nobody_serves_is_told():
    assert misses(unserved=[9]) == ["r1: nobody has the field, and somebody waits"]
    assert misses(TURNS[:3]) == ["r1: 1 turns where the holder releases"]
    assert misses([*TURNS[:3], ("a", 18, 19)]) == ["r1: a turn of 5.5 s"]

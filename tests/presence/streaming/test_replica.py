"""The replica of a record, message by message."""

from record_presence.presence.records import Record
from record_presence.presence.streaming.replica import Replica

OPENED_MS = 1_700_000_000_000
JOIN = {"version": "7-a", "previous": "0", "changes": [["join", "42", ["Alice", 30_001, 1, 0, 0, "", 1]]]}


def empty_replica():
    replica = Replica(Record("1", "flow", "12"))
    replica.version = "0"
    return replica


def test_message_that_opens_a_record_says_since_when():
    replica = empty_replica()

    assert replica.apply({**JOIN, "opened_ms": str(OPENED_MS)})
    assert replica.apply(
        {"version": "8-b", "previous": "7-a", "changes": [["join", "43", ["Bob", 70_002, 1, 0, 0]]]}
    )

    viewers = [entry.viewer for entry in replica.entries.values()]
    assert [viewer["since"] for viewer in viewers] == [
        "2023-11-14T22:13:23.000+00:00",
        "2023-11-14T22:13:27.000+00:00",
    ]
    assert [viewer["away"] for viewer in viewers] == [True, False]


def test_record_that_an_earlier_release_has_opened_is_read_anew():
    replica = empty_replica()

    assert not replica.apply(JOIN)
    assert replica.entries == {}


def test_record_that_was_left_is_opened_anew():
    replica = empty_replica()
    replica.apply({**JOIN, "opened_ms": str(OPENED_MS)})

    assert replica.apply({"version": "0", "previous": "7-a", "changes": [["leave", "42", "left"]]})
    assert not replica.apply(JOIN)

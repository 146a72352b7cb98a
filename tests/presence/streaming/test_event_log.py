"""The log of a record: every stream gets all of it, and nothing is kept that all have taken."""

import gc
import weakref

import pytest

from record_presence.presence.records import Record
from record_presence.presence.streaming.event_log import MAX_PENDING_BYTES, MAX_PENDING_EVENTS, EventLog
from record_presence.presence.streaming.events import AnnouncementBatch, Event, EventBatch

RECORD = Record("1", "flow", "12")


class Batch(EventBatch):
    """One that tells when it is freed."""

    __slots__ = ("__weakref__",)


def batch(count=1, size_bytes=0):
    data = {"text": "x" * size_bytes} if size_bytes else None
    return Batch([(Event("signal", RECORD, data=data), 0)] * count)


def test_each_place_has_what_came_after_it():
    log = EventLog()
    places, batches = [log.end], [batch() for _ in range(5)]
    for one in batches:
        log.append(one)
        places.append(log.end)

    assert [log.read(place) for place in places] == [batches[number:] for number in range(6)]


def test_batch_is_freed_as_soon_as_the_last_reader_has_gone_on():
    gc.disable()
    try:
        log = EventLog()
        places = [log.end] * 3
        freed = weakref.ref(one := batch())
        log.append(one)
        del one
        for reader in range(3):
            assert freed() is not None
            places[reader] = log.end
        assert freed() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("count", "size_bytes", "kept"),
    [(1, 0, MAX_PENDING_EVENTS), (10, 0, 10), (1, 50_000, MAX_PENDING_BYTES // 50_000)],
)
def test_reader_far_behind_is_lost_and_those_who_are_nearer_are_not(count, size_bytes, kept):
    log = EventLog()
    far_behind = log.end
    log.append(first := batch(count, size_bytes))
    nearer, freed = log.end, weakref.ref(first)
    del first
    for _ in range(kept - 1):
        log.append(batch(count, size_bytes))
    assert len(log.read(far_behind)) == kept
    log.append(batch(count, size_bytes))

    assert log.read(far_behind) is None
    assert far_behind.is_lost
    assert len(log.read(nearer)) == kept
    assert freed() is None


def test_place_of_another_log_has_nothing():
    before, log = EventLog(), EventLog()
    place = before.end
    before.append(batch())

    assert log.read(place) is None
    assert log.read(before.end) is None
    assert not place.is_lost


def test_reader_who_reads_nothing_keeps_no_more_than_the_bound():
    log = EventLog()
    stuck = log.end
    batches = [batch() for _ in range(3 * MAX_PENDING_EVENTS)]
    freed = [weakref.ref(one) for one in batches]
    while batches:
        log.append(batches.pop(0))

    assert log.read(stuck) is None
    assert not any(one() for one in freed)  # nobody is behind but the one who is lost


def join(user):
    return Event("join", RECORD, user)


def leave(user):
    return Event("leave", RECORD, user)


def test_viewers_are_not_counted_themselves():
    one = EventBatch([(leave("2"), 2), (join("4"), 3)], viewers_before=3)

    assert [total for _, total in one.events_for("9", is_viewer=False)] == [2, 3]
    assert [total for _, total in one.events_for("1", is_viewer=True)] == [1, 2]
    assert one.events_for("1", is_viewer=True) is one.events_for("3", is_viewer=True)
    assert [total for _, total in one.events_for("2", is_viewer=True)] == [2, 3]
    assert [total for _, total in one.events_for("4", is_viewer=False)] == [2, 2]
    assert [one.makes_viewer(user, is_viewer=user < "4") for user in "1234"] == [True, False, True, True]


def test_snapshot_is_needed_where_somebody_moves_up():
    leaving, joining = (EventBatch([(one("2"), 3)], viewers_before=4) for one in (leave, join))

    assert leaving.moves_up(3, is_viewer=False)
    assert not leaving.moves_up(3, is_viewer=True)  # three others, all shown
    assert not leaving.moves_up(4, is_viewer=False)
    assert not joining.moves_up(1, is_viewer=False)


def test_announcement_is_for_everybody_but_its_sender():
    announcement = AnnouncementBatch(Event("signal", RECORD, "1", data={"kind": "typing"}))

    assert announcement.events_for("1", is_viewer=True) == ()
    for user in ("2", None):
        for is_viewer in (False, True):
            assert announcement.events_for(user, is_viewer=is_viewer) == announcement.events

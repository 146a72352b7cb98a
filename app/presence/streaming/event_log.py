"""The events of a record that its streams have yet to take: one list for all of them."""

import weakref
from typing import NamedTuple

from .events import EventBatch

# A reader that falls behind further gets snapshots instead.
MAX_PENDING_EVENTS = 100
MAX_PENDING_BYTES = 256 * 1024


class Place:
    """A place in a log: after it comes a batch, and the next place; neither does at the end of the log.

    `is_lost`: batches came after it, and are no longer kept.
    """

    __slots__ = ("__weakref__", "batch", "is_lost", "next")

    def __init__(self) -> None:
        self.batch: EventBatch | None = None
        self.next: Place | None = None
        self.is_lost = False


class _Kept(NamedTuple):
    """A place, with what of its batch counts."""

    place: "weakref.ref[Place]"
    events: int
    size_bytes: int


class EventLog:
    """A linked list of batches, of which each stream knows the place up to which it has taken them.

    So a batch is appended once, however many streams there are, and freed when the last of them has taken
    it: only the places before it keep it. Those that are further behind than MAX_PENDING_EVENTS or
    MAX_PENDING_BYTES are lost. The caller holds the lock.
    """

    __slots__ = ("_kept", "end")

    def __init__(self) -> None:
        self.end = Place()  # where new streams begin
        self._kept: list[_Kept] = []  # those that some stream may be at or before, oldest first

    def append(self, batch: EventBatch) -> None:
        """Add a batch at the end."""
        place = self.end
        place.batch = batch
        place.next = self.end = Place()
        kept = [kept for kept in self._kept if kept.place() is not None]
        kept.append(_Kept(weakref.ref(place), len(batch.events), batch.size_bytes))
        events, size_bytes = sum(one.events for one in kept), sum(one.size_bytes for one in kept)
        while kept and (events > MAX_PENDING_EVENTS or size_bytes > MAX_PENDING_BYTES):
            oldest = kept.pop(0)
            events -= oldest.events
            size_bytes -= oldest.size_bytes
            lost = oldest.place()
            if lost is not None:
                lost.batch, lost.next, lost.is_lost = None, None, True
        self._kept = kept

    def read(self, place: Place) -> list[EventBatch] | None:
        """The batches after a place; None if it is lost, or one of another log."""
        batches = []
        while place.next is not None:
            if place.batch is not None:
                batches.append(place.batch)
            place = place.next
        return batches if place is self.end else None

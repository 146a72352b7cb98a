"""Which streams a process accepts, and whose it ends for another tenant's."""

import threading

import pytest

from record_presence.presence.errors import TooManyStreams, TooManyStreamsOfUser
from record_presence.presence.streaming.admission import Admission, Owner
from record_presence.presence.streaming.stream import Stream, StreamEnded
from record_presence.presence.streaming.wakeups import Wakeups


class Streams:
    """Streams of tenants, by name, as the broadcast opens and forgets them."""

    def __init__(self, max_streams, max_per_user=100):
        self.observed = []
        self.admission = Admission(max_streams, max_per_user, self.observed.append)
        self.lock = threading.RLock()
        self.wakeups = Wakeups(self.lock)

    def open(self, tenant, user="1"):
        stream = Stream(
            user,
            10,
            None,
            lock=self.lock,
            wakeups=self.wakeups,
            on_close=self.admission.remove,
            observe=self.observed.append,
        )
        self.admission.add(stream, Owner(tenant, user))
        return stream

    def reason_of_end(self, stream):
        for woken in self.wakeups.pop_batch():
            woken.resume()
        try:
            stream.take(0)
        except StreamEnded as ended:
            return ended.reason
        return None


def test_user_has_at_most_so_many_streams_and_others_have_theirs():
    streams = Streams(100, max_per_user=2)
    first = streams.open("1")
    streams.open("1")
    with pytest.raises(TooManyStreamsOfUser):
        streams.open("1")
    streams.open("1", user="2")
    streams.open("2")  # another tenant's user of the same id

    first.close()
    streams.open("1")


def test_tenant_may_take_all_the_room_that_nobody_else_wants():
    streams = Streams(3)
    for user in range(3):
        streams.open("1", str(user))

    with pytest.raises(TooManyStreams):
        streams.open("1", "4")
    assert streams.observed == ["full"]


def test_another_tenant_always_finds_room_and_the_newest_stream_of_the_largest_ends():
    streams = Streams(4)
    of_one = [streams.open("1", str(user)) for user in range(4)]

    streams.open("2")
    streams.open("3")

    assert [streams.reason_of_end(stream) for stream in of_one] == [None, None, "full", "full"]


def test_tenants_of_the_same_size_do_not_take_each_others_places():
    streams = Streams(4)
    for tenant in ("1", "2"):
        for user in range(2):
            streams.open(tenant, str(user))

    for tenant in ("1", "2"):
        with pytest.raises(TooManyStreams):
            streams.open(tenant, "9")


def test_stream_that_was_ended_and_closed_frees_its_place_once():
    streams = Streams(2, max_per_user=2)
    _, newest = streams.open("1"), streams.open("1")
    streams.open("2")
    assert streams.reason_of_end(newest) == "full"
    newest.close()
    newest.close()

    with pytest.raises(TooManyStreams):
        streams.open("2")

"""Readers are woken a few at a time, and nobody is forgotten."""

import threading
import time
from contextlib import contextmanager

import fakeredis
import pytest

from record_presence.presence.records import Record
from record_presence.presence.streaming import topic as topic_module
from record_presence.presence.streaming import wakeups as wakeups_module
from record_presence.presence.streaming.stream import StreamEnded
from record_presence.presence.streaming.token_bucket import Rate
from record_presence.presence.streaming.wakeups import BATCH_BYTES, BATCH_STREAMS, MAX_STALE_TIMERS, Wakeups
from tests.lua.commands import RECORD, heartbeat
from tests.presence.streaming.screen import wait_until
from tests.presence.streaming.test_broadcast import Process

OTHER = Record("1", "flow", "13")


class Reader:
    """One that only counts how often it was woken."""

    def __init__(self, size_bytes=100):
        self.is_woken = False
        self.deadline = self.timer_at = float("inf")
        self.size_bytes = size_bytes
        self.woken = 0
        self.woken_at = None

    def resume(self):
        self.woken += 1
        self.woken_at = time.monotonic()

    def estimate_bytes(self):
        return self.size_bytes


@pytest.fixture
def wakeups():
    return Wakeups(threading.RLock())


@contextmanager
def running(wakeups):
    thread = threading.Thread(target=wakeups.run, daemon=True)
    thread.start()
    yield
    wakeups.close()
    thread.join(5)
    assert not thread.is_alive()


def batches(wakeups):
    return list(iter(wakeups.pop_batch, []))


def test_crowd_is_woken_in_batches_in_its_order(wakeups):
    crowd = [Reader() for _ in range(3 * BATCH_STREAMS)]
    for reader in crowd:
        wakeups.add(reader, "crowded")

    found = batches(wakeups)

    assert [len(some) for some in found] == [BATCH_STREAMS] * 3
    assert [reader for some in found for reader in some] == crowd


def test_record_with_one_reader_does_not_wait_for_a_crowd(wakeups):
    wakeups.add_all([Reader() for _ in range(1000)], "crowded")
    alone = Reader()
    wakeups.add(alone, "quiet")

    assert alone in wakeups.pop_batch()


def test_readers_of_large_snapshots_are_woken_one_at_a_time(wakeups):
    for _ in range(3):
        wakeups.add(Reader(size_bytes=BATCH_BYTES), "large")

    assert [len(some) for some in batches(wakeups)] == [1, 1, 1]


def test_everybody_is_woken_once_before_the_end(wakeups):
    crowd = [Reader() for _ in range(3 * BATCH_STREAMS)]
    with running(wakeups), wakeups._lock:
        for number, reader in enumerate(crowd):
            wakeups.add(reader, number % 5)
    assert {reader.woken for reader in crowd} == {1}


def test_reader_who_has_waited_long_enough_is_woken_and_one_who_waits_no_longer_is_not(wakeups):
    early, moved, gone = readers = [Reader() for _ in range(3)]
    with running(wakeups):
        now = time.monotonic()
        with wakeups._lock:
            for reader in readers:
                wakeups.set_deadline(reader, now + 0.05)
            wakeups.set_deadline(moved, now + 0.15)
            gone.deadline = float("inf")  # as a reader says who was woken by an event
        wait_until(lambda: early.woken and moved.woken)
    assert early.woken_at - now >= 0.05
    assert moved.woken_at - now >= 0.15
    assert [reader.woken for reader in readers] == [1, 1, 0]


def test_readers_who_come_and_go_fast_leave_few_timers_behind(wakeups):
    staying = [Reader() for _ in range(10)]
    with wakeups._lock:
        for reader in staying:
            wakeups.set_deadline(reader, time.monotonic() + 30)
        for _ in range(10 * MAX_STALE_TIMERS):
            wakeups.set_deadline(gone := Reader(), time.monotonic() + 30)
            wakeups.forget(gone)

    timers = [reader for readers in wakeups._timers.values() for reader in readers]
    assert len(timers) <= 2 * MAX_STALE_TIMERS
    assert {id(reader) for reader in staying} <= {id(reader) for reader in timers}


def test_reader_who_is_woken_while_its_timer_goes_off_harms_nobody(wakeups):
    """A reader ends its deadline without the lock: here just before it would be read once more."""

    class Woken(Reader):
        looks = 0

        @property
        def deadline(self):
            self.looks += 1
            return self.at if self.looks <= 2 else float("inf")

        @deadline.setter
        def deadline(self, at):
            self.at = at

    woken = Woken()
    with wakeups._lock:
        now = time.monotonic()
        wakeups.set_deadline(woken, now + 0.1)
        woken.at, woken.looks = now + 30, 0  # set anew meanwhile: its timer goes off too early
    wakeups._wake_overdue(now + 1)

    assert woken.woken == 0


def test_stream_that_is_closed_ends_the_wait_of_its_reader_and_holds_no_record(process):
    stream = process.open()
    stream.take(0.0)
    reader = threading.Thread(target=stream.take, args=(30.0,), daemon=True)
    reader.start()
    wait_until(lambda: stream.deadline < float("inf"))
    stream.close()

    reader.join(5)
    assert not reader.is_alive()
    assert not stream._positions
    assert not stream._needs_snapshot


@pytest.fixture
def process(monkeypatch):
    """One that wakes two readers at a time, a while apart."""
    monkeypatch.setattr(wakeups_module, "BATCH_STREAMS", 2)
    monkeypatch.setattr(wakeups_module, "PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(topic_module, "PUBLISH_RATE", Rate(1000.0, burst=1.0))
    monkeypatch.setattr(topic_module, "MAX_EVENTS_PER_PUBLISH", 1000)
    process = Process(fakeredis.FakeRedis())
    yield process
    process.broadcast.close()


def test_all_streams_get_every_event_in_order_though_some_close_meanwhile(process):
    pages = [process.page() for _ in range(20)]
    leaving = [process.page() for _ in range(10)]
    for number in range(20):
        heartbeat(process.client, f"t{number}", number)
        if leaving and number % 2:
            leaving.pop().stream.close()
    users = list(range(20))
    for page in pages:
        page.waits_for(RECORD, users)

    assert {tuple(user for _, _, user, _ in page.log[1:]) for page in pages} == {tuple(users)}
    assert process.broadcast.counts() == {"streams": 20, "records": 1}


def test_reader_who_waits_is_ended_with_the_process_though_many_are(process):
    streams = [process.open() for _ in range(20)]
    ended = []

    def read(stream):
        try:
            while True:
                stream.take(30.0)
        except StreamEnded as end:
            ended.append(end.reason)

    threads = [threading.Thread(target=read, args=(stream,), daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    process.broadcast.close()

    wait_until(lambda: len(ended) == 20)
    assert set(ended) == {"draining"}


def test_stream_without_events_returns_after_its_timeout(process):
    stream = process.open(OTHER)
    assert [event.kind for event, _ in stream.take(1.0)] == ["snapshot"]
    started = time.monotonic()

    assert stream.take(0.1) == []
    assert 0.1 <= time.monotonic() - started < 1.0

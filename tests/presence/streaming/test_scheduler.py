"""The scheduler: when topics are read, swept and checked."""

import threading
import time

import pytest

from record_presence.presence.records import Record
from record_presence.presence.streaming import timings
from record_presence.presence.streaming.replica import Replica
from record_presence.presence.streaming.scheduler import READ_BATCH_SIZE, Scheduler
from record_presence.presence.streaming.topic import Topic
from record_presence.presence.streaming.wakeups import Wakeups

LATER = 3600.0


@pytest.fixture
def scheduler():
    return Scheduler(threading.RLock())


@pytest.fixture
def new_topic(scheduler):
    def new_topic(name="12"):
        record = Record("1", "flow", name)
        topic = Topic(record, Replica(record), Wakeups(threading.RLock()))
        scheduler.add(topic)
        return topic

    return new_topic


def due_at(scheduler, seconds):
    return scheduler.pop_due(time.monotonic() + seconds)


def test_topic_is_read_once_however_often_it_is_requested(scheduler, new_topic):
    topic = new_topic()
    for _ in range(3):
        scheduler.request_read(topic)

    assert scheduler.pop_reads() == [topic]
    assert topic.sync.is_reading
    assert scheduler.pop_reads() == []


def test_read_that_is_requested_during_a_read_is_remembered(scheduler, new_topic):
    topic = new_topic()
    scheduler.request_read(topic)
    scheduler.pop_reads()
    scheduler.request_read(topic)

    assert topic.sync.needs_another_read
    assert scheduler.pop_reads() == []


def test_reads_come_in_batches_in_the_order_of_their_requests(scheduler, new_topic):
    topics = [new_topic(f"r{number}") for number in range(READ_BATCH_SIZE + 3)]
    for topic in topics:
        scheduler.request_read(topic)

    assert scheduler.pop_reads() == topics[:READ_BATCH_SIZE]
    assert scheduler.pop_reads() == topics[READ_BATCH_SIZE:]


def test_topic_is_swept_when_its_lease_ends_and_not_before(scheduler, new_topic):
    topic = new_topic()
    scheduler.sweep_in(topic, 5000)

    assert due_at(scheduler, 1) == []
    [due] = due_at(scheduler, 5.1)
    assert (due.topic, due.is_sweep_due, due.version_check) == (topic, True, None)
    assert due_at(scheduler, LATER) == []


@pytest.mark.parametrize("lease_ms_left", [-1, 10**12, float("nan"), float("inf")])
def test_topic_is_swept_after_a_while_whatever_its_lease(scheduler, new_topic, lease_ms_left):
    scheduler.sweep_in(new_topic(), lease_ms_left)

    assert due_at(scheduler, timings.MAX_SWEEP_INTERVAL_SECONDS / 2) == []
    assert len(due_at(scheduler, timings.MAX_SWEEP_INTERVAL_SECONDS)) == 1


def test_sweep_that_is_postponed_is_due_at_its_new_time_only(scheduler, new_topic):
    topic = new_topic()
    scheduler.sweep_in(topic, 1000)
    scheduler.sweep_in(topic, 5000)

    assert due_at(scheduler, 2) == []
    assert len(due_at(scheduler, 6)) == 1


def test_sweep_can_be_brought_forward_but_not_put_off_by_a_lease_that_is_shortened(scheduler, new_topic):
    topic = new_topic()
    scheduler.sweep_in(topic, 2000)
    scheduler.sweep_in(topic, 9000, only_earlier=True)
    assert len(due_at(scheduler, 3)) == 1

    scheduler.sweep_in(topic, 9000)
    scheduler.sweep_in(topic, 2000, only_earlier=True)
    assert len(due_at(scheduler, 3)) == 1


def test_first_of_several_version_checks_holds(scheduler, new_topic):
    topic = new_topic()
    topic.replica.version = "5-a"
    scheduler.check_version(topic, "7-a")
    scheduler.check_version(topic, "9-a")
    [due] = due_at(scheduler, LATER)

    assert (due.version_check.version_before, due.version_check.expected_version) == ("5-a", "7-a")
    assert not due.is_sweep_due


def test_check_that_is_cancelled_is_not_due(scheduler, new_topic):
    topic = new_topic()
    scheduler.check_version(topic, "7-a")
    scheduler.cancel_version_check(topic)

    assert due_at(scheduler, LATER) == []


def test_topic_that_was_removed_is_due_for_nothing_and_takes_no_room(scheduler, new_topic):
    for number in range(1000):
        topic = new_topic(f"r{number}")
        scheduler.request_read(topic)
        scheduler.sweep_in(topic, 5000)
        scheduler.remove(topic)
        scheduler.sweep_in(topic, 5000)
        scheduler.request_read(topic)

    assert scheduler.pop_reads() == due_at(scheduler, LATER) == []
    assert len(scheduler._heap) < 200


@pytest.mark.measured
def test_wait_ends_when_something_is_to_be_read(scheduler, new_topic):
    topic = new_topic()
    threading.Timer(0.05, scheduler.request_read, [topic]).start()
    started = time.monotonic()
    scheduler.wait(until=started + LATER)

    assert time.monotonic() - started < 0.9

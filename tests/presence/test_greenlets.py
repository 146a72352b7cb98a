"""The event that a stream's reader waits for, with threads and with greenlets."""

import threading

import gevent
import pytest

from record_presence.presence.greenlets import _GreenletEvent, _ThreadEvent, new_auto_reset_event


class Greenlet(gevent.Greenlet):
    def join(self, timeout):
        super().join(timeout)
        assert self.dead


def start_thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


KINDS = pytest.mark.parametrize(
    ("new", "start"), [(_ThreadEvent, start_thread), (_GreenletEvent, Greenlet.spawn)]
)


@KINDS
def test_wait_ends_when_the_event_is_set_and_ends_the_event(new, start):
    event, woken = new(), []

    def wait():
        for number in range(3):
            event.wait()
            assert not event.is_set()
            woken.append(number)
            answered.set()

    answered = new()
    waiter = start(wait)
    for number in range(3):
        assert woken == list(range(number))
        event.set()
        answered.wait()
    waiter.join(5)
    assert woken == [0, 1, 2]


@KINDS
def test_event_that_is_set_before_the_wait_is_not_lost(new, start):
    event = new()
    event.set()
    gevent.sleep(0)  # a greenlet's is set in the next turn of its loop
    assert event.is_set()

    waiter = start(event.wait)
    waiter.join(5)
    assert not event.is_set()


def test_greenlet_that_is_ended_in_its_wait_leaves_the_event_usable():
    event, woken = _GreenletEvent(), []
    killed = gevent.spawn(event.wait)
    gevent.sleep(0)
    killed.kill(block=False)
    event.set()  # comes when its waiter has ended
    gevent.sleep(0.01)
    assert event.is_set()

    gevent.spawn(lambda: (event.wait(), woken.append(True))).join(5)
    assert woken
    assert not event.is_set()


def test_greenlet_that_is_ended_waits_for_something_else_undisturbed():
    event, waited = _GreenletEvent(), []

    def wait():
        try:
            event.wait()
        except gevent.GreenletExit:
            event.set()
            gevent.sleep(0.02)
            waited.append(True)

    waiter = gevent.spawn(wait)
    gevent.sleep(0)
    waiter.kill(timeout=5)
    assert waited


def test_process_without_gevent_has_threads():
    assert isinstance(new_auto_reset_event(), _ThreadEvent)

"""Saves that Redis would not hear of: who is told of them, when it is back."""

from dataclasses import dataclass, field

import pytest

from app.presence.errors import InvalidPresence, StoreFull, TabOwnedByAnotherUser
from app.untold import Announcement, Untold
from tests.waiting import wait_until


@dataclass
class Service:
    """Takes saves, or raises what is in `trouble`: one error a call, the last one for ever."""

    trouble: list = field(default_factory=list)
    told: list = field(default_factory=list)
    calls: int = 0

    def record_saved(self, record_type, record_id, lock_version, fields, user_id, user_name, tab_id=None):
        self.calls += 1
        error = self.trouble[0] if self.trouble else None
        if len(self.trouble) > 1:
            del self.trouble[0]
        if error:
            raise error
        self.told.append((record_type, record_id, lock_version, fields, user_id, user_name, tab_id))
        return True


FULL = StoreFull("saved: OOM")


def save_of(service, lock_version=2, tab_id="a1"):
    return Announcement(service, "flow", 12, lock_version, ["name"], 1, "Alice", tab_id)


def versions(service):
    return [lock_version for _, _, lock_version, *_ in service.told]


@pytest.fixture
def untold():
    """One whose thread is never started: the tests tell."""
    return Untold(start=lambda thread: None)


def test_save_is_told_as_it_was_once_redis_is_back(untold):
    service = Service([FULL])
    untold.add(save_of(service))

    assert not untold.tell()
    assert (service.told, len(untold)) == ([], 1)

    service.trouble = []
    assert untold.tell()
    assert service.told == [("flow", 12, 2, ["name"], 1, "Alice", "a1")]
    assert len(untold) == 0


def test_thread_tells_by_itself_and_ends_when_nothing_is_left():
    threads = []
    untold = Untold(first_wait_seconds=0.01, start=lambda thread: threads.append(thread) or thread.start())
    service = Service([FULL, FULL, FULL, None])
    for again in range(2):
        untold.add(save_of(service, 2 + again))
        wait_until(lambda: not threads[-1].is_alive())
        assert versions(service) == [2, 3][: again + 1]

    assert len(threads) == 2


def test_many_saves_wait_in_one_thread_and_no_save_waits_for_it():
    started = []
    untold = Untold(start=lambda thread: started.append(thread) or thread.start(), first_wait_seconds=0.3)
    service = Service()
    for version in range(2, 102):
        untold.add(save_of(service, version))

    assert service.calls == 0
    assert len(started) == 1
    wait_until(lambda: versions(service) == list(range(2, 102)))


def test_save_that_is_refused_alone_keeps_no_other_back(untold):
    """As in a cluster of which one node is away."""
    away, there = Service([FULL]), Service()
    untold.add(save_of(away))
    untold.add(save_of(there))
    untold.tell()
    untold.tell()

    assert versions(there) == [2]
    assert len(untold) == 1


def test_full_queue_takes_no_more_and_says_so(caplog):
    untold = Untold(most=2, start=lambda thread: None)
    service = Service()
    for version in (2, 3, 4):
        untold.add(save_of(service, version))
    untold.tell()

    assert versions(service) == [2, 3]
    assert [record.lock_version for record in caplog.records if "never announced" in record.message] == [4]


def test_save_is_given_up_after_a_while_which_the_log_says(caplog):
    untold = Untold(patience_seconds=0, start=lambda thread: None)
    service = Service([FULL])
    untold.add(save_of(service))
    untold.tell()

    assert len(untold) == 0
    assert "a save is never announced" in caplog.text


@pytest.mark.parametrize("error", [InvalidPresence({"fields": ["No."]}), RuntimeError("a bug")], ids=repr)
def test_save_that_can_never_be_told_is_dropped(untold, caplog, error):
    service = Service([error, None])
    untold.add(save_of(service, 2))
    untold.add(save_of(service, 3))
    untold.tell()

    assert versions(service) == [3]
    assert len(untold) == 0
    assert "a save is never announced" in caplog.text


def test_tab_that_is_anothers_by_then_is_left_out(untold):
    service = Service([TabOwnedByAnotherUser("a1"), None])
    untold.add(save_of(service))
    untold.tell()

    assert service.told == [("flow", 12, 2, ["name"], 1, "Alice", None)]


def test_thread_of_before_a_fork_is_not_waited_for():
    started = []
    untold = Untold(start=started.append)  # none of them ever runs, as in a forked process
    untold.add(save_of(Service()))
    untold.add(save_of(Service()))

    assert len(started) == 2

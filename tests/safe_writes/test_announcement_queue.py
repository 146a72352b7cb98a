"""Saves that Redis would not hear of: who is told of them, when it is back."""

import threading
from dataclasses import dataclass, field

import fakeredis
import pytest

from record_presence.presence.errors import InvalidPresence, StoreFull, TabOwnedByAnotherUser
from record_presence.presence.results import SaveResult
from record_presence.presence.service import RecordPresenceService
from record_presence.safe_writes.announcement_queue import Announcement, AnnouncementQueue
from tests.waiting import wait_until


@dataclass
class Service:
    """Takes saves once it `is_back`, or raises what is in `trouble`: one error a call, the last for ever."""

    trouble: list = field(default_factory=list)
    told: list = field(default_factory=list)
    calls: int = 0
    is_back: threading.Event | None = None

    def announce_save(
        self, record_type, record_id, lock_version, fields, user_id, user_name, tab_id, *, told_by
    ):
        assert told_by == "host"
        self.calls += 1
        if self.is_back:
            self.is_back.wait()
        error = self.trouble[0] if self.trouble else None
        if len(self.trouble) > 1:
            del self.trouble[0]
        if error:
            raise error
        self.told.append((record_type, record_id, lock_version, fields, user_id, user_name, tab_id))
        return SaveResult(True, touched={"name": [{"id": 43, "name": "Bob", "away": False}]})


FULL = StoreFull("saved: OOM")


def save_of(service, lock_version=2, tab_id="a1"):
    return Announcement(service, "flow", 12, lock_version, ["name"], 1, "Alice", tab_id)


def versions(service):
    return [lock_version for _, _, lock_version, *_ in service.told]


@pytest.fixture
def queue():
    """One whose thread is never started: the tests tell."""
    return AnnouncementQueue(start=lambda thread: None)


def test_save_is_told_as_it_was_once_redis_is_back(queue):
    service = Service([FULL])
    queue.add(save_of(service))

    assert not queue.flush()
    assert (service.told, len(queue)) == ([], 1)

    service.trouble = []
    assert queue.flush()
    assert service.told == [("flow", 12, 2, ["name"], 1, "Alice", "a1")]
    assert len(queue) == 0


def test_answer_is_true_and_names_who_is_touched_or_false_while_the_save_waits(queue):
    service = Service([FULL, None])
    assert not queue.announce(save_of(service))
    assert not queue.announce(save_of(service, 3))  # after the first
    assert queue.flush()

    told = queue.announce(save_of(service, 4))
    assert told
    assert told.touched == {"name": [{"id": 43, "name": "Bob", "away": False}]}


def test_thread_tells_by_itself_and_ends_when_nothing_is_left():
    threads = []
    queue = AnnouncementQueue(
        first_retry_delay_seconds=0.01, start=lambda thread: threads.append(thread) or thread.start()
    )
    service = Service([FULL, FULL, FULL, None])
    for again in range(2):
        queue.add(save_of(service, 2 + again))
        wait_until(lambda: not threads[-1].is_alive())
        assert versions(service) == [2, 3][: again + 1]

    assert len(threads) == 2


def test_many_saves_wait_in_one_thread_and_no_save_waits_for_it():
    started, is_back = [], threading.Event()
    queue = AnnouncementQueue(
        start=lambda thread: started.append(thread) or thread.start(), first_retry_delay_seconds=0.01
    )
    service = Service(is_back=is_back)
    for version in range(2, 102):
        queue.add(save_of(service, version))
        if version == 50:
            wait_until(lambda: service.calls)  # it is at work, and waits for Redis itself

    assert service.told == []
    assert len(started) == 1
    is_back.set()
    wait_until(lambda: versions(service) == list(range(2, 102)))


def test_save_that_is_refused_alone_keeps_no_other_back(queue):
    """As in a cluster of which one node is away."""
    away, there = Service([FULL]), Service()
    queue.add(save_of(away))
    queue.add(save_of(there))
    queue.flush()
    queue.flush()

    assert versions(there) == [2]
    assert len(queue) == 1


def test_full_queue_takes_no_more_and_says_so(caplog):
    queue = AnnouncementQueue(max_saves=2, start=lambda thread: None)
    service = Service()
    for version in (2, 3, 4):
        queue.add(save_of(service, version))
    queue.flush()

    assert versions(service) == [2, 3]
    assert [record.lock_version for record in caplog.records if "never announced" in record.message] == [4]


def test_save_is_given_up_after_a_while_which_the_log_says(caplog):
    queue = AnnouncementQueue(give_up_after_seconds=0, start=lambda thread: None)
    service = Service([FULL])
    queue.add(save_of(service))
    queue.flush()

    assert len(queue) == 0
    assert "a save is never announced" in caplog.text


@pytest.mark.parametrize("error", [InvalidPresence({"fields": ["No."]}), RuntimeError("a bug")], ids=repr)
def test_save_that_can_never_be_told_is_dropped(queue, caplog, error):
    service = Service([error, None])
    queue.add(save_of(service, 2))
    queue.add(save_of(service, 3))
    queue.flush()

    assert versions(service) == [3]
    assert len(queue) == 0
    assert "a save is never announced" in caplog.text


def test_tab_that_is_anothers_by_then_is_left_out(queue):
    service = Service([TabOwnedByAnotherUser("a1"), None])
    queue.add(save_of(service))
    queue.flush()

    assert service.told == [("flow", 12, 2, ["name"], 1, "Alice", None)]


def test_thread_of_before_a_fork_is_not_waited_for():
    started = []
    queue = AnnouncementQueue(start=started.append)  # none of them ever runs, as in a forked process
    queue.add(save_of(Service()))
    queue.add(save_of(Service()))

    assert len(started) == 2


def test_saves_of_a_record_keep_their_order_however_often_redis_is_away(queue):
    service = Service([FULL])
    for lock_version in (6, 7, 8):
        queue.add(save_of(service, lock_version))
    for _ in range(2):
        assert not queue.flush()

    service.trouble = []
    assert queue.flush()
    assert versions(service) == [6, 7, 8]


def test_save_waits_for_an_earlier_one_of_its_record_and_for_no_other(queue):
    service = Service()
    queue.add(save_of(service, 7))

    assert queue.holds_record_of(save_of(service, 8))
    assert not queue.holds_record_of(Announcement(service, "flow", 13, 8, ["name"], 1, "Alice", "a1"))
    assert not queue.holds_record_of(save_of(Service(), 8))  # another tenant's


def test_restored_version_that_waited_for_redis_forgets_those_above(queue):
    redis = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    service = RecordPresenceService(redis, 1)
    service.update_presence("flow", 12, "t1", 42, "Alice", mode="edit")
    for lock_version in (6, 7, 8):
        assert service.record_saved("flow", 12, lock_version, ["name"], 43, "Bob")
    queue.add(Announcement(service, "flow", 12, 6, ["body"], 43, "Bob", None))
    assert queue.flush()

    seen = service.update_presence(
        "flow", 12, "t1", 42, "Alice", mode="edit", list_viewers=True, base_version=5
    )
    assert [save["lock_version"] for save in seen.forecast["saves"]] == [6]
    assert seen.forecast["saves"][0]["fields"] == ["body"]

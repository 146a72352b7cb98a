"""The broadcast: presence pushed to any number of streams, whatever happens to Redis."""

import contextlib
import gc
import json
import signal
import threading
import time
import tracemalloc
from collections import Counter

import fakeredis
import pytest

from record_presence.presence.codec import encode_user_id
from record_presence.presence.errors import StoreUnavailable
from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.service import RecordPresenceService
from record_presence.presence.streaming import event_log, timings
from record_presence.presence.streaming import topic as topic_module
from record_presence.presence.streaming.broadcast import Broadcast
from record_presence.presence.streaming.subscription import Message
from record_presence.presence.streaming.token_bucket import Rate
from record_presence.redis_client.client import connect
from tests.lua.commands import LEASE_MS, RECORD, age, heartbeat, leave, version
from tests.presence.streaming.screen import TIMEOUT_SECONDS, Page, Proxy, wait_until
from tests.redis_server import RedisServer

OTHER = Record("1", "flow", "13")
FOREIGN = Record("2", "flow", "12")
scripts = Scripts()


class Process:
    """One process of the service, as far as streams go."""

    def __init__(self, client, **options):
        self.seen = Counter()
        self.is_draining = False
        self.client = client
        self.broadcast = Broadcast(
            client,
            scripts,
            LEASE_MS,
            observe=lambda what: self.seen.update([what]),
            is_draining=lambda: self.is_draining,
            **options,
        )

    def open(self, *records, user=None, limit=100, seen_version=None):
        return self.broadcast.open(
            records or [RECORD],
            user=None if user is None else encode_user_id(user),
            limit=limit,
            seen_version=seen_version,
        )

    def replica(self, record=RECORD):
        return self.broadcast._topics[record.channel].replica

    def log(self, record=RECORD):
        return self.broadcast._topics[record.channel].log

    def sync(self, record=RECORD):
        return self.broadcast._topics[record.channel].sync

    def page(self, *records, **options):
        """As a browser does: again where a busy machine could not open it in time."""
        streams = []

        def is_open():
            with contextlib.suppress(StoreUnavailable):
                streams.append(self.open(*records, **options))
            return streams

        wait_until(is_open, "an open stream")
        page = Page(streams[0])
        page.take()
        return page


@pytest.fixture
def start():
    """`start(client)` starts another process on that Redis. All end with the test."""
    processes, before = [], set(threading.enumerate())

    def start(client, **options):
        processes.append(Process(client, **options))
        return processes[-1]

    yield start
    for process in processes:
        process.broadcast.close()
    started = set(threading.enumerate()) - before
    for thread in [thread for thread in started if thread.name.startswith("presence-")]:
        thread.join(30)
        assert not thread.is_alive()
    for process in processes:
        process.client.close()


@pytest.fixture
def redis_of(redis, request):
    """`redis_of()` is another client of the test's Redis, as each process has one."""

    def another():
        if isinstance(redis, fakeredis.FakeRedis):
            return fakeredis.FakeRedis(server=redis.connection_pool.connection_kwargs["server"])
        return connect(f"unix://{request.getfixturevalue('redis_server').socket}")

    return another


@pytest.fixture
def process(start, redis_of):
    return start(redis_of())


@pytest.fixture
def short_timeouts(monkeypatch):
    """Faults are noticed quickly."""
    monkeypatch.setattr(timings, "OPEN_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(timings, "PROBE_INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(timings, "SILENCE_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(timings, "MAX_UNCONFIRMED_SECONDS", 0.5)
    monkeypatch.setattr(timings, "RETRY_DELAY_SECONDS", 0.1)


def viewers_as_read(redis, page, record=RECORD):
    """What GET viewers returns to the reader of this page."""
    user = page.stream.user
    without_user = {} if user is None else {"without_user": json.loads(user)}
    service = RecordPresenceService(redis, record.tenant)
    return service.list_viewers(record.type, record.id, limit=page.stream.limit, **without_user)


def assert_matches_redis(redis, *pages, record=RECORD):
    for page in pages:
        expected = viewers_as_read(redis, page, record)
        page.waits_for(record, [viewer["id"] for viewer in expected.viewers])
        screen = page.screen(record)
        assert (screen.viewers, screen.total) == (expected.viewers, expected.total)


# What a stream shows


def test_stream_starts_with_a_snapshot_and_continues_with_events(redis, process):
    heartbeat(redis, "t1", 42)
    page = process.page()
    assert page.ids(RECORD) == [42]

    heartbeat(redis, "t2", 43, name="Bob")
    page.waits_for(RECORD, [42, 43])
    heartbeat(redis, "t2", 43, name="Bob", mode="edit", field="title")
    wait_until(lambda: page.kinds()[-1] == "update")
    assert page.screen(RECORD).viewers[1]["active_fields"] == ["title"]
    leave(redis, "t1", 42)
    page.waits_for(RECORD, [43])

    assert page.log == [
        ("snapshot", "1/flow:12", None, None),
        ("join", "1/flow:12", 43, None),
        ("update", "1/flow:12", 43, None),
        ("leave", "1/flow:12", 42, "left"),
    ]
    assert_matches_redis(redis, page)
    assert page.screen(RECORD).version == version(redis)


def test_empty_record_has_an_empty_snapshot(process):
    page = process.page()

    assert page.ids(RECORD) == []
    assert page.screen(RECORD).total == 0


def test_unchanged_heartbeat_causes_no_event(redis, process):
    heartbeat(redis, "t1", 42)
    page = process.page()
    for _ in range(3):
        heartbeat(redis, "t1", 42)
    leave(redis, "t1", 42)
    page.waits_for(RECORD, [])

    assert page.kinds() == ["snapshot", "leave"]


def test_second_tab_of_a_user_is_an_update(redis, process):
    heartbeat(redis, "t1", 42)
    page = process.page()
    page.take()
    heartbeat(redis, "t2", 42, mode="edit")
    leave(redis, "t1", 42)
    wait_until(lambda: page.ids(RECORD) and page.screen(RECORD).viewers[0]["tabs"] == 1 and page.kinds()[1:])

    assert set(page.kinds()[1:]) == {"update"}
    assert_matches_redis(redis, page)


def test_every_stream_of_every_process_gets_each_event_once(redis, start, redis_of):
    one, two = start(redis_of()), start(redis_of())
    pages = [one.page(), one.page(), two.page(), two.page(user=43)]
    heartbeat(redis, "t1", 42)
    for page in pages:
        page.waits_for(RECORD, [42])
    age(redis, "t1")
    assert version(redis) == "0"
    for page in pages:
        page.waits_for(RECORD, [])

        assert page.log[1:] == [("join", "1/flow:12", 42, None), ("leave", "1/flow:12", 42, "expired")]


@pytest.mark.measured
def test_lease_that_expires_is_announced_within_a_second_without_any_heartbeat(redis, start, redis_of):
    processes = [start(redis_of()), start(redis_of())]
    heartbeat(redis, "t1", 42)
    pages = [process.page() for process in processes]
    heartbeat(redis, "t2", 43, lease_ms=300)
    ends_at = time.monotonic() + 0.3
    for page in pages:
        page.waits_for(RECORD, [42, 43])
    for page in pages:
        page.waits_for(RECORD, [42])

        assert time.monotonic() - ends_at < 1
        assert page.log[1:] == [("join", "1/flow:12", 43, None), ("leave", "1/flow:12", 43, "expired")]


def test_end_of_the_last_lease_of_a_record_is_announced(redis, process):
    heartbeat(redis, "t1", 42, lease_ms=700)
    page = process.page()
    assert page.ids(RECORD) == [42]
    page.waits_for(RECORD, [])

    assert page.log[-1] == ("leave", "1/flow:12", 42, "expired")
    assert redis.keys("*") == []


def test_lease_that_gets_shorter_is_swept_at_its_new_end(redis, process):
    heartbeat(redis, "t1", 42)
    page = process.page()
    assert page.ids(RECORD) == [42]
    heartbeat(redis, "t1", 42, lease_ms=300)
    page.waits_for(RECORD, [])

    assert page.log[-1] == ("leave", "1/flow:12", 42, "expired")


def test_renewed_lease_does_not_expire(redis, process):
    lease_ms = 1_000  # a busy machine may well sleep for half of it
    heartbeat(redis, "t1", 42, lease_ms=lease_ms)
    page = process.page()
    for _ in range(24):
        time.sleep(0.05)
        heartbeat(redis, "t1", 42, lease_ms=lease_ms)

    assert page.kinds() == ["snapshot"]


def test_users_are_not_shown_to_themselves_but_their_versions_count_as_seen(redis, process):
    mine, others = process.page(user=42), process.page(user=43)
    heartbeat(redis, "t1", 42)
    others.waits_for(RECORD, [42])

    assert mine.ids(RECORD) == []
    assert mine.screen(RECORD).total == 0
    assert mine.last_event_id == others.last_event_id == version(redis)
    assert mine.kinds() == ["snapshot"]


def test_user_7_and_user_7_as_a_string_are_two_users(redis, process):
    page = process.page(user="7")
    heartbeat(redis, "t1", 7)
    heartbeat(redis, "t2", "7")
    page.waits_for(RECORD, [7])


def test_reader_who_comes_back_gets_no_snapshot_of_an_unchanged_record(redis, process):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t1", 42, record=OTHER)
    first = process.page(RECORD, OTHER)
    first.take()
    again = process.page(RECORD, OTHER, seen_version=first.screen(RECORD).version)
    again.take()
    assert [entry[:2] for entry in again.log] == [("snapshot", "1/flow:13")]

    heartbeat(redis, "t2", 43)
    first.waits_for(RECORD, [42, 43])
    again = process.page(seen_version=first.last_event_id)
    assert again.kinds() == []
    old = process.page(seen_version="1-gone")
    assert old.kinds() == ["snapshot"]


def test_empty_record_always_has_a_snapshot(process):
    """Its version is always the same, whatever happened in between."""
    assert process.page(seen_version="0").kinds() == ["snapshot"]


def test_reader_who_is_cut_off_within_a_version_has_no_event_id(redis, process, monkeypatch):
    """So the next stream begins with a snapshot."""
    for user in (1, 2, 3):
        heartbeat(redis, f"t{user}", user)
    may_publish = threading.Event()
    monkeypatch.setattr(topic_module.Topic, "may_publish", lambda topic, now: may_publish.is_set())
    page, whole = process.page(), process.page()
    for user in (1, 2):
        leave(redis, f"t{user}", user)
    wait_until(lambda: len(process.replica().changed_users) == 2)
    may_publish.set()
    whole.waits_for(RECORD, [3])
    page.take(at_most=1)

    assert page.ids(RECORD) == [2, 3]
    assert page.last_event_id == ""
    assert whole.last_event_id == version(redis)


def test_several_records_and_tenants_are_kept_apart(redis, process):
    page, foreign = process.page(RECORD, OTHER), process.page(FOREIGN)
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t1", 43, record=OTHER)
    heartbeat(redis, "t1", 44, record=FOREIGN)
    page.waits_for(RECORD, [42])
    page.waits_for(OTHER, [43])
    foreign.waits_for(FOREIGN, [44])

    assert {name for _, name, *_ in foreign.log} == {"2/flow:12"}
    assert {name for _, name, *_ in page.log} == {"1/flow:12", "1/flow:13"}


def test_record_that_is_named_twice_has_one_snapshot(process):
    assert process.page(RECORD, RECORD).kinds() == ["snapshot"]


@pytest.mark.measured
def test_process_that_is_stopping_ends_its_streams(redis, process):
    page = process.page()
    process.is_draining = True

    assert page.ends("draining") < 1


# Limits


def test_list_that_is_cut_at_the_limit_is_filled_up_after_a_leave(redis, process):
    for user in range(5):
        heartbeat(redis, f"t{user}", user)
    page, whole = process.page(limit=3, user=1), process.page()
    assert page.ids(RECORD) == [0, 2, 3]
    assert page.screen(RECORD).total == 4

    heartbeat(redis, "t5", 5)
    whole.waits_for(RECORD, [0, 1, 2, 3, 4, 5])
    assert_matches_redis(redis, page, whole)
    leave(redis, "t0", 0)
    page.waits_for(RECORD, [2, 3, 4])
    heartbeat(redis, "t4", 4, mode="edit")
    leave(redis, "t2", 2)
    page.waits_for(RECORD, [3, 4, 5])
    assert_matches_redis(redis, page, whole)


def test_newcomer_takes_the_place_of_a_viewer_who_left_at_the_same_time(redis, process, monkeypatch):
    monkeypatch.setattr(topic_module, "PUBLISH_RATE", Rate(3.0, burst=1.0))
    for user in range(3):
        heartbeat(redis, f"t{user}", user)
    page = process.page(limit=3)
    page.take()
    for mode in ("edit", "view", "edit"):  # use up the tokens
        heartbeat(redis, "t2", 2, mode=mode)
    heartbeat(redis, "t9", 9)
    leave(redis, "t0", 0)
    page.waits_for(RECORD, [1, 2, 9])

    assert_matches_redis(redis, page)


def test_viewers_are_in_order_of_arrival_even_if_they_are_published_late(redis, process, monkeypatch):
    monkeypatch.setattr(topic_module, "PUBLISH_RATE", Rate(3.0, burst=1.0))
    heartbeat(redis, "t1", 1)
    heartbeat(redis, "t2", 2)
    page = process.page()
    page.take()
    for mode in ("edit", "view", "edit"):
        heartbeat(redis, "t2", 2, mode=mode)
    leave(redis, "t1", 1)
    heartbeat(redis, "t3", 3)
    heartbeat(redis, "t1", 1)
    page.waits_for(RECORD, [2, 3, 1])

    assert_matches_redis(redis, page)


# Crowds and slow readers


def test_crowd_that_joins_at_once_is_published_a_few_times_a_second(redis, process):
    page, started, beats = process.page(), time.monotonic(), 0
    taken = []

    def read():
        while beats < 1000 or len(page.ids(RECORD)) < 100:
            before = len(page.log)
            page.take(0.05)
            taken.append(len(page.log) - before)

    reader = threading.Thread(target=read)
    reader.start()
    for user in range(1000):
        heartbeat(redis, f"t{user}", user)
        beats += 1
    reader.join(TIMEOUT_SECONDS)
    wait_until(lambda: page.ids(RECORD) is not None and page.screen(RECORD).total == 1000)
    seconds = time.monotonic() - started

    assert_matches_redis(redis, page)
    # Before it is a crowd, it publishes 20 times a second, then 3 times; each up to 8 events or one snapshot.
    assert len(page.log) < 60 + 3 * 8 * seconds


def test_streams_of_a_crowd_share_a_snapshot_but_users_are_not_shown_to_themselves(
    redis, process, monkeypatch
):
    monkeypatch.setattr(topic_module, "CROWD_SIZE", 3)
    for user in range(6):
        heartbeat(redis, f"t{user}", user)
    readers = [0, 1, 4, 5, None]
    pages = [process.page(user=user, limit=2) for user in readers]
    late = [process.open(user=encode_user_id(user), limit=2) for user in (4, 5)]

    assert [page.ids(RECORD) for page in pages] == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
    assert [page.screen(RECORD).total for page in pages] == [5, 5, 5, 5, 6]
    (one, _), (other, _) = (stream.take(TIMEOUT_SECONDS)[0] for stream in late)
    assert one is other

    leave(redis, "t0", 0)
    assert_matches_redis(redis, *pages)


def test_slow_reader_gets_a_snapshot_and_other_readers_every_event(redis, process, monkeypatch):
    monkeypatch.setattr(event_log, "MAX_PENDING_EVENTS", 10)
    monkeypatch.setattr(topic_module, "PUBLISH_RATE", Rate(1000.0, burst=1.0))
    slow, quick = process.page(), process.page()
    slow.take()
    for number in range(40):
        heartbeat(redis, "t1", 42, name=f"name {number}")
        wait_until(
            lambda number=number: (
                quick.ids(RECORD) and quick.screen(RECORD).viewers[0]["name"] == f"name {number}"
            )
        )
    assert sum(kept.events for kept in process.log()._kept) <= 10
    slow.take()

    assert [kind for kind, *_ in slow.log] == ["snapshot", "snapshot"]
    assert quick.kinds() == ["snapshot", "join", *["update"] * 39]
    assert process.seen["slow_reader"] >= 1
    assert_matches_redis(redis, slow, quick)


def test_slow_reader_gets_a_snapshot_when_too_many_bytes_wait_for_it(redis, process, monkeypatch):
    monkeypatch.setattr(event_log, "MAX_PENDING_BYTES", 2_000)
    monkeypatch.setattr(topic_module, "PUBLISH_RATE", Rate(1000.0, burst=1.0))
    slow, quick = process.page(), process.page()
    slow.take()
    for number in range(20):
        heartbeat(redis, "t1", 42, name=f"name {number}")
        wait_until(
            lambda number=number: (
                quick.ids(RECORD) and quick.screen(RECORD).viewers[0]["name"] == f"name {number}"
            )
        )
    assert sum(kept.size_bytes for kept in process.log()._kept) <= 2_000
    slow.take()

    assert [kind for kind, *_ in slow.log] == ["snapshot", "snapshot"]
    assert_matches_redis(redis, slow, quick)


def test_snapshots_of_many_records_do_not_wait_in_memory_together(redis, process, monkeypatch):
    monkeypatch.setattr(event_log, "MAX_PENDING_BYTES", 1)
    records = [Record("1", "flow", f"many-{number}") for number in range(4)]
    stream = process.open(*records)

    taken = [stream.take(1.0) for _ in records]

    assert [len(events) for events in taken] == [1, 1, 1, 1]
    assert {event.record for [(event, _)] in taken} == set(records)
    assert stream.take(0.0) == []


def test_snapshot_lists_viewers_as_far_as_its_bytes_go_and_tells_the_total(redis, process, monkeypatch):
    for user in range(5):
        heartbeat(redis, f"t{user}", user)
    monkeypatch.setattr(topic_module, "MAX_SNAPSHOT_BYTES", 500)

    [(snapshot, total)] = process.open().take(1.0)

    assert len(snapshot.entries) == 2
    assert total == 5


def test_reader_that_never_reads_uses_bounded_memory(real_redis, redis_server, start, monkeypatch):
    redis, process = real_redis, start(connect(f"unix://{redis_server.socket}"))
    monkeypatch.setattr(topic_module, "PUBLISH_RATE", Rate(1_000_000.0, burst=1.0))
    stuck, watched = process.page(), process.page()
    watched.take()

    def change(times, start):
        for number in range(start, start + times):
            heartbeat(redis, "t1", 42, name=f"name {number}")
        name = f"name {start + times - 1}"
        wait_until(lambda: watched.ids(RECORD) and watched.screen(RECORD).viewers[0]["name"] == name)
        watched.log.clear()
        gc.collect()

    change(300, 0)
    tracemalloc.start()
    change(300, 300)
    before = tracemalloc.get_traced_memory()[0]
    change(1500, 600)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert grown < 200_000
    assert_matches_redis(redis, stuck)


def test_closed_streams_leave_nothing_behind(redis, process):
    heartbeat(redis, "t1", 42)
    for number in range(400):
        process.open(Record("1", "flow", f"passing-{number}"), RECORD).close()

    assert process.broadcast.counts() == {"streams": 0, "records": 0}
    assert len(process.broadcast._scheduler._heap) < 200
    assert not process.broadcast._scheduler._reads
    assert not process.broadcast._scheduler._deadlines
    assert not process.broadcast._publisher._waiting


# One subscription


def test_channel_is_subscribed_only_while_a_stream_shows_the_record(redis, start, redis_of):
    one, two = start(redis_of()), start(redis_of())

    def subscribers():
        return dict(redis.pubsub_numsub(RECORD.channel, OTHER.channel))

    streams = [one.open(RECORD), one.open(RECORD, OTHER), two.open(RECORD)]
    assert subscribers() == {RECORD.channel: 2, OTHER.channel: 1}
    assert len(redis.pubsub_channels("tenant_*")) == 2
    streams[0].close()
    assert subscribers() == {RECORD.channel: 2, OTHER.channel: 1}
    streams[1].close()
    wait_until(lambda: subscribers() == {RECORD.channel: 1, OTHER.channel: 0})
    streams[2].close()
    wait_until(lambda: redis.pubsub_channels("tenant_*") == [])

    page = one.page()
    heartbeat(redis, "t1", 42)
    page.waits_for(RECORD, [42])


def test_process_has_one_subscription_however_many_streams(real_redis, redis_server, start):
    def subscriptions():
        return {client["id"] for client in real_redis.client_list(_type="pubsub")}

    others = subscriptions()  # of tests before
    process = start(connect(f"unix://{redis_server.socket}"))
    with_streams = [process.open(Record("1", "flow", str(number))) for number in range(50)]

    assert len(subscriptions() - others) == 1
    assert process.broadcast.counts() == {"streams": 50, "records": 50}
    del with_streams


@pytest.mark.measured
def test_stream_opens_in_a_few_milliseconds(redis, process):
    process.open(OTHER)
    times = []
    for number in range(20):
        started = time.perf_counter()
        process.open(Record("1", "flow", f"x{number}"))
        times.append(time.perf_counter() - started)

    assert sorted(times)[10] < 0.1


def test_read_that_began_before_the_subscription_confirms_nothing(redis, process, monkeypatch):
    page = process.page()
    heartbeat(redis, "t1", 42)
    page.waits_for(RECORD, [42])  # so that no reply to a subscription is still on its way
    broadcast, has_read, may_go_on = process.broadcast, threading.Event(), threading.Semaphore(0)

    class HeldBack:
        """Scripts whose replies are held back."""

        def run(self, *call):
            reply = scripts.run(*call)
            has_read.set()
            may_go_on.acquire(timeout=TIMEOUT_SECONDS)
            return reply

    monkeypatch.setattr(broadcast._refresher._watch, "_scripts", HeldBack())
    monkeypatch.setattr(broadcast._messages, "apply", lambda *_: None)  # messages get lost
    with broadcast._lock:
        broadcast._messages.unsubscribe_all()
        broadcast._scheduler.request_read(broadcast._topics[RECORD.channel])
    assert has_read.wait(TIMEOUT_SECONDS)
    heartbeat(redis, "t2", 43)
    broadcast._messages.handle(Message("subscribe", RECORD.channel, 1))
    opened = []
    opening = threading.Thread(target=lambda: opened.append(process.page()))
    opening.start()
    may_go_on.release()  # the read that knows nothing of 43
    opening.join(0.2)
    assert not opened
    may_go_on.release(9)
    opening.join(TIMEOUT_SECONDS)

    assert opened[0].kinds() == ["snapshot"]
    assert opened[0].ids(RECORD) == [42, 43]


def test_record_that_many_threads_close_and_open_stays_subscribed(redis, process):
    """The streams that stay open get the events."""
    kept = []

    def come_and_go():
        for _ in range(25):
            process.open(RECORD).close()
        kept.append(process.page())

    threads = [threading.Thread(target=come_and_go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    heartbeat(redis, "t1", 42)
    for page in kept:
        page.waits_for(RECORD, [42])


def test_late_unsubscribe_does_not_silence_a_record_that_was_opened_again(redis, process):
    process.open(OTHER)
    page = process.page()
    # As the thread does that closed the last stream a moment ago:
    process.broadcast._subscription.update_channels([RECORD.channel])
    heartbeat(redis, "t1", 42)
    page.waits_for(RECORD, [42])


# Anything may be published on a channel

GARBAGE = [
    b"",
    b"no JSON",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"7",
    b'"text"',
    b"{}",
    b"NaN",
    b"[" * 50_000,
    b'{"version": 7}',
    b'{"version": "7-x", "previous": 3}',
    b'{"version": "x", "previous": "%(now)s", "changes": []}',
    b'{"version": "7-x", "previous": "%(now)s"}',
    b'{"version": "7-x", "previous": "%(now)s", "changes": 7}',
    b'{"version": "7-x", "previous": "%(now)s", "changes": [["leave", "42", "left"], "broken"]}',
    b'{"version": "7-x", "previous": "%(now)s", "changes": [["join", "9", ["Eve"]]]}',
    b'{"version": "7-x", "previous": "%(now)s", "changes": [["join", "[]", ["Eve", 9, 1, 0, 0]]]}',
    b'{"version": "7-x", "previous": "%(now)s", "changes": [["join", "9", ["Eve", "9", 1, 0, 0]]]}',
    b'{"version": "7-x", "previous": "%(now)s", "changes": [["join", "9", [{}, 9, 1, 0, 0]]]}',
    b'{"version": "7-x", "previous": "%(now)s", "changes": [["join", 9, ["Eve", 9, 1, 0, 0]]]}',
    b'{"version": "7-x", "previous": "%(now)s", "changes": [["burn", "42", ["Eve", 9, 1, 0, 0]]]}',
    b'{"version": "7-x", "previous": "%(now)s", "changes": [["leave", "42", {}]]}',
    b'{"version": "%(now)s", "next_ms": "soon"}',
    b'{"version": "%(now)s", "next_ms": NaN}',
    b'{"version": "%(now)s", "next_ms": Infinity}',
    b'{"version": "%(now)s", "next_ms": -1e300}',
    b'{"version": "%(now)s", "next_ms": 1e300}',
    b'{"version": "%(now)s", "next_ms": 1' + b"0" * 400 + b"}",
    b'{"version": "7-x", "previous": "%(now)s", "changes": [["join", "'
    + b"[" * 50_000
    + b'", ["E", 9, 1, 0, 0]]]}',
    b'{"announce": 7}',
    b'{"announce": "x\\ndata: forged"}',
    b'{"announce": "signal", "user": 42}',
    b'{"announce": "signal", "data": []}',
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_on_the_channel_harms_nothing(redis, redis_of, start, monkeypatch, garbage):
    monkeypatch.setattr(timings, "VERSION_CHECK_DELAY_SECONDS", 0.05)
    monkeypatch.setattr(timings, "MAX_SWEEP_INTERVAL_SECONDS", 0.3)
    process = start(redis_of())
    now = heartbeat(redis, "t1", 42)[1]
    page = process.page()
    page.take()

    redis.publish(RECORD.channel, garbage.replace(b"%(now)s", now.encode()))
    heartbeat(redis, "t2", 43)
    page.waits_for(RECORD, [42, 43])
    redis.publish(RECORD.channel, garbage.replace(b"%(now)s", version(redis).encode()))
    heartbeat(redis, "t3", 44, lease_ms=100)
    wait_until(lambda: redis.zscore(RECORD.seen_key, "t3") is None, "the sweep")
    page.waits_for(RECORD, [42, 43])

    assert set(page.kinds()) <= {"snapshot", "join", "update", "leave"}
    assert process.seen["lost"] == 0
    assert_matches_redis(redis, page)


def test_forged_change_is_corrected_by_the_next_sweep(redis, redis_of, start, monkeypatch):
    monkeypatch.setattr(timings, "VERSION_CHECK_DELAY_SECONDS", 0.05)
    monkeypatch.setattr(timings, "MAX_SWEEP_INTERVAL_SECONDS", 0.5)
    process = start(redis_of())
    now = heartbeat(redis, "t1", 42)[1]
    page = process.page()
    page.take()
    forged = {
        "version": "99999999999999999-x",
        "previous": now,
        "next_ms": 10**12,
        "changes": [["leave", "42", "left"]],
    }
    redis.publish(RECORD.channel, json.dumps(forged))
    wait_until(lambda: "leave" in page.kinds())
    page.waits_for(RECORD, [42])

    assert_matches_redis(redis, page)


def test_message_that_was_lost_is_made_up_for_by_the_next_sweep(redis, redis_of, start, monkeypatch):
    """In a Cluster a message may get lost between the nodes, and no later one may follow."""
    monkeypatch.setattr(timings, "VERSION_CHECK_DELAY_SECONDS", 0.05)
    monkeypatch.setattr(timings, "MAX_SWEEP_INTERVAL_SECONDS", 0.2)
    process = start(redis_of())
    page = process.page()
    handle = process.broadcast._messages.handle
    process.broadcast._messages.handle = lambda message: None
    heartbeat(redis, "t1", 42)
    page.waits_for(RECORD, [42])
    process.broadcast._messages.handle = handle
    assert_matches_redis(redis, page)


def test_message_that_was_lost_is_made_up_for_when_the_next_one_comes(redis, redis_of, start):
    process = start(redis_of())
    page = process.page()
    # Else the read that follows the subscription makes up for it.
    wait_until(lambda: process.sync().is_confirmed, "the subscription")
    handle, lost = process.broadcast._messages.handle, []
    process.broadcast._messages.handle = lost.append
    heartbeat(redis, "t1", 42)
    wait_until(lambda: RECORD.channel in str(lost), "the message")
    process.broadcast._messages.handle = handle

    heartbeat(redis, "t2", 43)
    page.waits_for(RECORD, [42, 43])  # sooner than by a sweep
    assert process.seen["resync"] >= 1


def test_broken_record_ends_its_streams_and_no_others(redis, process, short_timeouts):
    page, other = process.page(), process.page(OTHER)
    redis.set(RECORD.seen_key, "not a sorted set")
    redis.publish(RECORD.channel, "look")
    page.ends("unavailable")
    heartbeat(redis, "t1", 42, record=OTHER)
    other.waits_for(OTHER, [42])

    redis.delete(RECORD.seen_key)
    page.stream.close()
    assert process.page().ids(RECORD) == []


def test_broken_viewer_entry_ends_the_streams_of_its_record_and_no_others(redis, process, short_timeouts):
    heartbeat(redis, "t1", 42)
    redis.hset(RECORD.viewers_key, "42", "[1, 2, 3, 4, 5]")
    other = process.page(OTHER)
    with pytest.raises(StoreUnavailable):
        process.open()
    heartbeat(redis, "t1", 42, record=OTHER)
    other.waits_for(OTHER, [42])
    redis.delete(RECORD.viewers_key)

    assert process.page().ids(RECORD) == [42]


def test_announcement_reaches_all_users_but_its_sender(redis, process):
    mine, others = process.page(user=42), process.page(user=43)
    service = RecordPresenceService(redis, 1)
    heartbeat(redis, "t1", 42)
    service.send_signal("flow", 12, "t1", 42, "Alice", "typing", {"field": "title"})
    wait_until(lambda: "signal" in others.kinds())
    heartbeat(redis, "t2", 44)
    mine.waits_for(RECORD, [44])

    assert mine.kinds() == ["snapshot", "join"]
    assert others.kinds() == ["snapshot", "join", "signal", "join"]


# Redis goes and comes back


@pytest.fixture
def server():
    """A Redis server for one test, which may kill it."""
    server = RedisServer()
    yield server
    server.signal(signal.SIGCONT)
    server.close()


@pytest.fixture
def service(server):
    """`service(function, …)` calls it with a client of the server that runs at that moment."""

    def call(function, *args, **options):
        with server.client() as client:
            return function(client, *args, **options)

    return call


def test_redis_that_comes_back_empty_is_shown_as_it_is(server, service, start, monkeypatch):
    monkeypatch.setattr(timings, "RETRY_DELAY_SECONDS", 0.1)
    process = start(connect(f"unix://{server.socket}"))
    service(heartbeat, "t1", 42)
    page = process.page()
    assert page.ids(RECORD) == [42]
    server.kill()
    server.start()
    page.waits_for(RECORD, [])
    service(heartbeat, "t2", 43)
    page.waits_for(RECORD, [43])

    assert page.ended is None
    assert process.seen["lost"] >= 1 or process.seen["resync"] >= 0


# Redis has lost its data: the viewers of before are shown for a grace period, as unconfirmed

GRACE_SECONDS = 60.0  # longer than a test takes
SHORT_GRACE_SECONDS = 2.0  # where one waits for its end

ends_in_time = pytest.mark.parametrize("grace_seconds", [SHORT_GRACE_SECONDS])


@pytest.fixture
def grace_seconds():
    return GRACE_SECONDS


@pytest.fixture
def after_data_loss(redis, redis_of, start, monkeypatch, grace_seconds):
    """A process and a page of the users 1, 2 and 3, after Redis has lost its data."""
    monkeypatch.setattr(timings, "VERSION_CHECK_DELAY_SECONDS", 0.05)
    monkeypatch.setattr(timings, "MAX_SWEEP_INTERVAL_SECONDS", 0.1)
    process = start(redis_of(), recovery_grace_seconds=grace_seconds)
    for user in (1, 2, 3):
        heartbeat(redis, f"t{user}", user)
    page = process.page()
    page.waits_for(RECORD, [1, 2, 3])
    redis.flushall()
    wait_until(lambda: page.ids(RECORD) and page.screen(RECORD).is_unconfirmed, "unconfirmed")
    return process, page


def test_nobody_leaves_and_nobody_joins_when_redis_has_lost_its_data(redis, after_data_loss):
    process, page = after_data_loss
    assert page.ids(RECORD) == [1, 2, 3]
    for user in (2, 1):
        heartbeat(redis, f"t{user}", user)
    wait_until(lambda: process.replica().unconfirmed_users == {"3"}, "3 is unconfirmed")

    assert (page.ids(RECORD), page.screen(RECORD).is_unconfirmed) == ([1, 2, 3], True)
    heartbeat(redis, "t3", 3)
    wait_until(lambda: page.take() or not page.screen(RECORD).is_unconfirmed, "confirmed")
    assert_matches_redis(redis, page)
    assert page.ids(RECORD) == [2, 1, 3]  # as they came back
    assert set(page.kinds()) == {"snapshot"}


@ends_in_time
def test_user_who_does_not_come_back_is_gone_after_the_grace_period(redis, after_data_loss):
    _, page = after_data_loss
    noticed_by = time.monotonic()
    heartbeat(redis, "t2", 2)
    page.waits_for(RECORD, [2])

    assert time.monotonic() - noticed_by > 0.5 * SHORT_GRACE_SECONDS
    assert not page.screen(RECORD).is_unconfirmed
    assert_matches_redis(redis, page)


def test_changes_are_published_during_the_grace_period(redis, after_data_loss, monkeypatch):
    _, page = after_data_loss
    monkeypatch.setattr(timings, "VERSION_CHECK_DELAY_SECONDS", 1.0)  # messages may be late on a busy machine
    heartbeat(redis, "t9", 9)
    page.waits_for(RECORD, [1, 2, 3, 9])
    heartbeat(redis, "t2", 2, mode="edit")
    wait_until(lambda: page.ids(RECORD) and page.screen(RECORD).viewers[1]["mode"] == "edit")
    leave(redis, "t2", 2)
    page.waits_for(RECORD, [1, 3, 9])

    assert page.screen(RECORD).is_unconfirmed
    assert [entry[0] for entry in page.log[-3:]] == ["join", "update", "leave"]
    assert page.last_event_id == ""  # a client that reconnects with it gets a snapshot


@ends_in_time
def test_stream_that_opens_during_the_grace_period_shows_the_same(redis, after_data_loss):
    process, page = after_data_loss
    other = process.page()

    assert other.ids(RECORD) == [1, 2, 3]
    assert other.screen(RECORD).is_unconfirmed
    for each in (page, other):
        each.waits_for(RECORD, [])
        assert not each.screen(RECORD).is_unconfirmed


@ends_in_time
def test_second_loss_of_data_begins_another_grace_period(redis, after_data_loss):
    process, page = after_data_loss
    heartbeat(redis, "t1", 1)
    wait_until(lambda: process.replica().unconfirmed_users == {"2", "3"}, "2 and 3 are unconfirmed")
    redis.flushall()
    wait_until(lambda: process.replica().unconfirmed_users == {"1", "2", "3"}, "all are unconfirmed")

    assert page.ids(RECORD) == [1, 2, 3]
    page.waits_for(RECORD, [])


def follow_until_shown(process, page, ids):
    """As a browser does, which opens a stream again that has ended."""

    def is_shown():
        if page.ended:
            page.stream.close()
            with contextlib.suppress(StoreUnavailable):
                page.follow(process.open(seen_version=page.last_event_id))
        return page.ids(RECORD) == ids and not page.ended

    wait_until(is_shown, f"{ids}")


def test_list_survives_an_outage_that_ends_the_streams(server, service, start, short_timeouts):
    process = start(connect(f"unix://{server.socket}"), recovery_grace_seconds=SHORT_GRACE_SECONDS)
    for user in (1, 2):
        service(heartbeat, f"t{user}", user)
    page = process.page()
    server.kill()
    page.ends("unavailable")
    page.stream.close()
    server.start()
    service(heartbeat, "t2", 2)

    def is_open():
        try:
            page.follow(process.open(seen_version=page.last_event_id))
        except StoreUnavailable:
            return False
        return True

    wait_until(is_open)
    assert page.ids(RECORD) == [1, 2]
    assert page.screen(RECORD).is_unconfirmed
    follow_until_shown(process, page, [2])
    assert not page.screen(RECORD).is_unconfirmed


def test_outage_within_a_grace_period_makes_nobody_stay_for_ever(server, service, start, short_timeouts):
    process = start(connect(f"unix://{server.socket}"), recovery_grace_seconds=SHORT_GRACE_SECONDS)
    for user in (1, 2):
        service(heartbeat, f"t{user}", user)
    page = process.page()
    server.kill()
    page.ends("unavailable")
    server.start()
    service(heartbeat, "t2", 2)
    follow_until_shown(process, page, [1, 2])
    wait_until(lambda: process.replica().unconfirmed_users == {"1"}, "1 is unconfirmed")

    server.signal(signal.SIGSTOP)  # this time nothing is lost
    page.ends("unavailable")
    server.signal(signal.SIGCONT)
    follow_until_shown(process, page, [2])


def test_outage_without_a_loss_leaves_nobody_unconfirmed(server, service, start, short_timeouts, monkeypatch):
    monkeypatch.setattr(timings, "SILENCE_TIMEOUT_SECONDS", 60.0)
    process = start(connect(f"unix://{server.socket}"), recovery_grace_seconds=60)
    service(heartbeat, "t1", 42)
    page = process.page()
    server.signal(signal.SIGSTOP)
    page.ends("unavailable")
    page.stream.close()
    server.signal(signal.SIGCONT)
    service(heartbeat, "t2", 43)

    def is_open():
        try:
            page.follow(process.open())
        except StoreUnavailable:
            return False
        return True

    wait_until(is_open)
    page.waits_for(RECORD, [42, 43])
    assert not page.screen(RECORD).is_unconfirmed


def test_record_that_lost_one_key_is_confirmed_at_once(redis, redis_of, start):
    process = start(redis_of(), recovery_grace_seconds=60)
    for user in (1, 2):
        heartbeat(redis, f"t{user}", user)
    page = process.page()
    redis.delete(RECORD.viewers_key)
    heartbeat(redis, "t3", 3)
    wait_until(lambda: set(page.ids(RECORD)) == {1, 2, 3})

    assert not page.screen(RECORD).is_unconfirmed


def test_subscription_that_is_killed_is_made_again_and_nothing_is_missed(server, service, start, monkeypatch):
    monkeypatch.setattr(timings, "RETRY_DELAY_SECONDS", 0.1)
    process = start(connect(f"unix://{server.socket}"))
    page = process.page(RECORD, OTHER)
    for user in range(10):
        with server.client() as client:
            assert client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") <= 1
        service(heartbeat, f"t{user}", user)
        service(heartbeat, f"t{user}", user, record=OTHER)
        page.waits_for(RECORD, list(range(user + 1)))
    page.waits_for(OTHER, list(range(10)))
    with server.client() as client:
        wait_until(lambda: len(client.client_list(_type="pubsub")) == 1)


def test_streams_end_if_redis_stays_away_and_new_ones_are_refused(server, service, start, short_timeouts):
    process = start(connect(f"unix://{server.socket}"))
    service(heartbeat, "t1", 42)
    page, other = process.page(), process.page(OTHER)
    server.kill()
    page.ends("unavailable")
    other.ends("unavailable")
    with pytest.raises(StoreUnavailable):
        process.open()
    page.stream.close()
    other.stream.close()
    with pytest.raises(StoreUnavailable):
        process.open()

    server.start()
    service(heartbeat, "t2", 43)

    def is_open():
        try:
            page.follow(process.open(seen_version=page.last_event_id))
        except StoreUnavailable:
            return False
        return True

    wait_until(is_open)
    page.waits_for(RECORD, [43])
    service(heartbeat, "t3", 44)
    page.waits_for(RECORD, [43, 44])


def test_redis_that_hangs_ends_the_streams_and_heals(server, service, start, short_timeouts, monkeypatch):
    monkeypatch.setattr(timings, "SILENCE_TIMEOUT_SECONDS", 60.0)  # a call without an answer shows it sooner
    process = start(connect(f"unix://{server.socket}"))
    service(heartbeat, "t1", 42)
    page = process.page()
    page.take()
    server.signal(signal.SIGSTOP)
    page.ends("unavailable")
    with pytest.raises(StoreUnavailable):
        process.open()
    page.stream.close()
    server.signal(signal.SIGCONT)
    service(heartbeat, "t2", 43)

    def is_open():
        try:
            page.follow(process.open())
        except StoreUnavailable:
            return False
        return True

    wait_until(is_open)
    page.waits_for(RECORD, [42, 43])
    service(heartbeat, "t3", 44)
    page.waits_for(RECORD, [42, 43, 44])


def test_process_that_waits_for_redis_does_not_spin(server, start, short_timeouts):
    process = start(connect(f"unix://{server.socket}"))
    page = process.page()
    server.kill()
    wait_until(lambda: process.seen["lost"])
    rounds, refresh_due = [], process.broadcast._refresh_due
    process.broadcast._refresh_due = lambda: (rounds.append(1), refresh_due())
    time.sleep(0.5)

    assert len(rounds) < 50
    del page


@pytest.fixture
def proxy(server):
    proxy = Proxy(server.socket)
    yield proxy
    proxy.close()


@pytest.fixture
def lasting_streams(short_timeouts, monkeypatch):
    """Faults are noticed quickly, and no stream ends for the time that a busy machine takes to mend them."""
    monkeypatch.setattr(timings, "MAX_UNCONFIRMED_SECONDS", TIMEOUT_SECONDS)


def test_half_open_subscription_is_found_and_the_streams_catch_up(
    server, service, proxy, start, lasting_streams
):
    process = start(connect(f"redis://127.0.0.1:{proxy.port}"))
    page = process.page()
    page.take()
    proxy.blackhole()
    service(heartbeat, "t1", 42)
    page.waits_for(RECORD, [42])
    service(heartbeat, "t2", 43)
    page.waits_for(RECORD, [42, 43])

    assert process.seen["silence"] + process.seen["lost"] >= 1


@pytest.mark.parametrize("after_bytes", [1, 40, 200])
def test_subscription_that_is_cut_in_the_middle_of_a_message_catches_up(
    server, service, proxy, start, lasting_streams, after_bytes
):
    process = start(connect(f"redis://127.0.0.1:{proxy.port}"))
    page = process.page()
    page.take()
    proxy.cut(after_bytes)
    service(heartbeat, "t1", 42)
    page.waits_for(RECORD, [42])
    service(heartbeat, "t2", 43)
    page.waits_for(RECORD, [42, 43])

    assert page.ended is None

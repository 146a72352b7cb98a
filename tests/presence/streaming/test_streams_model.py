"""Random histories with faults: in the end every page shows what GET viewers returns.

The real threads run as they do in a process, but a history decides what the
subscription delivers: messages are dropped, doubled and reordered.
`HYPOTHESIS_PROFILE=long` runs many more histories.
"""

import contextlib
import json
import threading
import time
from random import Random

import fakeredis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from record_presence.presence.codec import encode_user_id
from record_presence.presence.errors import TabOwnedByAnotherUser
from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.service import RecordPresenceService
from record_presence.presence.streaming import event_log, timings
from record_presence.presence.streaming import topic as topic_module
from record_presence.presence.streaming.broadcast import Broadcast
from record_presence.redis_client.client import connect
from tests.presence.histories import histories
from tests.presence.streaming.screen import Page, wait_until

LEASE_MS = 90_000
RECORDS = [Record("1", "flow", "12"), Record("1", "flow", "13")]
USERS = [42, "42", 7, 8]
TABS = ["t1", "t2", "t3", "t4", "t5"]

PROFILE = histories(25, 25, long=600)
EMBEDDED_PROFILE = histories(10, 25, long=600)  # takes five times as long
scripts = Scripts()


class Faults:
    """Between the subscription and the message handler. `plan` lists what happens to the next messages."""

    def __init__(self, broadcast):
        self._handle = broadcast._messages.handle
        self._lock = threading.Lock()
        self.plan = []
        self._late = []
        broadcast._messages.handle = self.handle

    def handle(self, message):
        with self._lock:
            fault = "" if message.kind != "message" or not self.plan else self.plan.pop(0)
            if fault == "drop":
                return
            if fault == "late":
                self._late.append(message)
                return
            now = [message] * (2 if fault == "double" else 1)
            late, self._late = (self._late, []) if message.kind == "message" else ([], self._late)
        for each in (*now, *late):
            self._handle(each)

    def end(self):
        """What is still delayed gets lost."""
        with self._lock:
            self.plan, self._late = [], []


class Reader:
    """A page that reconnects by itself, to any of the processes."""

    def __init__(self, broadcasts, user, limit, random):
        self.broadcasts, self.user, self.limit, self.random = broadcasts, user, limit, random
        self.page = None
        self.connect()

    def connect(self):
        if self.page:
            self.page.stream.close()
        last_event_id = self.page.last_event_id if self.page else None
        stream = self.random.choice(self.broadcasts).open(
            RECORDS, user=self.user, limit=self.limit, seen_version=last_event_id
        )
        if self.page:
            self.page.follow(stream)
        else:
            self.page = Page(stream)


class StreamsMachine(RuleBasedStateMachine):
    def __init__(self, redis, another):
        super().__init__()
        redis.flushall()
        self.redis = redis
        self.service = RecordPresenceService(redis, "1", ttl_seconds=LEASE_MS / 1000, scripts=scripts)
        self.clients = [another(), another()]
        self.broadcasts = [Broadcast(client, scripts, LEASE_MS) for client in self.clients]
        self.faults = [Faults(broadcast) for broadcast in self.broadcasts]
        random = Random(7)
        self.readers = [
            Reader(self.broadcasts, None if user is None else encode_user_id(user), limit, random)
            for user, limit in ((None, 100), (42, 100), ("42", 2), (99, 1), (None, 3))
        ]

    def teardown(self):
        try:
            self.converge()
        finally:
            for broadcast in self.broadcasts:
                broadcast.close()

    # What users do

    @rule(
        record=st.sampled_from(RECORDS),
        tab_id=st.sampled_from(TABS),
        user=st.sampled_from(USERS),
        mode=st.sampled_from(["view", "edit"]),
        name=st.sampled_from(["Alice", "Alicia"]),
    )
    def beat(self, record, tab_id, user, mode, name):
        self.quietly(self.service.update_presence, record, tab_id, user, name, mode)

    @rule(record=st.sampled_from(RECORDS), tab_id=st.sampled_from(TABS))
    def leave(self, record, tab_id):
        self.quietly(self.service.remove_presence, record, tab_id)

    @rule(record=st.sampled_from(RECORDS), number=st.integers(4, 15))
    def many_join(self, record, number):
        for user in range(100, 100 + number):
            self.quietly(self.service.update_presence, record, f"m{user}", user, "Many")

    @rule(record=st.sampled_from(RECORDS))
    def many_leave(self, record):
        for user in range(100, 115):
            self.quietly(self.service.remove_presence, record, f"m{user}")

    @rule(
        record=st.sampled_from(RECORDS),
        tab_id=st.sampled_from([*TABS, None]),
        user=st.sampled_from(USERS),
        lock_version=st.integers(1, 9),
    )
    def save(self, record, tab_id, user, lock_version):
        self.quietly(self.service.record_saved, record, lock_version, ["title"], user, "Saver", tab_id)

    @rule(
        record=st.sampled_from(RECORDS),
        tab_id=st.sampled_from(TABS),
        user=st.sampled_from(USERS),
        field=st.sampled_from(["title", "body"]),
        take_over=st.booleans(),
    )
    def claim(self, record, tab_id, user, field, take_over):
        def claim(*arguments):
            self.service.claim_field(*arguments, take_over=take_over)

        self.quietly(claim, record, tab_id, user, field)

    @rule(
        record=st.sampled_from(RECORDS),
        tab_id=st.sampled_from(TABS),
        user=st.sampled_from(USERS),
        field=st.sampled_from(["title", "body"]),
    )
    def release(self, record, tab_id, user, field):
        self.quietly(self.service.release_field, record, tab_id, user, field)

    def quietly(self, function, record, *arguments):
        with contextlib.suppress(TabOwnedByAnotherUser):
            function(record.type, record.id, *arguments)

    # What happens to leases, Redis and messages

    @rule(record=st.sampled_from(RECORDS), tab_id=st.sampled_from(TABS))
    def lease_ends(self, record, tab_id):
        if self.redis.zscore(record.seen_key, tab_id) is not None:
            self.redis.zincrby(record.seen_key, -LEASE_MS - 1, tab_id)

    @rule(record=st.sampled_from(RECORDS))
    def all_leases_end(self, record):
        self.redis.delete(record.tabs_key, record.seen_key, record.order_key)

    @rule(record=st.sampled_from(RECORDS), lost=st.integers(0, 3))
    def key_is_evicted(self, record, lost):
        self.redis.delete(record.keys[lost])

    @rule()
    def redis_loses_all(self):
        self.redis.flushall()

    @rule(
        process=st.integers(0, 1),
        plan=st.lists(st.sampled_from(["drop", "late", "double", ""]), min_size=1, max_size=4),
    )
    def messages_are_lost_late_or_doubled(self, process, plan):
        self.faults[process].plan = plan

    @rule(process=st.integers(0, 1))
    def redis_client_reconnects_the_subscription(self, process):
        subscription = self.broadcasts[process]._subscription
        with subscription._write_lock:
            pubsub = subscription._pubsub
        if pubsub and pubsub.connection:
            channels = list(pubsub.channels)
            pubsub.subscribe(*channels)  # as the Redis client does when it reconnects

    # What readers do

    @rule(reader=st.integers(0, 4), at_most=st.sampled_from([None, None, 0, 1, 2]))
    def read(self, reader, at_most):
        page = self.readers[reader].page
        page.take(at_most=at_most)
        if at_most is not None:
            self.readers[reader].connect()  # the rest is lost with the connection

    @rule(reader=st.integers(0, 4))
    def connect_again(self, reader):
        self.readers[reader].connect()

    @rule()
    def time_passes(self):
        time.sleep(0.02)

    # How it ends

    def converge(self):
        for faults in self.faults:
            faults.end()
        # Whatever has happened, every reader gets what is done now.
        self.beat(RECORDS[0], "t6", 7, "edit", "Alice")
        for lock_version in (10, 11):
            self.save(RECORDS[0], "t6", 7, lock_version)
        self.claim(RECORDS[0], "t6", 7, "title", True)
        for record in RECORDS:
            for reader in self.readers:
                self.assert_converged(record, reader)

    def assert_converged(self, record, reader):
        without_user = {} if reader.user is None else {"without_user": json.loads(reader.user)}
        page, screen = reader.page, reader.page.screen(record)

        def shown():
            return screen.viewers, screen.total, screen.saves, screen.claims

        def listed():
            answer = self.service.list_viewers(record.type, record.id, limit=reader.limit, **without_user)
            return answer.viewers, answer.total, answer.conflicts.saves, answer.conflicts.claims

        def is_equal():
            page.take()
            assert page.ended is None
            return shown() == listed()

        try:
            wait_until(is_equal)
        except AssertionError:
            raise AssertionError(f"{shown()}\n{listed()}\n{page.log}") from None


@pytest.fixture
def _short_timeouts(monkeypatch):
    monkeypatch.setattr(timings, "MAX_SWEEP_INTERVAL_SECONDS", 0.3)
    monkeypatch.setattr(timings, "VERSION_CHECK_DELAY_SECONDS", 0.02)
    monkeypatch.setattr(timings, "OPEN_TIMEOUT_SECONDS", 20.0)  # on a busy machine
    monkeypatch.setattr(timings, "MAX_UNCONFIRMED_SECONDS", 20.0)
    monkeypatch.setattr(event_log, "MAX_PENDING_EVENTS", 6)
    monkeypatch.setattr(topic_module, "MAX_EVENTS_PER_PUBLISH", 4)


# The broadcasts' threads use the module while Hypothesis draws.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.usefixtures("_short_timeouts")
def test_every_history_ends_with_every_page_showing_the_viewers(redis, request):
    def another():
        if isinstance(redis, fakeredis.FakeRedis):
            return fakeredis.FakeRedis(server=redis.connection_pool.connection_kwargs["server"])
        return connect(f"unix://{request.getfixturevalue('redis_server').socket}")

    profile = EMBEDDED_PROFILE if isinstance(redis, fakeredis.FakeRedis) else PROFILE
    run_state_machine_as_test(lambda: StreamsMachine(redis, another), settings=profile)

"""Sharded pub/sub on a Cluster: who publishes how, who hears it, and what happens when slots move."""

import contextlib
import socket
import threading
import time
from types import SimpleNamespace

import pytest
import redis.exceptions as redis_errors
from redis.client import PubSub

from record_presence.presence.errors import StoreUnavailable
from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.service import RecordPresenceService
from record_presence.presence.streaming import timings
from record_presence.presence.streaming.broadcast import Broadcast
from record_presence.presence.streaming.outage import KnownReplicas
from record_presence.presence.streaming.publisher import Publisher
from record_presence.presence.streaming.replica import Replica
from record_presence.presence.streaming.scheduler import Scheduler
from record_presence.presence.streaming.shards import Shards
from record_presence.presence.streaming.subscription import Message
from record_presence.presence.streaming.sync_state import PUBSUB, SHARDED_PUBSUB
from record_presence.presence.streaming.topic import Topic
from record_presence.presence.streaming.wakeups import Wakeups
from record_presence.redis_client.client import connect
from tests.presence.streaming.screen import open_page, running_broadcasts, wait_until
from tests.redis_binary import VARIABLE, is_before_redis_7, redis_binary
from tests.redis_cluster import RedisCluster

RECORDS = [Record("1", "flow", f"shard-{number}") for number in range(12)]
BEFORE_A_SWEEP_SECONDS = 0.5 * timings.MAX_SWEEP_INTERVAL_SECONDS
SPUBLISH_RIGHTS = ("+ssubscribe", "+sunsubscribe", "+spublish")

needs_sharding = pytest.mark.skipif(
    is_before_redis_7(redis_binary()), reason="this server has no sharded pub/sub"
)


@pytest.fixture(scope="module")
def whole_cluster():
    cluster = RedisCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(whole_cluster):
    for port in whole_cluster.ports:
        whole_cluster.client(port).flushall()
    return whole_cluster


class Process:
    """What a process of the service has of it: scripts, streams, calls."""

    def __init__(self, url, **options):
        self.client = connect(url)
        self.scripts = Scripts(may_publish_sharded=options.get("publishes", True))
        self.service = RecordPresenceService(self.client, 1, scripts=self.scripts)
        self.broadcast = Broadcast(
            self.client, self.scripts, 90_000, has_sharded_pubsub=options.get("listens", True)
        )

    def beat(self, record, user):
        self.service.update_presence(record.type, record.id, f"t{user}", user, f"User {user}")

    def leave(self, record, user):
        self.service.remove_presence(record.type, record.id, f"t{user}", user)

    def page(self, records):
        return open_page(self.broadcast, records)

    def close(self):
        self.broadcast.close()
        self.client.close()


@pytest.fixture
def start(monkeypatch):
    monkeypatch.setattr(timings, "PROBE_INTERVAL_SECONDS", 0.5)
    monkeypatch.setattr(timings, "OPEN_TIMEOUT_SECONDS", 20.0)  # on a busy machine
    processes, before = [], running_broadcasts()

    def start(url, *, publishes=True, listens=True):
        processes.append(process := Process(url, publishes=publishes, listens=listens))
        process.beat(Record("1", "flow", "first"), 1)
        if publishes:
            wait_until(lambda: process.scripts._sharding.explore_at > 0 and not exploring(), "a decision")
        return process

    yield start
    for process in processes:
        process.close()
    wait_until(lambda: running_broadcasts() <= before)


def exploring():
    return [thread for thread in running_broadcasts() if thread.name == "presence-explorer"]


def calls_of(cluster, command):
    """How often each node was sent a command, or ran it in a script."""
    stats = [cluster.client(port).info("commandstats") for port in cluster.ports]
    return [node.get(f"cmdstat_{command}", {}).get("calls", 0) for node in stats]


def heard_on_the_bus(cluster):
    """Messages of PUBLISH that the nodes have passed on to each other."""
    infos = [cluster.client(port).execute_command("CLUSTER INFO") for port in cluster.ports]
    return sum(int(info.get("cluster_stats_messages_publish_received", 0)) for info in infos)


@needs_sharding
def test_changes_reach_every_process_and_no_node_but_their_own(cluster, start):
    processes = [start(cluster.url) for _ in range(2)]
    assert {cluster.port_of(record.tabs_key) for record in RECORDS} == set(cluster.ports)
    pages = [process.page(RECORDS) for process in processes]
    published, started = sum(calls_of(cluster, "publish")), time.monotonic()
    for record in RECORDS:
        processes[0].beat(record, 42)
    for page in pages:
        for record in RECORDS:
            page.waits_for(record, [42])
    heard = heard_on_the_bus(cluster)
    for _ in range(5):
        for record in RECORDS:
            processes[1].leave(record, 42)
            processes[1].beat(record, 42)
    # What is left are the probes of each process's other subscription.
    probes = 2 * (time.monotonic() - started) / timings.PROBE_INTERVAL_SECONDS
    assert heard_on_the_bus(cluster) - heard < 60 + 2 * probes
    assert sum(calls_of(cluster, "publish")) - published < 30 + probes
    assert min(calls_of(cluster, "spublish")) > 0


@needs_sharding
@pytest.mark.measured  # a process that can't answer for seconds reads its records again
def test_processes_that_publish_in_different_ways_hear_each_other(cluster, start):
    """As during a deployment in two steps: of a release that does not know SPUBLISH, and of this one."""
    record = RECORDS[0]
    old = start(cluster.url, publishes=False, listens=False)
    listening, new = start(cluster.url, publishes=False), start(cluster.url)
    pages = {process: process.page([record]) for process in (old, listening, new)}
    # First step: whatever is published, both releases hear.
    old.beat(record, 1)
    listening.beat(record, 2)
    for page in pages.values():
        page.waits_for(record, [1, 2])
    # Second step: the old ones are gone.
    new.beat(record, 3)
    listening.leave(record, 1)
    for process in (listening, new):
        pages[process].waits_for(record, [2, 3])
        assert pages[process].kinds().count("snapshot") == 1  # no change was missed


@needs_sharding
def test_slot_that_moves_takes_its_streams_along(cluster, start):
    process = start(cluster.url)
    record = Record("1", "flow", "moving")
    page = process.page([record, *RECORDS])
    process.beat(record, 1)
    page.waits_for(record, [1])
    source = cluster.port_of(record.tabs_key)
    target = next(port for port in cluster.ports if port != source)
    cluster.move(record.tabs_key, target)
    process.beat(record, 2)
    page.waits_for(record, [1, 2], BEFORE_A_SWEEP_SECONDS)
    process.beat(record, 3)
    page.waits_for(record, [1, 2, 3], BEFORE_A_SWEEP_SECONDS)  # by a message of the new node
    assert page.ended is None


@needs_sharding
def test_stream_that_opens_where_the_client_does_not_know_of_the_move_is_right(cluster, start):
    process = start(cluster.url)
    record = Record("1", "flow", "moved-before")
    process.beat(record, 1)
    source = cluster.port_of(record.tabs_key)
    target = next(port for port in cluster.ports if port != source)
    other = start(cluster.url)
    cluster.move(record.tabs_key, target)
    page = process.page([record])
    other.beat(record, 2)
    page.waits_for(record, [1, 2])


@needs_sharding
def test_node_without_the_rights_is_listened_to_as_before_and_no_call_fails(cluster, start, monkeypatch):
    process = start(cluster.url)
    page = process.page(RECORDS)
    assert process.scripts.publishes_sharded
    for port in cluster.ports:
        cluster.client(port).execute_command("ACL", "SETUSER", "default", "-spublish", "-ssubscribe")
    try:
        for record in RECORDS:
            process.beat(record, 5)
        assert not process.scripts.publishes_sharded
        denied = start(cluster.url)
        assert not denied.scripts.publishes_sharded
        late = denied.page(RECORDS)
        for record in RECORDS:
            denied.beat(record, 6)
        for shown in (page, late):
            for record in RECORDS:
                shown.waits_for(record, [5, 6])
    finally:
        for port in cluster.ports:
            cluster.client(port).execute_command("ACL", "SETUSER", "default", "+spublish", "+ssubscribe")


@needs_sharding
# Of redis-py, which connects again by itself while this is going on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_proxy_that_closes_the_connection_on_ssubscribe_is_done_without(cluster, start, monkeypatch):
    subscribe = PubSub.ssubscribe

    def closed(pubsub, *channels):
        subscribe(pubsub, *channels)
        with contextlib.suppress(OSError):
            pubsub.connection._sock.shutdown(socket.SHUT_RDWR)

    monkeypatch.setattr(PubSub, "ssubscribe", closed)
    process = start(cluster.url)
    pages = []

    def is_open():
        with contextlib.suppress(StoreUnavailable):  # it is asked twice
            pages.append(process.page(RECORDS))
        return pages

    wait_until(is_open, "an open stream")
    assert not process.scripts.publishes_sharded
    for record in RECORDS:
        process.beat(record, 42)
        pages[0].waits_for(record, [42])


@needs_sharding
def test_half_of_the_rights_is_none(cluster, start):
    """Without SPUBLISH nobody would know whether the subscription is alive."""
    for port in cluster.ports:
        cluster.client(port).execute_command("ACL", "SETUSER", "default", "-spublish")
    try:
        process = start(cluster.url)
        page = process.page(RECORDS)
        for record in RECORDS:
            process.beat(record, 42)
            page.waits_for(record, [42])
        wait_until(lambda: all(feed.is_refused for feed in process.broadcast._shards.feeds))
        for record in RECORDS:
            process.beat(record, 43)
            page.waits_for(record, [42, 43])
        assert page.ended is None
    finally:
        for port in cluster.ports:
            cluster.client(port).execute_command("ACL", "SETUSER", "default", "+spublish")


def test_cluster_of_redis_6_is_served_by_publish(start, monkeypatch):
    monkeypatch.setenv(VARIABLE, "redis-6.2")
    try:
        redis_binary()
    except RuntimeError as missing:
        pytest.skip(str(missing))
    cluster = RedisCluster()
    try:
        process = start(cluster.url)
        page = process.page(RECORDS)
        for record in RECORDS:
            process.beat(record, 42)
            page.waits_for(record, [42])
        assert not process.scripts.publishes_sharded
    finally:
        process.close()
        cluster.close()


class OneNode:
    """A Cluster's client, as far as where to subscribe goes. Nothing listens; the rest answers."""

    name = "node"

    def __init__(self, refuse=None):
        self._refuse = refuse

    def get_node_from_key(self, key):
        return self

    def get_redis_connection(self, node):
        return self

    def ping(self):
        return True

    def pubsub(self):
        return SimpleNamespace(ssubscribe=self._subscribe, close=lambda: None)

    def _subscribe(self, channel):
        if self._refuse:
            raise self._refuse


class OneFeed:
    """A feed of a node, whose thread the test plays."""

    def __init__(self, cluster):
        self.lock, self.topics = threading.RLock(), {}
        self.scheduler = Scheduler(self.lock)
        self.shards = Shards(
            cluster,
            Scripts(),
            self.topics,
            self.scheduler,
            Publisher(self.lock),
            KnownReplicas(0.0),
            self.lock,
            run=lambda feed: None,
            observe=lambda what: None,
        )

    def add(self, record):
        topic = self.topics[record.channel] = Topic(record, Replica(record), Wakeups(threading.RLock()))
        topic.sync.require(SHARDED_PUBSUB)
        topic.sync.subscribe(PUBSUB)
        self.scheduler.add(topic)
        self.shards.update_channels([record.channel])
        return topic


def test_node_without_room_for_a_connection_is_not_taken_for_one_without_sharded_pubsub():
    full = OneFeed(OneNode(redis_errors.ConnectionError("max number of clients reached")))
    full.add(RECORDS[0])
    [feed] = full.shards.feeds
    for _ in range(3):
        with pytest.raises(redis_errors.ConnectionError) as failed, feed.subscription.connected():
            pass
        assert not feed.subscription.is_refused(failed.value)


def test_topic_that_comes_just_as_a_node_takes_subscriptions_again_is_subscribed(monkeypatch):
    one = OneFeed(OneNode())
    early = one.add(RECORDS[0])
    [feed] = one.shards.feeds
    one.shards.refuse(feed)
    assert early.sync.is_subscribed  # as far as can be
    subscribed = []
    monkeypatch.setattr(feed.subscription, "update_channels", subscribed.extend)

    feed.messages.handle(Message("connected", "probe", 1))
    late = one.add(RECORDS[1])
    one.shards.accept(feed)

    assert set(subscribed) == {early.record.channel, late.record.channel}
    assert not early.sync.is_subscribed
    assert not late.sync.is_subscribed  # before the node has said so

"""Streams on a Cluster and behind Sentinels: they work, and recover after a node has died."""

import pytest

from record_presence.presence.errors import PresenceError, StoreUnavailable
from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.service import RecordPresenceService
from record_presence.presence.streaming import timings
from record_presence.presence.streaming.broadcast import Broadcast
from record_presence.redis_client.client import connect
from tests.presence.streaming.screen import open_page, running_broadcasts, wait_until
from tests.redis_cluster import RedisCluster, RedisSentinel

RECOVERY_SECONDS = 60.0  # until nodes and Sentinels of a busy machine have agreed
HEAL_SECONDS = 5.0


@pytest.fixture(scope="module")
def cluster():
    cluster = RedisCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def sentinel():
    sentinel = RedisSentinel()
    yield sentinel
    sentinel.close()


@pytest.fixture
def open_client():
    clients = []

    def open_client(url):
        clients.append(connect(url))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
def scripts():
    return Scripts(may_publish_sharded=True)


@pytest.fixture
def start(monkeypatch, open_client, scripts):
    monkeypatch.setattr(timings, "PROBE_INTERVAL_SECONDS", 0.5)
    monkeypatch.setattr(timings, "SILENCE_TIMEOUT_SECONDS", 2.0)
    monkeypatch.setattr(timings, "MAX_SWEEP_INTERVAL_SECONDS", 1.0)
    processes, before = [], running_broadcasts()

    def start(url):
        processes.append(Broadcast(open_client(url), scripts, 90_000))
        return processes[-1]

    yield start
    for process in processes:
        process.close()
    wait_until(lambda: running_broadcasts() <= before)


def beat(service, record, tab_id, user):
    """Send heartbeats until one is accepted; during a failover none is."""

    def is_accepted():
        try:
            service.update_presence(record.type, record.id, tab_id, user, f"User {user}")
        except StoreUnavailable:
            return False
        return True

    return wait_until(is_accepted, "an accepted heartbeat", RECOVERY_SECONDS)


def reconnect_until_shown(process, page, record, ids):
    """Wait until the page shows these viewers. Like a browser, reopen a stream that has ended."""

    def is_shown():
        try:
            if page.ended:
                page.stream.close()
                page.follow(process.open([record], limit=100, seen_version=page.last_event_id))
        except PresenceError:
            return False
        return page.ids(record) == ids

    return wait_until(is_shown, f"{ids}", RECOVERY_SECONDS)


def test_streams_of_a_cluster_show_records_of_every_node(cluster, start, open_client, scripts):
    records = [Record("1", "flow", f"all-{number}") for number in range(12)]
    assert {cluster.port_of(record.tabs_key) for record in records} == set(cluster.ports)
    pages = [open_page(start(cluster.url), records) for _ in range(2)]
    service = RecordPresenceService(open_client(cluster.url), 1, scripts=scripts)
    for record in records:
        beat(service, record, "t1", 42)
    for page in pages:
        for record in records:
            page.waits_for(record, [42])
    for record in records:
        service.remove_presence("flow", record.id, "t1", 42)
    for page in pages:
        for record in records:
            page.waits_for(record, [])
        assert [entry[0] for entry in page.log].count("leave") == len(records)


@pytest.mark.measured  # of the other records no stream ends
def test_dead_primary_takes_only_its_own_records_with_it(cluster, start, open_client, scripts):
    process, service = start(cluster.url), RecordPresenceService(open_client(cluster.url), 1, scripts=scripts)
    dead = cluster.ports[0]
    records = [Record("1", "flow", f"dead-{number}") for number in range(12)]
    lost = next(record for record in records if cluster.port_of(record.tabs_key) == dead)
    kept = next(record for record in records if cluster.port_of(record.tabs_key) != dead)
    pages = {record: open_page(process, [record]) for record in (lost, kept)}
    cluster.kill(dead)
    try:
        # If the subscription was on the dead node, it moves to another.
        for user in range(3):
            beat(service, kept, f"t{user}", user)
            reconnect_until_shown(process, pages[kept], kept, list(range(user + 1)))
        pages[lost].ends("unavailable", RECOVERY_SECONDS)
        pages[kept].take()
        assert pages[kept].ended is None
        with pytest.raises(StoreUnavailable):
            process.open([lost], limit=100)
    finally:
        cluster.restart(dead)
    beat(service, lost, "t1", 42)
    reconnect_until_shown(process, pages[lost], lost, [42])


@pytest.mark.measured  # a stream ends that is not sure of its list for three seconds
def test_planned_failover_of_a_cluster_is_followed_and_no_stream_ends(start, open_client, scripts):
    cluster = RedisCluster(replicas=True)
    try:
        process, service = (
            start(cluster.url),
            RecordPresenceService(open_client(cluster.url), 1, scripts=scripts),
        )
        records = [Record("1", "flow", f"moved-{number}") for number in range(12)]
        assert {cluster.port_of(record.tabs_key) for record in records} == set(cluster.ports)
        for record in records:
            beat(service, record, "t1", 1)
        page = open_page(process, records)
        for record in records:
            page.waits_for(record, [1])
        cluster.fail_over()
        for record in records:
            beat(service, record, "t2", 2)
            page.waits_for(record, [1, 2], HEAL_SECONDS)
        assert page.ended is None
    finally:
        cluster.close()


def test_planned_failover_is_followed(sentinel, start, open_client, scripts):
    process, service = (
        start(sentinel.url),
        RecordPresenceService(open_client(sentinel.url), 1, scripts=scripts),
    )
    record = Record("1", "flow", "12")
    page = open_page(process, [record])
    beat(service, record, "t1", 1)
    reconnect_until_shown(process, page, record, [1])
    sentinel.fail_over()
    wait_until(lambda: sentinel.client(sentinel.replica).role()[0] == "master", seconds=RECOVERY_SECONDS)
    beat(service, record, "t2", 2)
    reconnect_until_shown(process, page, record, [1, 2])


def test_crashed_primary_is_replaced_and_the_streams_follow(sentinel, start, open_client, scripts):
    process, service = (
        start(sentinel.url),
        RecordPresenceService(open_client(sentinel.url), 1, scripts=scripts),
    )
    record = Record("1", "flow", "12")
    page = open_page(process, [record])
    beat(service, record, "t1", 1)
    reconnect_until_shown(process, page, record, [1])
    sentinel.kill(sentinel.primary)
    beat(service, record, "t2", 2)
    reconnect_until_shown(process, page, record, [1, 2])
    beat(service, record, "t3", 3)
    reconnect_until_shown(process, page, record, [1, 2, 3])

"""Streams on a Cluster and behind Sentinels: they work, and heal when a node dies."""

import time

import pytest

from app.presence import broadcast as broadcast_module
from app.presence.broadcast import Broadcast
from app.presence.errors import PresenceError, StoreUnavailable
from app.presence.records import Record
from app.presence.scripts import Scripts
from app.presence.service import RecordPresenceService
from app.redis_client import connect
from tests.presence.streaming import Page, wait_until
from tests.redis_cluster import RedisCluster, RedisSentinel

HEAL_SECONDS = 15.0
scripts = Scripts()


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
def start(monkeypatch):
    monkeypatch.setattr(broadcast_module, "PROBE_SECONDS", 0.5)
    monkeypatch.setattr(broadcast_module, "SILENCE_SECONDS", 2.0)
    monkeypatch.setattr(broadcast_module, "AUDIT_SECONDS", 1.0)
    processes = []

    def start(url):
        processes.append(Broadcast(connect(url), scripts, 90_000))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


def beat(service, record, tab_id, user):
    """Until it is taken: while a failover goes on, it is not."""

    def is_taken():
        try:
            service.update_presence(record.type, record.id, tab_id, user, f"User {user}")
        except StoreUnavailable:
            return False
        return True

    return wait_until(is_taken, "a heartbeat that is taken", HEAL_SECONDS)


def keep_showing(process, page, record, ids):
    """As a browser does: a stream that ended is opened again."""

    def is_shown():
        try:
            if page.ended:
                page.stream.close()
                page.follow(process.open([record], limit=100, seen_version=page.last_event_id))
        except PresenceError:
            return False
        return page.ids(record) == ids

    return wait_until(is_shown, f"{ids}", HEAL_SECONDS)


def test_streams_of_a_cluster_show_records_of_every_node(cluster, start):
    records = [Record("1", "flow", f"all-{number}") for number in range(12)]
    assert {cluster.port_of(record.tabs_key) for record in records} == set(cluster.ports)
    pages = [Page(start(cluster.url).open(records, limit=100)) for _ in range(2)]
    service = RecordPresenceService(connect(cluster.url), 1)
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


def test_dead_primary_takes_only_its_own_records_with_it(cluster, start):
    process, service = start(cluster.url), RecordPresenceService(connect(cluster.url), 1)
    dead = cluster.ports[0]
    records = [Record("1", "flow", f"dead-{number}") for number in range(12)]
    lost = next(record for record in records if cluster.port_of(record.tabs_key) == dead)
    kept = next(record for record in records if cluster.port_of(record.tabs_key) != dead)
    pages = {record: Page(process.open([record], limit=100)) for record in (lost, kept)}
    cluster.kill(dead)
    try:
        # The subscription may have been on the dead node: it finds another.
        for user in range(3):
            beat(service, kept, f"t{user}", user)
            keep_showing(process, pages[kept], kept, list(range(user + 1)))
        pages[lost].ends("unavailable", HEAL_SECONDS)
        pages[kept].take()
        assert pages[kept].ended is None
        with pytest.raises(StoreUnavailable):
            process.open([lost], limit=100)
    finally:
        cluster.restart(dead)
    beat(service, lost, "t1", 42)
    keep_showing(process, pages[lost], lost, [42])


def test_planned_failover_is_followed(sentinel, start):
    process, service = start(sentinel.url), RecordPresenceService(connect(sentinel.url), 1)
    record = Record("1", "flow", "12")
    page = Page(process.open([record], limit=100))
    beat(service, record, "t1", 1)
    keep_showing(process, page, record, [1])
    sentinel.fail_over()
    wait_until(lambda: sentinel.client(sentinel.replica).role()[0] == "master", seconds=HEAL_SECONDS)
    beat(service, record, "t2", 2)
    keep_showing(process, page, record, [1, 2])


def test_crashed_primary_is_replaced_and_the_streams_follow(sentinel, start):
    process, service = start(sentinel.url), RecordPresenceService(connect(sentinel.url), 1)
    record = Record("1", "flow", "12")
    page = Page(process.open([record], limit=100))
    beat(service, record, "t1", 1)
    keep_showing(process, page, record, [1])
    started = time.monotonic()
    sentinel.kill(sentinel.primary)
    beat(service, record, "t2", 2)
    keep_showing(process, page, record, [1, 2])

    assert time.monotonic() - started < HEAL_SECONDS
    beat(service, record, "t3", 3)
    keep_showing(process, page, record, [1, 2, 3])

"""The service on a Cluster: many records in one call, dead primaries, slots on the move."""

import time

import pytest

from record_presence.presence.errors import StoreUnavailable
from record_presence.presence.records import Record
from record_presence.presence.service import RecordPresenceService
from record_presence.redis_client.client import connect

IN_TIME_SECONDS = 2.0


@pytest.fixture
def service(cluster):
    return RecordPresenceService(connect(cluster.url), 1)


def open_records(cluster, service, prefix, count=12):
    """Records of one viewer each; the ports of their primaries, by id."""
    ports = {}
    for number in range(count):
        record = Record("1", "flow", f"{prefix}-{number}")
        ports[record.id] = cluster.port_of(record.tabs_key)
        service.update_presence("flow", record.id, "t1", number, "Alice")
    assert set(ports.values()) == set(cluster.ports)
    return ports


def test_many_records_are_listed_without_asking_a_node_that_holds_none_of_them(cluster, service):
    ports = open_records(cluster, service, "ask")
    ids = list(ports)
    service.list_viewers_of([("flow", id) for id in ids])
    questions = [
        cluster.client(port).info("commandstats").get("cmdstat_command|getkeys") for port in cluster.ports
    ]

    lists = service.list_viewers_of([("flow", id) for id in ids])
    assert [listed.viewers[0]["id"] for listed in lists] == list(range(len(ids)))
    assert questions == [None, None, None]


@pytest.mark.measured
def test_dead_primary_leaves_lists_of_other_records_alone(cluster, service):
    ports = open_records(cluster, service, "dead")
    dead = cluster.ports[0]
    kept = [("flow", id) for id, port in ports.items() if port != dead]
    lost = [("flow", id) for id, port in ports.items() if port == dead]
    cluster.kill(dead)
    try:
        assert [listed.total for listed in service.list_viewers_of(kept)] == [1] * len(kept)
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            service.list_viewers_of([*kept, *lost])
        assert time.monotonic() - started < IN_TIME_SECONDS
    finally:
        cluster.restart(dead)
    cluster.until(lambda: cluster.client(dead).execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    assert [listed.total for listed in service.list_viewers_of([*kept, *lost])] == [1] * len(kept) + [
        0
    ] * len(lost)


def test_slot_that_moves_takes_its_records_along(cluster, service):
    ports = open_records(cluster, service, "move")
    moved = next(id for id, port in ports.items() if port == cluster.ports[0])
    cluster.move(Record("1", "flow", moved).tabs_key, cluster.ports[1])

    service.update_presence("flow", moved, "t2", 99, "Bob")
    [listed] = service.list_viewers_of([("flow", moved)])
    assert [viewer["id"] for viewer in listed.viewers] == [list(ports).index(moved), 99]


def test_open_records_of_all_nodes_are_listed_and_a_user_erased(cluster):
    service = RecordPresenceService(connect(cluster.url), 1, timeline_seconds=60, has_open_index=True)
    ports = open_records(cluster, service, "open")
    service.update_presence("flow", "open-0", "t2", 99, "Olga")
    service.update_presence("flow", "open-11", "t2", 99, "Olga")
    service.remove_presence("flow", "open-11", "t1")

    found = {record["record"]: record["people"] for record in service.list_open_records("flow").records}
    assert found == {f"flow:{id}": 2 if id == "open-0" else 1 for id in ports}
    where = service.list_open_records(user_id=99).records
    assert [record["record"] for record in where] == ["flow:open-11", "flow:open-0"]
    assert service.forget_user(99).tabs == 2
    assert service.list_open_records(user_id=99).records == []
    assert len(service.list_open_records("flow").records) == len(ports) - 1

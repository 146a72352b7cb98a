"""What a job or an import asks before it writes."""

import fakeredis
import pytest

from record_presence.presence.errors import InvalidPresence, StoreUnavailable, TabOwnedByAnotherUser
from record_presence.presence.service import RecordPresenceService
from record_presence.redis_client.client import connect
from record_presence.safe_writes.writer import Writer, check_before_save

VALUES = {"title": "Sale", "note": "by Friday", "total": 3, "due": "2026-12-24"}


@pytest.fixture
def presence():
    return RecordPresenceService(fakeredis.FakeRedis(server=fakeredis.FakeServer()), 1)


@pytest.fixture
def job(presence):
    return Writer(presence, "order", 7, "nightly", "Nightly job")


def edit(presence, tab_id, user_id, name, *dirty):
    presence.update_presence("order", 7, tab_id, user_id, name, "edit", bool(dirty), dirty_fields=dirty)


def test_job_gets_what_is_clear_and_the_rest_with_the_people_on_it(presence, job):
    edit(presence, "a1", 42, "Alice", "note")
    edit(presence, "b1", 43, "Bob", "note", "total")
    edit(presence, "c1", 44, "Cleo")
    presence.claim_field("order", 7, "a1", 42, "total")
    presence.record_saved("order", 7, 3, ["due"], 44, "Cleo", "c1")
    check = check_before_save(job, VALUES, base_version=2)

    assert check.clear == {"title": "Sale"}
    assert {name: (held.value, held.names) for name, held in check.held.items()} == {
        "note": ("by Friday", ["Alice", "Bob"]),
        "total": (3, ["Alice", "Bob"]),
        "due": ("2026-12-24", ["Cleo"]),
    }
    assert check.held["total"].claim["tab_id"] == "a1"
    assert check.held["due"].newer_save["lock_version"] == 3
    assert check_before_save(job, {"due": ""}, base_version=3).clear == {"due": ""}


def test_claim_of_the_whole_record_holds_every_field(presence, job):
    edit(presence, "a1", 42, "Alice")
    presence.claim_field("order", 7, "a1", 42, "*")
    check = check_before_save(job, VALUES)

    assert (check.clear, list(check.held)) == ({}, list(VALUES))
    own = Writer(presence, "order", 7, 42, "Alice", "a1")
    assert check_before_save(own, VALUES).clear == VALUES


def test_asking_is_one_script_call_and_nobody_sees_it(presence, job, monkeypatch):
    edit(presence, "a1", 42, "Alice", "note")
    before = presence.list_viewers("order", 7).version
    calls = []
    run = presence._run
    monkeypatch.setattr(presence, "_run", lambda name, *rest: calls.append(name) or run(name, *rest))
    check_before_save(job, VALUES, base_version=2)

    assert calls == ["check"]
    assert presence.list_viewers("order", 7).version == before


def test_who_cannot_be_answered_is_told_so(presence, job):
    edit(presence, "a1", 42, "Alice")
    away = RecordPresenceService(connect("redis://127.0.0.1:1"), 1)
    with pytest.raises(StoreUnavailable):
        check_before_save(Writer(away, "order", 7, "nightly", "Nightly job"), VALUES)
    with pytest.raises(TabOwnedByAnotherUser):
        check_before_save(Writer(presence, "order", 7, 43, "Bob", "a1"), VALUES)
    for values in ({}, {f"f{number}": 0 for number in range(101)}):
        with pytest.raises(InvalidPresence):
            check_before_save(job, values)

"""What one user can make Redis keep, and what one tenant can: tried from outside, over HTTP."""

import json
import time

import pytest
from limits import parse

from record_presence import create_app
from record_presence.api.calls import FIELD_BYTES_PER_CALL
from record_presence.api.extension import EXTENSION_NAME
from record_presence.identity import kept_bytes
from record_presence.identity.caller import Caller
from record_presence.identity.kept_bytes import (
    FIELD_COPIES,
    MAX_BURST_BYTES,
    MAX_BYTES_PER_DAY,
    TAB_BYTES,
    TenantMemory,
    _LeakyBuckets,
    bytes_of_unsaved,
)
from record_presence.settings import Settings
from tests.api.client import SETTINGS, Person, data_of, failure_of

MAX_PINNED_BYTES = 10_000_000  # by one user, at the default limits
WINDOWS = 3  # of calls, in the two leases for which a tab is kept at most
MAX_OVERHEAD = 1.25  # of a full stream, by its bytes
MAX_END_BYTES = 2_500  # of a user's tabs on a record: that they left, with the longest id
MAX_ONE_CHANGE_BYTES = 20_000  # counted after it is made


@pytest.fixture
def app(redis):
    return create_app(SETTINGS, redis=redis)


def field_names(count, width, number=0, filler="/"):
    return [f"{number}-{i}-".ljust(width, filler) for i in range(count)]


def kinds(app, record):
    return [entry["kind"] for entry in data_of(Person(app, 43, "Bob").timeline(record))["entries"]]


# Calls count by what they store


@pytest.mark.parametrize(("byte_count", "calls"), [(0, 1), (FIELD_BYTES_PER_CALL - 1, 1), (8000, 16)])
def test_heartbeat_counts_by_the_bytes_of_its_fields(app, redis, byte_count, calls):
    names = field_names(100, 80, filler="x") if byte_count == 8000 else ["x" * 100] * 0
    if byte_count == FIELD_BYTES_PER_CALL - 1:
        names = ["a" * 128, "b" * 128, "c" * 128, "d" * 127]
    data_of(Person(app).heartbeat(dirty=True, dirty_fields=names))

    [key] = redis.scan_iter("*_presence_calls:*")
    assert int(redis.get(key)) == calls


def test_save_counts_by_the_bytes_of_its_fields(app, redis):
    alice = Person(app)
    data_of(alice.heartbeat(mode="edit"))
    data_of(alice.call("POST", "flow/12/saved", json=save_of(1, field_names(100, 100))))

    [key] = redis.scan_iter("*_presence_calls:*")
    assert int(redis.get(key)) == 1 + 1 + 10_000 // FIELD_BYTES_PER_CALL


def save_of(lock_version, fields):
    return {"tab_id": "t1", "lock_version": lock_version, "fields": fields}


# What one user can pin

ID = "r" * 58
# In characters of four bytes.
LONGEST_ID, LONGEST_NAME, LONGEST_TAB_ID = "\N{PILE OF POO}" * 255, "\N{PILE OF POO}" * 200, "t" * 128
SHAPES = {
    "bare tabs": lambda i: {"tab_id": LONGEST_TAB_ID},
    "tabs with as many fields as count as one call": lambda i: {
        "tab_id": LONGEST_TAB_ID,
        "dirty": True,
        "active_field": "/" * 128,
        "dirty_fields": field_names(5, 102, filler="/"),
    },
    "tabs with 8 KB of fields": lambda i: {"dirty": True, "dirty_fields": field_names(100, 80)},
}


def bytes_of_keys(redis):
    """Not `used_memory`, in which a busy machine has slow commands noted, and buffers of its clients."""
    return sum(redis.memory_usage(key, samples=0) for key in redis.scan_iter(count=1000))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_user_who_uses_up_every_window_pins_less_than_10_mb(real_redis, shape):
    app = create_app(Settings(secret_key=SETTINGS.secret_key), redis=real_redis)
    data_of(Person(app, 43, "Bob").heartbeat())
    before = bytes_of_keys(real_redis)
    alice, number = Person(app, LONGEST_ID, LONGEST_NAME), 0
    for _ in range(WINDOWS):
        for _ in range(200):
            number += 1
            if alice.heartbeat(f"flow/{ID}{number}", **shape(number)).status_code == 429:
                break
        else:
            failure_of(alice.heartbeat(f"flow/{ID}{number}"), 429)
        real_redis.delete(*real_redis.scan_iter("*_presence_calls:*"))
        app.extensions["presence"].throttle._blocked.clear()

    pinned = bytes_of_keys(real_redis) - before
    assert pinned + (MAX_BURST_BYTES + MAX_BYTES_PER_DAY) * MAX_OVERHEAD < MAX_PINNED_BYTES


# With the longest id and name, and beside a colleague on each record, so
# that timelines are kept for a day. What it leaves behind for a day is compared with what was counted.

COUNTED_BYTES = 100_000
MAX_ROUNDS = 200  # of calls, until the budget is used up
LONGEST_FIELD = "\N{PILE OF POO}" * 124


def long_fields(number, count=8):
    return [f"{number:02d}{i:02d}{LONGEST_FIELD}" for i in range(count)]


def come(alice, record, number, **doing):
    data_of(alice.heartbeat(record, tab_id=LONGEST_TAB_ID, mode="edit", **doing))


def save(alice, record, number):
    come(alice, record, number)
    body = {"tab_id": LONGEST_TAB_ID, "lock_version": number + 1, "fields": long_fields(number, 1)}
    return alice.call("POST", f"{record}/saved", json=body)


def save_many_fields(alice, record, number):
    come(alice, record, number)
    body = {"tab_id": LONGEST_TAB_ID, "lock_version": number + 1, "fields": long_fields(number, 30)}
    return alice.call("POST", f"{record}/saved", json=body)


def claim_and_release(alice, record, number):
    come(alice, record, number)
    body = {"tab_id": LONGEST_TAB_ID, "field": long_fields(number)[0]}
    answer = alice.call("POST", f"{record}/claim", json=body)
    data_of(alice.call("DELETE", f"{record}/claim", json=body))
    return answer


def change_fields(alice, record, number):
    fields = long_fields(number)
    come(alice, record, number, dirty=True, active_field=fields[0], dirty_fields=fields)


def come_and_go(alice, record, number):
    come(alice, record, number)
    data_of(alice.unregister(LONGEST_TAB_ID, record))


def come_and_expire(alice, record, number):
    come(alice, record, number)
    return "expire"


WAYS = [save, save_many_fields, claim_and_release, change_fields, come_and_go, come_and_expire]
MIXTURE = "a mixture"


@pytest.mark.parametrize("way", [*WAYS, MIXTURE], ids=[*(way.__name__ for way in WAYS), MIXTURE])
def test_what_a_user_leaves_behind_for_a_day_is_what_was_counted(real_redis, monkeypatch, way):
    monkeypatch.setattr(kept_bytes, "MAX_BURST_BYTES", COUNTED_BYTES)
    settings = Settings(secret_key=SETTINGS.secret_key, rate_limit=SETTINGS.rate_limit)
    app = create_app(settings, redis=real_redis)
    alice, bob = Person(app, LONGEST_ID, LONGEST_NAME), Person(app, 43, "Bob")
    records = [f"flow/{ID}{number}" for number in range(8)]
    limit = app.extensions["presence"].kept_bytes

    def kept():
        """When she has left: of timelines, and of saves while the colleague stays."""
        for record in records:
            data_of(alice.unregister(LONGEST_TAB_ID, record))
        keys = [*real_redis.scan_iter("*:timeline"), *real_redis.scan_iter("*:viewers")]
        return sum(real_redis.memory_usage(key, samples=0) for key in keys)

    def use(number):
        step = WAYS[number % len(WAYS)] if way is MIXTURE else way
        record = records[number % len(records)]
        if step(alice, record, number) == "expire":
            # As if a lease had passed; whoever looks next sweeps the tab.
            seen = f"{{tenant_1_record_presence:{record.replace('/', ':')}}}:seen"
            real_redis.zadd(seen, {LONGEST_TAB_ID: 1})
            assert LONGEST_TAB_ID not in data_of(bob.tabs(record))["tabs"]

    for record in records:
        data_of(bob.heartbeat(record, tab_id="b1"))
    before = kept()
    used = 0
    alice_herself = Caller(LONGEST_ID, LONGEST_NAME, "1")
    while limit.has_room(alice_herself) and used < MAX_ROUNDS:
        use(used)
        used += 1
    assert used < MAX_ROUNDS
    then = kept()
    assert then - before < (COUNTED_BYTES + MAX_ONE_CHANGE_BYTES) * MAX_OVERHEAD

    for number in range(used, used + 3 * len(records)):
        use(number)
    # The ends of what was there are told, once.
    assert kept() - then < len(records) * MAX_END_BYTES


def test_changes_of_a_user_beyond_the_budget_are_not_logged_and_everything_else_goes_on(app, monkeypatch):
    monkeypatch.setattr(kept_bytes, "MAX_BURST_BYTES", 20_000)
    alice, bob = Person(app), Person(app, 43, "Bob")
    data_of(bob.heartbeat(tab_id="b1"))
    for number in range(20):
        data_of(alice.heartbeat(dirty=True, dirty_fields=field_names(20, 100, number)))
    logged = len(kinds(app, "flow/12"))
    data_of(alice.heartbeat(dirty=True, dirty_fields=["last"]))
    data_of(alice.unregister())

    assert len(kinds(app, "flow/12")) == logged < 50
    data_of(bob.heartbeat(tab_id="b1", mode="edit"))
    assert kinds(app, "flow/12")[-1] == "update"  # of Bob


def test_saves_and_claims_beyond_the_budget_are_refused_by_name(app, monkeypatch):
    monkeypatch.setattr(kept_bytes, "MAX_BURST_BYTES", 20_000)
    alice, service = Person(app), Person(app, "jobs", "Jobs", role="service")
    data_of(alice.heartbeat(mode="edit"))
    answers = [
        alice.call("POST", "flow/12/saved", json=save_of(number, field_names(50, 100, number)))
        for number in range(1, 5)
    ]

    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    assert "bytes" in failure_of(answers[-1], 429)["message"]
    assert int(answers[-1].headers["Retry-After"]) > 0
    failure_of(alice.call("POST", "flow/12/claim", json={"tab_id": "t1", "field": "x"}), 429)
    data_of(alice.heartbeat(mode="edit"))  # the tab lives
    by_service = {"lock_version": 9, "fields": ["x"], "user": {"id": 1, "name": "Ann"}}
    assert data_of(service.call("POST", "flow/12/saved", json=by_service))["announced"]


def test_budget_fills_again_with_time(app, monkeypatch):
    monkeypatch.setattr(kept_bytes, "MAX_BURST_BYTES", 1_000)
    limit = app.extensions["presence"].kept_bytes
    alice = Person(app)
    data_of(alice.heartbeat(mode="edit"))
    failure_of(alice.call("POST", "flow/12/claim", json={"tab_id": "t1", "field": "x"}), 429)
    now = time.monotonic()
    monkeypatch.setattr(kept_bytes.time, "monotonic", lambda: now + 86_400)

    assert limit._buckets.level(("1", 42)) == 0
    data_of(alice.call("POST", "flow/12/claim", json={"tab_id": "t1", "field": "x"}))


def test_process_remembers_so_many_users_and_forgets_those_who_wrote_longest_ago():
    buckets = _LeakyBuckets(1.0, max_keys=3)
    for user in ("a", "b", "c", "a", "d"):
        buckets.add(user, 100)

    assert len(buckets) == 3
    assert buckets.level("b") == 0
    assert buckets.level("a") > 150


# A tenant's share


def test_tenant_beyond_its_memory_gets_no_new_tabs_and_keeps_those_that_it_has(redis):
    settings = Settings(
        secret_key=SETTINGS.secret_key, rate_limit=SETTINGS.rate_limit, tenant_memory=1_048_576
    )
    app = create_app(settings, redis=redis)
    alice = Person(app)
    count = 2 * 1_048_576 // (4 * 8000)
    answers = [
        alice.heartbeat(f"flow/{i}", dirty=True, dirty_fields=field_names(100, 80)) for i in range(count)
    ]

    assert answers[0].status_code == 200
    assert "organisation" in failure_of(answers[-1], 429)["message"]
    assert int(answers[-1].headers["Retry-After"]) > 0
    failure_of(Person(app, 43, "Bob").heartbeat("flow/0", tab_id="b1"), 429)
    data_of(alice.heartbeat("flow/0", mode="edit"))  # existing tabs go on, changed or not
    data_of(alice.heartbeat("flow/0", mode="edit"))
    data_of(Person(app, 43, "Bob", tenant="2").heartbeat("flow/0"))


def test_tenant_has_room_again_a_lease_after_its_tabs_are_gone(monkeypatch):
    memory = TenantMemory(10 * TAB_BYTES, lease_seconds=90, timeline_seconds=0)
    for _ in range(11):
        memory.count_tab("1", 0)
    assert memory.is_full("1")
    assert not memory.is_full("2")

    now = time.monotonic()
    monkeypatch.setattr(kept_bytes.time, "monotonic", lambda: now + 181)
    memory.count_tab("2", 0)
    assert not memory.is_full("1")


@pytest.mark.parametrize(
    ("user_id", "width"),
    [(42, 10), (LONGEST_ID, 60), (255 * "\a", 60)],
    ids=["short", "long", "longer as it is stored"],
)
def test_tenant_is_counted_what_the_index_of_unsaved_fields_takes(app, real_redis, user_id, width):
    names = field_names(100, width, filler="x")
    real_redis.zadd("unsaved", {f"{name}\n{json.dumps(user_id, ensure_ascii=False)}": 0 for name in names})
    taken = real_redis.memory_usage("unsaved", samples=0)
    caller = Caller(user_id=user_id, user_name="Alice", tenant="1")
    assert taken <= bytes_of_unsaved(caller, 100, sum(len(name.encode()) for name in names))

    memory = TenantMemory(TAB_BYTES + FIELD_COPIES * 100 * width + taken, 90, 0)
    app.extensions[EXTENSION_NAME].tenant_memory = memory

    data_of(Person(app, user_id, "Alice").heartbeat(dirty=True))
    assert not memory.is_full("1")
    memory = TenantMemory(TAB_BYTES + FIELD_COPIES * 100 * width + taken, 90, 0)
    app.extensions[EXTENSION_NAME].tenant_memory = memory
    data_of(Person(app, user_id, "Alice").heartbeat(dirty=True, dirty_fields=names))
    assert memory.is_full("1")


def test_default_of_a_tenant_is_more_than_a_process_can_serve():
    """So that an installation with one tenant never meets it: 5,000 heartbeats a second."""
    settings = Settings(secret_key=SETTINGS.secret_key)
    assert settings.tenant_memory > 5_000 * settings.ttl_seconds * TAB_BYTES
    assert parse("200/minute") == settings.rate_limit  # what MAX_PINNED_BYTES is computed for

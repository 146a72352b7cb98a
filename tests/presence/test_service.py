"""The Python contract, on the embedded and on a real Redis, with both kinds of client."""

import json
from datetime import UTC, datetime, timedelta

import fakeredis
import pytest
from redis import Redis

from record_presence.presence.conflicts import ConflictState
from record_presence.presence.errors import (
    InvalidPresence,
    StoreUnavailable,
    TabHasLeft,
    TabOwnedByAnotherUser,
    TooManyCalls,
)
from record_presence.presence.limits import MAX_TABS_PER_USER, Quota
from record_presence.presence.records import Record
from record_presence.presence.results import ViewerList
from record_presence.presence.scripts import Scripts
from record_presence.presence.service import RecordPresenceService
from record_presence.presence.stamps import now_us
from tests.lua.commands import leases
from tests.presence.test_records import HOSTILE_TENANTS
from tests.viewers import viewer

RECORD = Record("1", "flow", "12")


@pytest.fixture(
    params=[("fakeredis", True), ("fakeredis", False), ("redis-server", True), ("redis-server", False)],
    ids=lambda param: f"{param[0]}-{'str' if param[1] else 'bytes'}",
)
def client(request):
    backend, decodes = request.param
    if backend == "fakeredis":
        with fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=decodes) as client:
            yield client
        return
    request.getfixturevalue("real_redis")
    with request.getfixturevalue("redis_server").client(decode_responses=decodes) as client:
        yield client


@pytest.fixture
def service(client):
    return RecordPresenceService(client, 1)


def beat(service, tab_id, **options):
    return service.update_presence("flow", 12, tab_id, 42, "Alice", mode="view", dirty=False, **options)


def crowd_whose_leases_are_over(service, client, size):
    """More than one script may sweep."""
    for user_id in range(1000, 1000 + size):
        service.update_presence("flow", 12, f"t{user_id}", user_id, "Gone")
    client.zadd(RECORD.seen_key, {f"t{user_id}": 1 for user_id in range(1000, 1000 + size)})


def expire(client, tab_id):
    client.zincrby(RECORD.seen_key, -90_001, tab_id)


def ids(viewers):
    return [viewer["id"] for viewer in viewers]


# Reading what was written


def test_viewer_has_the_shape_of_the_contract(service):
    service.update_presence(
        "flow", 12, "t1", 42, "Alice", mode="edit", dirty=True, active_field="description"
    )
    service.update_presence("flow", 12, "t2", 42, "Alice")

    assert service.get_unique_viewers("flow", 12) == [
        viewer(tabs=2, mode="edit", has_dirty_tab=True, active_fields=["description"]),
    ]


def test_presence_has_every_tab_by_its_id(service):
    service.update_presence("flow", "12", "t1", 42, "Alice", mode="edit", dirty=True, active_field="title")
    service.update_presence("flow", "12", "t2", "u-7", "Zoë", visible=False)

    tabs = service.get_presence("flow", "12")
    seen_at = [datetime.fromisoformat(tab.pop("last_seen_at")) for tab in tabs.values()]

    assert tabs == {
        "t1": {"user_id": 42, "user_name": "Alice", "mode": "edit", "dirty": True, "active_field": "title"},
        "t2": {
            "user_id": "u-7",
            "user_name": "Zoë",
            "mode": "view",
            "dirty": False,
            "active_field": None,
            "away": True,
        },
    }
    assert all(abs(datetime.now(UTC) - moment) < timedelta(minutes=1) for moment in seen_at)


def test_last_heartbeat_of_a_shortened_lease_is_exact(service):
    service.update_presence("flow", 12, "t1", 42, "Alice", lease_seconds=10)

    seen_at = datetime.fromisoformat(service.get_presence("flow", 12)["t1"]["last_seen_at"])

    assert abs(datetime.now(UTC) - seen_at) < timedelta(minutes=1)


def test_record_that_nobody_has_open_is_an_empty_list_and_an_empty_dict(service, client):
    assert service.get_unique_viewers("flow", 12) == []
    assert service.get_presence("flow", 12) == {}
    assert service.list_viewers("flow", 12) == ViewerList("0", [], 0, ConflictState())
    assert client.keys("*") == []


def test_stale_tab_is_in_neither_the_tabs_nor_the_viewers(service, client):
    service.update_presence("flow", 12, "t1", 42, "Alice")
    service.update_presence("flow", 12, "t2", 43, "Bob")
    expire(client, "t1")

    assert list(service.get_presence("flow", 12)) == ["t2"]
    assert ids(service.get_unique_viewers("flow", 12)) == [43]


@pytest.mark.parametrize(
    "list_names",
    [
        lambda service: [viewer["name"] for viewer in service.list_viewers("flow", 12).viewers],
        lambda service: [viewer["name"] for viewer in service.get_unique_viewers("flow", 12)],
        lambda service: [
            viewer["name"]
            for viewers in service.list_viewers_of([("flow", 12), ("flow", 13)])
            for viewer in viewers.viewers
        ],
        lambda service: [tab["user_name"] for tab in service.list_tabs("flow", 12).tabs.values()],
        lambda service: [
            *(viewer["name"] for viewer in beat(service, "late", list_viewers=True).viewers),
            "Alice",  # who has asked
        ],
    ],
    ids=["list_viewers", "get_unique_viewers", "list_viewers_of", "list_tabs", "update_presence"],
)
def test_nobody_is_shown_who_has_left_with_many_others(service, client, list_names):
    beat(service, "stays")
    crowd_whose_leases_are_over(service, client, 310)

    assert list_names(service) == ["Alice"]


def test_call_that_takes_several_scripts_counts_once(service, client):
    crowd_whose_leases_are_over(service, client, 310)

    beat(service, "late", list_viewers=True, quota=Quota("calls", 1, 60_000))

    assert int(client.get("calls")) == 1


def test_new_tab_finds_room_though_tabs_that_are_over_have_not_been_swept(service, client):
    for number in range(MAX_TABS_PER_USER):
        beat(service, f"t{number}")
    crowd_whose_leases_are_over(service, client, 200)
    client.zadd(RECORD.seen_key, {f"t{number}": 2 for number in range(MAX_TABS_PER_USER)})

    beat(service, "new")

    assert list(service.get_presence("flow", 12)) == ["new"]


def test_leases_that_end_faster_than_they_are_swept_are_no_list(service, client, monkeypatch):
    monkeypatch.setattr("record_presence.presence.service.base.MAX_PREPARE_SECONDS", 0)
    crowd_whose_leases_are_over(service, client, 310)

    with pytest.raises(StoreUnavailable):
        service.list_viewers("flow", 12)


def test_removed_tab_is_gone_and_the_second_removal_says_so(service, client):
    service.update_presence("flow", 12, "t1", 42, "Alice")

    assert service.remove_presence("flow", 12, "t1", 42) is True
    assert service.remove_presence("flow", 12, "t1", 42) is False
    assert client.exists(*RECORD.keys) == 0


def test_removal_without_a_user_removes_anybodys_tab(service, client):
    service.update_presence("flow", 12, "t1", 42, "Alice")

    assert service.remove_presence("flow", 12, "t1") is True
    assert client.exists(*RECORD.keys) == 0


def test_call_from_before_a_goodbye_brings_no_tab_back_and_a_later_one_does(service):
    arrived_us = now_us()
    service.update_presence("flow", 12, "t1", 42, "Alice")
    service.remove_presence("flow", 12, "t1", 42)

    with pytest.raises(TabHasLeft):
        service.update_presence("flow", 12, "t1", 42, "Alice", arrived_us=arrived_us)
    assert service.get_unique_viewers("flow", 12) == []
    service.update_presence("flow", 12, "t1", 42, "Alice")
    assert ids(service.get_unique_viewers("flow", 12)) == [42]


@pytest.mark.parametrize("sent_at", [-1, 2**53, 1.0, True, "1"])
def test_time_of_a_client_that_is_none_is_refused(service, client, sent_at):
    for call in (
        lambda: service.update_presence("flow", 12, "t1", 42, "Alice", sent_at=sent_at),
        lambda: service.remove_presence("flow", 12, "t1", 42, sent_at=sent_at),
    ):
        with pytest.raises(InvalidPresence) as refused:
            call()
        assert list(refused.value.errors) == ["sent_at"]
    assert client.keys("*") == []


def test_tab_of_another_user_is_neither_renewed_nor_removed(service):
    service.update_presence("flow", 12, "t1", 42, "Alice")

    with pytest.raises(TabOwnedByAnotherUser):
        service.update_presence("flow", 12, "t1", 43, "Bob")
    with pytest.raises(TabOwnedByAnotherUser):
        service.remove_presence("flow", 12, "t1", 43)
    with pytest.raises(TabOwnedByAnotherUser):
        service.remove_presence("flow", 12, "t1", "42")
    assert ids(service.get_unique_viewers("flow", 12)) == [42]


def test_records_of_the_same_id_are_apart(service):
    service.update_presence("flow", 12, "t1", 42, "Alice")

    assert service.get_unique_viewers("form", 12) == []
    assert service.get_unique_viewers("flow", 1) == []
    assert service.get_unique_viewers("flow", "012") == []


def test_number_and_text_name_the_same_record(service):
    service.update_presence("flow", 12, "t1", 42, "Alice")

    assert ids(service.get_unique_viewers("flow", "12")) == [42]


def test_lease_follows_the_setting(client):
    RecordPresenceService(client, 1, ttl_seconds=7).update_presence("flow", 12, "t1", 42, "Alice")

    assert 6_000 < max(leases(client).values()) <= 7_000


@pytest.mark.parametrize(("lease_seconds", "lease_ms"), [(10, 10_000), (500, 90_000), (0, 1), (-5, 1)])
def test_lease_of_one_heartbeat_may_be_shorter_and_never_longer(service, client, lease_seconds, lease_ms):
    before = client.time()
    service.update_presence("flow", 12, "t1", 42, "Alice", lease_seconds=lease_seconds)
    end = client.zscore(RECORD.seen_key, "t1")

    if end is not None:  # a lease of a millisecond may be over by now
        assert lease_ms <= end - (before[0] * 1000 + before[1] // 1000) < lease_ms + 2_000


@pytest.mark.parametrize("ttl_seconds", [0, -1])
def test_lease_must_last(client, ttl_seconds):
    with pytest.raises(InvalidPresence):
        RecordPresenceService(client, 1, ttl_seconds=ttl_seconds)


def test_emoji_and_markup_survive_and_controls_in_an_id_only(service):
    user_id, name = "Zoë\x00\x1b\u2028😀\"\\'</script>", "Zoë 😀\"\\'</script>"
    service.update_presence("flow", 12, "t1", user_id, user_id, active_field="日本 😀")

    [viewer] = service.get_unique_viewers("flow", 12)

    assert (viewer["id"], viewer["name"]) == (user_id, name)
    assert viewer["active_fields"] == ["日本 😀"]
    assert service.get_presence("flow", 12)["t1"]["user_name"] == name


def test_lone_surrogate_is_stored_as_a_question_mark(service):
    service.update_presence("flow", 12, "t1", 42, "Zo\ud83d")

    assert service.get_unique_viewers("flow", 12)[0]["name"] == "Zo?"


@pytest.mark.parametrize("data", [float("inf"), float("nan"), {1}, b"x"], ids=str)
def test_signal_whose_data_is_not_json_is_refused(service, data):
    service.update_presence("flow", 12, "t1", 42, "Alice")

    with pytest.raises(InvalidPresence) as refusal:
        service.send_signal("flow", 12, "t1", 42, "Alice", "cursor", data)
    assert list(refusal.value.errors) == ["data"]


def test_bytes_that_are_not_utf_8_break_nothing(service, client):
    service.update_presence("flow", 12, "t1", 42, "Alice")
    client.hset(RECORD.tabs_key, b"\xff", b'["43","\xff\xfe"]')
    client.zadd(RECORD.seen_key, {b"\xff": client.zscore(RECORD.seen_key, "t1")})

    assert 42 in ids(service.get_unique_viewers("flow", 12))
    assert 42 in ids(service.list_viewers_of([("flow", 12)])[0].viewers)
    assert "t1" in service.get_presence("flow", 12)
    assert service.update_presence("flow", 12, "t1", 42, "Alice", mode="edit", list_viewers=True)


# Versions and lists


def test_current_version_is_answered_without_viewers(service):
    first = service.update_presence("flow", 12, "t1", 42, "Alice")

    assert first.viewers is None
    assert service.list_viewers("flow", 12, known_version=first.version) == ViewerList(first.version)
    assert service.update_presence(
        "flow", 12, "t1", 42, "Alice", list_viewers=True, known_version=first.version
    ) == ViewerList(first.version)


def test_heartbeat_that_asks_for_viewers_lists_the_others(service):
    service.update_presence("flow", 12, "t2", 43, "Bob")

    answer = service.update_presence("flow", 12, "t1", 42, "Alice", list_viewers=True)

    assert ids(answer.viewers) == [43]
    assert answer.total == 1
    assert answer.version == service.list_viewers("flow", 12).version


@pytest.mark.parametrize("version", ["", "?", "1-gone", "0", "x" * 200, "Ünï", "\ud800"])
def test_unknown_version_of_any_kind_gets_the_list(service, version):
    service.update_presence("flow", 12, "t1", 42, "Alice")

    assert ids(service.list_viewers("flow", 12, known_version=version).viewers) == [42]
    answer = service.update_presence("flow", 12, "t1", 42, "Alice", list_viewers=True, known_version=version)
    assert (answer.viewers, answer.total) == ([], 0)


def test_user_may_be_left_out_of_the_list(service):
    for user in (1, 2, 3):
        service.update_presence("flow", 12, f"t{user}", user, "somebody")

    without = service.list_viewers("flow", 12, without_user=2)
    without_nobody = service.list_viewers("flow", 12, without_user="2")

    assert (ids(without.viewers), without.total) == ([1, 3], 2)
    assert (ids(without_nobody.viewers), without_nobody.total) == ([1, 2, 3], 3)


@pytest.mark.parametrize("size", [12, 131])
def test_limit_counts_the_others_whether_or_not_the_caller_is_among_the_first(service, size):
    for user in range(size):
        service.update_presence("flow", 12, f"t{user}", user, "somebody")

    assert ids(service.list_viewers("flow", 12, limit=3).viewers) == [0, 1, 2]
    assert ids(service.list_viewers("flow", 12, limit=3, without_user=1).viewers) == [0, 2, 3]
    assert ids(service.list_viewers("flow", 12, limit=3, without_user=9).viewers) == [0, 1, 2]
    assert service.list_viewers("flow", 12, limit=3, without_user=9).total == size - 1
    beat = service.update_presence("flow", 12, "t1", 1, "somebody", list_viewers=True, limit=3)
    assert (ids(beat.viewers), beat.total) == ([0, 2, 3], size - 1)
    assert ids(service.get_unique_viewers("flow", 12)) == list(range(size))


def test_many_records_are_read_in_one_call_in_the_order_asked_for(service):
    service.update_presence("flow", 1, "t1", 42, "Alice")
    service.update_presence("form", "a", "t2", 43, "Bob")

    answers = service.list_viewers_of([("form", "a"), ("flow", 9), ("flow", 1), ("flow", 1)], without_user=43)

    assert [answer.viewers and ids(answer.viewers) for answer in answers] == [[], [], [42], [42]]
    assert [answer.total for answer in answers] == [0, 0, 1, 1]
    assert service.list_viewers_of([]) == []


# Quotas


def test_call_over_the_quota_is_refused_with_the_time_to_wait(service):
    quota = Quota("tenant_1_presence_calls:42", 2, 60_000)
    for _ in range(2):
        service.update_presence("flow", 12, "t1", 42, "Alice", quota=quota)

    with pytest.raises(TooManyCalls) as refusal:
        service.update_presence("flow", 12, "t1", 42, "Alice", mode="edit", quota=quota)
    assert 55 < refusal.value.retry_after_seconds <= 60
    assert service.get_unique_viewers("flow", 12)[0]["mode"] == "view"


# Tenants


@pytest.mark.parametrize("tenant", HOSTILE_TENANTS)
def test_no_tenant_sees_or_touches_another_ones_record(service, client, tenant):
    service.update_presence("flow", 12, "t1", 42, "Alice")
    other = RecordPresenceService(client, tenant)

    assert other.get_presence("flow", 12) == {}
    assert other.remove_presence("flow", 12, "t1") is False
    other.update_presence("flow", 12, "t1", 43, "Mallory")
    assert ids(other.get_unique_viewers("flow", 12)) == [43]
    assert ids(service.get_unique_viewers("flow", 12)) == [42]


def test_tenant_may_be_a_number_or_a_text(client):
    RecordPresenceService(client, 1).update_presence("flow", 12, "t1", 42, "Alice")

    assert ids(RecordPresenceService(client, "1").get_unique_viewers("flow", 12)) == [42]


def test_tenant_must_have_a_name(client):
    with pytest.raises(InvalidPresence):
        RecordPresenceService(client, "")


# What the contract does not allow

VALID = {
    "record_type": "flow",
    "record_id": "12",
    "tab_id": "t1",
    "user_id": 42,
    "user_name": "Alice",
    "mode": "view",
}


class UnreachedRedis:
    """A Redis that must not be asked."""

    def __getattr__(self, name):
        raise AssertionError(f"Redis was asked for {name}")


@pytest.mark.parametrize(
    ("argument", "value", "field"),
    [
        *(("record_type", value, "type") for value in ("", "Flow", "a" * 65, "flow:1", "flow\n", None, 7)),
        *(
            ("record_id", value, "id")
            for value in ("", "a b", "}", "x" * 65, "1\n", None, True, 1.5, b"12", [12])
        ),
        *(
            ("tab_id", value, "tab_id")
            for value in ("", "a b", "t{1}", "x" * 129, "t1\n", "ü", None, 7, b"t1")
        ),
        *(("user_id", value, "user_id") for value in (None, True, "", 4.2, [1])),
        *(("user_name", value, "user_name") for value in (None, 7, b"Alice", ["Alice"])),
        *(("mode", value, "mode") for value in ("", "peek", "EDIT", None, 1, ["edit"])),
        *(
            ("active_field", value, "active_field")
            for value in ("", "x" * 129, "a\nb", "\x00", "\ud800", 7, b"a")
        ),
    ],
)
def test_value_outside_the_contract_is_refused_before_redis_is_asked(argument, value, field):
    service = RecordPresenceService(UnreachedRedis(), 1)

    with pytest.raises(InvalidPresence) as refusal:
        service.update_presence(**{**VALID, argument: value})

    assert list(refusal.value.errors) == [field]
    assert refusal.value.errors[field][0]


@pytest.mark.parametrize(
    "call",
    [
        lambda service: service.remove_presence("Flow", "12", "t1"),
        lambda service: service.remove_presence("flow", "12", "t 1"),
        lambda service: service.remove_presence("flow", "12", "t1", ""),
        lambda service: service.get_presence("flow", "1 2"),
        lambda service: service.get_unique_viewers("flow", ""),
        lambda service: service.list_viewers("flow", "12", without_user=True),
        lambda service: service.list_viewers_of([("flow", "12"), ("flow", "1:2")]),
    ],
)
def test_every_method_refuses_invalid_names_before_redis_is_asked(call):
    with pytest.raises(InvalidPresence):
        call(RecordPresenceService(UnreachedRedis(), 1))


def test_several_wrong_values_are_named_together():
    with pytest.raises(InvalidPresence) as refusal:
        RecordPresenceService(UnreachedRedis(), 1).update_presence(
            "flow", "12", "t 1", 42, "Alice", mode="peek", active_field=""
        )

    assert set(refusal.value.errors) == {"tab_id", "mode", "active_field"}


# Redis out of reach

CALLS = [
    lambda service: service.update_presence("flow", 12, "t1", 42, "Alice"),
    lambda service: service.remove_presence("flow", 12, "t1"),
    lambda service: service.get_presence("flow", 12),
    lambda service: service.list_viewers("flow", 12),
    lambda service: service.list_viewers_of([("flow", 12), ("flow", 13)]),
]


@pytest.mark.parametrize("call", CALLS)
def test_embedded_redis_that_is_down_is_unavailable(call):
    server = fakeredis.FakeServer()
    service = RecordPresenceService(fakeredis.FakeRedis(server=server), 1)
    server.connected = False

    with pytest.raises(StoreUnavailable):
        call(service)


@pytest.mark.parametrize("call", CALLS)
def test_real_redis_that_is_down_is_unavailable(tmp_path, call):
    with (
        Redis(unix_socket_path=str(tmp_path / "gone.sock"), retry=None) as client,
        pytest.raises(StoreUnavailable),
    ):
        call(RecordPresenceService(client, 1))


def test_full_redis_is_unavailable_for_heartbeats(real_redis):
    service = RecordPresenceService(real_redis, 1)
    service.update_presence("flow", 12, "t1", 42, "Alice")
    real_redis.config_set("maxmemory", 1)  # an empty Redis 6.2 takes less than a megabyte
    try:
        with pytest.raises(StoreUnavailable):
            service.update_presence("flow", 12, "t2", 43, "Bob")
        assert ids(service.get_unique_viewers("flow", 12)) == [42]
    finally:
        real_redis.config_set("maxmemory", "0")


def test_replica_is_unavailable_for_heartbeats(real_redis):
    service = RecordPresenceService(real_redis, 1)
    real_redis.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreUnavailable):
            service.update_presence("flow", 12, "t1", 42, "Alice")
    finally:
        real_redis.replicaof("NO", "ONE")


def fill_with_unsaved_fields(service, users=40):
    """More than one script puts into the index of unsaved fields."""
    names = [f"field {number} {'x' * 40}" for number in range(99)]
    for user in range(users):
        service.update_presence(
            "flow", 12, f"t{user}", user, f"User {user}", "edit", dirty_fields=["title", *names]
        )


def test_save_names_whom_it_touches_though_the_index_takes_several_scripts(client):
    runs = []
    scripts = Scripts(observe=lambda name, _seconds, outcome: runs.append((name, outcome)))
    service = RecordPresenceService(client, 1, scripts=scripts)
    fill_with_unsaved_fields(service)
    runs.clear()

    result = service.announce_save("flow", 12, 8, ["title"], 3, "User 3", "t3", told_by="viewer")
    assert [viewer["id"] for viewer in result.touched["title"]] == [user for user in range(40) if user != 3]
    assert ("saved", "INDEX_FIRST") in runs
    assert ("check", "INDEX_FIRST") in runs
    saves = service.list_viewers("flow", 12).conflicts.saves
    assert [save["lock_version"] for save in saves] == [8]


def test_index_that_takes_too_long_is_gone_on_with_by_the_next_call(service, monkeypatch):
    fill_with_unsaved_fields(service)
    with monkeypatch.context() as patch:
        patch.setattr("record_presence.presence.service.base.MAX_PREPARE_SECONDS", 0)
        with pytest.raises(StoreUnavailable, match="too many unsaved fields"):
            service.check_fields("flow", 12, ["title"])

    assert len(service.check_fields("flow", 12, ["title"]).contested["title"]) == 40


def test_user_who_joins_is_known_to_have_joined_though_the_index_was_made_first(client):
    service = RecordPresenceService(client, 1)
    fill_with_unsaved_fields(service, 130)

    joined = service.update_presence(
        "flow", 12, "new", 999, "New", "edit", dirty_fields=["title"], base_version=1, list_viewers=True
    )
    assert joined.has_joined
    assert len(joined.forecast["contested"]["title"]) == 100
    assert service.check_fields("flow", 12, ["title"]).more == {"title": 31}


def test_services_share_scripts_that_are_handed_in(client):
    seen = []
    scripts = Scripts(observe=lambda name, seconds, outcome: seen.append((name, outcome)))
    for tenant in (1, 2):
        RecordPresenceService(client, tenant, scripts=scripts).update_presence("flow", 12, "t1", 42, "Alice")

    assert seen == [("heartbeat", "OK"), ("heartbeat", "OK")]


# Arguments


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("ttl_seconds", value) for value in (0, -1, float("nan"), float("inf"), 1e20, "90", None)),
        *(
            (name, value)
            for name in ("timeline_seconds", "recovery_grace_seconds")
            for value in (-1, float("nan"), "0")
        ),
    ],
)
def test_service_with_an_invalid_duration_is_refused(client, name, value):
    with pytest.raises(InvalidPresence) as raised:
        RecordPresenceService(client, 1, **{name: value})

    assert list(raised.value.errors) == [name]


INVALID_ARGUMENTS = [
    *(("update", "user_id", value) for value in ("", None, True, 1.5, [], "x" * 256, 10**255, -(10**255))),
    *(("update", "dirty_fields", value) for value in (None, 7, "name", [["a"]], ["a"] * 101, ["a\nb"])),
    *(("update", "lease_seconds", value) for value in (float("nan"), "soon", [])),
    *(("update", "base_version", value) for value in (-1, "7", 7.0, True, 2**53)),
    *(("update", "limit", value) for value in (0, -5, "10", 1.5, None)),
    *(("update", "mode", value) for value in ([], None, "peek")),
    *(("update", "user_name", value) for value in (None, 7)),
    *(("remove", "reason", value) for value in ("whatever", "", None, [], "expired")),
    *(("saved", "fields", value) for value in (None, 7, "name")),
    *(("saved", "lock_version", value) for value in (None, "8", 8.0, True)),
    *(("saved", "user_id", value) for value in ("x" * 60_000, 10**4_000)),
    *(("list", "limit", value) for value in (0, -1, "10", None)),
    *(("timeline", "limit", value) for value in (0, -1, "10", None)),
    *(("timeline", "since", value) for value in (7, "", "x")),
]


@pytest.mark.parametrize(("call", "name", "value"), INVALID_ARGUMENTS, ids=lambda value: ascii(value)[:20])
def test_invalid_argument_is_named_and_nothing_written(service, client, call, name, value):
    calls = {
        "update": (service.update_presence, {"tab_id": "t1", "user_id": 42, "user_name": "Alice"}),
        "remove": (service.remove_presence, {"tab_id": "t1"}),
        "saved": (service.record_saved, {"lock_version": 8, "fields": [], "user_id": 42, "user_name": "A"}),
        "list": (service.list_viewers, {}),
        "timeline": (service.get_timeline, {}),
    }
    method, arguments = calls[call]
    with pytest.raises(InvalidPresence) as raised:
        method("flow", 12, **{**arguments, name: value})

    assert list(raised.value.errors) == [name]
    assert client.keys() == []


def test_page_of_a_timeline_has_at_most_a_megabyte_and_the_rest_comes_with_the_next(client, monkeypatch):
    service = RecordPresenceService(client, 1, timeline_seconds=60)
    monkeypatch.setattr("record_presence.presence.service.operators.MAX_REPLY_BYTES", 20_000)
    fields = [f"{number:03d}".ljust(40, "x") for number in range(100)]
    for number in range(40):
        service.update_presence(
            "flow", 12, "t1", 42, "Alice", mode="edit", dirty=True, dirty_fields=fields[number % 2 :]
        )
    told, since = [], None
    while True:
        page = service.get_timeline("flow", 12, since=since, limit=1000)
        assert len(json.dumps(page.entries).encode()) < 25_000  # json.dumps adds spaces
        told += page.entries
        since = page.next
        if since is None:
            break

    assert len({entry["id"] for entry in told}) == len(told)
    assert told == sorted(told, key=lambda entry: [int(part) for part in entry["id"].split("-")])
    assert told[-1]["dirty_fields"] == fields[1:]
    assert len(told) > 40

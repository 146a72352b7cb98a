"""Which records of a tenant are open, and what is erased of a user: on the embedded and on a real Redis."""

import random

import pytest

from record_presence.presence import open_records
from record_presence.presence.errors import InvalidPresence, NoOpenIndex, StoreUnavailable
from record_presence.presence.limits import MAX_OPEN_RECORDS_OF_USER
from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.service import RecordPresenceService
from record_presence.presence.service import tabs as tabs_module
from record_presence.presence.viewers import AgentId

DAY_SECONDS = 86_400
OF_FLOWS = "tenant_1_record_presence_open:{1}:type:flow"
OF_ALICE = "tenant_1_record_presence_open:{1}:user:42"
LEASE_US = 90_000_000
STEPS = 120  # of a random history


class Observed:
    """The service, and the commands that it has run. One may be `refused`; `before` is called before each."""

    def __init__(self, redis):
        self.commands = []
        self.refused = None
        self.before = lambda name: None
        scripts = Scripts(observe=lambda name, *_: self.commands.append(name))
        self._run = scripts.run
        self._run_many = scripts.run_many
        scripts.run, scripts.run_many = self.run, self.run_many
        self.service = RecordPresenceService(
            redis, 1, timeline_seconds=DAY_SECONDS, has_open_index=True, scripts=scripts
        )

    def run(self, client, name, *call):
        self.before(name)
        if name == self.refused:
            raise StoreUnavailable(name)
        return self._run(client, name, *call)

    def run_many(self, client, name, *calls):
        self.before(name)
        if name == self.refused:
            raise StoreUnavailable(name)
        return self._run_many(client, name, *calls)


@pytest.fixture
def observed(redis):
    return Observed(redis)


@pytest.fixture
def service(observed):
    return observed.service


@pytest.fixture
def later(monkeypatch):
    """Lets time pass for what a process waits for; Redis's clock goes on as it does."""
    passed = [0.0]
    monotonic = open_records.time.monotonic
    monkeypatch.setattr(open_records.time, "monotonic", lambda: monotonic() + passed[0])

    def wait(seconds):
        passed[0] += seconds

    return wait


def come(service, record_id, user_id=42, name="Alice", tab_id=None, record_type="flow", **state):
    tab_id = tab_id or f"t-{user_id}"
    return service.update_presence(record_type, record_id, tab_id, user_id, name, **state)


def open_ids(service, record_type="flow", **query):
    found, after = [], ""
    while after is not None:
        page = service.list_open_records(record_type, after=after, **query)
        found += [record["record"].partition(":")[2] for record in page.records]
        after = page.next
    return found


def in_index(redis, key):
    return [member for member in redis.zrange(key, 0, -1) if not member.startswith("#")]


def end_leases(redis, *record_ids):
    for record_id in record_ids:
        key = Record("1", "flow", record_id).seen_key
        for tab_id in redis.zrange(key, 0, -1):
            redis.zadd(key, {tab_id: 1})


# What is open


def test_open_record_is_summed_up_with_agents_apart(service):
    come(service, "12", 42, "Alice", mode="edit", dirty=True)
    come(service, "12", 43, 'B"o\\b')
    come(service, "12", AgentId("summariser", 42, "Alice"), "Summariser", "agents-tab", mode="edit")
    come(service, "7", "u-9", "Chiara", record_type="order")
    [found] = service.list_open_records("flow").records

    assert found.pop("since").endswith("+00:00")
    assert found == {
        "record": "flow:12",
        "people": 2,
        "agents": 1,
        "editing": [
            {"id": 42, "name": "Alice"},
            {"id": AgentId("summariser", 42), "name": "Summariser", "agent": {"for": {"id": 42}}},
        ],
        "unsaved": [{"id": 42, "name": "Alice"}],
    }
    assert open_ids(service, "order") == ["7"]


def test_user_is_found_where_they_are_now_and_nobody_elsewhere(service):
    come(service, "1", 42)
    come(service, "2", 43, "Bob")
    come(service, "3", 42)
    come(service, "4", 42)
    come(service, "7", 42, record_type="order", mode="edit", dirty=True)
    service.remove_presence("flow", "3", "t-42")
    come(service, "3", 43, "Bob")
    page = service.list_open_records(user_id=42)

    assert [found["record"] for found in page.records] == ["order:7", "flow:4", "flow:1"]
    viewer = page.records[0]["viewer"]
    assert (viewer["name"], viewer["tabs"], viewer["mode"], viewer["has_dirty_tab"]) == (
        "Alice",
        1,
        "edit",
        True,
    )
    assert open_ids(service, user_id=42) == ["4", "1"]
    assert open_ids(service, user_id="42") == []


def test_pages_have_every_record_once_and_go_on_where_they_ended(service):
    for number in range(7):
        come(service, str(number))

    assert open_ids(service, limit=3) == [str(number) for number in range(7)]
    assert open_ids(service, user_id=42, limit=2) == [str(number) for number in reversed(range(7))]
    first = service.list_open_records("flow", limit=3)
    come(service, "1", 43, "Bob")  # was on the first page
    come(service, "5", 43, "Bob")  # was not yet
    rest = service.list_open_records("flow", limit=100, after=first.next)
    assert [found["record"] for found in rest.records] == ["flow:3", "flow:4", "flow:6", "flow:1", "flow:5"]


@pytest.mark.parametrize("after", ["x", "1-", "-a", "1-é", "1-" + "a" * 300])
def test_cursor_that_no_page_has_given_is_refused(service, after):
    with pytest.raises(InvalidPresence, match="after"):
        service.list_open_records("flow", after=after)


def test_records_of_another_tenant_are_not_listed(redis, service):
    come(service, "1")

    assert open_ids(RecordPresenceService(redis, 2, has_open_index=True)) == []


def test_many_who_edit_are_named_as_far_as_there_is_room(service):
    for user_id in range(150):
        come(service, "12", user_id, "N" * 200, mode="edit")
    come(service, "12", 999, "Olga")
    [found] = service.list_open_records("flow").records

    assert (found["people"], found["more"]) == (151, True)
    assert 10 < len(found["editing"]) < 30


def test_without_an_index_there_is_no_list_and_no_key_of_it(redis):
    service = RecordPresenceService(redis, 1)
    come(service, "12")

    assert redis.keys("*_open:*") == []
    with pytest.raises(NoOpenIndex):
        service.list_open_records("flow")


# What is open no longer


def test_record_that_is_open_no_longer_leaves_the_index_when_it_is_read(redis, service):
    for record_id in ("left", "expired", "open"):
        come(service, record_id)
    service.remove_presence("flow", "left", "t-42")
    end_leases(redis, "expired")

    assert open_ids(service) == ["open"]
    assert in_index(redis, OF_FLOWS) == ["open"]


def test_record_that_opens_while_it_is_found_closed_stays_in_the_index(redis, service):
    come(service, "12")
    service.remove_presence("flow", "12", "t-42")
    index = service._open_records
    tell = index.tell_if_possible

    def tell_late(key, rows):
        come(service, "12", 43, "Bob")
        tell(key, rows)

    index.tell_if_possible = tell_late
    assert open_ids(service) == []
    index.tell_if_possible = tell
    assert open_ids(service) == ["12"]


def test_records_that_nobody_asks_for_do_not_pile_up_and_open_ones_stay(redis, service):
    come(service, "open", 7, "Olga")
    for number in range(60):
        come(service, f"gone-{number}")
    end_leases(redis, *[f"gone-{number}" for number in range(60)])
    for member, noted_us in redis.zrange(OF_FLOWS, 0, -1, withscores=True):
        redis.zadd(OF_FLOWS, {member: noted_us - 2 * LEASE_US})
    for number in range(40):
        come(service, "busy", 100 + number, "Bob")

    assert set(in_index(redis, OF_FLOWS)) == {"open", "busy"}


def test_every_index_ends_by_itself_and_a_users_has_a_bound(redis, service, monkeypatch):
    monkeypatch.setattr(open_records, "MAX_OPEN_RECORDS_OF_USER", 3)
    for number in range(5):
        come(service, str(number))
    come(service, "0", 43, "Bob")

    assert MAX_OPEN_RECORDS_OF_USER > 3
    assert redis.zrange(OF_ALICE, 0, -1) == ["flow:2", "flow:3", "flow:4"]
    for key in redis.keys("*_open:*"):
        assert 0 < redis.pttl(key) <= 3 * DAY_SECONDS * 1000


# What it costs, and what is lost


def test_only_whoever_comes_is_noted(observed, service, monkeypatch):
    monkeypatch.setattr(tabs_module, "random", lambda: 0.999)
    monkeypatch.setattr(open_records.random, "random", lambda: 0.999)
    come(service, "12")
    joined, observed.commands[:] = list(observed.commands), []
    for _ in range(50):
        come(service, "12")
    come(service, "12", mode="edit")
    come(service, "12", tab_id="second")

    assert joined == ["heartbeat", "open_add"]
    assert set(observed.commands) == {"heartbeat"}


def test_tab_that_stays_open_is_noted_again_now_and_then(redis, service, monkeypatch):
    come(service, "12")
    redis.delete(OF_FLOWS, OF_ALICE)  # or they have ended
    monkeypatch.setattr(tabs_module, "random", lambda: 0.0)
    monkeypatch.setattr(open_records.random, "random", lambda: 0.0)
    come(service, "12")

    assert open_ids(service) == open_ids(service, user_id=42) == ["12"]


def test_index_that_is_lost_alone_is_whole_again_after_every_tabs_next_heartbeat(redis, service, later):
    other = RecordPresenceService(redis, 1, has_open_index=True)  # another process
    for record_id in ("1", "2", "3"):
        come(service, record_id)
    later(4000)
    come(service, "1")
    redis.delete(OF_FLOWS, OF_ALICE)
    come(other, "4", 43, "Bob")  # whoever comes next
    for record_id in ("1", "2", "3"):
        come(other, record_id)  # unchanged

    assert sorted(open_ids(service)) == ["1", "2", "3", "4"]
    assert sorted(open_ids(service, user_id=42)) == ["1", "2", "3"]


def test_heartbeats_are_noted_about_every_two_hours(observed, service, later, monkeypatch):
    come(service, "12")
    later(1000)  # the index is no longer young
    come(service, "12")
    observed.commands[:] = []
    for drawn in (30 / 7200 + 0.0001, 30 / 7200 - 0.0001):
        monkeypatch.setattr(tabs_module, "random", lambda drawn=drawn: drawn)
        come(service, "12")

    assert service._open_records.chance == pytest.approx(30 / 7200)
    assert observed.commands == ["heartbeat", "heartbeat", "open_add"]


@pytest.mark.parametrize(("options", "seconds"), [({}, 1200), ({"heartbeat_seconds": 20}, 20)])
def test_heartbeats_may_be_more_often_than_a_lease_asks_for(redis, options, seconds):
    service = RecordPresenceService(redis, 1, ttl_seconds=3600, has_open_index=True, **options)

    assert service._open_records.chance == pytest.approx(seconds / 7200)


def test_crowd_that_comes_at_once_is_noted_once(observed, service):
    """While Redis takes one note, the others come and beat."""

    def come_meanwhile(number):
        if number < 10:
            come(service, str(number))
            come(service, str(number))  # unchanged

    numbers = iter(range(1, 20))
    observed.before = lambda name: name == "open_add" and come_meanwhile(next(numbers))
    come(service, "0")

    assert observed.commands.count("open_add") == 10
    assert sorted(open_ids(service)) == [str(number) for number in range(10)]


def test_note_on_its_way_is_not_lost_when_its_greenlet_is_ended(observed, service):
    class Ended(BaseException):
        pass

    def end(name):
        if name == "open_add":
            raise Ended

    observed.before = end
    with pytest.raises(Ended):
        come(service, "12")
    observed.before = lambda name: None
    come(service, "12")  # unchanged

    assert open_ids(service) == ["12"]


def test_crowd_that_is_refused_at_once_waits_no_longer_than_one_of_them(observed, service, later):
    """While Redis refuses one note, the others come."""
    numbers = iter(range(1, 10))

    def come_meanwhile(name):
        if name == "open_add" and (number := next(numbers, None)):
            come(service, str(number))

    observed.refused, observed.before = "open_add", come_meanwhile
    come(service, "0")
    observed.refused = None
    later(1.1)
    come(service, "0")  # unchanged

    assert len(open_ids(service)) == 10


def test_note_that_redis_does_not_take_fails_no_heartbeat_and_is_made_good(observed, service, later, caplog):
    observed.refused = "open_add"
    assert come(service, "12").version != "0"
    come(service, "13", 43, "Bob")
    assert open_ids(service) == []

    observed.refused = None
    later(2)
    come(service, "12")  # unchanged
    assert sorted(open_ids(service)) == ["12", "13"]


def test_heartbeat_whose_answer_was_lost_is_noted_with_the_next(observed, service, redis):
    lost = RecordPresenceService(redis, 1)
    come(lost, "12")  # carried out, and nobody knows
    observed.refused = "heartbeat"
    with pytest.raises(StoreUnavailable):
        come(service, "12")
    observed.refused = None
    come(service, "12")

    assert open_ids(service) == ["12"]


def test_notes_that_wait_for_redis_have_a_bound(observed, service, monkeypatch):
    monkeypatch.setattr(open_records, "MAX_UNNOTED_RECORDS", 3)
    observed.refused = "open_add"
    for number in range(6):
        come(service, str(number))

    assert len(service._open_records._unnoted) == 3


@pytest.mark.parametrize("seed", range(3))
def test_index_agrees_with_the_truth_after_random_histories(observed, service, redis, later, seed):
    chosen = random.Random(seed)
    tabs = set()  # (record id, user id) that are open
    for step in range(STEPS):
        record_id, user_id = str(chosen.randrange(6)), chosen.randrange(40, 44)
        action = chosen.choice(["come", "come", "come", "leave", "end", "refuse", "lose", "ask"])
        if action == "come":
            come(service, record_id, user_id, f"User {user_id}")
            tabs.add((record_id, user_id))
        elif action == "leave":
            service.remove_presence("flow", record_id, f"t-{user_id}")
            tabs.discard((record_id, user_id))
        elif action == "end":
            end_leases(redis, record_id)
            tabs = {tab for tab in tabs if tab[0] != record_id}
        elif action == "refuse":
            observed.refused = None if observed.refused else "open_add"
        elif action == "lose":
            redis.flushall()
            tabs.clear()
        if action == "ask" or step == STEPS - 1:
            observed.refused = None
            later(60)
            for tab in tabs:
                come(service, *tab, f"User {tab[1]}")
            assert set(open_ids(service)) == {tab[0] for tab in tabs}
            for user in range(40, 44):
                where = {tab[0] for tab in tabs if tab[1] == user}
                assert set(open_ids(service, user_id=user)) == where


# Erased


def everything(redis):
    """All that Redis holds, as text."""
    found = []
    for key in redis.keys("*"):
        match redis.type(key):
            case "hash":
                found += [key, str(redis.hgetall(key))]
            case "zset":
                found += [key, str(redis.zrange(key, 0, -1))]
            case "stream":
                found += [key, str(redis.xrange(key))]
            case _:
                found += [key, str(redis.get(key))]
    return "\n".join(found)


def test_erased_user_is_nowhere_and_all_others_stay(service, redis):
    alice = {"user_id": 4711, "name": "Alice Moreau"}
    for record_id in ("1", "2"):
        come(service, record_id, **alice, tab_id="a1", mode="edit", dirty=True)
        come(service, record_id, 43, "Bob", mode="edit")
    come(service, "1", AgentId("summariser", 4711, "Alice Moreau"), "Summariser", "s1")
    come(service, "3", **alice, tab_id="a3")
    service.claim_field("flow", "1", "a1", 4711, "title")
    service.claim_field("flow", "1", "t-43", 43, "title", take_over=True)
    service.claim_field("flow", "1", "a1", 4711, "body")
    service.record_saved("flow", "2", 8, ["title"], 4711, "Alice Moreau")
    service.record_saved("flow", "2", 9, ["title"], 43, "Bob")
    service.remove_presence("flow", "3", "a3", 4711)
    assert "Moreau" in everything(redis)

    erased = service.forget_user(4711)

    assert "4711" not in everything(redis)
    assert "Moreau" not in everything(redis)
    assert (erased.records, erased.tabs, erased.saves, erased.claims) == (3, 3, 1, 2)
    assert [viewer["name"] for viewer in service.get_unique_viewers("flow", "1")] == ["Bob"]
    conflicts = service.list_viewers("flow", "1").conflicts
    assert conflicts.claims["title"]["taken_from"] == {"id": "", "name": "(erased)"}
    saves = service.list_viewers("flow", "2").conflicts.saves
    assert [(save["lock_version"], save["user"]["id"], save["fields"]) for save in saves] == [
        (8, "", ["title"]),
        (9, 43, ["title"]),
    ]
    entries = service.get_timeline("flow", "2").entries
    assert {entry["user"]["id"] for entry in entries if "user" in entry} == {43}
    assert service.list_open_records(user_id=4711).records == []
    assert service.forget_user(4711).records == 0


def test_erased_user_of_whom_others_have_similar_ids(service, redis):
    come(service, "1", "4", "Text", "x0")
    come(service, "1", 4, "Number")
    come(service, "1", AgentId("a", "4", "Text"), "Agent of text", "x1")
    come(service, "1", AgentId("a", 4, "Number"), "Agent of number", "x2")
    come(service, "1", AgentId('",4]"', 5, "Five"), "Agent of five", "x3")
    service.forget_user(4)

    names = [viewer["name"] for viewer in service.get_unique_viewers("flow", "1")]
    assert names == ["Text", "Agent of text", "Agent of five"]


def test_user_is_erased_from_records_that_are_named_without_an_index(redis):
    service = RecordPresenceService(redis, 1)
    come(service, "1")
    come(service, "2")

    assert service.forget_user(42, [("flow", 1)]).tabs == 1
    assert [len(service.get_unique_viewers("flow", each)) for each in (1, 2)] == [0, 1]


def test_streams_and_lists_know_of_the_erasure(service):
    come(service, "1", 43, "Bob")
    before = come(service, "1", 42).version
    service.forget_user(42)
    after = service.list_viewers("flow", "1", known_version=before)

    assert [viewer["name"] for viewer in after.viewers] == ["Bob"]

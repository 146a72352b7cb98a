"""How often a user may call: exact over all processes, counted for every kind of call."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from limits import parse

from record_presence import create_app
from record_presence.identity.caller import Caller
from record_presence.identity.throttle import Throttle
from record_presence.presence.errors import StoreUnavailable, TooManyCalls
from record_presence.presence.scripts import Scripts
from record_presence.redis_client.client import connect
from record_presence.settings import Settings
from tests.api.client import SETTINGS, Person, contents, data_of, failure_of
from tests.waiting import wait_until

LIMITED = Settings(secret_key=SETTINGS.secret_key, rate_limit=parse("5/minute"))
CALLS = {
    "heartbeat": lambda person: person.heartbeat(),
    "viewers": lambda person: person.viewers(),
    "tabs": lambda person: person.tabs(),
    "unregister": lambda person: person.unregister(),
    "batch": lambda person: person.batch("flow:1", "flow:2"),
}


@pytest.fixture
def app(redis):
    return create_app(LIMITED, redis=redis)


def calls_key(redis):
    """Where the calls of the only user there is are counted."""
    [key] = redis.scan_iter("*_presence_calls:*")
    return key


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_kind_of_call_counts_and_is_refused(app, call):
    alice = Person(app)
    for _ in range(5):
        data_of(call(alice))
    response = call(alice)

    failure_of(response, 429)
    assert 50 <= int(response.headers["Retry-After"]) <= 60


def test_calls_of_all_kinds_count_together(app):
    alice = Person(app)
    for call in CALLS.values():
        data_of(call(alice))

    for call in CALLS.values():
        failure_of(call(alice), 429)


def test_call_that_is_refused_changes_nothing(app, redis):
    alice = Person(app)
    for _ in range(5):
        alice.heartbeat()
    before = contents(redis)

    failure_of(alice.heartbeat(mode="edit", dirty=True), 429)
    failure_of(alice.heartbeat(tab_id="t2"), 429)
    failure_of(alice.unregister(), 429)
    assert contents(redis) == before


def test_limit_is_per_user_and_per_tenant(app):
    for _ in range(5):
        data_of(Person(app).viewers())
    failure_of(Person(app).viewers(), 429)

    data_of(Person(app, 43, "Bob").viewers())
    data_of(Person(app, "42", "Alice").viewers())
    data_of(Person(app, 42, "Alice", tenant="2").viewers())


def test_window_ends_and_calls_are_taken_again(app, redis):
    alice = Person(app)
    for _ in range(5):
        alice.viewers()
    redis.pexpire(calls_key(redis), 700)
    failure_of(alice.viewers(), 429)

    wait_until(lambda: alice.viewers().status_code == 200)


def test_retry_after_is_rounded_up(app, redis):
    alice = Person(app)
    for _ in range(5):
        alice.viewers()
    redis.pexpire(calls_key(redis), 2_000)

    assert alice.viewers().headers["Retry-After"] == "2"


REFUSALS = {
    "403, a record that is not theirs": lambda person: person.heartbeat("order/1"),
    "403, a role that is not theirs": lambda person: person.inspect(),
    "404": lambda person: person.call("GET", "nowhere"),
    "405": lambda person: person.call("GET", "flow/12/heartbeat"),
    "409": lambda person: person.heartbeat(tab_id="bobs"),
    "413": lambda person: person.heartbeat(tab_id="x" * 70_000),
    "415": lambda person: person.call("POST", "flow/12/heartbeat", data=b"{}"),
    "422, a body": lambda person: person.heartbeat(mode="rule"),
    "422, a path": lambda person: person.viewers("Flow/1"),
    "422, a query": lambda person: person.batch(*["flow:1"] * 101),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_call_that_is_refused_counts_like_any_other(app, redis, refusal):
    data_of(Person(app, 43, "Bob").heartbeat(tab_id="bobs"))
    redis.delete(calls_key(redis))
    alice = Person(app, records=["flow:*"])
    statuses = [REFUSALS[refusal](alice).status_code for _ in range(6)]

    assert statuses == [int(refusal[:3])] * 5 + [429]
    failure_of(alice.viewers(), 429)


def test_signal_that_is_refused_counts_as_a_signal(redis):
    app = create_app(
        Settings(secret_key=SETTINGS.secret_key, signal_rate_limit=parse("2/minute")), redis=redis
    )
    alice = Person(app)
    statuses = [alice.call("POST", "flow/12/signal", json={}).status_code for _ in range(3)]

    assert statuses == [422, 422, 429]
    data_of(alice.viewers())


def test_call_without_a_proof_counts_against_nobody(app, redis):
    stranger = Person(app)
    stranger.headers = {}

    failure_of(stranger.heartbeat(), 401)
    failure_of(stranger.call("GET", "nowhere"), 404)
    assert redis.keys() == []


def test_user_over_the_limit_is_refused_without_redis_and_whatever_they_send(app, monkeypatch):
    alice = Person(app)
    for _ in range(6):
        alice.heartbeat()
    monkeypatch.setattr(app.extensions["presence"].scripts, "run", None)

    for call in (*CALLS.values(), *REFUSALS.values()):
        assert 50 <= int(call(alice).headers["Retry-After"]) <= 60
        failure_of(call(alice), 429)


def test_count_that_an_operator_deletes_is_noticed_soon(app, redis, monkeypatch):
    monkeypatch.setattr("record_presence.identity.throttle.RECHECK_SECONDS", 0.05)
    alice = Person(app)
    for _ in range(6):
        alice.viewers()
    redis.delete(calls_key(redis))

    wait_until(lambda: alice.viewers().status_code == 200)


def test_memory_of_blocked_users_is_bounded(monkeypatch):
    monkeypatch.setattr("record_presence.identity.throttle.MAX_BLOCKED_USERS", 10)
    throttle = Throttle(None, None, LIMITED.rate_limit, one_slot=True)
    callers = [Caller(number, "", "1") for number in range(25)]
    for caller in callers:
        throttle.remember_blocked(caller, 60)

    refused = [caller for caller in callers if is_refused(throttle, caller)]
    assert callers[-1] in refused
    assert len(refused) <= 10


def is_refused(throttle, caller):
    try:
        throttle.refuse_blocked(caller)
    except TooManyCalls:
        return True
    return False


DEAR_CALLS = {
    "a batch of 10 records": (lambda person: person.batch(*names(10)), 1),
    "a batch of 11 records": (lambda person: person.batch(*names(11)), 2),
    "a batch of 100 records": (lambda person: person.batch(*names(100)), 10),
    "a stream of 100 records": (lambda person: stream(person, names(100)), 10),
    "a stream of long lists": (lambda person: stream(person, names(11), limit=300), 6),
    "a list of 100 viewers": (lambda person: person.viewers(limit=100), 1),
    "a list of 1,000 viewers": (lambda person: person.viewers(limit=1000), 10),
    "a timeline of 1,000 entries": (lambda person: person.timeline(limit=1000), 10),
}


@pytest.mark.parametrize("dear", DEAR_CALLS)
def test_dear_call_counts_as_several(redis, dear):
    app = create_app(replace(SETTINGS, rate_limit=parse("20/minute")), redis=redis)
    call, cost = DEAR_CALLS[dear]
    assert call(Person(app)).status_code == 200

    assert int(redis.get(calls_key(redis))) == cost


def names(count):
    return [f"flow:{number}" for number in range(count)]


def stream(person, records, **query):
    """Only its head, which counts the same."""
    query = [*(("record", name) for name in records), *query.items()]
    return person.call("HEAD", "events", query_string=query)


def test_call_that_costs_more_than_the_limit_is_possible_once(app):
    alice = Person(app)

    data_of(alice.batch(*names(100)))
    failure_of(alice.viewers(), 429)


def test_limit_is_exact_over_two_applications_and_many_threads(real_redis, redis_server):
    settings = Settings(secret_key=SETTINGS.secret_key, rate_limit=parse("100/minute"))
    with redis_server.client() as first, redis_server.client() as second:
        apps = [create_app(settings, redis=client) for client in (first, second)]
        calls = list(CALLS.values())

        def call(number):
            return calls[number % len(calls)](Person(apps[number % 2])).status_code

        with ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(call, range(240)))

    assert statuses.count(429) == 140
    # A heartbeat that is under way when another thread says goodbye for the tab counts and is refused.
    assert set(statuses) - {409} == {200, 429}


@pytest.mark.parametrize(("text", "seconds"), [("3/minute", 60), ("3 per 2 hour", 7_200), ("3/day", 86_400)])
def test_window_is_as_long_as_the_setting_says(redis, text, seconds):
    app = create_app(Settings(secret_key=SETTINGS.secret_key, rate_limit=parse(text)), redis=redis)
    Person(app).viewers()

    assert seconds * 1_000 - 30_000 < redis.pttl(calls_key(redis)) <= seconds * 1_000


def test_key_of_a_user_is_hers_alone():
    callers = [
        Caller(42, "", "1"),
        Caller("42", "", "1"),
        Caller(42, "", "2"),
        Caller("1_presence_calls:42", "", "1"),
        Caller(42, "", "1_presence_calls:42"),
        Caller("{x}", "", "1"),
        Caller(42, "", "\ud800"),
        Caller(42, "", "\ud801"),
    ]
    throttle = Throttle(None, None, LIMITED.rate_limit, one_slot=True)
    keys = {throttle.quota(caller).key for caller in callers}

    assert len(keys) == len(callers)
    assert not any(set(key) & set("{}*? \n") for key in keys)


@pytest.fixture
def full_redis(real_redis):
    """It has no memory left; `real_redis` refuses whatever adds to it."""

    def fill():
        real_redis.config_set("maxmemory", 1)

    yield fill
    real_redis.config_set("maxmemory", 0)


def test_full_redis_refuses_heartbeats_and_still_lets_people_look_and_leave(full_redis, real_redis):
    alice, bob = (
        Person(create_app(LIMITED, redis=real_redis)),
        Person(create_app(LIMITED, redis=real_redis), 43),
    )
    data_of(alice.heartbeat())
    full_redis()

    failure_of(bob.heartbeat(tab_id="t2"), 503)
    assert [viewer["id"] for viewer in data_of(bob.viewers())["viewers"]] == [42]
    data_of(alice.unregister())
    assert data_of(bob.viewers())["viewers"] == []


def test_dead_node_that_counts_does_not_refuse_calls_for_a_living_one():
    scripts, caller = Scripts(), Caller(user_id=42, user_name="Alice", tenant="1")
    dead = connect("redis://127.0.0.1:1")

    assert Throttle(dead, scripts, parse("5/minute"), one_slot=False).check(caller) is None
    with pytest.raises(StoreUnavailable):
        Throttle(dead, scripts, parse("5/minute"), one_slot=True).check(caller)

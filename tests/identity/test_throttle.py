"""How often a user may call: exact over all processes, counted for every kind of call."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from limits import parse

from app import create_app
from app.identity.caller import Caller
from app.identity.throttle import Throttle
from app.presence.errors import StoreUnavailable
from app.presence.scripts import Scripts
from app.redis_client import connect
from app.settings import Settings
from tests.api.client import SETTINGS, Person, contents, data_of, failure_of

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
    for _ in range(6):
        alice.viewers()
    redis.pexpire(calls_key(redis), 1)

    while alice.viewers().status_code == 429:
        pass
    data_of(alice.viewers())


def test_retry_after_is_rounded_up(app, redis):
    alice = Person(app)
    for _ in range(5):
        alice.viewers()
    redis.pexpire(calls_key(redis), 900)

    assert alice.viewers().headers["Retry-After"] == "1"


def test_call_that_is_not_valid_is_told_so_without_being_counted(app):
    alice = Person(app)
    for _ in range(10):
        failure_of(alice.heartbeat(mode="rule"), 422)
        failure_of(alice.viewers("Flow/1"), 422)

    for _ in range(5):
        data_of(alice.heartbeat())


def test_limit_is_exact_over_two_applications_and_many_threads(real_redis, redis_server):
    settings = Settings(secret_key=SETTINGS.secret_key, rate_limit=parse("100/minute"))
    with redis_server.client() as first, redis_server.client() as second:
        apps = [create_app(settings, redis=client) for client in (first, second)]
        calls = list(CALLS.values())

        def call(number):
            return calls[number % len(calls)](Person(apps[number % 2])).status_code

        with ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(call, range(240)))

    assert (statuses.count(200), statuses.count(429)) == (100, 140)


@pytest.mark.parametrize(("text", "seconds"), [("3/second", 1), ("3 per 2 hour", 7_200), ("3/day", 86_400)])
def test_window_is_as_long_as_the_setting_says(redis, text, seconds):
    app = create_app(Settings(secret_key=SETTINGS.secret_key, rate_limit=parse(text)), redis=redis)
    Person(app).viewers()

    assert seconds * 1_000 - 900 < redis.pttl(calls_key(redis)) <= seconds * 1_000


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

"""Invalid tokens: an address may send so many, where it can be told from others."""

from dataclasses import replace

import fakeredis
import pytest
from limits import parse

from record_presence import create_app
from record_presence.identity import failed_authentication_limit as module
from record_presence.identity.failed_authentication_limit import FailedAuthenticationLimit, client_address
from record_presence.presence.errors import TooManyCalls
from tests.api.client import SETTINGS, Person, data_of, failure_of, token

PUBLIC, OTHER = "8.8.8.8", "9.9.9.9"


@pytest.fixture
def make_app():
    def make(**settings):
        settings = {"failed_authentication_limit": parse("3/hour"), **settings}
        return create_app(
            replace(SETTINGS, **settings), redis=fakeredis.FakeRedis(server=fakeredis.FakeServer())
        )

    return make


def try_token(app, proof, peer=PUBLIC, **headers):
    person = Person(app)
    person.headers = {"Authorization": f"Bearer {proof}", **headers}
    return person.call("GET", "flow/12/viewers", environ_overrides={"REMOTE_ADDR": peer})


def invalid(number):
    return token(number, seconds=-1)


def test_address_that_sends_invalid_tokens_is_told_to_wait(make_app):
    app = make_app()
    statuses = [try_token(app, invalid(number)).status_code for number in range(5)]
    refusal = try_token(app, invalid(9))

    assert statuses == [401, 401, 401, 429, 429]
    failure_of(refusal, 429)
    assert 1000 < int(refusal.headers["Retry-After"]) <= 1200
    failure_of(try_token(app, invalid(9), OTHER), 401)


def test_user_whose_token_is_known_works_on_behind_the_same_address(make_app):
    app = make_app()
    data_of(try_token(app, token()))
    for number in range(4):
        try_token(app, invalid(number))

    data_of(try_token(app, token()))
    failure_of(try_token(app, token(43)), 429)


def test_same_invalid_token_again_costs_nothing(make_app):
    app = make_app()
    for _ in range(10):
        failure_of(try_token(app, invalid(1)), 401)

    data_of(try_token(app, token()))


def test_valid_tokens_take_nothing_from_the_bucket(make_app):
    app = make_app()
    for number in range(10):
        data_of(try_token(app, token(number)))


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.0.0.7", "192.168.1.1", "169.254.0.1", "", "unix:"])
def test_peer_that_may_be_a_proxy_has_no_limit(make_app, peer):
    app = make_app()
    for number in range(5):
        failure_of(try_token(app, invalid(number), peer, **{"X-Forwarded-For": PUBLIC}), 401)


def test_proxy_that_is_trusted_names_the_address(make_app):
    app = make_app(trust_forwarded_for=True)
    for number in range(4):
        # The browser has sent the first part, and may send another each time.
        response = try_token(
            app, invalid(number), "127.0.0.1", **{"X-Forwarded-For": f"1.1.1.{number}, {PUBLIC}"}
        )

    failure_of(response, 429)
    failure_of(try_token(app, invalid(9), "127.0.0.1", **{"X-Forwarded-For": OTHER}), 401)


@pytest.mark.parametrize("forwarded", ["", "nonsense", "8.8.8.8:80", "8.8.8.8,", "é"])
def test_forwarded_address_that_can_not_be_read_is_none(forwarded):
    environ = {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": forwarded}

    assert client_address(environ, trusts_forwarded_for=True) is None
    assert client_address({"REMOTE_ADDR": "127.0.0.1"}, trusts_forwarded_for=True) is None


def test_client_of_ipv6_is_its_network():
    addresses = ["2a00:1450::1", "2a00:1450::ffff", "2a00:1450:0:1::1"]
    first, same, other = [client_address({"REMOTE_ADDR": it}, trusts_forwarded_for=False) for it in addresses]

    assert first == same != other


def test_bucket_fills_again(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    limit = FailedAuthenticationLimit(parse("2/minute"))
    for _ in range(2):
        limit.count_failure(PUBLIC)
    with pytest.raises(TooManyCalls) as refusal:
        limit.check(PUBLIC)
    assert refusal.value.retry_after_seconds == pytest.approx(30)

    now += 30
    limit.check(PUBLIC)


def test_memory_of_addresses_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MAX_ADDRESSES", 10)
    limit = FailedAuthenticationLimit(parse("1/hour"))
    for number in range(25):
        limit.count_failure(f"8.8.8.{number}")

    limit.check("8.8.8.0")  # forgotten
    with pytest.raises(TooManyCalls):
        limit.check("8.8.8.24")

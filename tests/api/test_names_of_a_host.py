"""What a Flask application has of its own stays its own: names, paths, commands, secrets."""

import os

import fakeredis
import pytest
from flask import Blueprint, Flask

from record_presence import init_app
from record_presence.settings import SettingError, read_host_settings
from record_presence.tokens import derive_key, sign
from tests.api.client import PREFIX, SETTINGS, Person, data_of, failure_of
from tests.gunicorn_server import OURS

REDIS_ELSEWHERE = "redis://redis.example.com:6379"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch):
    for name in [name for name in os.environ if name.startswith((*OURS, "SECRET_KEY"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def fake_redis():
    return fakeredis.FakeRedis(server=fakeredis.FakeServer())


@pytest.fixture
def host():
    return Flask("shop", static_folder=None)


def rules(app):
    return {rule.rule: rule.endpoint for rule in app.url_map.iter_rules()}


def test_host_gets_the_presence_calls_and_nothing_else(host, fake_redis):
    init_app(host, SETTINGS, redis=fake_redis)

    assert rules(host)
    assert {path for path in rules(host) if not path.startswith(f"{PREFIX}/")} == set()


@pytest.mark.parametrize(
    ("option", "paths"),
    [
        ("docs", {"/api/docs", "/api/docs/openapi.json", "/api/docs/static/<path:filename>"}),
        ("metrics", {"/metrics"}),
        ("health", {"/health/live", "/health/ready"}),
    ],
)
def test_host_gets_what_it_asks_for(host, fake_redis, option, paths):
    init_app(host, SETTINGS, redis=fake_redis, **{option: True})

    assert {path for path in rules(host) if not path.startswith(f"{PREFIX}/")} == paths


def test_every_name_of_ours_begins_with_record_presence(host, fake_redis):
    init_app(host, SETTINGS, redis=fake_redis, docs=True, metrics=True, health=True)
    names = [*rules(host).values(), *host.blueprints, *host.view_functions]

    assert [name for name in names if not name.startswith("record_presence")] == []


def test_path_that_was_not_asked_for_is_the_hosts_whatever_it_answers(host, fake_redis):
    host.register_error_handler(404, lambda error: ("the host's 404", 404))
    host.add_url_rule("/metrics", view_func=lambda: {}["missing"], endpoint="metrics")
    host.register_error_handler(500, lambda error: ("the host's 500", 500))
    init_app(host, SETTINGS, redis=fake_redis)
    client = host.test_client()

    assert client.get("/api/docs").text == "the host's 404"
    assert client.get("/health/live").text == "the host's 404"
    assert client.get("/metrics").text == "the host's 500"


def test_route_of_the_host_among_our_paths_keeps_the_hosts_error_pages(host, fake_redis):
    host.register_error_handler(500, lambda error: ("the host's 500", 500))
    host.add_url_rule(f"{PREFIX}/teams/<name>/all/of/it", view_func=lambda name: {}["missing"], endpoint="t")
    init_app(host, SETTINGS, redis=fake_redis)

    assert host.test_client().get(f"{PREFIX}/teams/a/all/of/it").text == "the host's 500"
    failure_of(host.test_client().get(f"{PREFIX}/teams/a/nowhere/at/all"), 404)


@pytest.mark.parametrize("comes_first", [True, False], ids=["before", "after"])
def test_extension_and_commands_of_the_host_with_our_names_are_the_hosts(host, fake_redis, comes_first):
    def extend():
        host.extensions["presence"] = "the host's"
        host.cli.command("token")(lambda: print("the host's"))
        host.register_blueprint(Blueprint("presence", __name__))

    if comes_first:
        extend()
    init_app(host, SETTINGS, redis=fake_redis)
    if not comes_first:
        extend()

    assert host.extensions["presence"] == "the host's"
    assert host.test_cli_runner().invoke(args=["token"]).output == "the host's\n"
    data_of(Person(host).heartbeat())


def test_requests_of_the_host_are_not_in_our_metrics(host, fake_redis):
    host.add_url_rule("/", view_func=lambda: "page", endpoint="page")
    init_app(host, SETTINGS, redis=fake_redis, metrics=True)
    host.test_client().get("/")

    assert 'endpoint="page"' not in host.test_client().get("/metrics").text
    assert host.after_request_funcs.get(None) is None


# Its secret


@pytest.mark.parametrize("secret", ["dev", "the host's own, and long enough", b"\x00\xffbytes of os.urandom"])
def test_token_that_is_signed_with_the_hosts_secret_is_accepted(host, fake_redis, secret):
    host.secret_key = secret
    init_app(host, redis=fake_redis)
    proof = {"Authorization": f"Bearer {sign(42, 'Alice', key=derive_key(secret))}"}

    data_of(host.test_client().get(f"{PREFIX}/flow/12/viewers", headers=proof))


def test_secret_that_other_processes_read_too_comes_before_the_hosts():
    environ = {"SECRET_KEY": "a secret of the environment"}

    assert read_host_settings("the host's own", environ).secret_key == environ["SECRET_KEY"]


def test_host_whose_tokens_are_verified_with_another_key_needs_no_strong_secret():
    environ = {"REDIS_URL": REDIS_ELSEWHERE, "PRESENCE_JWT_KEY": "x7" * 8 + "-a key of the tests"}

    assert read_host_settings("dev", environ).jwt_key == environ["PRESENCE_JWT_KEY"]


@pytest.mark.parametrize("secret", ["dev", None])
def test_weak_secret_that_others_could_guess_stops_the_start_with_one_line(secret):
    with pytest.raises(SettingError, match=r"^SECRET_KEY: must be [^\n]+$"):
        read_host_settings(secret, {"REDIS_URL": REDIS_ELSEWHERE})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEB_CONCURRENCY", "4"),
        ("PORT", "tcp://10.0.0.1:80"),
        ("HOST", "0.0.0.0"),
        ("DATABASE_URL", "postgres://shop"),
    ],
)
def test_variables_of_the_hosts_server_are_not_ours_to_judge(host, fake_redis, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    host.secret_key = "dev"
    init_app(host, redis=fake_redis)

    assert rules(host)

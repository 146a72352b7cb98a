"""The service inside a Flask application that has routes, errors, templates and users of its own."""

import os
import subprocess
import sys

import fakeredis
import pytest
from flask import Flask, abort, session
from werkzeug.exceptions import HTTPException

from record_presence import init_app
from record_presence.identity.caller import Caller
from record_presence.identity.session import CSRF_HEADER, csrf_token
from record_presence.settings import SettingError, Settings
from tests.api.client import PREFIX, SETTINGS, Person, contents, data_of, failure_of

ALICE = Caller(42, "Alice", "1")
HEARTBEAT = {"tab_id": "t1", "mode": "view", "dirty": False}


def load_alice(request):
    """A host's loader, named in a test by its dotted path."""
    return ALICE if request.cookies.get("host_user") == "alice" else None


@pytest.fixture
def fake_redis():
    return fakeredis.FakeRedis(server=fakeredis.FakeServer())


@pytest.fixture
def host():
    """A host with a page that works, one that breaks, and one that gives up."""
    app = Flask(__name__, static_folder=None)
    app.secret_key = "the host's own"
    app.add_url_rule("/", "page", lambda: "the host's page")
    app.add_url_rule("/broken", "broken", lambda: {}["missing"])
    app.add_url_rule("/teapot", "teapot", lambda: abort(418))
    return app


def register_by_status(app):
    app.register_error_handler(404, lambda error: ("the host's 404", 404))
    app.register_error_handler(405, lambda error: ("the host's 405", 405))
    app.register_error_handler(500, lambda error: ("the host's 500", 500))
    app.register_error_handler(418, lambda error: ("the host's 418", 418))


def register_http_exceptions(app):
    app.register_error_handler(HTTPException, lambda error: (f"the host's {error.code}", error.code))


def register_every_exception(app):
    def handle(error):
        code = error.code if isinstance(error, HTTPException) else 500
        return f"the host's {code}", code

    app.register_error_handler(Exception, handle)


REGISTRATIONS = [register_by_status, register_http_exceptions, register_every_exception]


@pytest.mark.parametrize("comes_first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("register", REGISTRATIONS)
def test_errors_of_the_host_stay_its_own_and_ours_stay_ours(host, fake_redis, register, comes_first):
    if comes_first:
        register(host)
    init_app(host, SETTINGS, redis=fake_redis)
    if not comes_first:
        register(host)
    client = host.test_client()

    assert client.get("/").text == "the host's page"
    assert client.get("/nowhere").text == "the host's 404"
    assert client.get("/broken").text == "the host's 500"
    assert client.get("/teapot").text == "the host's 418"
    failure_of(client.get(f"{PREFIX}/nowhere"), 404)
    failure_of(client.get(f"{PREFIX}/flow/12/heartbeat"), 405)
    failure_of(client.get(f"{PREFIX}/flow/12/viewers"), 401)
    failure_of(Person(host).viewers("Flow/12"), 422)
    host.extensions["presence"].throttle = None
    failure_of(Person(host).viewers(), 500)


def test_host_without_error_handlers_keeps_flasks_own(host, fake_redis):
    init_app(host, SETTINGS, redis=fake_redis)
    client = host.test_client()

    assert client.get("/nowhere").content_type.startswith("text/html")
    assert client.get("/teapot").status_code == 418
    assert client.get("/broken").content_type.startswith("text/html")
    assert client.get("/broken").status_code == 500


def test_hosts_error_is_raised_to_its_tests_as_before(host, fake_redis):
    host.testing = True
    init_app(host, SETTINGS, redis=fake_redis)

    with pytest.raises(KeyError):
        host.test_client().get("/broken")


@pytest.mark.parametrize(
    "path", ["/metrics-of-the-host", "/api/docs.html", "/healthy", "/health/database", f"{PREFIX}s/of/ours"]
)
def test_path_that_only_begins_like_ours_is_the_hosts(host, fake_redis, path):
    register_by_status(host)
    init_app(host, SETTINGS, redis=fake_redis)

    assert host.test_client().get(path).text == "the host's 404"


def test_redirect_of_the_router_stays_a_redirect(host, fake_redis):
    init_app(host, SETTINGS, redis=fake_redis)
    response = host.test_client().get(f"{PREFIX}//viewers?record=flow:1")

    assert response.status_code == 308
    assert response.location.endswith(f"{PREFIX}/viewers?record=flow:1")


def test_error_after_the_answer_was_made_is_in_the_envelope_too(host, fake_redis):
    @host.after_request
    def break_down(response):
        raise RuntimeError("the host's bug")

    init_app(host, SETTINGS, redis=fake_redis)
    response = Person(host).viewers()

    failure_of(response, 500)
    assert "bug" not in response.text


def test_documentation_page_needs_neither_the_hosts_templates_nor_its_static_files(
    host, fake_redis, tmp_path
):
    (tmp_path / "docs.html").write_text("the host's docs")
    host.template_folder = str(tmp_path)
    init_app(host, SETTINGS, redis=fake_redis, docs=True)
    response = host.test_client().get("/api/docs")

    assert response.status_code == 200
    assert "Record Presence" in response.text


def test_host_without_sessions_takes_bearer_tokens(host, fake_redis):
    host.secret_key = None
    init_app(host, SETTINGS, redis=fake_redis)

    data_of(Person(host).heartbeat())
    failure_of(host.test_client().get(f"{PREFIX}/flow/12/viewers"), 401)


# The host's users


def test_loader_given_to_init_app_says_who_calls(host, fake_redis):
    host.add_url_rule("/csrf", "csrf", lambda: csrf_token(session))
    init_app(host, SETTINGS, redis=fake_redis, identity_loader=load_alice)
    client = host.test_client()
    client.set_cookie("host_user", "alice")
    csrf = client.get("/csrf").text

    data_of(client.post(f"{PREFIX}/flow/12/heartbeat", json=HEARTBEAT, headers={CSRF_HEADER: csrf}))
    [viewer] = data_of(client.get(f"{PREFIX}/flow/12/viewers?include_self=true"))["viewers"]
    assert viewer["name"] == "Alice"


def test_loader_named_by_its_dotted_path_says_who_calls(host, fake_redis):
    settings = Settings(secret_key="x" * 32, identity_loader=f"{__name__}:load_alice")
    init_app(host, settings, redis=fake_redis)
    client = host.test_client()
    client.set_cookie("host_user", "alice")

    assert data_of(client.get(f"{PREFIX}/flow/12/viewers"))["total"] == 0


def test_cookie_of_the_hosts_user_needs_the_csrf_token_to_write(host, fake_redis):
    init_app(host, SETTINGS, redis=fake_redis, identity_loader=load_alice)
    client = host.test_client()
    client.set_cookie("host_user", "alice")

    failure_of(client.post(f"{PREFIX}/flow/12/heartbeat", json=HEARTBEAT), 403)
    assert contents(fake_redis) == {}


def test_loader_whose_proof_no_browser_sends_by_itself_needs_no_csrf_token(host, fake_redis):
    caller = Caller(42, "Alice", "1", needs_csrf_token=False)
    init_app(host, SETTINGS, redis=fake_redis, identity_loader=lambda request: caller)

    data_of(host.test_client().post(f"{PREFIX}/flow/12/heartbeat", json=HEARTBEAT))


def test_loader_that_knows_nobody_leaves_the_caller_unknown(host, fake_redis):
    init_app(host, SETTINGS, redis=fake_redis, identity_loader=lambda request: None)

    failure_of(host.test_client().get(f"{PREFIX}/flow/12/viewers"), 401)


def test_bearer_token_comes_before_the_loader(host, fake_redis):
    init_app(host, SETTINGS, redis=fake_redis, identity_loader=lambda request: ALICE)
    bob = Person(host, 43, "Bob")
    bob.heartbeat()

    assert data_of(bob.viewers(include_self="true"))["viewers"][0]["name"] == "Bob"
    bob.headers["Authorization"] = "Bearer nonsense"
    failure_of(bob.viewers(), 401)


def test_loader_with_record_patterns_limits_its_caller(host, fake_redis):
    caller = Caller(42, "Alice", "1", records=("flow:1*",))
    init_app(host, SETTINGS, redis=fake_redis, identity_loader=lambda request: caller)
    client = host.test_client()

    data_of(client.get(f"{PREFIX}/flow/12/viewers"))
    failure_of(client.get(f"{PREFIX}/flow/2/viewers"), 403)


@pytest.mark.parametrize("path", ["nowhere.at_all:load", f"{__name__}:nothing", f"{__name__}:HEARTBEAT"])
def test_loader_that_is_not_there_stops_the_start(host, fake_redis, path):
    settings = Settings(secret_key="x" * 32, identity_loader=path)

    with pytest.raises(SettingError, match=r"^PRESENCE_IDENTITY_LOADER: .+$"):
        init_app(host, settings, redis=fake_redis)


def test_token_command_prints_a_token_that_the_service_accepts():
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "token", "--sub", "42", "--name", "Alice"]
    environment = {**os.environ, "SECRET_KEY": SETTINGS.secret_key, "PRESENCE_JWT_KEY": ""}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    host = Flask(__name__)
    init_app(host, SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    client = host.test_client()

    data_of(
        client.get(f"{PREFIX}/flow/12/viewers", headers={"Authorization": f"Bearer {run.stdout.strip()}"})
    )

"""Beside what hosts have in their applications, and behind what stands between them and a browser."""

import gzip
import json

import fakeredis
import pytest
from flask import Flask, abort, request, session
from flask_compress import Compress
from flask_cors import CORS
from flask_login import LoginManager, UserMixin, current_user, login_user
from flask_talisman import Talisman
from flask_wtf.csrf import CSRFProtect, generate_csrf

from record_presence import init_app
from record_presence.api import responses
from record_presence.identity.caller import Caller
from record_presence.identity.session import CSRF_HEADER, csrf_token, sign_in
from tests.api.client import PREFIX, SETTINGS, Person, data_of, failure_of, token

HEARTBEAT = {"tab_id": "t1", "mode": "edit", "dirty": False}
HEARTBEAT_PATH = f"{PREFIX}/flow/12/heartbeat"


@pytest.fixture
def fake_redis():
    return fakeredis.FakeRedis(server=fakeredis.FakeServer())


@pytest.fixture
def host():
    app = Flask(__name__, static_folder=None)
    app.secret_key = "the host's own"

    @app.get("/sign-in")
    def be_alice():
        sign_in(session, Caller(42, "Alice", "1"))
        return {"ours": csrf_token(session)}

    return app


# Flask-WTF


@pytest.fixture(params=["before", "after"])
def protected_host(host, fake_redis, request):
    """With CSRFProtect, made before or after ours."""

    @host.get("/token")
    def hosts_token():
        return generate_csrf()

    @host.post("/form")
    def save():
        return "saved"

    if request.param == "before":
        CSRFProtect(host)
    init_app(host, SETTINGS, redis=fake_redis)
    if request.param == "after":
        CSRFProtect(host)
    return host


def test_csrf_protection_of_the_host_refuses_no_bearer_token(protected_host):
    alice = Person(protected_host)

    data_of(alice.heartbeat(mode="edit"))
    data_of(alice.claim())
    data_of(alice.unregister())
    assert protected_host.test_client().post("/form").status_code == 400  # its own stay protected


def test_session_is_proved_by_our_token_or_by_the_one_that_the_hosts_pages_have(protected_host):
    client = protected_host.test_client()
    ours = client.get("/sign-in").json["ours"]
    theirs = client.get("/token").text

    failure_of(client.post(HEARTBEAT_PATH, json=HEARTBEAT), 403)
    for wrong in ("nonsense", f"{theirs}x", "nonsense,nonsense"):
        failure_of(client.post(HEARTBEAT_PATH, json=HEARTBEAT, headers={CSRF_HEADER: wrong}), 403)
    for right in (ours, theirs, f"{theirs}, {ours}"):
        data_of(client.post(HEARTBEAT_PATH, json=HEARTBEAT, headers={CSRF_HEADER: right}))


def test_token_of_flask_wtf_from_another_session_proves_nothing(protected_host):
    theirs = protected_host.test_client().get("/token").text
    client = protected_host.test_client()
    client.get("/sign-in")

    failure_of(client.post(HEARTBEAT_PATH, json=HEARTBEAT, headers={CSRF_HEADER: theirs}), 403)


# What the host does before and after


def test_call_that_the_host_itself_refuses_says_why_and_the_log_what_to_do(host, fake_redis, caplog):
    @host.before_request
    def protect():
        abort(400, "The check of the host says no.")

    responses._logged_refusals.clear()
    init_app(host, SETTINGS, redis=fake_redis)
    for _ in range(3):
        failure = failure_of(Person(host).heartbeat(), 400)

    assert failure["message"] == "Bad Request: The check of the host says no."
    [line] = [record.message for record in caplog.records if record.name == "presence.api"]
    assert "The check of the host says no." in line
    assert "leave out the paths of Record Presence" in line


@pytest.mark.parametrize(
    "read",
    [lambda: request.get_data(), lambda: request.get_json(), lambda: request.form],
    ids=["as bytes", "as JSON", "as a form"],
)
def test_body_that_the_host_has_looked_at_is_read_all_the_same(host, fake_redis, read):
    @host.before_request
    def look():
        read()

    host.config.update(MAX_CONTENT_LENGTH=512)
    init_app(host, SETTINGS, redis=fake_redis)

    data_of(Person(host).heartbeat())


def test_settings_of_the_host_for_its_own_errors_and_uploads_change_nothing(host, fake_redis):
    host.config.update(
        MAX_CONTENT_LENGTH=8,
        TRAP_HTTP_EXCEPTIONS=True,
        TRAP_BAD_REQUEST_ERRORS=True,
        PROPAGATE_EXCEPTIONS=True,
        SESSION_COOKIE_PATH="/",
        SESSION_COOKIE_SECURE=True,
    )
    init_app(host, SETTINGS, redis=fake_redis)
    alice = Person(host)

    data_of(alice.heartbeat())
    failure_of(alice.call("GET", "nowhere"), 404)
    failure_of(alice.call("POST", "flow/12/heartbeat", data="{", content_type="application/json"), 400)


def test_flask_login_cors_talisman_and_compress_beside_us(host, fake_redis):
    class User(UserMixin):
        id = "alice"

    logins = LoginManager(host)
    logins.user_loader(lambda user_id: User())
    CORS(host, origins="https://app.example.com")
    Talisman(host, force_https=False)
    host.config["COMPRESS_MIN_SIZE"] = 1
    Compress(host)

    @host.get("/log-in")
    def log_in():
        login_user(User())
        return csrf_token(session)

    def who_calls(request):
        return Caller(current_user.id, "Alice", "1") if current_user.is_authenticated else None

    init_app(host, SETTINGS, redis=fake_redis, identity_loader=who_calls)
    client = host.test_client()
    headers = {
        CSRF_HEADER: client.get("/log-in").text,
        "Origin": "https://app.example.com",
        "Accept-Encoding": "gzip",
    }
    beat = client.post(HEARTBEAT_PATH, json=HEARTBEAT, headers=headers)

    assert beat.status_code == 200
    assert beat.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert json.loads(gzip.decompress(beat.data))["data"]["registered"]
    assert int(beat.headers["Content-Length"]) == len(beat.data)
    with client.get(f"{PREFIX}/events?record=flow:12", headers=headers) as stream:
        assert next(stream.iter_encoded()).startswith(b"retry: ")
        assert "Content-Encoding" not in stream.headers


# What stands between a browser and us


@pytest.fixture
def app(host, fake_redis):
    init_app(host, SETTINGS, redis=fake_redis)
    return host


@pytest.mark.parametrize(
    "header",
    [
        "Bearer {token}",
        "bearer {token}",
        "BEARER  {token} ",
        "Basic c3RhZ2luZzpwYXNz,Bearer {token}",
        "Bearer {token}, Basic c3RhZ2luZzpwYXNz",
        'Digest username="a", realm="b, c",Bearer {token}',
        "Bearer {token},Bearer {token}",
    ],
)
def test_token_is_found_beside_what_a_proxy_has_added(app, header):
    alice = Person(app)
    alice.headers["Authorization"] = header.format(token=token())

    data_of(alice.viewers())


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer {token},Bearer {other}", "Basic YTpi"])
def test_header_without_one_token_is_refused(app, header):
    alice = Person(app)
    alice.headers["Authorization"] = header.format(token=token(), other=token(43))

    failure_of(alice.viewers(), 401)


def test_password_that_a_browser_sends_to_a_proxy_is_no_bar_to_its_session(app):
    client = app.test_client()
    headers = {"Authorization": "Basic c3RhZ2luZzpwYXNz", CSRF_HEADER: client.get("/sign-in").json["ours"]}

    data_of(client.post(HEARTBEAT_PATH, json=HEARTBEAT, headers=headers))
    failure_of(client.post(HEARTBEAT_PATH, json=HEARTBEAT, headers={**headers, CSRF_HEADER: "x"}), 403)


@pytest.mark.parametrize(
    "changed",
    [
        lambda etag: etag,
        lambda etag: etag.removeprefix("W/"),
        lambda etag: f'{etag[:-1]}-gzip"',
        lambda etag: f'{etag[:-1]}--gzip"',
        lambda etag: f'{etag[:-1]};gzip"',
        lambda etag: f'{etag.removeprefix("W/")[:-1]}:br"',
        lambda etag: f'"of-another", {etag}',
    ],
)
def test_etag_that_a_proxy_has_changed_still_says_that_nothing_has_changed(app, changed):
    alice = Person(app)
    alice.heartbeat()
    etag = alice.viewers().headers["ETag"]

    assert alice.viewers(etag=changed(etag)).status_code == 304
    assert Person(app, 43, "Bob").viewers(etag=changed(etag)).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/json,application/json",
        "application/json; charset=utf-8, application/json",
    ],
)
@pytest.mark.parametrize("around", ["{}", "\ufeff{}", "{}\n", "\r\n{}\r\n"])
def test_body_is_read_whatever_its_type_and_text_are_wrapped_in(app, content_type, around):
    body = around.replace("{}", json.dumps(HEARTBEAT)).encode()

    data_of(Person(app).call("POST", "flow/12/heartbeat", data=body, content_type=content_type))


def test_large_body_with_a_byte_order_mark_is_read_as_well(app):
    body = {**HEARTBEAT, "dirty": True, "dirty_fields": [f"field {n:0120}" for n in range(100)]}
    text = b"\xef\xbb\xbf" + json.dumps(body).encode()

    data_of(Person(app).call("POST", "flow/12/heartbeat", data=text, content_type="application/json"))


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain, application/json", "application/xml"])
def test_body_of_another_type_is_refused_as_before(app, content_type):
    text = json.dumps(HEARTBEAT)

    failure_of(Person(app).call("POST", "flow/12/heartbeat", data=text, content_type=content_type), 415)


def test_compressed_body_is_refused_with_its_reason(app):
    failure = failure_of(
        Person(app).call(
            "POST",
            "flow/12/heartbeat",
            data=gzip.compress(json.dumps(HEARTBEAT).encode()),
            content_type="application/json",
            headers={"Content-Encoding": "gzip"},
        ),
        415,
    )

    assert failure["message"] == "The body must not be compressed."


@pytest.mark.parametrize(
    "left",
    [
        {},
        {"headers": {"Content-Length": "0"}},
        {"headers": {"Transfer-Encoding": "chunked"}, "content_type": "application/json"},
        {"headers": {"Transfer-Encoding": "chunked"}},
    ],
    ids=["nothing", "a length of 0", "no chunks", "no chunks and no type"],
)
def test_goodbye_whose_body_a_proxy_has_dropped_is_heard(app, left):
    alice = Person(app)
    alice.heartbeat()
    environ = {"wsgi.input_terminated": True}
    data_of(alice.call("DELETE", "flow/12/unregister?tab_id=t1", environ_overrides=environ, **left))

    assert data_of(alice.tabs())["tabs"] == {}


def test_parameters_that_others_add_are_ignored(app):
    alice = Person(app)
    alice.heartbeat()
    query = "include_self=true&utm_source=mail&_=1795585979&_=1&gclid=%FF"

    assert data_of(alice.call("GET", f"flow/12/viewers?{query}"))["total"] == 1


@pytest.mark.parametrize("event_id", ["", "0", "undefined", "a,b", "\u00e9", "x" * 4000])
def test_odd_last_event_id_gets_a_snapshot(app, event_id):
    alice = Person(app)
    headers = {"Last-Event-ID": event_id}
    with alice.call("GET", "events?record=flow:12", headers=headers) as stream:
        first = next(iter(stream.iter_encoded()))
        assert b"\n\nevent: snapshot\n" in first

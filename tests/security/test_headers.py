"""What every answer tells a browser: its type, what a page may load, and which origins may read it."""

import re

import fakeredis
import pytest
from flask import Flask

from record_presence import init_app
from record_presence.identity.caller import Caller
from record_presence.identity.session import sign_in
from tests.api.client import PREFIX, SETTINGS, failure_of, token
from tests.security.routes import CASES, OPEN, Visitor

APP, OTHER = "https://app.example.com", "https://evil.example"
BEAT = f"{PREFIX}/flow/12/heartbeat"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-csrf-token",
}


@pytest.fixture
def client(make_app):
    return make_app(cors_origins=(APP, "http://localhost:3000")).test_client()


def directives(response):
    policy = response.headers["Content-Security-Policy"]
    return {name: sources for name, *sources in map(str.split, policy.split(";"))}


# Types and policies


@pytest.mark.parametrize("path", [BEAT, f"{PREFIX}/events", f"{PREFIX}/flow/12/claim", "/health/live"])
def test_what_flask_says_of_the_methods_is_kept_by_nobody_and_not_guessed(path):
    host = Flask(__name__)
    init_app(host, SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()), health=True)
    headers = host.test_client().options(path).headers

    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")


@pytest.mark.parametrize(
    "path", ["//flow/1/tabs", f"/{BEAT}", BEAT.replace("/flow", "//flow"), "//flows/1", "//", ""]
)
def test_request_is_not_sent_on_to_a_host_of_its_own_naming(make_app, path):
    environ = {"PATH_INFO": path, "HTTP_HOST": "evil.example"}
    response = make_app().test_client().get("/", environ_overrides=environ)

    assert response.status_code in {200, 404, 405}
    assert "evil.example" not in response.text + str(response.headers)


@pytest.mark.parametrize("endpoint", [*CASES, *OPEN])
def test_type_of_an_answer_is_not_guessed(make_app, endpoint):
    app = make_app()
    if endpoint in OPEN:
        response = app.test_client().get(OPEN[endpoint])
    else:
        response = Visitor(app, "1").send(CASES[endpoint])

    with response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers.getlist("X-Content-Type-Options") == ["nosniff"]


PAGES = ["/", "/flows/1", "/react/flows/1", "/sign-in", "/api/docs", "/flows/999", "/nowhere"]


@pytest.mark.parametrize("path", PAGES)
def test_page_loads_only_its_own_and_stands_in_no_frame(make_app, path):
    response = make_app().test_client().get(path)

    assert response.mimetype == "text/html"
    policy = directives(response)
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
    assert response.headers["X-Frame-Options"] == "DENY"
    assert "unsafe" not in str(policy)
    assert response.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("path", PAGES)
def test_page_has_no_script_or_style_in_itself(make_app, path):
    text = make_app().test_client().get(path).text

    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|<style\b|\sstyle\s*=|\son\w+\s*=\s*[\"']", text) == []
    assert "javascript:" not in text


def test_page_of_the_documentation_brings_its_policy_into_a_host_and_leaves_the_hosts_alone():
    host = Flask("host")
    host.add_url_rule("/", view_func=lambda: "<p>host's own")
    init_app(host, SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()), docs=True)
    client = host.test_client()

    assert "script-src" in directives(client.get("/api/docs"))
    assert "Content-Security-Policy" not in client.get("/").headers
    assert "X-Frame-Options" not in client.get("/").headers


def test_headers_of_a_request_have_no_say_in_where_a_redirect_leads(make_app):
    client = make_app().test_client()
    page = client.get("/sign-in").text
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]
    tricks = {"X-Forwarded-Host": "evil.example", "Referer": "https://evil.example/"}
    for there in (
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/flows/1\r\nX: y",
        "/api/docs",
    ):
        response = client.post(
            "/sign-in", data={"person": "bob", "csrf_token": csrf, "next": there}, headers=tricks
        )

        csrf = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/sign-in").text)[1]
        assert (response.status_code, response.headers["Location"]) == (303, "/")


# The session's cookie


def test_cookie_is_secure_where_the_browser_came_by_tls_and_works_where_it_did_not(make_app):
    client = make_app().test_client()

    assert "Secure" in client.get("/", base_url="https://presence.example").headers["Set-Cookie"]
    assert "Secure" not in make_app().test_client().get("/").headers["Set-Cookie"]


# Other origins


@pytest.mark.parametrize("origin", [APP, OTHER, "null", None])
@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
def test_no_other_origin_may_call_unless_it_is_named(make_app, origin, method):
    headers = {**PREFLIGHT, **({"Origin": origin} if origin else {})}
    response = make_app().test_client().open(BEAT, method=method, headers=headers)

    assert "Access-Control" not in str(response.headers)
    assert "Origin" not in response.headers.get("Vary", "")


@pytest.mark.parametrize("origin", [APP, "http://localhost:3000"])
def test_origin_that_is_named_may_ask_first_and_then_call(client, origin):
    first = client.options(BEAT, headers={"Origin": origin, **PREFLIGHT})

    assert first.status_code == 200
    assert first.headers["Access-Control-Allow-Origin"] == origin
    assert first.headers["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in first.headers["Access-Control-Allow-Methods"]
    asked = set(PREFLIGHT["Access-Control-Request-Headers"].split(","))
    assert asked <= set(first.headers["Access-Control-Allow-Headers"].lower().split(", "))
    assert 0 < int(first.headers["Access-Control-Max-Age"]) <= 7200

    headers = {"Origin": origin, "Authorization": f"Bearer {token()}"}
    body = {"tab_id": "t1", "mode": "view", "dirty": False}
    response = client.post(BEAT, json=body, headers=headers)
    assert response.json["data"]["registered"] is True
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert {"ETag", "Retry-After"} <= set(response.headers["Access-Control-Expose-Headers"].split(", "))
    assert "Access-Control-Allow-Methods" not in response.headers


def test_failure_can_be_read_by_an_origin_that_is_named(client):
    for path, status in ((BEAT, 401), (f"{PREFIX}/nowhere", 404)):
        response = client.post(path, json={}, headers={"Origin": APP})

        failure_of(response, status)
        assert response.headers["Access-Control-Allow-Origin"] == APP


@pytest.mark.parametrize(
    "origin",
    [
        *(OTHER, "null", "*", "", f"{APP}/", f"{APP}:443", APP.upper(), APP.replace("https", "http")),
        *(f"{APP}.evil.example", f"https://evil.{APP.removeprefix('https://')}", f"{APP} {OTHER}"),
        *(f"{OTHER}, {APP}", "https://app-example.com", "http://localhost:30001"),
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "GET"])
def test_origin_that_is_only_like_one_that_is_named_may_not(client, origin, method):
    response = client.open(
        f"{PREFIX}/flow/12/viewers", method=method, headers={"Origin": origin, **PREFLIGHT}
    )

    assert "Access-Control" not in str(response.headers)


@pytest.mark.parametrize("origin", [APP, OTHER, None])
def test_cache_keeps_the_answers_of_origins_apart(client, origin):
    headers = {"Authorization": f"Bearer {token()}", **({"Origin": origin} if origin else {})}
    vary = client.get(f"{PREFIX}/flow/12/viewers", headers=headers).headers.getlist("Vary")

    assert {"Origin", "Authorization", "Cookie"} <= set(", ".join(vary).split(", "))


@pytest.mark.parametrize("path", ["/", "/sign-in", "/metrics", "/demo/people/alice/token", "/api/v1/flows/1"])
def test_origin_that_is_named_may_call_presence_and_nothing_else(client, path):
    with client.get(path, headers={"Origin": APP}) as response:
        assert "Access-Control" not in str(response.headers)


def test_origin_that_is_named_may_load_the_browser_client_as_a_module(client):
    with client.get("/static/presence/presence.js", headers={"Origin": APP}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == APP
    with client.get("/static/demo/dist/list.js", headers={"Origin": APP}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


def test_stream_can_be_read_by_an_origin_that_is_named(client):
    response = client.get(
        f"{PREFIX}/events?record=flow:12", headers={"Origin": APP, "Authorization": f"Bearer {token()}"}
    )
    response.close()

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == APP


def test_session_of_an_origin_that_is_named_still_needs_its_csrf_token(client):
    with client.session_transaction() as session:
        sign_in(session, Caller(42, "Alice", "1"))
    body = {"tab_id": "t1", "mode": "view", "dirty": False}

    failure_of(client.post(BEAT, json=body, headers={"Origin": APP}), 403)

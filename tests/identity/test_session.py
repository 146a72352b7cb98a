"""Cookie sessions: signed in once, and no other site can write on the user's behalf."""

import time

import fakeredis
import pytest
from flask import request, session
from itsdangerous import BadSignature

from record_presence import create_app
from record_presence.identity.caller import Caller, Forbidden
from record_presence.identity.session import (
    CSRF_HEADER,
    caller_of,
    check_csrf_token,
    csrf_token,
    sign_in,
    sign_out,
)
from record_presence.redis_client.client import connect
from record_presence.settings import Settings
from tests.api.client import PREFIX, SETTINGS, contents, data_of, failure_of

HEARTBEAT = {"tab_id": "t1", "mode": "view", "dirty": False}
WRITES = [("POST", "heartbeat", HEARTBEAT), ("DELETE", "unregister", {"tab_id": "t1"})]


@pytest.fixture
def app():
    app = create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))

    @app.post("/test-sign-in/<name>")
    def signs_in(name):
        sign_in(session, Caller(42, name, "1", records=request.args.getlist("records") or None))
        return csrf_token(session)

    return app


@pytest.fixture
def alice(app):
    """A browser that is signed in; `alice.csrf` is what its page knows."""
    client = app.test_client()
    client.csrf = client.post("/test-sign-in/Alice").text
    return client


def write(client, method, call, body, headers):
    return client.open(f"{PREFIX}/flow/12/{call}", method=method, json=body, headers=headers)


@pytest.mark.parametrize(("method", "call", "body"), WRITES)
def test_write_with_the_csrf_token_is_done(alice, method, call, body):
    data_of(write(alice, method, call, body, {CSRF_HEADER: alice.csrf}))


@pytest.mark.parametrize(("method", "call", "body"), WRITES)
@pytest.mark.parametrize("sent", [None, "", "wrong", "é", " ", "None"])
def test_write_without_the_csrf_token_is_403_and_writes_nothing(app, alice, method, call, body, sent):
    headers = {} if sent is None else {CSRF_HEADER: sent}

    failure_of(write(alice, method, call, body, headers), 403)
    assert contents(app.extensions["presence"].redis) == {}


def test_csrf_token_of_another_session_is_403(app, alice):
    other = app.test_client().post("/test-sign-in/Eve").text

    failure_of(write(alice, *WRITES[0], {CSRF_HEADER: other}), 403)


def test_csrf_token_counts_in_its_header_alone(alice):
    alice.set_cookie(CSRF_HEADER, alice.csrf)
    path = f"{PREFIX}/flow/12/heartbeat?{CSRF_HEADER}={alice.csrf}&csrf_token={alice.csrf}"

    failure_of(alice.post(path, json=HEARTBEAT), 403)


@pytest.mark.parametrize("path", ["flow/12/viewers", "flow/12/tabs", "viewers?record=flow:12"])
def test_reading_needs_no_csrf_token(alice, path):
    data_of(alice.get(f"{PREFIX}/{path}"))


def test_bearer_token_needs_no_csrf_token(app):
    from tests.api.client import Person

    data_of(Person(app).heartbeat())


def test_what_is_shown_of_a_user_lasts_as_long_as_the_session():
    known: dict[str, object] = {}
    shown = {"picture": "https://pictures.example/alice", "about": {"title": "Head of sales"}}
    sign_in(known, Caller(user_id=42, user_name="Alice", tenant="1", **shown))
    kept = caller_of(known)

    assert (kept.picture, kept.about) == (shown["picture"], shown["about"])
    assert kept.profile == Caller(user_id=42, user_name="Alice", tenant="1", **shown).profile
    sign_in(known, Caller(user_id=43, user_name="Bob", tenant="1"))
    assert known["presence_caller"].keys().isdisjoint(shown)  # no byte more in the cookie


def test_nobody_is_signed_in_by_a_cookie_that_we_did_not_sign(app):
    theirs = create_app(Settings(secret_key="another secret of the tests"))
    forged = theirs.session_interface.get_signing_serializer(theirs).dumps(
        {"presence_caller": {"user_id": 1}}
    )

    for cookie in (forged, "nonsense", "", ".", "e30.x.y"):
        client = app.test_client()
        client.set_cookie("session", cookie)
        failure_of(client.get(f"{PREFIX}/flow/12/viewers"), 401)


def test_signing_in_starts_the_session_anew(app, alice):
    with alice.session_transaction() as kept:
        kept["left over"] = "of Alice"
    csrf = alice.post("/test-sign-in/Bob").text

    with alice.session_transaction() as kept:
        assert "left over" not in kept
        assert caller_of(kept).user_name == "Bob"
    assert csrf != alice.csrf
    failure_of(write(alice, *WRITES[0], {CSRF_HEADER: alice.csrf}), 403)
    data_of(write(alice, *WRITES[0], {CSRF_HEADER: csrf}))


def test_session_keeps_the_patterns_of_its_caller(app):
    client = app.test_client()
    client.post("/test-sign-in/Alice?records=flow:1*")

    data_of(client.get(f"{PREFIX}/flow/12/viewers"))
    failure_of(client.get(f"{PREFIX}/form/12/viewers"), 403)
    failure_of(client.get(f"{PREFIX}/viewers?record=flow:12&record=flow:2"), 403)


@pytest.mark.parametrize("user_id", [42, "42", 10**30, "Zoë"])
def test_session_keeps_the_type_of_the_user_id(user_id):
    kept = {}
    sign_in(kept, Caller(user_id, "X", "1", records=("flow:*",)))

    assert caller_of(kept) == Caller(user_id, "X", "1", records=("flow:*",))


def test_csrf_token_lives_as_long_as_its_session():
    kept = {}
    first = csrf_token(kept)

    assert csrf_token(kept) == first
    check_csrf_token(kept, first)
    with pytest.raises(Forbidden):
        check_csrf_token({}, "")
    with pytest.raises(Forbidden):
        check_csrf_token({}, None)


def test_session_cookie_is_kept_from_scripts_and_other_sites(app):
    cookie = app.test_client().post("/test-sign-in/Alice").headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.fixture
def cookies(app):
    """The application's verifier of cookies, and a cookie that it signed."""
    cookies = app.session_interface.get_signing_serializer(app)
    return cookies, cookies.dumps({"seen": [1]})


def test_cookie_is_verified_once_and_read_anew_each_time(cookies, monkeypatch):
    cookies, cookie = cookies
    cookies.loads(cookie, max_age=60)["seen"].append("of another request")
    monkeypatch.setattr(cookies, "_serializer", None)

    assert cookies.loads(cookie, max_age=60) == {"seen": [1]}


def test_remembered_cookie_is_not_accepted_longer_than_it_is_valid(cookies, monkeypatch):
    cookies, cookie = cookies
    cookies.loads(cookie, max_age=30)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 32)

    with pytest.raises(BadSignature):
        cookies.loads(cookie, max_age=30)


def test_forged_cookie_is_never_remembered(cookies):
    cookies, cookie = cookies
    for _ in range(2):
        with pytest.raises(BadSignature):
            cookies.loads(f"{cookie}x", max_age=60)


def test_answer_to_a_session_varies_by_cookie_and_sets_none(alice):
    sent = write(alice, "POST", "heartbeat", HEARTBEAT, {CSRF_HEADER: alice.csrf})
    listed = alice.get(f"{PREFIX}/flow/12/viewers")

    assert (sent.headers["Vary"], sent.headers.get("Set-Cookie")) == ("Cookie", None)
    assert listed.headers["Vary"] == "Authorization, Cookie"


def copied_cookie(client):
    """As somebody has it who has copied it."""
    return client.get_cookie("session").value


def with_cookie(app, cookie):
    client = app.test_client()
    client.set_cookie("session", cookie)
    return client.get(f"{PREFIX}/flow/12/viewers")


def make_app(redis):
    app = create_app(SETTINGS, redis=redis)

    @app.post("/test-sign-in")
    def test_sign_in():
        sign_in(session, Caller(42, "Alice", "1"))
        return csrf_token(session)

    @app.post("/test-sign-out")
    def test_sign_out():
        sign_out(session)
        return ""

    return app


def test_cookie_of_a_session_that_was_signed_out_counts_no_more(redis):
    app = make_app(redis)
    client = app.test_client()
    client.post("/test-sign-in")
    cookie = copied_cookie(client)
    data_of(with_cookie(app, cookie))
    client.post("/test-sign-out")

    failure_of(with_cookie(app, cookie), 401)
    failure_of(client.get(f"{PREFIX}/flow/12/viewers"), 401)


def test_other_processes_hear_of_it_within_a_minute(redis, monkeypatch):
    here, there = make_app(redis), make_app(redis)
    client = here.test_client()
    client.post("/test-sign-in")
    cookie = copied_cookie(client)
    data_of(with_cookie(there, cookie))
    client.post("/test-sign-out")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)

    failure_of(with_cookie(there, cookie), 401)
    failure_of(with_cookie(make_app(redis), cookie), 401)


def test_another_session_of_the_same_user_goes_on(redis):
    app = make_app(redis)
    one, other = app.test_client(), app.test_client()
    one.post("/test-sign-in")
    other.post("/test-sign-in")
    one.post("/test-sign-out")

    data_of(other.get(f"{PREFIX}/flow/12/viewers"))


def test_session_asks_redis_once_a_minute_whether_it_was_signed_out(redis, monkeypatch):
    app = make_app(redis)
    client = app.test_client()
    client.post("/test-sign-in")
    scripts = app.extensions["presence"].scripts
    run, names = scripts.run, []
    monkeypatch.setattr(type(scripts), "run", lambda self, *args: names.append(args[1]) or run(*args))
    for _ in range(3):
        data_of(client.get(f"{PREFIX}/flow/12/viewers"))

    assert names.count("sign_out") == 1


def test_sessions_count_while_redis_is_away():
    app = make_app(connect("redis://127.0.0.1:1"))
    client = app.test_client()
    client.post("/test-sign-in")

    failure_of(client.get(f"{PREFIX}/flow/12/viewers"), 503)


def test_header_of_very_many_cookies_is_as_good_as_none(redis):
    app = make_app(redis)
    client = app.test_client()
    client.post("/test-sign-in")
    cookie = f"session={copied_cookie(client)}"

    anybody = app.test_client(use_cookies=False)

    data_of(anybody.get(f"{PREFIX}/flow/12/viewers", headers={"Cookie": f"{cookie}; a=b"}))
    many = "; ".join([cookie, *["a=b"] * 2000])
    failure_of(anybody.get(f"{PREFIX}/flow/12/viewers", headers={"Cookie": many}), 401)

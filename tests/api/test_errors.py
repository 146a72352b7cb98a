"""Whatever goes wrong on our paths is answered in the envelope, and writes nothing."""

import base64
import json

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from record_presence.identity.session import CSRF_HEADER
from record_presence.settings import Settings
from tests.api.client import PREFIX, Person, contents, data_of, failure_of, token

NO_TAB_ID = {"mode": "view", "dirty": False}
HEARTBEAT = {"tab_id": "t1", **NO_TAB_ID}
SIGNAL = {"tab_id": "t1", "kind": "typing"}


@pytest.fixture
def app(embedded_app):
    return embedded_app


@pytest.fixture
def redis(app):
    """Its Redis, which must come out of each test as it went in."""
    client = app.extensions["presence"].redis
    Person(app, 99, "Somebody").heartbeat(tab_id="there")
    before = contents(client)
    yield client
    assert contents(client) == before


pytestmark = pytest.mark.usefixtures("redis")


def send(person, body=HEARTBEAT, path="flow/12/heartbeat", method="POST", **options):
    return person.call(method, path, json=body, **options)


def send_text(person, text, content_type="application/json"):
    return person.call("POST", "flow/12/heartbeat", data=text, content_type=content_type)


# 404 and 405


@pytest.mark.parametrize(
    "path",
    [
        f"{PREFIX}/nothing",
        PREFIX,
        f"{PREFIX}/",
        f"{PREFIX}/flow/12",
        f"{PREFIX}/flow/12/viewers/",
        f"{PREFIX}/flow/1/2/viewers",
        f"{PREFIX}/flow/12%2F3/viewers",
        "/metrics/nothing",
        "/api/docs/nothing",
    ],
)
def test_path_that_is_nowhere_is_404(app, path):
    failure_of(app.test_client().get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "flow/12/heartbeat", {"POST", "OPTIONS"}),
        ("PUT", "flow/12/heartbeat", {"POST", "OPTIONS"}),
        ("POST", "flow/12/viewers", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "flow/12/tabs", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "flow/12/unregister", {"DELETE", "OPTIONS"}),
        ("PATCH", "viewers", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "viewers", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_wrong_method_is_405_and_says_which_are_allowed(alice, method, path, allowed):
    response = alice.call(method, path)

    failure_of(response, 405)
    assert {name.upper() for name in response.allow} == allowed


def test_options_say_what_is_allowed(alice):
    response = alice.call("OPTIONS", "flow/12/heartbeat")

    assert response.status_code == 200
    assert {name.upper() for name in response.allow} == {"POST", "OPTIONS"}


def test_head_where_there_is_no_get_is_405(alice):
    assert alice.call("HEAD", "flow/12/heartbeat").status_code == 405


# 415, 400, 413


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"],
)
def test_body_of_another_type_is_415(alice, content_type):
    failure_of(send_text(alice, b'{"tab_id": "t1"}', content_type), 415)


def test_unregister_with_a_body_of_another_type_is_415(alice):
    failure_of(alice.call("DELETE", "flow/12/unregister", data=b"tab_id=t1"), 415)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"tab_id=t1",
        b'{"tab_id": "t1",}',
        b"{'tab_id': 't1'}",
        b'{"tab_id": NaN}',
        b'{"tab_id": Infinity}',
        b'{"tab_id": -Infinity}',
        b'{"tab_id": 1e999}',
        b'{"tab_id": [{"x": -1e999}]}',
        b"NaN",
        b'{"tab_id": "t1", "mode": "view", "mode": "edit", "dirty": false}',
        b'{"tab_id": "t1", "mode": "view", "dirty": false, "__proto__": {"a": 1, "a": 2}}',
        b'{"tab_id": "t1", "mode": "view", "dirty": false} {}',
        b'{"tab_id": "a\nb"}',
        b'{"tab_id": "Zo\xeb"}',  # Latin-1
        b"\xff\xfe\xff",
        b"\x00" * 8,
        b"[" * 30_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"1" * 5_000,
        b'{"tab_id": ' + b"9" * 5_000 + b"}",
    ],
)
def test_body_that_is_no_strict_json_is_400(alice, text):
    failure_of(send_text(alice, text), 400)


def test_body_in_the_charset_that_json_has_is_read_whatever_the_header_says(alice):
    failure_of(send_text(alice, b'{"tab_id": "t1"}', "application/json; charset=latin-1"), 422)
    failure_of(send_text(alice, b'{"tab_id": "\xeb"}', "application/json; charset=latin-1"), 400)


def test_tab_id_of_ten_megabytes_is_413(alice):
    failure_of(send(alice, {**HEARTBEAT, "tab_id": "x" * 10_000_000}), 413)
    failure_of(alice.unregister("x" * 10_000_000), 413)


def test_body_that_says_it_is_larger_than_allowed_is_413_unread(alice):
    response = alice.call(
        "POST",
        "flow/12/heartbeat",
        data=b"{}",
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": str(10**9)},
    )

    failure_of(response, 413)


# 422


@pytest.mark.parametrize("document", [[], [HEARTBEAT], "t1", 1, 1.5, True, None])
def test_body_that_is_no_object_is_422(alice, document):
    response = send_text(alice, b"null") if document is None else send(alice, document)

    failure_of(response, 422)


@pytest.mark.parametrize("field", ["tab_id", "mode", "dirty"])
def test_required_field_that_is_missing_is_named(alice, field):
    body = {name: value for name, value in HEARTBEAT.items() if name != field}

    assert list(failure_of(send(alice, body), 422)["errors"]) == [field]


def test_every_wrong_field_is_named_at_once(alice):
    body = {"tab_id": "", "mode": "rule", "dirty": 1, "active_field": "", "visible": "no", "more": 1}

    assert set(failure_of(send(alice, body), 422)["errors"]) == set(body)


HOSTILE_IDS = [
    "",
    " ",
    "a b",
    "a\n",
    "\n",
    "a\x00b",
    "\x00",
    "{t1}",
    "}:seen",
    "a/b",
    "../x",
    "é",
    "\u2028",
    "１",
    "\ud800",
    "x" * 129,
    "'; FLUSHALL --",
    "\r\nFLUSHALL\r\n",
    "<script>",
    None,
    1,
    1.5,
    True,
    [],
    ["t1"],
    {},
    {"$ne": ""},
]


@pytest.mark.parametrize("tab_id", HOSTILE_IDS, ids=ascii)
def test_tab_id_outside_the_contract_is_422(alice, tab_id):
    assert list(failure_of(send(alice, {**HEARTBEAT, "tab_id": tab_id}), 422)["errors"]) == ["tab_id"]
    response = send(alice, {"tab_id": tab_id}, "flow/12/unregister", "DELETE")
    assert list(failure_of(response, 422)["errors"]) == ["tab_id"]


@pytest.mark.parametrize(
    "mode", ["", "VIEW", "view ", "own", None, 1, True, ["view"], {}, "\ud800"], ids=ascii
)
def test_mode_is_view_or_edit(alice, mode):
    assert list(failure_of(send(alice, {**HEARTBEAT, "mode": mode}), 422)["errors"]) == ["mode"]


@pytest.mark.parametrize("field", ["dirty", "visible"])
@pytest.mark.parametrize("value", [0, 1, 1.0, "true", "false", "yes", "", None, [], {}, 10**30])
def test_boolean_is_true_or_false_and_nothing_like_it(alice, field, value):
    assert list(failure_of(send(alice, {**HEARTBEAT, field: value}), 422)["errors"]) == [field]


@pytest.mark.parametrize("name", ["", "a\nb", "\x00", "x" * 129, "\ud800", 1, True, [], {}], ids=ascii)
def test_active_field_is_printable_text(alice, name):
    assert list(failure_of(send(alice, {**HEARTBEAT, "active_field": name}), 422)["errors"]) == [
        "active_field"
    ]


@pytest.mark.parametrize("version", ["x" * 65, 1, 10**30, True, [], {}], ids=ascii)
def test_version_is_text_or_null(alice, version):
    assert list(failure_of(send(alice, {**HEARTBEAT, "version": version}), 422)["errors"]) == ["version"]


@pytest.mark.parametrize(
    "name",
    ["user_id", "user_name", "tenant", "__proto__", "constructor", "", " ", "日本", "\ud800", "a\x00\n"],
)
def test_field_that_nobody_knows_is_422_and_named(alice, name):
    failure = failure_of(send(alice, {**HEARTBEAT, name: {"id": 43}}), 422)

    assert len(failure["errors"]) == 1


def test_identity_in_the_body_is_refused(alice):
    for field in ("user_id", "user_name", "tenant_id"):
        assert list(failure_of(send(alice, {**HEARTBEAT, field: 43}), 422)["errors"]) == [field]


@pytest.mark.parametrize("call", ["heartbeat", "viewers", "tabs", "unregister", "signal"])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("Flow/12", "type"),
        ("1flow/12", "type"),
        ("fl-ow/12", "type"),
        ("__proto__/12", "type"),
        ("x" * 65 + "/12", "type"),
        ("flow%0A/12", "type"),
        ("%7Bflow%7D/12", "type"),
        ("fl%C3%B6w/12", "type"),
        ("flow/a b", "id"),
        ("flow/12%0A", "id"),
        ("flow/%00", "id"),
        ("flow/%7B12%7D", "id"),
        ("flow/12:13", "id"),
        ("flow/..", "id"),
        ("flow/%FF", "id"),
        ("flow/" + "x" * 65, "id"),
        ("flow/*", "id"),
    ],
)
def test_path_that_names_no_record_is_422(alice, call, path, field):
    methods = {"heartbeat": "POST", "signal": "POST", "unregister": "DELETE"}
    body = {"signal": SIGNAL, "unregister": {"tab_id": "t1"}}.get(call, HEARTBEAT)
    response = send(alice, body, f"{path}/{call}", methods.get(call, "GET"))

    assert list(failure_of(response, 422)["errors"]) == [field]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": -1}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"limit": "nan"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": "9" * 5_000}, "limit"),
        ({"limit": "1_0"}, "limit"),
        ({"limit": "+5"}, "limit"),
        ({"limit": " 5"}, "limit"),
        ({"limit": "\u0661"}, "limit"),  # an Arabic digit
        ({"limit": ["1", "2"]}, "limit"),
        ({"include_self": ["true", "true"]}, "include_self"),
        ({"include_self": "yes"}, "include_self"),
        ({"include_self": "1"}, "include_self"),
        ({"include_self": ""}, "include_self"),
    ],
)
def test_query_parameter_outside_the_contract_is_422(alice, query, field):
    assert list(failure_of(alice.viewers(**query), 422)["errors"]) == [field]


def test_query_parameter_that_nobody_knows_is_left_alone(alice):
    assert data_of(alice.viewers(utm_source=["mail", "web"], _=1))["total"] == 1


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("unregister?tab_id=a+b", "tab_id"),
        ("unregister?tab_id=a&tab_id=b", "tab_id"),
        ("claim?field=", "field"),
    ],
)
def test_query_that_is_wrong_beside_a_good_body_is_422(alice, path, parameter):
    body = {"tab_id": "t1", **({"field": "title"} if path.startswith("claim") else {})}
    response = alice.call("DELETE", f"flow/12/{path}", json=body)

    assert list(failure_of(response, 422)["errors"]) == [parameter]


def test_unregister_without_a_tab_id_is_422(alice):
    for response in (
        alice.call("DELETE", "flow/12/unregister"),
        alice.call("DELETE", "flow/12/unregister", json={}),
        alice.call("DELETE", "flow/12/unregister", content_type="application/json"),
    ):
        assert list(failure_of(response, 422)["errors"]) == ["tab_id"]


def test_identity_is_asked_for_before_anything_else(app):
    for method, path in (
        ("POST", "Flow/12/heartbeat"),
        ("GET", "flow/12/viewers?limit=0"),
        ("GET", "flow/12/tabs"),
        ("DELETE", "flow/12/unregister"),
        ("GET", "viewers"),
        ("GET", "events"),
        ("POST", "flow/12/signal"),
    ):
        response = app.test_client().open(f"{PREFIX}/{path}", method=method, data=b"{")

        failure_of(response, 401)
        assert response.headers["WWW-Authenticate"] == "Bearer"


UNSIGNED = ".".join(
    base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
    for part in ({"alg": "none"}, {"sub": 99, "name": "Somebody", "tenant": "1", "exp": 4_000_000_000})
)
NO_PROOFS = {
    "expired": lambda: token(99, "Somebody", seconds=-1),
    "unsigned": lambda: f"{UNSIGNED}.",
    "of another key": lambda: token(
        99, "Somebody", settings=Settings(secret_key="the secret of another house")
    ),
    "cut": lambda: token(99, "Somebody")[:-1],
    "empty": lambda: "",
}


@pytest.mark.parametrize("proof", NO_PROOFS.values(), ids=NO_PROOFS)
def test_token_that_does_not_hold_writes_nothing(app, proof):
    somebody = Person(app)
    somebody.headers = {"Authorization": f"Bearer {proof()}"}

    failure_of(somebody.heartbeat(tab_id="there", mode="edit"), 401)
    failure_of(somebody.unregister("there"), 401)


def test_stranger_writes_nothing(app):
    for stranger, status in (
        (Person(app, 99, "Somebody", records=["flow:13"]), 403),
        (Person(app, 98, "Somebody else"), 409),
    ):
        failure_of(stranger.heartbeat(tab_id="there", mode="edit"), status)
        failure_of(stranger.unregister("there"), status)
    other_tenant = Person(app, 99, "Somebody", tenant="2")
    assert data_of(other_tenant.tabs())["tabs"] == {}
    assert data_of(other_tenant.unregister("there"))["unregistered"] is True


# 500


def test_unexpected_error_is_500_without_its_details(app, alice, monkeypatch):
    def break_down(*_, **__):
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(app.extensions["presence"].scripts, "run", break_down)
    response = alice.heartbeat()

    assert "secret" not in failure_of(response, 500)["message"]


@pytest.mark.parametrize(
    "header", ["Host", "Content-Length", "Cookie", CSRF_HEADER, "If-None-Match", "Range"]
)
@pytest.mark.parametrize("value", ["", "é", "a:b:c", "[::1", "-1", "99999999999999999999", ";=;", "\\"])
def test_odd_header_breaks_nothing(app, alice, header, value):
    request = EnvironBuilder(f"{PREFIX}/flow/12/viewers", headers={**alice.headers, header: value})
    # Without the test client: that of Werkzeug before 3.1.8 reads the Host itself.
    response = app.response_class(*run_wsgi_app(app, request.get_environ()))

    assert response.status_code in {200, 400}
    if response.status_code == 400:
        failure_of(response, 400)


# A pause before a refusal


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that were made, in seconds, where calls are greenlets."""
    made = []
    monkeypatch.setattr("record_presence.api.refusals.runs_greenlets", lambda: True)
    monkeypatch.setattr("record_presence.api.refusals.time.sleep", made.append)
    return made


def test_client_without_a_valid_proof_or_over_its_limit_is_kept_waiting_for_a_moment(app, pauses):
    client = app.test_client()
    failure_of(client.get(f"{PREFIX}/flow/12/viewers", headers={"Authorization": "Bearer x"}), 401)
    assert pauses == [pytest.approx(0.1, abs=0.05)]

    blocked = Person(app, 777, "Blocked")
    app.extensions["presence"].throttle.remember_blocked(caller_of_token(app, blocked), 60)
    failure_of(blocked.heartbeat(), 429)
    assert pauses[1:] == [pytest.approx(0.1, abs=0.05)]


def caller_of_token(app, person):
    token = person.headers["Authorization"].partition(" ")[2]
    return app.extensions["presence"].bearer_tokens.identify(token)


def test_nobody_else_is_kept_waiting(alice, pauses):
    data_of(alice.viewers())
    failure_of(alice.heartbeat(mode="peek"), 422)
    failure_of(alice.inspect(), 403)

    assert pauses == []


def test_thread_does_not_wait(app, monkeypatch):
    monkeypatch.setattr("record_presence.api.refusals.time.sleep", lambda _: pytest.fail("a thread waits"))

    failure_of(app.test_client().get(f"{PREFIX}/flow/12/viewers"), 401)

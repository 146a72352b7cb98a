"""The document says what the service does: it is valid, complete, and true of real answers."""

import re

import fakeredis
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app import create_app
from app.redis_client import connect
from tests.api.client import PREFIX, SETTINGS, Person, failure_of, token

DOCUMENT = "/api/docs/openapi.json"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture(scope="module")
def app():
    return create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))


@pytest.fixture(scope="module")
def document(app):
    return app.test_client().get(DOCUMENT).json


@pytest.fixture(scope="module")
def api(app):
    return schemathesis.openapi.from_wsgi(DOCUMENT, app)


def schema_of(document, path, method, status):
    answer = document["paths"][path][method]["responses"][str(status)]
    schema = answer["content"]["application/json"]["schema"]
    return jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


def test_document_is_valid_openapi(api):
    api.validate()


def test_every_route_of_the_api_is_in_the_document(app, document):
    routes = {
        re.sub(r"<record_(\w+)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(PREFIX)
    }

    assert set(document["paths"]) == routes


def test_every_pattern_is_one_that_json_schema_knows(document):
    patterns = re.findall(r"'pattern': '(.*?)'", str(document))

    assert patterns
    assert all(pattern.startswith("^") and pattern.endswith("$") for pattern in patterns)
    assert not any(r"\Z" in pattern for pattern in patterns)


RECORD = f"{PREFIX}/{{type}}/{{id}}"
CALLS = {
    (f"{RECORD}/heartbeat", "post"): lambda person: person.heartbeat(version=None, mode="edit"),
    (f"{RECORD}/viewers", "get"): lambda person: person.viewers(include_self="true"),
    (f"{RECORD}/tabs", "get"): lambda person: person.tabs(),
    (f"{RECORD}/unregister", "delete"): lambda person: person.unregister(),
    (f"{PREFIX}/viewers", "get"): lambda person: person.batch("flow:12"),
    (f"{RECORD}/signal", "post"): lambda person: person.call(
        "POST", "flow/12/signal", json={"tab_id": "t1", "kind": "typing", "data": {"x": 1}}
    ),
    (f"{RECORD}/saved", "post"): lambda person: person.call(
        "POST", "flow/12/saved", json={"tab_id": "t1", "lock_version": 7, "fields": ["title"]}
    ),
    (f"{RECORD}/claim", "post"): lambda person: person.call(
        "POST", "flow/12/claim", json={"tab_id": "t1", "field": "title", "take_over": True}
    ),
    (f"{RECORD}/claim", "delete"): lambda person: person.call(
        "DELETE", "flow/12/claim", json={"tab_id": "t1", "field": "title"}
    ),
    (f"{RECORD}/timeline", "get"): lambda person: person.call("GET", "flow/12/timeline"),
    (f"{RECORD}/inspect", "get"): lambda person: person.call("GET", "flow/12/inspect"),
    (f"{RECORD}/evict", "post"): lambda person: person.call(
        "POST", "flow/12/evict", json={"tab_id": "other"}
    ),
}
# An answer without an end, which the tools wait for: tests/api/test_events.py reads it.
STREAMS = {(f"{PREFIX}/events", "get")}


def test_every_call_of_the_document_is_tried(document):
    documented = {(path, method) for path, operations in document["paths"].items() for method in operations}

    assert documented == set(CALLS) | STREAMS


@pytest.mark.parametrize(("path", "method"), CALLS)
@pytest.mark.parametrize("user_id", [42, "u-7"])
def test_good_answer_is_as_the_document_says(document, path, method, user_id):
    app = create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    Person(app, "other", "Other").heartbeat(tab_id="other", active_field="title")
    person = Person(app, user_id, "Somebody", role="operator")
    person.heartbeat()
    response = CALLS[path, method](person)

    assert response.status_code == 200
    schema_of(document, path, method, 200).validate(response.json)


@pytest.mark.parametrize(("path", "method"), CALLS)
def test_every_failure_is_as_the_document_says(app, document, path, method):
    call = CALLS[path, method]
    away = create_app(SETTINGS, redis=connect("redis://127.0.0.1:1"))
    unknown, stranger = Person(app), Person(app, records=["form:1"], role="operator")
    unlucky = Person(away, role="operator")
    del unknown.headers["Authorization"]

    for person, status in ((unknown, 401), (stranger, 403), (unlucky, 503)):
        failure_of(call(person), status)
        schema_of(document, path, method, status).validate(call(person).json)


def test_every_status_of_the_contract_is_documented_where_it_can_happen(document):
    statuses = {
        (path, method): set(operation["responses"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }

    for answers in statuses.values():
        assert {"200", "401", "403", "422", "429", "503"} <= answers
    for (path, method), answers in statuses.items():
        if method in ("post", "delete"):
            assert {"400", "413", "415"} <= answers
            assert ("409" in answers) == (not path.endswith("/evict"))
    assert "304" in statuses[f"{RECORD}/viewers", "get"]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), CALLS)
def test_whatever_is_sent_the_answer_is_documented(api, path, method, mode):
    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def send(case):
        response = case.call(headers={"Authorization": f"Bearer {token(role='operator')}"})
        # A tab id in the query does not count beside one in the body, and is not checked then.
        excluded = [negative_data_rejection] if path.endswith("/unregister") else []
        case.validate_response(response, checks=CHECKS, excluded_checks=excluded)

    send()


# The page


def test_page_shows_every_call_and_field(app, document):
    text = app.test_client().get("/api/docs").text

    for path in document["paths"]:
        assert path in text
    for name, schema in document["components"]["schemas"].items():
        assert f'id="schema-{name}"' in text
        assert all(f"<code>{field}</code>" in text for field in schema["properties"])


def test_page_needs_no_internet_and_no_script(app):
    client = app.test_client()
    page = client.get("/api/docs")
    links = re.findall(r'(?:href|src)="([^"#]+)"', page.text)

    assert "<script" not in page.text
    assert not re.search(r"https?://|@import|url\(", page.text)
    assert links
    for link in links:
        with client.get(link) as linked:
            assert linked.status_code == 200
            assert not re.search(
                r"https?://|@import|url\(", linked.text.replace("https://json-schema.org", "")
            )

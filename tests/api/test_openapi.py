"""The document says what the service does: it is valid, complete, and true of real answers."""

import re
from dataclasses import replace

import fakeredis
import jsonschema_rs
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from record_presence import create_app, init_app
from record_presence.api.schemas import PRINTABLE
from record_presence.demo.api import NAME_PATTERN, TEXT_PATTERN, SaveFlow
from record_presence.demo.people import TENANT
from record_presence.presence.validation import is_field_name
from record_presence.redis_client.client import connect
from tests.api.client import PREFIX, SETTINGS, Person, failure_of, token

DOCUMENT = "/api/docs/openapi.json"
FLOWS = "/api/v1/flows"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
]


@pytest.fixture(scope="module")
def app():
    settings = replace(SETTINGS, database_url="sqlite://")
    return create_app(settings, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))


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


def test_every_route_of_the_api_and_of_the_demos_flows_is_in_the_document(app, document):
    routes = {
        (re.sub(r"<(?:record_|int:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith((PREFIX, FLOWS))
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {(path, method) for path, operations in document["paths"].items() for method in operations}

    assert described == routes


def test_host_application_without_the_demo_describes_the_api_alone(document):
    host = Flask(__name__)
    init_app(host, SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()), docs=True)
    paths = host.test_client().get(DOCUMENT).json["paths"]

    assert set(document["paths"]) - set(paths) == {f"{FLOWS}/{{flow_id}}"}


def test_refused_save_is_as_the_document_says(document, tmp_path):
    settings = replace(SETTINGS, database_url=f"sqlite:///{tmp_path}/flows.sqlite3")
    app = create_app(settings, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    client, headers = app.test_client(), {"Authorization": f"Bearer {token(1, 'Alice Moreau', TENANT)}"}
    flow = client.get(f"{FLOWS}/1", headers=headers)
    names = ("name", "status", "owner", "description", "steps", "lock_version")
    sent = {name: flow.json["data"]["flow"][name] for name in names} | {"name": "New"}
    saved, refused = (client.put(f"{FLOWS}/1", json=sent, headers=headers) for _ in range(2))
    path = f"{FLOWS}/{{flow_id}}"

    assert (saved.status_code, refused.status_code) == (200, 409)
    schema_of(document, path, "get", 200).validate(flow.json)
    schema_of(document, path, "put", 200).validate(saved.json)
    schema_of(document, path, "put", 409).validate(refused.json)
    with pytest.raises(jsonschema_rs.ValidationError):
        schema_of(document, path, "put", 409).validate({**refused.json, "data": {"current": {}}})


def test_every_pattern_is_one_that_json_schema_knows(document):
    patterns = re.findall(r"'pattern': '(.*?)'", str(document))

    assert patterns
    assert all(pattern.startswith("^") and pattern.endswith("$") for pattern in patterns)
    assert not any(r"\Z" in pattern for pattern in patterns)


RECORD = f"{PREFIX}/{{type}}/{{id}}"
CALLS = {
    (f"{RECORD}/heartbeat", "post"): lambda person: person.heartbeat(
        version=None, mode="edit", dirty=True, dirty_fields=["name", "steps"], base_version=7
    ),
    (f"{RECORD}/viewers", "get"): lambda person: person.viewers(include_self="true"),
    (f"{RECORD}/tabs", "get"): lambda person: person.tabs(),
    (f"{RECORD}/unregister", "delete"): lambda person: person.unregister(),
    (f"{PREFIX}/viewers", "get"): lambda person: person.batch("flow:12"),
    (f"{RECORD}/signal", "post"): lambda person: person.call(
        "POST", "flow/12/signal", json={"tab_id": "t1", "kind": "typing", "data": {"x": 1}}
    ),
    (f"{RECORD}/saved", "post"): lambda person: person.saved(),
    (f"{RECORD}/claim", "post"): lambda person: person.claim(),
    (f"{RECORD}/claim", "delete"): lambda person: person.release(),
    (f"{RECORD}/check", "post"): lambda person: person.call(
        "POST", "flow/12/check", json={"fields": ["name", "steps", "*"], "base_version": 7}
    ),
    (f"{RECORD}/claim/decline", "post"): lambda person: person.call(
        "POST", "flow/12/claim/decline", json={"tab_id": "t1", "field": "title"}
    ),
    (f"{RECORD}/timeline", "get"): lambda person: person.timeline(),
    (f"{PREFIX}/viewers/open", "get"): lambda person: person.call(
        "GET", "viewers/open", query_string={"user": "42"}
    ),
    (f"{RECORD}/inspect", "get"): lambda person: person.inspect(),
    (f"{RECORD}/evict", "post"): lambda person: person.evict(),
}
OPERATORS = ("/inspect", "/evict", "/open")
# An answer without an end, which the tools wait for: tests/api/test_events.py reads it.
STREAMS = {(f"{PREFIX}/events", "get")}


def test_every_call_of_the_document_is_tried(document):
    documented = {
        (path, method)
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith(PREFIX)
    }

    assert documented == set(CALLS) | STREAMS


def role_for(path):
    return {"role": "operator"} if path.endswith(OPERATORS) else {}


def tell_all(person):
    """Make a record of which every answer has something to say."""
    person.heartbeat(tab_id="t2")
    person.claim("steps", tab_id="t2")
    person.heartbeat(tab_id="t1", mode="edit", dirty=True, dirty_fields=["name"], active_field="name")
    person.claim("steps", tab_id="t1", take_over=True)
    person.saved(tab_id="t2", lock_version=8)


@pytest.mark.parametrize(("path", "method"), CALLS)
@pytest.mark.parametrize("user_id", [42, "u-7"])
def test_good_answer_is_as_the_document_says(document, path, method, user_id):
    app = create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    Person(app, "other", "Other").heartbeat(tab_id="other", active_field="title")
    person = Person(app, user_id, "Somebody", **role_for(path))
    tell_all(person)
    response = CALLS[path, method](person)

    assert response.status_code == 200
    schema_of(document, path, method, 200).validate(response.json)


@pytest.mark.parametrize(("path", "method"), CALLS)
def test_every_failure_is_as_the_document_says(app, document, path, method):
    call = CALLS[path, method]
    away = create_app(SETTINGS, redis=connect("redis://127.0.0.1:1"))
    role = role_for(path)
    unknown = Person(app)
    # Of open records, an operator sees those that they may see.
    stranger = Person(app, records=["form:1"], **({} if path.endswith("/open") else role))
    unlucky = Person(away, **role)
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

    for (path, method), answers in statuses.items():
        assert {"200", "401", "403"} <= answers
        assert path.startswith(FLOWS) or {"422", "429", "503"} <= answers
        if method in ("post", "put", "delete"):
            assert {"400", "413", "415"} <= answers
            assert ("409" in answers) == (not path.endswith("/evict"))
    assert "304" in statuses[f"{RECORD}/viewers", "get"]


FLOW_CALLS = [(f"{FLOWS}/{{flow_id}}", "get"), (f"{FLOWS}/{{flow_id}}", "put")]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), [*CALLS, *FLOW_CALLS])
def test_what_the_document_allows_is_accepted_and_all_else_refused(api, path, method, mode):
    tenant = TENANT if path.startswith(FLOWS) else "1"
    proof = token(1, "Alice", tenant, **role_for(path))

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
        if path.endswith("/open"):  # the document can't say that one of them must be there
            assume({"type", "user"} & set(case.query or ()))
        response = case.call(headers={"Authorization": f"Bearer {proof}"})
        case.validate_response(response, checks=CHECKS)

    send()


def matches(pattern, text):
    return jsonschema_rs.is_valid({"type": "string", "pattern": pattern}, text)


TEXTS = st.text(max_size=8) | st.text(
    "\t\n\x0b\x1f \x85\xa0\u200b\u2003\u2028\u202e\u3000\ufeffa", max_size=4
)


@given(TEXTS)
def test_pattern_of_a_form_fields_name_is_the_rule(text):
    assert matches(PRINTABLE, text) == is_field_name(text)


@given(TEXTS)
def test_patterns_of_a_flows_texts_are_the_rules(text):
    values = {"tab_id": "t1", "lock_version": 1, "status": "draft", "owner": "bob"}
    refused = SaveFlow().validate({**values, "name": text, "description": text, "steps": ""}).keys()

    assert matches(NAME_PATTERN, text) == ("name" not in refused)
    assert matches(TEXT_PATTERN, text) == ("description" not in refused)


def test_server_may_name_a_user_of_any_id_that_the_document_allows(api):
    """The body of a server, which the document tells from a user's by the role alone."""

    @settings(max_examples=50, deadline=None, derandomize=True, database=None)
    @given(name=st.text(), user_id=st.integers(-(10**254), 10**254) | st.text(min_size=1, max_size=255))
    def send(name, user_id):
        server = Person(api.app, "crm", "The CRM", role="service")
        assert server.saved(user={"id": user_id, "name": name}, tab_id=None).status_code == 200

    send()


# The order of the reference


def test_presence_is_described_first_and_the_demo_last_in_a_group_of_its_own(document):
    groups = [
        operation["tags"] for operations in document["paths"].values() for operation in operations.values()
    ]
    demos = [
        operation["tags"]
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if path.startswith(FLOWS)
    ]
    names = [tag["name"] for tag in document["tags"]]

    assert names[0] == "Presence"
    assert demos == [[names[-1]]] * 2
    assert groups[-2:] == demos
    assert groups.count([names[-1]]) == 2
    assert next(iter(document["paths"])) == f"{RECORD}/heartbeat"
    assert all(tag["description"] for tag in document["tags"])


def test_summary_is_one_sentence_and_plain_text(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert re.fullmatch(r"[A-Z][^`]+[^.`]", operation["summary"]), (method, path)


def contents(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for part in (operation.get("requestBody", {}), *operation["responses"].values()):
                if content := part.get("content", {}).get("application/json"):
                    yield (method, path), content


def test_every_example_is_valid(document):
    examples = [(call, content) for call, content in contents(document) if "example" in content]

    for call, content in examples:
        schema = {**content["schema"], "components": document["components"]}
        assert jsonschema_rs.is_valid(schema, content["example"]), call
    assert ("post", f"{RECORD}/heartbeat") in dict(examples)


def test_example_of_a_body_is_accepted(app, document):
    body = document["paths"][f"{RECORD}/heartbeat"]["post"]["requestBody"]["content"]["application/json"]
    headers = {"Authorization": f"Bearer {token()}"}

    assert (
        app.test_client()
        .post(f"{PREFIX}/flow/12/heartbeat", json=body["example"], headers=headers)
        .json["success"]
    )


def test_document_names_the_prefix_that_the_application_is_served_under(app, document):
    below = app.test_client().get(DOCUMENT, environ_overrides={"SCRIPT_NAME": "/tools"}).json

    assert below == {**document, "servers": [{"url": "/tools"}]}

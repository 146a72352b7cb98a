"""The fake service of record-presence/testing answers as the service does: hosts' tests stand on it."""

import json
from typing import Any

import pytest
from flask import Flask

from record_presence import create_app
from tests.api.client import SETTINGS, Person, data_of
from tests.client.node import CLIENT, MISSING, TOOLS, find_node, is_ready

pytestmark = pytest.mark.skipif(not is_ready(), reason=MISSING)

BEAT = {"tab_id": "a", "mode": "edit", "dirty": True, "dirty_fields": ["steps", "title"], "base_version": 7}
CALLS = [
    ("POST", "heartbeat", {**BEAT, "version": None}),
    ("POST", "claim", {"tab_id": "a", "field": "steps"}),
    ("POST", "claim", {"tab_id": "a", "field": "steps", "take_over": True}),
    ("DELETE", "claim", {"tab_id": "a", "field": "steps"}),
    ("POST", "claim", {"tab_id": "a", "field": "title", "wait": True}),
    ("POST", "claim", {"tab_id": "a", "field": "title", "wait": True}),
    ("POST", "heartbeat", {**BEAT, "version": None}),
    ("DELETE", "claim", {"tab_id": "a", "field": "title"}),
    ("POST", "claim/decline", {"tab_id": "a", "field": "title"}),
    ("POST", "saved", {"tab_id": "a", "lock_version": 9, "fields": ["title"]}),
    ("POST", "heartbeat", {**BEAT, "base_version": 9, "active_field": "title", "version": None}),
    ("DELETE", "unregister", {"tab_id": "a"}),
]
FAKE = """
  const { createFakeService } = await import(process.argv.at(-2));
  const service = createFakeService({ me: { id: 42, name: 'Alice' } });
  const bob = service.join('flow:12', { id: 43, name: 'Bob' }, { mode: 'edit' });
  bob.save(8, ['title']);
  bob.edit('steps');
  bob.focus('steps');
  bob.claim('steps');
  bob.claim('title');
  const answers = [];
  for (const [method, call, body] of JSON.parse(process.argv.at(-1))) {
    const url = `http://app.test/api/v1/presence/flow/12/${call}`;
    const response = await service.fetch(url, { method, body: JSON.stringify(body) });
    answers.push((await response.json()).data);
  }
  console.log(JSON.stringify(answers));
"""


@pytest.fixture
def app(real_redis: Any) -> Flask:
    return create_app(SETTINGS, redis=real_redis)


def answers_of_the_service(app: Flask) -> list[Any]:
    alice, bob = Person(app), Person(app, 43, "Bob")
    bob.heartbeat(tab_id="b", mode="edit")
    bob.saved(tab_id="b", fields=["title"])
    bob.heartbeat(tab_id="b", mode="edit", dirty=True, dirty_fields=["steps"], active_field="steps")
    bob.claim("steps", tab_id="b")
    bob.claim("title", tab_id="b")
    return [data_of(alice.call(method, f"flow/12/{call}", json=body)) for method, call, body in CALLS]


def answers_of_the_fake() -> list[Any]:
    module = (CLIENT / "testing.js").as_uri()
    run = find_node().run(
        "--input-type=module", "--eval", FAKE, "--", module, json.dumps(CALLS), folder=TOOLS
    )
    assert run.returncode == 0, run.stdout
    return json.loads(run.stdout)


def comparable(value: Any, key: str = "") -> Any:
    """Without times, versions and the ids of Bob's tabs, which differ."""
    if isinstance(value, dict):
        return {name: comparable(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [comparable(part) for part in value]
    if key in {"since", "saved_at", "version", "remembered_since"} or (key == "tab_id" and value != "a"):
        return type(value).__name__
    return value


def test_fake_service_answers_as_the_service_does(app):
    expected = answers_of_the_service(app)
    seen = answers_of_the_fake()

    assert comparable(seen) == comparable(expected)

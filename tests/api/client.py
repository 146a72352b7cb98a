"""Calls of one person, and what every answer must look like."""

import json
import os
from typing import Any

from flask import Flask
from limits import parse
from werkzeug.test import TestResponse

from record_presence.demo.people import TENANT
from record_presence.identity.bearer import BearerTokens, issue_token
from record_presence.settings import Settings

# Not read_settings(): the environment of whoever runs the tests has no say.
# A test client is no server, and its streams block nobody.
SETTINGS = Settings(secret_key="a secret of the tests", rate_limit=parse("100000/minute"), streams=True)
PREFIX = "/api/v1/presence"


def token(
    user_id: Any = 42,
    name: Any = "Alice",
    tenant: Any = "1",
    *,
    seconds: float = 600,
    settings: Settings = SETTINGS,
    **claims: Any,
) -> str:
    """A bearer token that an application with these settings accepts; the demo signs its own."""
    is_collecting = "PYTEST_VERSION" in os.environ and "PYTEST_CURRENT_TEST" not in os.environ
    assert not is_collecting, "A token that is signed at import may be over when its test runs."
    claims = {"sub": user_id, "name": name, **claims}
    if tenant == TENANT:
        tokens = BearerTokens(settings)
        tokens.reserve(TENANT)
        return tokens.issue(TENANT, claims, seconds)
    return issue_token(settings, {**claims, "tenant": tenant}, seconds)


class Person:
    """A caller with a bearer token."""

    def __init__(self, app: Flask, *args: Any, **claims: Any) -> None:
        self._client = app.test_client()
        self.headers = {"Authorization": f"Bearer {token(*args, **claims)}"}

    def call(self, method: str, path: str, *, headers: Any = None, **options: Any) -> TestResponse:
        return self._client.open(
            f"{PREFIX}/{path}", method=method, headers={**self.headers, **(headers or {})}, **options
        )

    def heartbeat(self, record: str = "flow/12", **body: Any) -> TestResponse:
        body = {"tab_id": "t1", "mode": "view", "dirty": False, **body}
        return self.call("POST", f"{record}/heartbeat", json=body)

    def viewers(self, record: str = "flow/12", *, etag: str | None = None, **query: Any) -> TestResponse:
        headers = {"If-None-Match": etag} if etag else {}
        return self.call("GET", f"{record}/viewers", query_string=query, headers=headers)

    def tabs(self, record: str = "flow/12", **query: Any) -> TestResponse:
        return self.call("GET", f"{record}/tabs", query_string=query)

    def unregister(self, tab_id: str = "t1", record: str = "flow/12") -> TestResponse:
        return self.call("DELETE", f"{record}/unregister", json={"tab_id": tab_id})

    def saved(self, record: str = "flow/12", **body: Any) -> TestResponse:
        body = {"tab_id": "t1", "lock_version": 8, "fields": ["name"], **body}
        return self.call("POST", f"{record}/saved", json=body)

    def claim(self, field: str = "title", record: str = "flow/12", **body: Any) -> TestResponse:
        return self.call("POST", f"{record}/claim", json={"tab_id": "t1", "field": field, **body})

    def release(self, field: str = "title", record: str = "flow/12", **body: Any) -> TestResponse:
        return self.call("DELETE", f"{record}/claim", json={"tab_id": "t1", "field": field, **body})

    def timeline(self, record: str = "flow/12", **query: Any) -> TestResponse:
        return self.call("GET", f"{record}/timeline", query_string=query)

    def inspect(self, record: str = "flow/12") -> TestResponse:
        return self.call("GET", f"{record}/inspect")

    def evict(self, tab_id: str = "t1", record: str = "flow/12") -> TestResponse:
        return self.call("POST", f"{record}/evict", json={"tab_id": tab_id})

    def batch(self, *names: str) -> TestResponse:
        return self.call("GET", "viewers", query_string=[("record", name) for name in names])


def data_of(response: TestResponse) -> dict[str, Any]:
    """What a good answer carries."""
    body = json.loads(response.data)

    assert (response.status_code, response.content_type) == (200, "application/json"), body
    assert list(body) == ["success", "data"]
    assert body["success"] is True
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    return body["data"]


def failure_of(response: TestResponse, status: int, *, has_data: bool = False) -> dict[str, Any]:
    """The envelope of an error of this status; `data` is in it for a refused save only."""
    body = json.loads(response.data)

    assert (response.status_code, response.content_type) == (status, "application/json"), body
    more = {"errors"} if status == 422 else {"data"} if has_data else set()
    assert set(body) == {"success", "message"} | more
    assert body["success"] is False
    assert isinstance(body["message"], str)
    assert body["message"]
    assert response.headers["Cache-Control"] == "no-store"
    assert ("Retry-After" in response.headers) == (status in {429, 503})
    for messages in body.get("errors", {}).values():
        assert messages
        assert all(isinstance(message, str) and message for message in messages)
    return body


def contents(redis: Any) -> dict[Any, Any]:
    """All that Redis holds, but for what outlives viewers: counts of calls, timelines, goodbyes, notes."""
    passing = ("_presence_calls:", "_presence_signals:", "}:timeline", "}:left", "_presence_open:")
    return {
        key: redis.dump(key) for key in redis.scan_iter() if not any(part in _text(key) for part in passing)
    }


def _text(key: bytes | str) -> str:
    return key.decode() if isinstance(key, bytes) else key

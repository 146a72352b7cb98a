"""A call for every route, as a user of any tenant may make it. Whoever adds a route adds a row."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from record_presence.api.paths import API_PREFIX
from record_presence.identity.caller import Caller
from record_presence.identity.session import CSRF_HEADER, csrf_token, sign_in
from tests.api.client import token

MARK = "of-the-others"  # stands in whatever the other tenant's user says
USER = 42
TAB = {"tab_id": "t1"}


@dataclass(frozen=True)
class Call:
    """A call that any user of any tenant may make. `{mark}` in it is replaced by the user's own text."""

    method: str
    path: str
    json: Any = None
    query: list[tuple[str, str]] = field(default_factory=list)
    is_stream: bool = False


RECORD = f"{API_PREFIX}/flow/12"
# In the order of a visit: a user who makes all these calls comes, does everything, and leaves.
CASES = {
    "record_presence.heartbeat": Call(
        "POST",
        f"{RECORD}/heartbeat",
        {**TAB, "mode": "edit", "dirty": True, "active_field": "{mark}", "version": None},
    ),
    "record_presence.signal": Call("POST", f"{RECORD}/signal", {**TAB, "kind": "typing", "data": "{mark}"}),
    "record_presence.viewers": Call("GET", f"{RECORD}/viewers", query=[("include_self", "true")]),
    "record_presence.tabs": Call("GET", f"{RECORD}/tabs"),
    "record_presence.batch_viewers": Call(
        "GET", f"{API_PREFIX}/viewers", query=[("record", "flow:12"), ("record", "flow:13")]
    ),
    "record_presence_events.events": Call(
        "GET",
        f"{API_PREFIX}/events",
        query=[("record", "flow:12"), ("include_self", "true")],
        is_stream=True,
    ),
    "demo.api.read_flow": Call("GET", "/api/v1/flows/1"),
    "demo.api.save_flow": Call(
        "PUT",
        "/api/v1/flows/1",
        {
            **TAB,
            "lock_version": 1,
            "name": "{mark}",
            "status": "draft",
            "owner": "alice",
            "description": "{mark}",
            "steps": "{mark}",
        },
    ),
    "record_presence_conflicts.saved": Call(
        "POST", f"{RECORD}/saved", {**TAB, "lock_version": 7, "fields": ["{mark}"]}
    ),
    "record_presence_conflicts.claim": Call("POST", f"{RECORD}/claim", {**TAB, "field": "{mark}"}),
    "record_presence_conflicts.check": Call(
        "POST", f"{RECORD}/check", {"fields": ["{mark}"], "base_version": 6}
    ),
    "record_presence_conflicts.decline": Call("POST", f"{RECORD}/claim/decline", {**TAB, "field": "{mark}"}),
    "record_presence_conflicts.timeline": Call("GET", f"{RECORD}/timeline"),
    "record_presence_conflicts.release": Call("DELETE", f"{RECORD}/claim", {**TAB, "field": "{mark}"}),
    "record_presence_operators.open_records": Call(
        "GET", f"{API_PREFIX}/viewers/open", query=[("type", "flow")]
    ),
    "record_presence_operators.inspect": Call("GET", f"{RECORD}/inspect"),
    "record_presence_operators.evict": Call("POST", f"{RECORD}/evict", TAB),
    "record_presence.unregister": Call("DELETE", f"{RECORD}/unregister", TAB),
}
GOODBYE = "record_presence.unregister"
# Routes that need no identity, or only which of the demo's people: one call of each.
OPEN = {
    "static": "/static/presence/presence.js",
    "record_presence_operations.live": "/health/live",
    "record_presence_operations.ready": "/health/ready",
    "record_presence_metrics.metrics": "/metrics",
    "record_presence_openapi.static": "/api/docs/static/reference.css",
    "record_presence_openapi.docs": "/api/docs",
    "record_presence_openapi.openapi_json": "/api/docs/openapi.json",
    "demo.pages.index": "/",
    "demo.pages.editor": "/flows/1",
    "demo.pages.react_editor": "/react/flows/1",
    "demo.pages.timeline": "/flows/1/timeline",
    "demo.pages.why": "/flows/1/why",
    "demo.pages.open_flows": "/open",
    "demo.pages.next_operator_token": "/demo/people/alice/operator-token",
    "demo.pages.choose_person": "/sign-in",
    "demo.pages.start_session": "/sign-in",
    "demo.pages.end_session": "/sign-out",
    "demo.api.next_token": "/demo/people/alice/token",
}


LOADED = "X-Loaded"  # the caller whom the host's loader finds, as JSON


def load_caller(request):
    """A host's identity loader."""
    loaded = request.headers.get(LOADED)
    return Caller(**json.loads(loaded), needs_csrf_token=False) if loaded else None


class Visitor:
    """A user of a tenant, by a bearer token, by a session, or by the host's loader."""

    def __init__(self, app, tenant, *, mark="ours", proof="bearer", user_id=USER, **claims):
        self._client = app.test_client()
        self._mark = mark
        self._is_server = claims.get("role") == "service"
        self.headers = {}
        if proof == "bearer":
            self.headers = {"Authorization": f"Bearer {token(user_id, mark, tenant, **claims)}"}
        elif proof == "loader":
            caller = {"user_id": user_id, "user_name": mark, "tenant": tenant, **claims}
            self.headers = {LOADED: json.dumps(caller)}
        else:
            with self._client.session_transaction() as session:
                sign_in(session, Caller(user_id, mark, tenant))
                self.headers = {CSRF_HEADER: csrf_token(session)}

    def send(self, call, **more):
        return self._client.open(
            call.path,
            method=call.method,
            json=self._marked(call.json),
            query_string=[*call.query, *more.pop("query", [])],
            headers={**self.headers, **more.pop("headers", {})},
            **more,
        )

    def answer(self, call, **more):
        """Status and text; of a stream its first chunk, which is all that it says before it waits."""
        response = self.send(call, **more)
        if not call.is_stream or response.status_code != 200:
            return response.status_code, response.text
        text = next(iter(response.response)).decode()
        response.close()
        return response.status_code, text

    def visit(self, *, until=None):
        """Every call in turn; what each was answered. A server saves in somebody's name."""
        answers = {}
        for endpoint, call in CASES.items():
            if endpoint == until:
                break
            if self._is_server and endpoint == "record_presence_conflicts.saved":
                call = replace(call, json={**call.json, "user": {"id": USER, "name": "{mark}"}})
            answers[endpoint] = self.answer(call)
        return answers

    def _marked(self, value):
        if isinstance(value, list):
            return [self._marked(item) for item in value]
        if isinstance(value, dict):
            return {name: self._marked(item) for name, item in value.items()}
        return value.replace("{mark}", self._mark) if isinstance(value, str) else value

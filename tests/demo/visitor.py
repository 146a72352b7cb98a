"""Somebody with a browser, without its scripts."""

import html
import json
import re
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

API = "/api/v1/flows"


class Visitor:
    """One browser: its cookie, and what its pages say."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def open(self, path: str) -> "Page":
        return Page(self.client.get(path))

    def sign_in(self, handle: str, **form: str) -> TestResponse:
        """As by one click on the sign-in page."""
        form = {"csrf_token": self.open("/sign-in").csrf_token, **form}
        return self.client.post("/sign-in", data={"person": handle, **form})

    def save(self, flow_id: int, values: dict[str, Any], **headers: str) -> TestResponse:
        """With the CSRF token of the editor's page, unless another is given."""
        headers = headers or {"X-CSRF-TOKEN": self.open(f"/flows/{flow_id}").csrf_token}
        return self.client.put(f"{API}/{flow_id}", json=values, headers=headers)

    def flow(self, flow_id: int = 1) -> dict[str, Any]:
        """As the editor has it when it loads."""
        return self.open(f"/flows/{flow_id}").data["flow"]


class Page:
    """A page of the demo."""

    def __init__(self, response: TestResponse) -> None:
        self.response = response
        self.status = response.status_code
        self.text = response.get_data(as_text=True)

    @property
    def csrf_token(self) -> str:
        return re.search(r'name="csrf[-_]token" (?:content|value)="([^"]+)"', self.text).group(1)

    @property
    def data(self) -> dict[str, Any]:
        """What its scripts are given."""
        return json.loads(html.unescape(re.search(r'<body data-page="([^"]+)"', self.text).group(1)))

    @property
    def heading(self) -> str:
        return html.unescape(re.search(r"<h1[^>]*>(.*?)</h1>", self.text, re.DOTALL).group(1))


def values_of(flow: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a save sends: the fields that a person edits, and the version that was loaded."""
    names = ("lock_version", "name", "status", "owner", "description", "steps")
    return {**{name: flow[name] for name in names}, **changes}

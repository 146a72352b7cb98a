"""The demo while its database is away: said to people and machines, and one line in the log."""

import logging
from dataclasses import replace

import fakeredis
import pytest

from record_presence import create_app
from record_presence.demo.people import TENANT
from tests.api.client import SETTINGS, failure_of, token
from tests.demo.visitor import API, Visitor


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setattr(logging.getLogger("presence"), "propagate", True)
    settings = replace(SETTINGS, database_url="sqlite:////no/such/folder/flows.sqlite3")
    return create_app(settings, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))


def logged(caplog):
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    return record.getMessage(), bool(record.exc_info), record.error


@pytest.mark.parametrize("path", ["/", "/flows/1", "/react/flows/1", "/flows/1/timeline"])
def test_page_says_so_and_when_to_try_again(app, caplog, path):
    page = Visitor(app).open(path)

    assert (page.status, page.heading) == (503, "The flows can’t be read right now")
    assert int(page.response.headers["Retry-After"]) > 0
    assert logged(caplog) == ("flows unavailable", False, "unable to open database file")


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_call_is_503(app, caplog, method):
    headers = {"Authorization": f"Bearer {token(2, 'Bob Tanaka', TENANT)}"}
    flow = {"name": "x", "status": "draft", "owner": "bob", "description": "", "steps": "", "lock_version": 1}

    failure_of(app.test_client().open(f"{API}/1", method=method, json=flow, headers=headers), 503)
    assert logged(caplog) == ("flows unavailable", False, "unable to open database file")


def test_presence_is_there(app):
    assert app.test_client().get("/health/ready").status_code == 200
    assert Visitor(app).open("/sign-in").status == 200

"""A service without the demo: PRESENCE_DEMO=no."""

import subprocess
import sys

import fakeredis
import pytest

from record_presence import create_app
from record_presence.settings import read_settings

SECRET = "a secret of the tests, long enough"


@pytest.fixture
def client():
    settings = read_settings({"SECRET_KEY": SECRET, "PRESENCE_DEMO": "no"})
    return create_app(settings, redis=fakeredis.FakeRedis(decode_responses=True)).test_client()


@pytest.mark.parametrize("path", ["/", "/flows/1", "/sign-in", "/api/v1/flows/1", "/demo/people/bob/token"])
def test_nothing_of_the_demo_is_there(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/health/ready", "/metrics", "/api/docs", "/static/presence/browser.js"])
def test_all_else_is_there(client, path):
    with client.get(path) as answer:
        assert answer.status_code == 200


def test_database_library_is_not_loaded():
    code = "import sys, wsgi; sys.exit('sqlalchemy' in sys.modules)"

    run = subprocess.run([sys.executable, "-c", code], env={"PRESENCE_DEMO": "no", "SECRET_KEY": SECRET})

    assert run.returncode == 0

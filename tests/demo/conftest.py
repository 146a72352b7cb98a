"""The demo as an application, with a database and a Redis of its own."""

from dataclasses import replace

import fakeredis
import pytest

from record_presence import create_app
from tests.api.client import SETTINGS
from tests.demo.visitor import Visitor


@pytest.fixture
def settings(tmp_path):
    return replace(SETTINGS, database_url=f"sqlite:///{tmp_path}/flows.sqlite3")


@pytest.fixture
def app(settings):
    return create_app(settings, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))


@pytest.fixture
def visitor(app):
    """A browser that comes for the first time."""
    return Visitor(app)


@pytest.fixture
def alice(visitor):
    visitor.sign_in("alice")
    return visitor


@pytest.fixture
def bob(app):
    """Another browser."""
    visitor = Visitor(app)
    visitor.sign_in("bob")
    return visitor

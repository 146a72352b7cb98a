"""Fixtures for the HTTP layer."""

from typing import Any

import fakeredis
import pytest
from flask import Flask

from app import create_app
from tests.api.client import SETTINGS, Person


@pytest.fixture
def app(redis: Any) -> Flask:
    """The service, on the embedded and on a real Redis."""
    return create_app(SETTINGS, redis=redis)


@pytest.fixture
def alice(app: Flask) -> Person:
    return Person(app)


@pytest.fixture
def bob(app: Flask) -> Person:
    return Person(app, 43, "Bob")


@pytest.fixture(scope="module")
def embedded_app() -> Flask:
    """One service for all tests of a module: for calls that write nothing."""
    return create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))

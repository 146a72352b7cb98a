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


@pytest.fixture(scope="module")
def both_apps(redis_server: Any) -> dict[str, Flask]:
    """One service for each kind of Redis, for all tests of a module: to make one takes longer than a test."""
    fake = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
    clients = {"fakeredis": fake, "redis-server": redis_server.client()}
    return {name: create_app(SETTINGS, redis=client) for name, client in clients.items()}


@pytest.fixture(params=["fakeredis", "redis-server"])
def emptied_app(request: pytest.FixtureRequest, both_apps: dict[str, Flask]) -> Flask:
    """One of them, whose Redis is empty."""
    app = both_apps[request.param]
    app.extensions["presence"].redis.flushall()
    return app

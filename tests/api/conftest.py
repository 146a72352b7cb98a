"""Fixtures for the HTTP layer, on a real Redis: tests/lua shows that the embedded one answers alike."""

from typing import Any

import fakeredis
import pytest
from flask import Flask

from record_presence import create_app
from tests.api.client import SETTINGS, Person


@pytest.fixture
def redis(real_redis: Any) -> Any:
    return real_redis


@pytest.fixture
def app(redis: Any) -> Flask:
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
def module_app(redis_server: Any) -> Flask:
    """One service for all tests of a module: to make one takes longer than a test."""
    return create_app(SETTINGS, redis=redis_server.client())


@pytest.fixture
def emptied_app(module_app: Flask) -> Flask:
    """It again, and its Redis is empty."""
    module_app.extensions["presence"].redis.flushall()
    return module_app

"""A server, a browser, and people in it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.chromium import ARGUMENTS, CHROMIUM, MISSING, PAGES_CHROMIUM
from tests.e2e.people import Person
from tests.e2e.server import ApiUser, Server
from tests.redis_server import RedisServer
from tests.waiting import TIMEOUT_MS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        for item in items:
            if item.path.is_relative_to(__file__.rpartition("/")[0]):
                item.add_marker(pytest.mark.skip(reason=MISSING))


@pytest.fixture(scope="session")
def server(redis_server: RedisServer) -> Iterator[Server]:
    """Heartbeats each second, leases of 5 s."""
    server = Server(redis_server)
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser(chromium: Any) -> Iterator[Any]:
    # One process for the tabs of a person, and none in reserve: to start one takes longer than a page.
    arguments = [*ARGUMENTS, "--renderer-process-limit=1"]
    browser = chromium.launch(executable_path=PAGES_CHROMIUM, args=arguments, timeout=TIMEOUT_MS)
    yield browser
    browser.close()


@pytest.fixture
def person(browser: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Person]]:
    """`person("bob")` is Bob with a browser of his own; options are Playwright's, for the context.

    An error on one of the pages fails the test.
    """
    people: list[Person] = []

    def create(handle: str, *, at: Server | None = None, **options: Any) -> Person:
        at = at or request.getfixturevalue("server")
        people.append(Person(browser.new_context(**options), at, handle))
        return people[-1]

    yield create
    for somebody in people:
        somebody.close()
    assert [error for somebody in people for error in somebody.errors] == []


@pytest.fixture
def witness(server: Server) -> Iterator[ApiUser]:
    """Sees who is there without being there."""
    with server.as_user(99, "Witness") as user:
        yield user


_flow_ids = iter(range(1, 1_000_000))


@pytest.fixture
def flow_id(server: Server) -> int:
    """A flow where nobody is: those of an earlier test who have not left yet are evicted."""
    flow_id = next(_flow_ids) % 6 + 1
    with server.as_user(99, "Witness", role="operator") as user:
        user.evict_all(flow_id)
    return flow_id

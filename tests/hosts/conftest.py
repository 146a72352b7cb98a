"""Which hosts are tried: TEST_HOSTS=all, or names such as `TEST_HOSTS=PHP,Rails`.

Without it a few, and on these what depends on the host most; `make test-hosts` is the long form.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.chromium import ARGUMENTS, CHROMIUM, MISSING, PAGES_CHROMIUM
from tests.hosts.hosts import HOSTS, Host, application_of
from tests.hosts.scenarios import SCENARIOS, People
from tests.hosts.service import Stage
from tests.redis_server import RedisServer
from tests.waiting import TIMEOUT_MS

SHORT = ("Flask", "Django admin", "Node")
SHORT_SCENARIOS = ("across hosts", "unsaved changes", "sign-out", "token renewal")
ASKED = os.environ.get("TEST_HOSTS", "")


def chosen_hosts() -> list[Host]:
    """Those that were asked for, or a few."""
    if ASKED == "all":
        return list(HOSTS)
    names = ASKED.split(",") if ASKED else SHORT
    if unknown := set(names) - {host.name for host in HOSTS}:
        raise pytest.UsageError(f"TEST_HOSTS: there is no {', '.join(sorted(unknown))}")
    return [host for host in HOSTS if host.name in names]


def chosen_scenarios() -> list[str]:
    """The scenarios that are tried on each of them."""
    return list(SCENARIOS if ASKED else SHORT_SCENARIOS)


def is_there(host: Host) -> bool:
    """Whether it can be started. What was asked for must be there."""
    return bool(ASKED) or application_of(host).is_there()


@pytest.fixture(scope="session")
def hosts() -> list[Host]:
    return [host for host in chosen_hosts() if is_there(host)]


@pytest.fixture(scope="module")
def stage(redis_server: RedisServer, hosts: list[Host]) -> Iterator[Stage]:
    if CHROMIUM is None:
        pytest.skip(MISSING)
    with Stage(redis_server, hosts) as stage:
        yield stage


@pytest.fixture(scope="module")
def people(stage: Stage, chromium: Any) -> Iterator[People]:
    browser = chromium.launch(executable_path=PAGES_CHROMIUM, args=ARGUMENTS, timeout=TIMEOUT_MS)
    yield People(stage, browser)
    browser.close()

"""Fixtures for all tests, and where a run keeps its files."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis as redis_py
from _pytest.runner import runtestprotocol
from fakeredis.commands_mixins.scripting_mixin import ScriptingCommandsMixin

from record_presence.presence.scripts import runner
from record_presence.presence.scripts.compose import find_lua_directory
from record_presence.presence.scripts.load import load_script
from record_presence.redis_client.embedded import CompiledOnce, make_strict
from tests import reports
from tests.redis_server import RedisServer
from tests.turns import Turns
from tests.waiting import TIMEOUT_MS

TESTS = Path(__file__).parent
# The files that take the longest, and the rooms of the next ones: what waits a lot beside what computes.
LONGEST_FIRST = (
    *("e2e/test_live.py", "presence/test_model.py", "e2e/test_conflicts.py", "faults/test_matrix.py"),
    *("e2e/test_page_life.py", "load/test_bench.py", "e2e/test_looks.py", "hosts/test_conformance.py"),
    *("e2e/test_failures.py", "e2e/test_people.py", "security/test_fuzzing.py", "e2e/test_standing_still.py"),
    *("e2e", "faults", "presence", "security", "packaging", "server", "api", "client"),
)
REMOVE_SECONDS = 10.0
MEASUREMENTS = 3
MEASURED_TIMEOUT_SECONDS = 900.0  # of all of them, and of the wait for a quiet machine


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts its background jobs with SIGINT ignored, and what we start would inherit that. A
    # handler is not inherited; ours does nothing, so that for us the signal stays what it was.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)
    config.addinivalue_line("markers", "measured: real time is promised; measured again on a busy machine")
    if not hasattr(config, "workerinput"):
        _keep_files_in_one_folder(config)
    config.pluginmanager.register(Turns(), "turns")
    config.pluginmanager.register(reports, "tests.reports")
    config.pluginmanager.register(reports.FirstInternalError(), "first-internal-error")


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A test that is `measured` fails if it does each time: what is too slow is too slow every time. The last
    times it has the machine for itself, since other tests make it slow."""
    if not item.get_closest_marker("measured"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if _has_failed(reports):
        with item.config.pluginmanager.getplugin("turns").alone():
            for _ in range(MEASUREMENTS - 1):
                reports = runtestprotocol(item, log=False, nextitem=nextitem)
                if not _has_failed(reports):
                    break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _has_failed(reports: list[pytest.TestReport]) -> bool:
    return any(report.failed for report in reports)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With pytest-xdist a file stays with one worker, so that its servers start once: the longest come
    first, and the short ones fill what is left."""
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}

    def place(item: pytest.Item) -> int:
        file = item.path.relative_to(TESTS)
        return order.get(file.as_posix(), order.get(file.parts[0], len(order)))

    items.sort(key=place)
    for item in items:
        if item.get_closest_marker("measured") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(MEASURED_TIMEOUT_SECONDS))


def _keep_files_in_one_folder(config: pytest.Config) -> None:
    """Browsers and servers that a test kills leave theirs behind: remove them all at the end."""
    folder = tempfile.mkdtemp(prefix="presence-tests-")
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = folder

    def remove() -> None:
        os.environ.pop("TMPDIR")
        if before[0] is not None:
            os.environ["TMPDIR"] = before[0]
        tempfile.tempdir = before[1]
        deadline = time.monotonic() + REMOVE_SECONDS
        while Path(folder).exists() and time.monotonic() < deadline:
            shutil.rmtree(folder, ignore_errors=True)  # a process that ends may still be writing

    config.add_cleanup(remove)


@pytest.fixture(scope="session", autouse=True)
def _load_each_script_once() -> Iterator[None]:
    """Nobody edits our Lua files during a run, and most tests have an application of their own."""
    ours, loaded = find_lua_directory(), cache(load_script)

    def load_once(path: Path) -> Any:
        return loaded(path) if path.parent == ours else load_script(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "load_script", load_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def _compile_each_script_once() -> Iterator[None]:
    """Of a plain FakeRedis too, as the embedded Redis does."""
    get_runtime = ScriptingCommandsMixin._get_server_runtime

    def get_quick_runtime(socket: Any, server: Any) -> Any:
        runtime = get_runtime(socket, server)
        if not isinstance(runtime, CompiledOnce):
            runtime = server._lua_runtime = CompiledOnce(runtime)
        return runtime

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptingCommandsMixin, "_get_server_runtime", get_quick_runtime)
        yield


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real server for this process (with pytest-xdist: one a worker)."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def open_clients() -> Iterator[ExitStack]:
    """Closed after what depends on it: an application needs its client until it is closed."""
    with ExitStack() as clients:
        yield clients


@pytest.fixture
def real_redis(redis_server: RedisServer, open_clients: ExitStack) -> redis_py.Redis:
    """A client of the real server, which is empty."""
    client = open_clients.enter_context(redis_server.client())
    client.flushall()
    return client


@pytest.fixture(params=["fakeredis", "redis-server"])
def redis(request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty Redis: the embedded one, then a real one."""
    if request.param == "redis-server":
        yield request.getfixturevalue("real_redis")
        return
    with fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True) as client:
        make_strict(client)
        yield client


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Playwright's Chromium, one for a process, which can't run two; `chromium.launch(...)` starts one."""
    from playwright.sync_api import expect, sync_playwright  # late: pages' tests run where it isn't installed

    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        yield playwright.chromium

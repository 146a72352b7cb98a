"""Under each server that hosts use: no page of theirs waits for us, and each is theirs.

Where a stream would keep a worker or a thread from all other calls, there is none, and clients poll.
"""

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
import requests

from record_presence.tokens import derive_key, sign
from tests.api.client import PREFIX
from tests.gunicorn_server import OURS
from tests.server.host import PAGES, write_host
from tests.waiting import START_SECONDS, wait_until

GUNICORN = ("-m", "gunicorn", "--log-level=warning", "app:app", "--bind=127.0.0.1:{port}")
FLASK = ("-m", "flask", "--app", "app:app", "run", "--port={port}")
SECRET = "the shop's own"
WAITRESS = ("-m", "waitress", "--listen=127.0.0.1:{port}", "app:app")


def headers():
    """Of a user whose token the host has signed with its own secret."""
    return {"Authorization": f"Bearer {sign(42, 'Alice', key=derive_key(SECRET))}"}


@contextmanager
def running(folder, *arguments, **settings):
    """The URL of a server that runs a host with nothing of our configuration, and its log."""
    log = write_host(folder) / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *(each.format(port=port) for each in arguments)],
            cwd=folder,
            # Those of the server are the host's; ours would be refused.
            env={**inherited, "SHOP_SECRET": SECRET, "WEB_CONCURRENCY": "1", "PORT": "80x", **settings},
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                requests.get(url, timeout=START_SECONDS)
                break
            except requests.ConnectionError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield url, log
    finally:
        process.terminate()
        try:
            process.wait(1)  # an open stream would make it wait for longer
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def open_stream(url):
    return requests.get(
        f"{url}{PREFIX}/events?record=flow:12", headers=headers(), stream=True, timeout=START_SECONDS
    )


WITHOUT_GEVENT = [
    pytest.param((*GUNICORN, "--worker-class=sync"), id="sync"),
    pytest.param((*GUNICORN, "--worker-class=gthread", "--threads=2"), id="gthread"),
    # Loaded before gevent has patched what streams wait with, so that each would block all.
    pytest.param((*GUNICORN, "--worker-class=gevent", "--preload"), id="gevent, preloaded"),
    pytest.param(FLASK, id="flask run"),
    pytest.param(WAITRESS, id="waitress"),
]


def pages(url):
    """What a visitor gets of each page of the host."""
    answers = {path: requests.get(f"{url}{path}", timeout=START_SECONDS) for path in PAGES}
    return {path: (answer.status_code, answer.text) for path, answer in answers.items()}


def order(url, **form):
    return requests.post(f"{url}/orders", data=form, timeout=START_SECONDS).text


@pytest.mark.parametrize("arguments", WITHOUT_GEVENT)
def test_server_whose_threads_a_stream_would_take_has_none_and_says_so_once(tmp_path, arguments):
    with running(tmp_path, *arguments) as (url, log):
        for _ in range(3):  # more than there are threads
            response = open_stream(url)
            assert (response.status_code, response.content) == (204, b"")
            assert response.headers["Cache-Control"] == "no-store"
        body = {"tab_id": "t1", "mode": "view", "dirty": False, "version": None}
        answer = requests.post(
            f"{url}{PREFIX}/flow/12/heartbeat", json=body, headers=headers(), timeout=START_SECONDS
        )
        assert answer.json()["data"]["viewers"] == []
        assert (
            requests.get(f"{url}{PREFIX}/events", headers=headers(), timeout=START_SECONDS).status_code == 422
        )
        assert requests.get(f"{url}{PREFIX}/nowhere", timeout=START_SECONDS).json()["success"] is False
        assert pages(url) == PAGES
        assert (order(url), order(url, csrf="the shop's")) == ("the shop's 403", "ordered")
    assert log.read_text().count("no event streams, clients poll") == 1
    assert "REDIS_URL" not in log.read_text()  # one process has nothing to say of others


def test_gevent_worker_streams_and_the_pages_of_the_host_wait_for_no_stream(tmp_path):
    with running(tmp_path, *GUNICORN, "--worker-class=gevent") as (url, log), ExitStack() as opened:
        for _ in range(12):
            stream = opened.enter_context(open_stream(url))
            assert stream.status_code == 200
            assert next(stream.iter_lines()).startswith(b"retry: ")
        assert pages(url) == PAGES
    assert "no event streams" not in log.read_text()


@pytest.mark.parametrize(("worker", "setting", "status"), [("gthread", "yes", 200), ("gevent", "no", 204)])
def test_setting_decides_where_it_is_given(tmp_path, worker, setting, status):
    arguments = (*GUNICORN, f"--worker-class={worker}", "--threads=4")
    with running(tmp_path, *arguments, PRESENCE_STREAMS=setting) as (url, _), open_stream(url) as stream:
        assert stream.status_code == status


@pytest.mark.parametrize("more", [(), ("--preload",)], ids=["each loads it", "preloaded"])
def test_processes_without_a_redis_say_once_that_each_has_its_own_presence(tmp_path, more):
    with running(tmp_path, *GUNICORN, "--workers=3", *more) as (url, log), ThreadPoolExecutor(6) as visitors:
        seen = set()

        def visit():
            seen.update(
                visitors.map(lambda _: requests.get(f"{url}/pid", timeout=START_SECONDS).text, range(6))
            )
            return len(seen)

        wait_until(visit, lambda processes: processes == 3)
        lines = [line for line in log.read_text().splitlines() if "REDIS_URL" in line]
    assert len(lines) == 1
    assert "each process of this server has a presence of its own" in lines[0]

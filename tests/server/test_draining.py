"""SIGTERM, as a container is ended: not ready first, then the calls are served, and nobody disappears."""

import resource
import signal
import subprocess
import sys

import pytest
import requests

from tests.api.client import PREFIX, SETTINGS, token
from tests.cli.test_main import environment
from tests.gunicorn_server import GunicornServer
from tests.redis_server import RedisServer
from tests.waiting import START_SECONDS, wait_until


@pytest.fixture(scope="module")
def redis():
    redis = RedisServer()
    yield redis
    redis.close()


def serve(redis, seconds):
    return GunicornServer(
        REDIS_URL=f"unix://{redis.socket}", WEB_CONCURRENCY="2", PRESENCE_DRAIN_SECONDS=str(seconds)
    )


def ready(server):
    return requests.get(f"{server.url}/health/ready", timeout=START_SECONDS).status_code


def test_server_that_is_told_to_stop_is_not_ready_and_serves_until_it_ends(redis):
    server = serve(redis, 600)  # the second signal ends it
    try:
        headers = {"Authorization": f"Bearer {token(43, 'Bob')}"}
        body = {"tab_id": "b1", "mode": "edit", "dirty": False}
        with requests.Session() as bob:
            beat = bob.post(f"{server.url}{PREFIX}/flow/12/heartbeat", json=body, headers=headers, timeout=20)
            assert beat.headers.get("Connection") != "close"
            stream = server.call("GET", "events?record=flow:12", stream=True)
            lines = stream.iter_lines()
            assert ready(server) == 200

            server.signal(signal.SIGTERM)
            wait_until(lambda: ready(server), lambda status: status == 503)
            # Both processes: each connection may reach either.
            assert {ready(server) for _ in range(10)} == {503}
            assert requests.get(f"{server.url}/health/live", timeout=20).status_code == 200
            beat = bob.post(f"{server.url}{PREFIX}/flow/12/heartbeat", json=body, headers=headers, timeout=20)
            assert beat.json()["data"]["registered"]
            assert beat.headers["Connection"] == "close"  # the next one goes elsewhere
        with stream:
            server.signal(signal.SIGTERM)
            told = list(lines)
        wait_until(lambda: not server.is_running)
    finally:
        server.close()
    assert [line for line in told if line.startswith(b"event: leave")] == []
    assert [line for line in told if line][-1].startswith(b"retry: ")  # come back, to another
    with redis.client() as client:
        assert client.hkeys("tenant_1_record_presence:flow:12") == ["b1"]


def test_server_ends_by_itself_when_it_has_drained(redis):
    server = serve(redis, 0.3)
    try:
        code, _ = server.stop()
    finally:
        server.close()
    assert code == 0


def test_without_a_folder_for_temporary_files_one_line_says_what_to_mount():
    run = subprocess.run(
        [sys.executable, "-m", "record_presence.cli.main", "serve", "--port", "0"],
        env=environment(PRESENCE_DEMO="no", SECRET_KEY=SETTINGS.secret_key),
        # Root can write everywhere; nobody can write a file of more than 0 bytes.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )

    assert run.returncode == 1
    assert (run.stdout, run.stderr.splitlines()) == (
        "",
        [
            "TMPDIR: no folder for temporary files can be written; in a container with a read-only root,"
            " mount one at /tmp"
        ],
    )

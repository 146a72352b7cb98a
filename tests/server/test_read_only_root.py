"""`record-presence serve` where nothing can be written, as in a container with a read-only root."""

import subprocess
import sys

import pytest
import requests

from tests.api.client import PREFIX, SETTINGS, token
from tests.cli.test_main import environment
from tests.read_only_root import MISSING, can_be_had, read_only
from tests.waiting import START_SECONDS, wait_until

SERVE = [sys.executable, "-m", "record_presence.cli.main", "serve", "--port", "0"]

pytestmark = pytest.mark.skipif(not can_be_had(), reason=MISSING)


def test_one_writable_folder_is_enough(tmp_path, redis_server, real_redis):
    folder = tmp_path / "writable"
    folder.mkdir()
    settings = environment(
        PRESENCE_DEMO="no",
        SECRET_KEY=SETTINGS.secret_key,
        REDIS_URL=f"unix://{redis_server.socket}",
        WEB_CONCURRENCY="2",
        PRESENCE_HEARTBEAT_SECONDS="1",
    )
    process = subprocess.Popen(
        read_only(SERVE, writable=folder),
        env={**settings, "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = process.stdout.readline()
        assert said.startswith("Record Presence is on "), said + process.stdout.read()
        url = said.split()[4]
        headers = {"Authorization": f"Bearer {token(42, 'Alice')}"}
        body = {"tab_id": "a1", "mode": "edit", "dirty": True}
        beat = requests.post(
            f"{url}{PREFIX}/flow/12/heartbeat", json=body, headers=headers, timeout=START_SECONDS
        )
        pages = [f"{url}{path}" for path in ("/health/ready", "/static/presence/element.js", "/api/docs")]
        wait_until(lambda: "presence_request_seconds" in requests.get(f"{url}/metrics", timeout=10).text)
        statuses = [requests.get(page, timeout=START_SECONDS).status_code for page in pages]
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=START_SECONDS)

    assert (beat.status_code, statuses) == (200, [200, 200, 200]), said
    assert (process.returncode, "Traceback" in said) == (0, False), said


def test_without_one_a_line_says_what_to_mount():
    run = subprocess.run(
        read_only(SERVE),
        env={**environment(PRESENCE_DEMO="no", SECRET_KEY=SETTINGS.secret_key), "TMPDIR": "/tmp"},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )

    assert run.returncode == 1
    assert (run.stdout, len(run.stderr.splitlines())) == ("", 1)
    assert "mount one at /tmp" in run.stderr

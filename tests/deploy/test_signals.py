"""Ctrl-C at `make run`: the terminal sends SIGINT to gunicorn and to its workers alike."""

import os
import signal
import subprocess
import sys
import time

import pytest
import requests

from tests.gunicorn_server import OURS, ROOT
from tests.redis_server import RedisServer
from tests.waiting import START_SECONDS


@pytest.mark.measured
@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_ends_every_process_in_silence(processes):
    redis = RedisServer()
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    settings = {
        "REDIS_URL": f"unix://{redis.socket}",
        "WEB_CONCURRENCY": str(processes),
        "SECRET_KEY": "a secret of the tests",
        "PRESENCE_ACCESS_LOG": "false",
        "PORT": "0",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "python:record_presence.server.gunicorn_config", "wsgi:app"],
        cwd=ROOT,
        env={**inherited, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        greeting = server.stdout.readline()
        requests.get(f"{greeting.split()[4]}/health/live", timeout=START_SECONDS)
        started = time.monotonic()
        os.killpg(server.pid, signal.SIGINT)
        rest, _ = server.communicate(timeout=20)
    finally:
        server.kill()
        redis.close()

    assert rest == ""
    assert server.returncode == 0
    assert time.monotonic() - started < 3

"""The recipe for wrk, as README.md has it: each of its calls is accepted, and it says so."""

import subprocess
from pathlib import Path

import pytest

from tests.api.client import token
from tests.gunicorn_server import GunicornServer

RECIPE = Path(__file__).with_name("recipes") / "wrk.lua"


@pytest.fixture(scope="module")
def server():
    server = GunicornServer(PRESENCE_RATE_LIMIT="100000000/minute", PRESENCE_DEMO="no")
    yield server
    server.close()


def wrk(server, *arguments):
    command = ["wrk", "-t1", "-c4", "-d1s", "-s", RECIPE, server.url, "--", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_recipe_counts_what_is_refused(server):
    accepted = wrk(server, token(42, "Alice"))
    refused = wrk(server, "no-token")

    count = int(accepted.stdout.partition("Refused: 0 of ")[2])
    assert count > 0, accepted.stdout
    first, last = refused.stdout.partition("Refused: ")[2].split(" of ")
    assert int(first) == int(last) > 0


def test_recipe_without_a_token_says_what_is_missing(server):
    run = wrk(server)

    assert run.returncode == 1
    assert "a token, of .venv/bin/flask token" in run.stderr

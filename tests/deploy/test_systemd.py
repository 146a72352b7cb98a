"""app/deploy/record-presence.service starts and stops what `make run` does."""

import configparser

from record_presence.server import gunicorn_config
from tests.gunicorn_server import ROOT


def read_unit():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(ROOT / "app/deploy/record-presence.service", "utf-8")
    return unit["Service"]


def test_unit_starts_what_make_run_starts():
    program, *arguments = read_unit()["ExecStart"].split()
    makefile = (ROOT / "Makefile").read_text("utf-8")

    assert program == f"{read_unit()['WorkingDirectory']}/.venv/bin/gunicorn"
    assert f"exec $(BIN)/gunicorn {' '.join(arguments)}\n" in makefile


def test_unit_waits_until_the_streams_have_ended():
    assert read_unit()["KillMode"] == "mixed"
    assert int(read_unit()["TimeoutStopSec"]) > 2 * gunicorn_config.graceful_timeout


def test_unit_allows_the_files_that_streams_need():
    assert int(read_unit()["LimitNOFILE"]) > gunicorn_config.worker_connections

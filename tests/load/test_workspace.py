"""A run that is ended leaves neither processes nor files."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gunicorn_server import ROOT
from tests.waiting import wait_until

# A measurement in the middle of its start: nobody has got hold of what it has started yet.
RUN = """
import subprocess, tempfile, time
from tests.load.workspace import workspace
with workspace():
    folder = tempfile.mkdtemp()
    starts_another = "mktemp -d; sleep 60 & echo $!; wait"
    child = subprocess.Popen(["sh", "-c", starts_another], text=True, stdout=subprocess.PIPE)
    print(folder, child.stdout.readline().strip(), child.pid, child.stdout.readline().strip(), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_run_that_is_ended_leaves_nothing(number, tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ours, theirs, child, grandchild = run.stdout.readline().split()
    assert Path(ours).is_relative_to(tmp_path)
    assert Path(theirs).is_relative_to(tmp_path)

    run.send_signal(number)
    _, errors = run.communicate(timeout=30)

    assert run.returncode == 128 + number
    assert errors.strip() == f"{number.name}: ends what it has started ..."
    assert list(tmp_path.iterdir()) == []
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (child, grandchild)))

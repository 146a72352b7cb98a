"""Metrics of many processes: what each counted is added up, also of those that are gone."""

import os
import subprocess
import sys

COUNT = """
from record_presence.metrics import observe_request, observe_script, exposition
observe_script("heartbeat", 0.25, "OK")
observe_request("presence.heartbeat", 200, 0.5)
print(exposition().decode())
"""


def count_once_more(directory):
    run = subprocess.run(
        [sys.executable, "-c", COUNT],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


def test_processes_add_up(tmp_path):
    count_once_more(tmp_path)
    lines = count_once_more(tmp_path)

    assert 'presence_script_seconds_count{outcome="OK",script="heartbeat"} 2.0' in lines
    assert 'presence_script_seconds_sum{outcome="OK",script="heartbeat"} 0.5' in lines
    assert 'presence_request_seconds_sum{endpoint="presence.heartbeat",status="200"} 1.0' in lines

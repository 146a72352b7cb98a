"""What a measurement was made with."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.gunicorn_server import ROOT
from tests.redis_binary import redis_binary

_LIBRARIES = ("gunicorn", "gevent", "flask", "marshmallow", "redis", "hiredis")


def facts() -> dict[str, str]:
    """By name: commit, CPU, and the versions of everything that takes part."""
    return {
        "commit": commit(),
        "CPU": _cpu(),
        "Python": sys.version.split()[0],
        **_redis(),
        **{name: version(name) for name in _LIBRARIES},
    }


def commit() -> str:
    """The commit of the checkout, with a `+` where files differ from it; `?` outside a checkout."""
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=ROOT, capture_output=True, text=True
    )
    return run.stdout.strip() or "?"


def _redis() -> dict[str, str]:
    text = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"(\w+) server v=(\S+)", text)
    return {found[1]: found[2]} if found else {}


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if re.match(r"model name\s*:", line)]
    return f"{len(models)} × {models[0]}" if models else "an unknown CPU"

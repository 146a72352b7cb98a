"""Python code in a process of its own, where some libraries are not installed."""

import os
import subprocess
import sys

from tests.gunicorn_server import OURS

SECRET = "a secret of the tests, long enough"


def run_without(
    *modules: str, code: str, arguments: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the code; an import of one of these modules fails in it as if there were none."""
    hidden = f"import sys\nsys.modules.update(dict.fromkeys({modules!r}))\n"
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    return subprocess.run(
        [sys.executable, "-c", hidden + code, *arguments],
        env={**inherited, "SECRET_KEY": SECRET, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )

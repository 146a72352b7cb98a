"""The service that is measured, in processes of its own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.gunicorn_server import CONFIG, OURS, ROOT, GunicornServer
from tests.load.processes import children, cpu_seconds

PROCESSES = 2


class Service(GunicornServer):
    """gunicorn with the service, or with it and the floor's routes: `tests.load.floor:app`.

    `directory`, `python` and `config` are those of another checkout, where one is compared with this.
    """

    def __init__(
        self,
        application: str = "wsgi:app",
        *,
        directory: Path = ROOT,
        python: str = sys.executable,
        config: str = CONFIG,
        **settings: str,
    ) -> None:
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - as long as we live
        self._process = subprocess.Popen(
            [python, "-m", "gunicorn", "-c", f"python:{config}", application],
            cwd=directory,
            env={**inherited, "PORT": "0", **settings},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        self.url = self._wait_until_it_answers()

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return children(self._process.pid)

    def cpu_seconds(self) -> float:
        """CPU time that the workers have used."""
        return sum(cpu_seconds(pid) for pid in self.workers)

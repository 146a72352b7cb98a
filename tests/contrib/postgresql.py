"""A real PostgreSQL for the tests: on a Unix socket, gone afterwards."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_DEBIAN = Path("/usr/lib/postgresql")  # a folder for each version


def postgresql_folder() -> Path | None:
    """Where its commands are; Debian has them on no path."""
    folders = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = str(folders[-1]) if folders else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class PostgresServer:
    """One server, whose superuser is `postgres`. It refuses to run as root, and then takes that user."""

    def __init__(self, folder: Path) -> None:
        # Not pytest's tmp_path: a socket's path may be 107 bytes long, no more.
        self._directory = tempfile.TemporaryDirectory(
            prefix="postgres-", dir="/tmp", ignore_cleanup_errors=True
        )
        self.socket_folder = self._directory.name
        self._options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        if os.getuid() == 0:
            shutil.chown(self.socket_folder, "postgres")
            self._options |= {"user": "postgres", "group": "postgres"}
        self._options["cwd"] = self.socket_folder
        data = f"{self.socket_folder}/data"
        self._control = [str(folder / "pg_ctl"), "--pgdata", data, "--wait"]
        self._run(str(folder / "initdb"), "--pgdata", data, "--username", "postgres", "--no-sync")
        settings = f"-c fsync=off -c listen_addresses= -c unix_socket_directories={self.socket_folder}"
        self._run(*self._control, "start", "--options", settings, "--log", f"{data}/log")

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, **self._options, timeout=60)
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def close(self) -> None:
        self._run(*self._control, "stop", "--mode", "immediate")
        self._directory.cleanup()

"""Fetches a pinned package from npm, for the files of other projects that are served from here."""

import base64
import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.client.node import MISSING, find_node


def unpack(name: str, version: str, integrity: str, folder: Path) -> Path:
    """The package's folder, inside `folder`. Exits where the package is not the pinned one.

    Raises CalledProcessError where the registry can't be reached.
    """
    node = find_node()
    if node is None:
        sys.exit(MISSING)
    command = [*node.npm, "pack", "--silent", f"{name}@{version}"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    [archive] = folder.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != integrity:
        sys.exit(f"The package of npm is not the pinned one: its integrity is sha512-{digest}")
    with tarfile.open(archive) as package:
        package.extractall(folder, filter="data")
    return folder / "package"

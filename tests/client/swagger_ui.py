"""The files of Swagger UI that /api/docs serves: which version, and how they came here.

`python -m tests.client.swagger_ui` (`make swagger-ui`) fetches the pinned version from npm again. To take a
newer one, change VERSION and INTEGRITY; `npm view swagger-ui-dist dist.integrity` tells the latter.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.client.node import MISSING, ROOT, find_node

VERSION = "5.35.0"
INTEGRITY = "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ=="
FOLDER = ROOT / "app/api/static/swagger-ui"
# The rest of the package is other builds of the same, and source maps.
FILES = ("swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css", "LICENSE", "NOTICE")
README = f"""# Swagger UI {VERSION}

The page at `/api/docs` shows its reference with these files, so that it needs no internet. They come from
the npm package
[swagger-ui-dist](https://www.npmjs.com/package/swagger-ui-dist/v/{VERSION}), unchanged: don't edit them.

| | |
|---|---|
| Version | {VERSION} |
| Integrity of the package | `{INTEGRITY}` |
| Licence | Apache License 2.0: `LICENSE`, `NOTICE` |
| Licences of the libraries in the script | `swagger-ui-bundle.js.LICENSE.txt` |

`make swagger-ui` fetches them again. The version is pinned in `tests/client/swagger_ui.py`, which also
writes this file.
"""


def fetch() -> None:
    """Replace the folder. Raises CalledProcessError where the registry can't be reached."""
    node = find_node()
    if node is None:
        sys.exit(MISSING)
    with tempfile.TemporaryDirectory(prefix="swagger-ui-") as folder:
        command = [*node.npm, "pack", "--silent", f"swagger-ui-dist@{VERSION}"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        [archive] = Path(folder).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != INTEGRITY:
            sys.exit(f"The package of npm is not the pinned one: its integrity is sha512-{digest}")
        with tarfile.open(archive) as package:
            package.extractall(folder, filter="data")
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(Path(folder, "package", name), FOLDER / name)
    (FOLDER / "README.md").write_text(README, "utf-8")


if __name__ == "__main__":
    fetch()

"""The files of Swagger UI that /api/docs serves: which version, and how they came here.

`python -m tests.client.swagger_ui` (`make swagger-ui`) fetches the pinned version from npm again. To take a
newer one, change VERSION and INTEGRITY; `npm view swagger-ui-dist dist.integrity` tells the latter.
"""

import shutil
import tempfile
from pathlib import Path

from tests.client.node import ROOT
from tests.client.npm import unpack

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
    with tempfile.TemporaryDirectory(prefix="swagger-ui-") as folder:
        package = unpack("swagger-ui-dist", VERSION, INTEGRITY, Path(folder))
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(package / name, FOLDER / name)
    (FOLDER / "README.md").write_text(README, "utf-8")


if __name__ == "__main__":
    fetch()

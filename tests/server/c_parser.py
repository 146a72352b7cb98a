"""gunicorn's parser in C, for the tests: there is no wheel of it, so it is built, once for an environment."""

import subprocess
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path

from tests.packaging.requirements import declared

REQUIREMENTS = [str(requirement) for requirement in declared()["fast"]]
VERSION = sha256(repr((REQUIREMENTS, sys.version)).encode()).hexdigest()[:12]
FOLDER = Path(sys.prefix) / f"c-parser-{VERSION}"
BUILD_SECONDS = 120


@cache
def folder() -> Path | None:
    """Where Python finds it; None where it can't be built, for want of a compiler or a network."""
    if not (FOLDER / "gunicorn_h1c").exists():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(FOLDER)]
        try:
            subprocess.run(
                [*install, *REQUIREMENTS],
                check=True,
                capture_output=True,
                timeout=BUILD_SECONDS,
            )
        except (subprocess.SubprocessError, OSError):
            return None
    return FOLDER

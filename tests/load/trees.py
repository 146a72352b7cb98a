"""Commits beside each other: each checked out into a folder of its own, with a Python that it can run on."""

import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

from tests.gunicorn_server import ROOT
from tests.load.progress import say

CHECKOUT = "."  # the files as they lie here, in the place of a commit
EXTRAS = ("server", "embedded", "cli", "versioned", "jwks")  # as `make run` installs


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkout that can be served."""

    commit: str
    directory: Path
    config: str  # the module of gunicorn's settings
    python: str
    environment: dict[str, str]


def check_out(revision: str, folder: Path) -> Tree:
    """Put the files of a commit into a new folder. Raises ValueError for what is no commit of the service."""
    if revision == CHECKOUT:
        commit, directory = "the checkout", ROOT
    else:
        commit = (
            _git("rev-parse", "--short", "--verify", "--quiet", f"{revision}^{{commit}}").decode().strip()
        )
        directory = folder / commit
        directory.mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", directory], input=_git("archive", commit), check=True)
    served = re.search(r"gunicorn -c python:([\w.]+)", (directory / "Makefile").read_text("utf-8"))
    if not served:
        raise ValueError(f"{revision}: its Makefile does not say how it is served")
    config = served[1]
    return Tree(commit, directory, config, _python_for(directory), _environment(directory, config, folder))


def _git(*command: str) -> bytes:
    run = subprocess.run(["git", *command], cwd=ROOT, capture_output=True)
    if run.returncode:
        raise ValueError(
            f"git {' '.join(command)}: {run.stderr.decode().strip() or 'there is no such commit'}"
        )
    return run.stdout


def _environment(directory: Path, config: str, folder: Path) -> dict[str, str]:
    """Where Python finds the package: it may be called otherwise than its folder (setup.cfg)."""
    package = config.partition(".")[0]
    if (directory / package).is_dir():
        return {}
    links = folder / f"import-{directory.name}"
    links.mkdir(parents=True)
    (links / package).symlink_to(directory / "app")
    return {"PYTHONPATH": str(links)}


def _python_for(directory: Path) -> str:
    """This Python, where it has everything that the commit needs, or one of its own."""
    missing = [
        str(requirement) for requirement in requirements(directory) if not runs_on_this_python(requirement)
    ]
    if not missing:
        return sys.executable
    say(f"  installs {directory.name} with what it needs, since here is no {', '.join(missing)}")
    environment = directory / ".venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if (constraints := directory / ".ci" / "constraints.txt").exists():
        install += ["--constraint", constraints]
    subprocess.run([*install, *map(str, requirements(directory))], check=True)
    return str(python)


def requirements(directory: Path) -> Iterator[Requirement]:
    """What a checkout needs to be served."""
    setup = configparser.ConfigParser()
    setup.read(directory / "setup.cfg", "utf-8")
    extras = setup["options.extras_require"]
    texts = [setup["options"]["install_requires"], *(extras[name] for name in EXTRAS if name in extras)]
    for line in "\n".join(texts).splitlines():
        if line.strip():
            yield Requirement(line)


def runs_on_this_python(requirement: Requirement) -> bool:
    """Whether it is installed here in a version that will do."""
    if requirement.marker and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return False

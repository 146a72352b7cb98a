"""What the package requires: as setup.cfg declares it, as a wheel's metadata says it, as it is installed.

`python -m tests.packaging.requirements lowest` prints constraints for the lowest version of each
dependency, `installed` those for what is installed now (`.ci/constraints.txt`).
"""

import configparser
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
NAME = "record-presence"
TOOLS = ("test", "dev", "node")  # extras for work on the project itself
BUILT = ("fast",)  # what pip builds from source, so that no environment of ours has it

_HEADER = (
    "# What `make run` and `make test` install. `make constraints` writes it; see setup.cfg for the ranges.\n"
)


def read_setup() -> configparser.ConfigParser:
    """setup.cfg as it is."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    return setup


def declared() -> dict[str, list[Requirement]]:
    """The requirements of each extra; those of the base are called `base`. The package itself is left out."""
    setup = read_setup()
    texts = {"base": setup["options"]["install_requires"], **setup["options.extras_require"]}
    return {
        extra: [
            requirement
            for line in text.split("\n")
            if line.strip() and (requirement := Requirement(line)).name != NAME
        ]
        for extra, text in texts.items()
    }


def runtime_requirements() -> list[Requirement]:
    """Those of the base and of every extra that a host may install as it is."""
    return [
        requirement
        for extra, requirements in declared().items()
        if extra not in (*TOOLS, *BUILT)
        for requirement in requirements
    ]


def lower_bound(requirement: Requirement) -> str:
    """The version that `>=` names. Raises StopIteration for a range without."""
    return next(bound.version for bound in requirement.specifier if bound.operator == ">=")


def required_distributions(root: Distribution, extras: Iterable[str]) -> dict[str, Distribution]:
    """By name, every installed distribution that `root` with these extras brings along, directly or not.

    Raises PackageNotFoundError for one that is not installed.
    """
    found: dict[str, Distribution] = {}
    seen = set()
    waiting = [(root, extra) for extra in ("", *extras)]
    while waiting:
        parent, extra = waiting.pop()
        if (parent.name, extra) in seen:
            continue
        seen.add((parent.name, extra))
        for requirement in map(Requirement, parent.requires or []):
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            is_root = canonicalize_name(requirement.name) == NAME
            child = root if is_root else distribution(requirement.name)
            if not is_root:
                found[canonicalize_name(requirement.name)] = child
            waiting += [(child, wanted) for wanted in ("", *requirement.extras)]
    return found


def read_constraints() -> dict[str, str]:
    """`.ci/constraints.txt`: name to version."""
    lines = (ROOT / ".ci/constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def lowest_constraints() -> list[str]:
    """The lowest of what hosts install; the test tools as they are pinned."""
    pinned = read_constraints()
    tools = [canonicalize_name(requirement.name) for requirement in declared()["test"]]
    return [
        *sorted(
            {f"{requirement.name}=={lower_bound(requirement)}" for requirement in runtime_requirements()}
        ),
        *[f"{name}=={pinned[name]}" for name in tools],
    ]


_OF_OLD_PATCH_RELEASES = {"async-timeout"}  # redis-py needs it before Python 3.11.3


def installed_constraints() -> list[str]:
    """What is installed of all that the project requires, its tools included."""
    found = required_distributions(distribution(NAME), ["dev"])
    return [f"{name}=={found[name].version}" for name in sorted(found) if name not in _OF_OLD_PATCH_RELEASES]


if __name__ == "__main__":
    if sys.argv[1] == "installed":
        print(_HEADER + "\n".join(installed_constraints()))
    else:
        print("\n".join(lowest_constraints()))

"""setup.cfg names what there is and allows what is tested."""

import ast
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.packaging import requirements
from tests.packaging.requirements import ROOT, declared, read_setup

PACKAGE = "record_presence"
REQUIRED = [requirement for listed in declared().values() for requirement in listed]
RUNTIME = requirements.runtime_requirements()


def words(text):
    return [line for line in text.split("\n") if line]


def test_every_folder_with_python_files_is_a_package():
    folders = {path.parent.relative_to(ROOT / "app") for path in (ROOT / "app").rglob("__init__.py")}
    names = {".".join((PACKAGE, *folder.parts)) for folder in folders if "node_modules" not in folder.parts}

    assert set(words(read_setup()["options"]["packages"])) == names | {f"{PACKAGE}.lua"}


def test_every_python_file_is_in_a_package():
    outside = {
        path
        for path in (ROOT / "app").rglob("*.py")
        if not (path.parent / "__init__.py").exists() and not {"node_modules", "recipes"} & set(path.parts)
    }

    assert outside == set()


def test_every_library_that_is_imported_is_required():
    """By an extra at least, and not only because another library brings it along."""
    distributions = packages_distributions()
    required = {canonicalize_name(requirement.name) for requirement in RUNTIME}
    imported = set()
    for path in (ROOT / "app").rglob("*.py"):
        if (ROOT / "app/recipes") in path.parents:
            continue  # for other applications to copy
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                imported.add(node.module.split(".")[0])
    foreign = imported - sys.stdlib_module_names - {PACKAGE}

    assert {
        name for name in foreign if not required & set(map(canonicalize_name, distributions.get(name, [])))
    } == set()


@pytest.mark.parametrize("requirement", RUNTIME, ids=str)
def test_range_ends_before_the_next_major_version(requirement):
    bounds = {bound.operator: bound.version for bound in requirement.specifier}
    newest = Version(requirements.read_constraints()[canonicalize_name(requirement.name)])

    assert set(bounds) == {">=", "<"}
    assert bounds["<"] == str(newest.major + 1)


def test_a_library_has_one_range_wherever_it_is_required():
    ranges = {}
    for requirement in RUNTIME:
        ranges.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))

    assert {name: found for name, found in ranges.items() if len(found) > 1} == {}


@pytest.mark.parametrize("requirement", RUNTIME, ids=str)
def test_lowest_version_is_what_the_lowest_tests_install(requirement):
    pinned = [Requirement(line) for line in requirements.lowest_constraints()]
    (lowest,) = [pin for pin in pinned if canonicalize_name(pin.name) == canonicalize_name(requirement.name)]
    (version,) = [bound.version for bound in lowest.specifier]

    assert requirement.specifier.contains(version)
    assert f">={version}" in str(requirement.specifier)


def test_constraints_pin_what_these_tests_run_with():
    pinned = [f"{name}=={version}" for name, version in requirements.read_constraints().items()]

    assert pinned == requirements.installed_constraints(), "run `make constraints`"


@pytest.mark.parametrize("requirement", REQUIRED, ids=str)
def test_constraint_lies_in_its_range(requirement):
    version = requirements.read_constraints().get(canonicalize_name(requirement.name))
    if version is None:
        left = [*declared()["node"], *(one for extra in requirements.BUILT for one in declared()[extra])]
        assert requirement in left, "only Node is left to the machine"
    else:
        assert requirement.specifier.contains(version)


def test_constraints_name_no_registry_and_no_path():
    text = (ROOT / ".ci/constraints.txt").read_text("utf-8")

    assert "@" not in text
    assert "/" not in text
    assert "--" not in text

"""`make run` on machines that lack something: what it says, and that the next start is a good one."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def python(tmp_path):
    """A Python without ensurepip, as Debian's without python3-venv, which notes how it is called."""
    path = tmp_path / "python"
    path.write_text('#!/bin/sh\necho "$*" >> "$0.calls"\ncase "$*" in *ensurepip*) exit 1; esac\n')
    path.chmod(0o755)
    return path


def make(python, *commands):
    """`make .venv/bin/pip` where nothing but these commands is on the PATH."""
    folder = python.parent / "bin"
    folder.mkdir()
    for name, text in {"id": "echo 1000", "sudo": "exit 1", **dict(commands)}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return subprocess.run(
        ["/usr/bin/make", "-f", ROOT / "Makefile", f"PYTHON={python}", ".venv/bin/pip"],
        cwd=python.parent,
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def calls(python):
    return python.with_name("python.calls").read_text()


def test_python_without_venv_is_told_of_where_it_can_not_be_installed(python):
    run = make(python)

    assert run.returncode != 0
    assert run.stderr.startswith("This needs python3-venv: apt-get install python3-venv\n")
    assert "-m venv" not in calls(python)


def test_python_without_venv_is_given_it_where_that_may_be(python):
    run = make(python, ("sudo", 'echo "$*" >> sudo.calls'))

    assert run.returncode == 0, run.stderr
    assert "apt-get install -qq -y --no-install-recommends python3-venv" in (
        python.with_name("sudo.calls").read_text()
    )
    assert "-m venv" in calls(python)


def test_environment_that_was_left_half_made_is_made_anew(python):
    python.write_text(python.read_text().replace("exit 1", "exit 0"))
    half = python.parent / ".venv/bin/python"
    half.parent.mkdir(parents=True)
    half.touch()
    make(python)

    assert "-m venv --clear .venv" in calls(python)


@pytest.mark.parametrize("stamp", ["run", "dev"])
def test_what_is_installed_is_pinned(stamp):
    commands = dry_run(f".venv/{stamp}.stamp", "--always-make")

    assert "--constraint .ci/constraints.txt --editable" in commands


@pytest.mark.parametrize("changed", ["setup.cfg", "pyproject.toml", ".ci/constraints.txt"])
@pytest.mark.parametrize("stamp", ["run", "dev"])
def test_change_of_what_is_required_installs_again(stamp, changed):
    commands = dry_run(f".venv/{stamp}.stamp", f"--what-if={changed}")

    assert "/pip install " in commands


def test_lowest_versions_are_installed_beside_and_not_over_the_pinned_ones():
    commands = dry_run(".venv/lowest/test.stamp", "--always-make")

    assert ".venv/lowest/bin/pip install" in commands
    assert "--constraint .venv/lowest/constraints.txt" in commands


def dry_run(*arguments):
    """The commands that `make` would run in the checkout."""
    return subprocess.run(
        ["/usr/bin/make", "--dry-run", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

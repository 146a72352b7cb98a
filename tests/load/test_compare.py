"""Two commits beside each other: the verdict, and what each is served from."""

import sys
from pathlib import Path

import pytest

from tests.gunicorn_server import CONFIG, ROOT
from tests.load.compare import judge
from tests.load.figures import Rounds
from tests.load.trees import check_out, requirements, runs_on_this_python


def test_interval_leaves_out_as_many_rounds_as_chance_allows():
    assert Rounds((1.0, 2.0, 3.0)).interval(0.95) == (1.0, 3.0)
    assert Rounds(tuple(map(float, range(8)))).interval(0.95) == (0.0, 7.0)
    assert Rounds(tuple(map(float, range(9)))).interval(0.95) == (1.0, 7.0)  # 96 %
    assert Rounds(tuple(map(float, range(9)))).interval(0.99) == (0.0, 8.0)
    assert Rounds(tuple(map(float, range(20)))).interval(0.95) == (5.0, 14.0)


def test_commit_is_better_only_where_noise_does_not_explain_it():
    slower, unclear = Rounds((1.1, 1.2, 1.15, 1.3, 1.25, 1.2)), Rounds((1.1, 1.2, 0.9, 1.3, 1.25, 1.2))

    assert judge(slower, is_more_better=False) == "WORSE (1.1 to 1.3)"
    assert judge(slower, is_more_better=True) == "better (1.1 to 1.3)"
    assert judge(unclear, is_more_better=True) == "no different, as far as is seen (0.9 to 1.3)"


def test_checkout_is_served_with_its_package_under_its_name(tmp_path):
    tree = check_out(".", tmp_path / "b")
    [link] = Path(tree.environment["PYTHONPATH"]).iterdir()

    assert (tree.directory, tree.config, tree.python) == (ROOT, CONFIG, sys.executable)
    assert link.name == "record_presence"
    assert link.resolve() == ROOT / "app"


def test_what_is_no_commit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no such commit"):
        check_out("no-such-commit", tmp_path)


def test_commit_that_needs_other_versions_does_not_run_on_this_python(tmp_path):
    setup = tmp_path / "setup.cfg"
    setup.write_text(
        "[options]\ninstall_requires =\n    flask >=3\n"
        "[options.extras_require]\nserver =\n    gunicorn <1\nembedded =\n    no-such-package\n"
        "dev =\n    never-installed\n"
    )

    assert [requirement.name for requirement in requirements(tmp_path)] == [
        "flask",
        "gunicorn",
        "no-such-package",
    ]
    assert [runs_on_this_python(requirement) for requirement in requirements(tmp_path)] == [
        True,
        False,
        False,
    ]

"""That `make mutants` tells a mutant that is caught from one that is not."""

import subprocess

import pytest

from tests.mutants.run import CAUGHT, STALE, SURVIVED, Mutant, fails_without, run

CODE = "def double(number):\n    return number + number\n"
TEST = "from app.double import double\n\n\ndef test_double():\n    assert double(3) == 6\n"


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/double.py").write_text(CODE)
    (tmp_path / "test_double.py").write_text(TEST)
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\npythonpath = .\n")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def mutant(old, new):
    return Mutant("something", "app/double.py", old, new, ("test_double.py",))


def test_each_mutant_has_its_result_and_the_checkout_stays_as_it_is(checkout):
    mutants = [
        mutant("number + number", "number"),
        mutant("number + number", "number * 2"),
        mutant("number", "numeral"),
    ]
    results = {outcome.mutant: outcome.result for outcome in run(mutants, checkout, jobs=2)}

    assert [results[each] for each in mutants] == [CAUGHT, SURVIVED, STALE]
    assert (checkout / "app/double.py").read_text() == CODE


def test_tests_that_fail_without_a_mutant_show_nothing(checkout):
    mutants = [mutant("number + number", "number")]

    assert fails_without(mutants, checkout) == ""
    (checkout / "app/double.py").write_text(CODE.replace("+", "-"))
    assert "assert 0 == 6" in fails_without(mutants, checkout)

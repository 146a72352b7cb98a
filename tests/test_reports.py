"""A failed test is shown by its name, whatever its text; of a run that broke, the first cause is shown."""

import os
import subprocess
import sys
from pathlib import Path

from tests.reports import FirstInternalError

PROJECT = Path(__file__).resolve().parents[1]
TESTS = '''
class Text(str):
    """A str for everybody but pytest-xdist."""


def test_text_that_is_no_utf_8():
    raise AssertionError("half of a pair: \\ud800")


def test_subclass(record_property):
    record_property(Text("name"), Text("value"))


def test_next():
    pass
'''


def test_report_that_could_not_be_sent_ends_no_run(tmp_path):
    (tmp_path / "test_odd.py").write_text(TESTS)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.reports", "-p", "no:schemathesis", "-n", "1"),
            *("--color=no", "--rootdir", str(tmp_path), str(tmp_path)),
        ],
        cwd=PROJECT,
        env={name: text for name, text in os.environ.items() if name != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert "1 failed, 2 passed" in run.stdout
    assert "half of a pair: \\ud800" in run.stdout
    assert "INTERNALERROR" not in run.stdout


def test_first_of_the_internal_errors_is_shown_at_the_end(capsys):
    errors = FirstInternalError()
    errors.pytest_internalerror("line\n" * 100 + "the cause")
    errors.pytest_internalerror("what followed from it")
    errors.pytest_unconfigure()

    shown = capsys.readouterr().err.splitlines()
    assert shown[-1] == "the cause"
    assert len(shown) < 50
    FirstInternalError().pytest_unconfigure()
    assert capsys.readouterr().err == ""

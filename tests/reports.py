"""What pytest-xdist must know of a run: reports that it can send, and the first error of its own."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

SHOWN_LINES = 40


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[Any]:
    """A report whose text is no UTF-8, or a value of a subclass, would end its worker, and the run, instead
    of failing by its name."""
    return _sendable((yield))


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_sendable(key): _sendable(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_sendable, value)) if type(value) in {list, tuple} else repr(value)
    return value if value is None or type(value) in {bool, int, float, bytes} else repr(value)


class FirstInternalError:
    """Shows the end of the first internal error last: the ones that follow from it push it out of sight."""

    def __init__(self) -> None:
        self._error: str | None = None

    def pytest_internalerror(self, excrepr: object) -> None:
        self._error = self._error or str(excrepr)

    def pytest_unconfigure(self) -> None:
        if self._error:
            lines = self._error.splitlines()[-SHOWN_LINES:]
            sys.stderr.write("\n".join(["The first internal error was:", *lines, ""]))

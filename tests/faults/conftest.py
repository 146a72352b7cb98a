"""An event loop for a test, whatever runs in pytest's own thread."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest


@pytest.fixture
def apart() -> Callable[..., Any]:
    """`apart(function, …)` calls it in a thread of its own.

    Playwright's loop goes on in the main thread once a test of this process has used a browser.
    """

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(function, *arguments).result()

    return call

"""What a page shows, it shows a moment later: its tests wait for it, and never assert what they read once."""

import ast
from pathlib import Path

import pytest

E2E = Path(__file__).parent / "e2e"
# Of Playwright's locators and pages, and of ours there.
READ_ONCE = {
    *("all_inner_texts", "all_text_contents", "count", "get_attribute", "inner_html"),
    *("inner_text", "input_value", "is_checked", "is_disabled", "is_enabled", "is_hidden", "is_visible"),
    *("text_content", "avatars", "conflict", "in_field", "news", "note", "panel", "row", "save_state"),
}
WAITING = {"wait_until", "becomes"}


def reads_once(source: str) -> list[int]:
    """The lines on which an assert reads a page without waiting."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assert)
        and any(is_read(call) for call in ast.walk(node.test))
        and not any(isinstance(name, ast.Name) and name.id in WAITING for name in ast.walk(node.test))
    ]


def is_read(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    is_of_a_text = node.func.attr == "count" and node.args
    return node.func.attr in READ_ONCE and not is_of_a_text


@pytest.mark.parametrize("path", sorted(E2E.glob("test_*.py")), ids=lambda path: path.name)
def test_no_assert_reads_a_page_without_waiting(path: Path) -> None:
    lines = reads_once(path.read_text("utf-8"))

    assert lines == [], "wait with Playwright's expect(), or with becomes() of tests/waiting.py"


def test_assert_that_reads_a_page_once_is_found() -> None:
    assert reads_once("assert page.locator('li').count() == 1") == [1]
    assert reads_once("assert wait_until(page.locator('li').count) == 1") == []

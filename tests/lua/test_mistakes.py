"""Each mistake of lua/MISTAKES.md is named with its file and line, before it runs if its text shows it."""

import re
import shutil

import pytest

from tests.lua.mistakes import DOCUMENT, HEADER, MISTAKES, RUNNING, STATIC, TEXT, Bench, Mistake, row_start

pytestmark = pytest.mark.skipif(
    shutil.which("luacheck") is None, reason="needs luacheck (make system-packages)"
)


@pytest.fixture(scope="module")
def bench(redis_server, tmp_path_factory):
    with redis_server.client() as redis:
        yield Bench(tmp_path_factory.mktemp("mistakes"), redis)
        redis.flushall()


@pytest.fixture(scope="module")
def document():
    return DOCUMENT.read_text("utf-8")


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_mistake_is_named_with_its_file_and_line(bench: Bench, document: str, mistake: Mistake):
    report = bench.report(mistake)

    assert f"{row_start(mistake, report)} " in document, "make lua-mistakes WRITE=1"
    if mistake.kind in (HEADER, TEXT, STATIC):
        assert report.loader.startswith("lua/")
        return
    lines = {f"lua/{mistake.file}:{line}" for line in bench.lines_of(mistake)}
    messages = [report.luacheck, report.embedded, report.redis]
    for message in filter(None, messages):
        assert any(re.search(rf"{re.escape(line)}\b", message) for line in lines), (lines, message)
    if mistake.kind == RUNNING:
        assert report.embedded
        assert report.redis or mistake.is_for_embedded_only


def test_place_of_a_mistake_that_is_not_there_any_more_is_told(bench):
    gone = Mistake(STATIC, "of something else", "leave.lua", "no such code", "")

    with pytest.raises(ValueError, match=r"leave\.lua has 'no such code' 0 times"):
        bench.report(gone)

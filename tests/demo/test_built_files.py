"""dist/ is committed, so that `make run` needs no Node: it must be what its sources give.

Without Node this goes by the digests that the build has noted; with it, see tests/client/test_client.py.
"""

import hashlib
import json
from pathlib import Path

import pytest

from app.demo import __file__ as demo_file

FOLDER = Path(demo_file).parents[1] / "static/demo"
MANIFEST = json.loads((FOLDER / "dist/manifest.json").read_text("utf-8"))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", MANIFEST["sources"])
def test_source_is_as_it_was_built(name):
    assert digest(FOLDER / name) == MANIFEST["sources"][name], "changed since: make bundle"


@pytest.mark.parametrize("name", MANIFEST["built"])
def test_built_file_is_as_it_was_written(name):
    assert digest(FOLDER / "dist" / name) == MANIFEST["built"][name], "edited by hand: make bundle"


def test_nothing_else_stands_among_the_built_files():
    assert {path.name for path in (FOLDER / "dist").iterdir()} == {*MANIFEST["built"], "manifest.json"}


def test_every_source_is_in_the_build():
    sources = {f"src/{path.name}" for path in (FOLDER / "src").iterdir()}

    assert sources <= set(MANIFEST["sources"])

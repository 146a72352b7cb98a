"""The demo's built scripts are committed, so that `make run` needs no Node: they must match their sources.

Here they are compared by the digests in manifest.json, without Node; tests/client/test_client.py
builds them again.
"""

import hashlib
import json
from pathlib import Path

import pytest

from record_presence.demo import __file__ as demo_file

SOURCES = Path(demo_file).parent / "client"
BUILT = Path(demo_file).parents[1] / "static/demo/dist"
MANIFEST = json.loads((BUILT / "manifest.json").read_text("utf-8"))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", MANIFEST["sources"])
def test_source_is_as_it_was_built(name):
    assert digest(SOURCES / name) == MANIFEST["sources"][name], "changed since: make bundle"


@pytest.mark.parametrize("name", MANIFEST["built"])
def test_built_file_is_as_it_was_written(name):
    assert digest(BUILT / name) == MANIFEST["built"][name], "edited by hand: make bundle"


def test_nothing_else_stands_among_the_built_files():
    assert {path.name for path in BUILT.iterdir()} == {*MANIFEST["built"], "manifest.json"}


def test_every_source_is_in_the_build():
    sources = {f"src/{path.name}" for path in (SOURCES / "src").iterdir()}

    assert sources <= set(MANIFEST["sources"])

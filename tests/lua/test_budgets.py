"""The bounds that Lua and Python both know have the same values in both."""

import re

import pytest

from record_presence.presence import limits
from record_presence.presence.scripts import find_lua_directory

BOUNDS = [
    ("timeline_entries", "MAX_ENTRIES"),
    ("timeline_budget", "MAX_BYTES"),
    ("timeline_entries", "MAX_ENTRY_BYTES"),
    ("timeline_budget", "MAX_ENTRY_BYTES"),
    ("conflicts", "MAX_SAVES"),
    ("conflicts", "MAX_SAVES_BYTES"),
    ("conflicts", "MAX_VERSION_STEP"),
    ("claims", "MAX_CLAIMS"),
    ("claims", "MAX_CLAIMS_PER_USER"),
    ("claims", "TAKE_OVER_INTERVAL_MS"),
]


@pytest.mark.parametrize(("library", "name"), BOUNDS)
def test_bound_is_the_same_in_lua_and_in_python(library, name):
    text = (find_lua_directory() / f"lib/{library}.lua").read_text("utf-8")

    python_name = name.replace("MAX_", "MAX_TIMELINE_") if library.startswith("timeline") else name
    found = re.findall(rf"^local {name} = (\d+)\b", text, re.MULTILINE)
    assert found == [str(getattr(limits, python_name))]

"""Versions of a record: `{microseconds of Redis's clock}-{nonce}`, or `0` while nobody has it open."""

import re
from random import getrandbits

EMPTY_VERSION = "0"  # of a record that nobody has open
VERSION_PATTERN = re.compile(r"(?:0|[0-9]{1,20}-[0-9a-z]{1,32})\Z", re.ASCII)


def new_nonce() -> str:
    """Eight random hex digits, which keep a version unique even if Redis's clock is set back."""
    return f"{getrandbits(32):08x}"


def microseconds_of(version: str) -> int:
    """When a version was made, by Redis's clock; 0 for `0`. Expects what VERSION_PATTERN matches."""
    return int(version.partition("-")[0])

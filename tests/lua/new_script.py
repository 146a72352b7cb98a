"""`make new-script NAME=count`: a command of one's own to begin with, its test, and its line in the table.

It counts the live tabs of a record, and works: change it step by step.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TABLE_END = "\n\n| Library | What is in it |"

_SCRIPT = """\
-- {name} - Count the live tabs of a record.
--
-- KEYS[1]  seen    zset    tab_id -> end of lease, ms
-- ARGV[1]  now_ms  digits  leases that end later count
--
-- Returns  {{"OK", tabs}}
-- Writes   nothing
-- Cost     O(log tabs)
local seen = KEYS[1]
local now_ms = ARGV[1]

local tabs = redis.call("ZCOUNT", seen, "(" .. now_ms, "+inf")
return {{ "OK", tabs }}
"""

_TEST = '''\
"""{name}: how many live tabs has a record?"""

from tests.lua.commands import RECORD, age, contents, heartbeat, now_ms, scripts


def {name}(redis):
    return scripts.run(redis, "{name}", (RECORD.seen_key,), (now_ms(redis),))


def test_{name}_of_a_record_that_nobody_has_open(redis):
    assert {name}(redis) == ["OK", 0]


def test_{name}_leaves_out_tabs_whose_lease_is_over_and_changes_nothing(redis):
    heartbeat(redis, "t1", 42)
    heartbeat(redis, "t2", 43)
    age(redis, "t1")
    before = contents(redis)

    assert {name}(redis) == ["OK", 1]
    assert contents(redis) == before


def test_{name}_touches_only_the_key_that_it_declares(redis, strict_user):
    with strict_user(RECORD.seen_key) as strict:
        assert {name}(strict)[0] == "OK"
'''


class NameRefused(ValueError):
    """The name is no name of a command, or there is one of that name."""


def write_script(name: str, root: Path = ROOT) -> list[Path]:
    """Returns the files that were written. Raises NameRefused, and then writes nothing."""
    if not _NAME.fullmatch(name):
        raise NameRefused(f"{name!r}: a name has small letters, digits and _, and begins with a letter")
    script, test = root / f"lua/{name}.lua", root / f"tests/lua/test_{name}.py"
    for path in (script, test):
        if path.exists():
            raise NameRefused(f"{path.relative_to(root)} is there already")
    handbook = root / "lua/README.md"
    text = handbook.read_text("utf-8")
    script.write_text(_SCRIPT.format(name=name), "utf-8")
    test.write_text(_TEST.format(name=name), "utf-8")
    row = f"\n| `{name}.lua` | counts the live tabs of a record |"
    handbook.write_text(text.replace(_TABLE_END, row + _TABLE_END, 1), "utf-8")
    return [script, test, handbook]


def main() -> None:
    """Exits with what is wrong with the name."""
    try:
        written = write_script(sys.argv[1] if len(sys.argv) > 1 else "")
    except NameRefused as refusal:
        sys.exit(f"make new-script NAME=count: {refusal}")
    for path in written:
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()

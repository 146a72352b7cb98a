"""Print the composed text of a command, as Redis and `redis-cli --ldb` get it, or check all of them."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import ScriptInvalid
from .compose import compose, find_lua_directory
from .load import load_script


def main() -> None:
    """`python -m record_presence.presence.scripts heartbeat [--origins]`, or `--check`."""
    parser = argparse.ArgumentParser(prog="python -m record_presence.presence.scripts", description=__doc__)
    parser.add_argument("name", nargs="?", help="a command, such as heartbeat")
    parser.add_argument("--origins", action="store_true", help="put file and line before each line")
    parser.add_argument("--check", action="store_true", help="print what is wrong with any command")
    options = parser.parse_args()
    if options.check:
        errors = list(dict.fromkeys(_errors(find_lua_directory())))
        sys.exit("\n".join(errors) or None)
    if not options.name:
        parser.error("which command?")
    path = find_lua_directory() / f"{options.name}.lua"
    if not path.is_file():
        parser.error(f"there is no command {options.name} in {path.parent}")
    script = compose(path)
    for line, (file, number) in zip(script.text.split("\n"), script.origins, strict=True):
        print(f"{file}:{number}: {line}" if options.origins else line)


def _errors(directory: Path) -> Iterator[str]:
    for path in sorted(directory.glob("*.lua")):
        try:
            load_script(path)
        except ScriptInvalid as error:
            yield str(error)


if __name__ == "__main__":
    main()

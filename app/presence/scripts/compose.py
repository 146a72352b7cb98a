"""One text of each Lua command and the libraries that it includes, since EVAL knows no `require`.

A line that is exactly ``local name = require("lib.name")`` is replaced by the
library's file. The origin of every composed line leads errors back to the source.
A library shares what the file around it has already included.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ScriptInvalid
from .header import check_header, strip_comment

_PACKAGE = Path(__file__).resolve().parents[2]
_INCLUDE = re.compile(r'^(\s*)local (\w+) = require\("lib\.(\w+)"\)$')
# Of Redis, of fakeredis, and `(to close 'if' at line 12)` of both.
_ERROR_LINE = re.compile(r'(?:user_script:|\[string "<python>"\]:|(?<=at )line )(\d+)')

Origin = tuple[str, int]  # file, line


def find_lua_directory(package: Path = _PACKAGE) -> Path:
    """The folder of the Lua files: in the installed package, or beside it in a checkout.

    Raises ScriptInvalid where neither has them.
    """
    candidates = (package / "lua", package.parent / "lua")
    for directory in candidates:
        if (directory / "heartbeat.lua").is_file():
            return directory
    raise ScriptInvalid(
        f"no Lua scripts found in {' or '.join(map(str, candidates))}; install the package anew"
    )


@dataclass(frozen=True, slots=True)
class Script:
    """One command: its composed text and the signature that its header declares."""

    name: str
    text: str
    sha: str
    keys: tuple[str, ...]  # names of the key rows, in order
    args: tuple[str, ...]  # names of the argument rows, in order
    writes: frozenset[str]  # names of the key rows that it may write
    returns: frozenset[str]  # status words
    origins: tuple[Origin, ...]  # composed line - 1 -> (file, line)

    def locate(self, message: str) -> str:
        """The message of Redis, with `file:line` of the source in the place of a composed line."""

        def source(match: re.Match[str]) -> str:
            line = int(match.group(1))
            if not 1 <= line <= len(self.origins):
                return match.group(0)
            return "{}:{}".format(*self.origins[line - 1])

        return _ERROR_LINE.sub(source, message)


def compose(path: Path) -> Script:
    """Read, check and compose one script. Raises ScriptInvalid with file and line."""
    lines = path.read_text("utf-8").splitlines()
    file = f"lua/{path.name}"
    composed = _Composition(path.parent / "lib")
    composed.include(lines, file)
    signature = check_header(file, path.stem, lines)
    text = "\n".join(composed.lines)
    sha = hashlib.sha1(text.encode("utf-8"), usedforsecurity=False).hexdigest()
    return Script(path.stem, text, sha, *signature, tuple(composed.origins))


class _Composition:
    """The lines of a command and of all it includes, each with its origin."""

    def __init__(self, libraries: Path) -> None:
        self._libraries = libraries
        self.lines: list[str] = []
        self.origins: list[Origin] = []

    def include(
        self,
        lines: list[str],
        file: str,
        including: tuple[str, ...] = (),
        visible: frozenset[str] = frozenset(),
    ) -> None:
        """Append a file.

        `including` are the libraries, outermost first, that led to it; `visible`
        those that the files around it have already included as locals.
        """
        for number, line in enumerate(lines, 1):
            code = strip_comment(line)
            if including and re.search(r"\b(KEYS|ARGV)\b", code):
                raise ScriptInvalid(f"{file}:{number}: a library has no KEYS or ARGV")
            if statement := _INCLUDE.match(line):
                self._include_library(statement, file, number, including, visible)
                if not statement[1]:  # an indented one ends with its block
                    visible |= {statement[3]}
            elif "require" in code:
                raise ScriptInvalid(f'{file}:{number}: only `local name = require("lib.name")` is allowed')
            else:
                self._append(line, file, number)

    def _include_library(
        self,
        statement: re.Match[str],
        file: str,
        number: int,
        including: tuple[str, ...],
        visible: frozenset[str],
    ) -> None:
        indent, local_name, library = statement.groups()
        path = self._libraries / f"{library}.lua"
        library_file = f"lua/lib/{library}.lua"
        if local_name != library or not path.is_file():
            raise ScriptInvalid(f"{file}:{number}: there is no {library_file} to call {local_name}")
        if library in including:
            raise ScriptInvalid(f"{file}:{number}: {library_file} includes itself")
        if library in visible:
            self._append(f"{indent}-- {library} is included above", file, number)
            return
        self._append(f"{indent}local {library} = (function()", file, number)
        lines = path.read_text("utf-8").splitlines()
        self.include(lines, library_file, (*including, library), visible)
        # This is where Lua notices that the library lacks an `end`.
        self._append(f"{indent}end)()", library_file, len(lines))

    def _append(self, line: str, file: str, number: int) -> None:
        # Comments take a third of the text, and Redis's debugger shows nothing of a script above 64 KB.
        self.lines.append("" if line.lstrip().startswith("--") else line)
        self.origins.append((file, number))

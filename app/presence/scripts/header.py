"""The header of a Lua command is its signature: the code must unpack and return what the header says."""

import re
from typing import NamedTuple

from ..errors import ScriptInvalid

STATUS_WORDS = frozenset(
    {"OK", "ABSENT", "CLAIMED", "NO_ROOM", "TAB_LEFT", "TAB_TAKEN", "THROTTLED", "TOO_MANY_TABS"}
    | {"INDEX_FIRST", "SWEEP_FIRST", "TRIMMED", "UNCHANGED"}
    | {"NOT_EDITING", "TAKEN_RECENTLY", "TOO_MANY", "WAITING"}  # of a claim
    | {"FORGOTTEN", "KNOWN", "TOO_FAR"}  # of a save
)

_TITLE = re.compile(r"^-- ([\w.]+) - \S.*\.$")
_ROW = re.compile(r"^-- (KEYS|ARGV)\[(\d+)\] +(\w+) +(\w+)")
_SECTION = re.compile(r"-- (Returns|Writes|Cost) +(\S.*)$")
_SECTION_CONTINUED = re.compile(r"--  +(\S.*)$")
_UNPACK = re.compile(r"^local ([\w, ]+) = (.*(?:KEYS|ARGV)\[.*)$")
_UNPACKED_ITEM = re.compile(r"^(tonumber\()?(KEYS|ARGV)\[(\d+)\](\))?$")
_RETURN = re.compile(r'(?:return|reply =) \{ ?"([A-Z_]+)"')

Row = tuple[str, str]  # name and type
Rows = dict[str, list[Row]]  # by array, KEYS or ARGV


class Signature(NamedTuple):
    """What a command takes and returns."""

    keys: tuple[str, ...]  # names, in order
    args: tuple[str, ...]  # names, in order
    writes: frozenset[str]  # those of the keys that the command may write
    returns: frozenset[str]  # status words


def check_header(file: str, name: str, lines: list[str]) -> Signature:
    """Read the header of the command `name` and hold its code against it.

    Raises ScriptInvalid, naming the file and, where there is one, the line.
    """
    header_length = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    header, code = lines[:header_length], [strip_comment(line) for line in lines[header_length:]]
    title = _TITLE.match(header[0]) if header else None
    if not title or title.group(1) != name:
        raise ScriptInvalid(f"{file}:1: must read `-- {name} - What it does.`")
    rows, sections = _parse(file, header)
    keys = tuple(row_name for row_name, _ in rows["KEYS"])
    writes = frozenset(re.findall(r"\w+", sections["Writes"])) - {"nothing"}
    if unknown := writes - {*keys}:
        raise ScriptInvalid(f"{file}: Writes names {', '.join(sorted(unknown))}, which no KEYS row has")
    _check_unpacking(file, header_length, code, rows)
    returns = _check_returns(file, sections["Returns"], code)
    return Signature(keys, tuple(row_name for row_name, _ in rows["ARGV"]), writes, returns)


def strip_comment(line: str) -> str:
    """The line without its comment."""
    return line.split("--", 1)[0].rstrip()


def _parse(file: str, header: list[str]) -> tuple[Rows, dict[str, str]]:
    """The rows by array, and the texts of the sections by name."""
    rows: Rows = {"KEYS": [], "ARGV": []}
    sections: dict[str, str] = {}
    section = ""
    for number, line in enumerate(header, 1):
        if row := _ROW.match(line):
            array, index, row_name, row_type = row.groups()
            if int(index) != len(rows[array]) + 1:
                raise ScriptInvalid(f"{file}:{number}: {array} rows must count from 1")
            rows[array].append((row_name, row_type))
        elif start := _SECTION.match(line):
            section = start.group(1)
            sections[section] = start.group(2)
        elif section and (more := _SECTION_CONTINUED.match(line)):
            sections[section] += " " + more.group(1)
    for needed in ("Returns", "Writes", "Cost"):
        if needed not in sections:
            raise ScriptInvalid(f"{file}: the header has no {needed} row")
    return rows, sections


def _check_returns(file: str, section: str, code: list[str]) -> frozenset[str]:
    declared = frozenset(re.findall(r'\{"([A-Z_]+)"', section))
    returned = frozenset(_RETURN.findall("\n".join(code)))
    if declared != returned:
        raise ScriptInvalid(
            f"{file}: Returns declares {sorted(declared)}, the code returns {sorted(returned)}"
        )
    if unknown := declared - STATUS_WORDS:
        raise ScriptInvalid(f"{file}: Python does not know the status {', '.join(sorted(unknown))}")
    return declared


def _check_unpacking(file: str, header_length: int, code: list[str], rows: Rows) -> None:
    """KEYS and ARGV are unpacked once, in order, under the names of their rows."""
    unpacked = _unpacked_rows(file, header_length, code)
    for array, declared in rows.items():
        for index, (row, local) in enumerate(zip(declared, unpacked[array], strict=False), 1):
            if row[0] != local[0]:
                raise ScriptInvalid(
                    f"{file}: {array}[{index}] is {row[0]} in the header, {local[0]} in the code"
                )
            if array == "ARGV" and (row[1] == "int") != (local[1] == "int"):
                raise ScriptInvalid(
                    f"{file}: {array}[{index}] {row[0]}: an int, and only an int, takes tonumber()"
                )
        if len(declared) != len(unpacked[array]):
            raise ScriptInvalid(
                f"{file}: the header has {len(declared)} {array} rows,"
                f" the code unpacks {len(unpacked[array])}"
            )


def _unpacked_rows(file: str, header_length: int, code: list[str]) -> Rows:
    """The locals that KEYS and ARGV are unpacked into; the type is `int` where `tonumber` converts."""
    unpacked: Rows = {"KEYS": [], "ARGV": []}
    for number, line in enumerate(code, header_length + 1):
        if not re.search(r"\b(KEYS|ARGV)\b", line):
            continue
        statement = _UNPACK.match(line)
        names = statement.group(1).split(", ") if statement else []
        items = [_UNPACKED_ITEM.match(item) for item in statement.group(2).split(", ")] if statement else []
        if not statement or len(names) != len(items) or not all(items):
            raise ScriptInvalid(f"{file}:{number}: KEYS and ARGV may only be unpacked into locals")
        for local_name, item in zip(names, items, strict=True):
            assert item
            converts, array, index, closes = item.groups()
            if int(index) != len(unpacked[array]) + 1 or bool(converts) != bool(closes):
                raise ScriptInvalid(f"{file}:{number}: {array}[{index}] is out of order")
            unpacked[array].append((local_name, "int" if converts else ""))
    return unpacked

"""What can be seen in a composed script before it runs: its commands, the keys they take, and its answers.

The text is read line by line, as the files are laid out: functions of a library begin and end at the first
column. A function counts if its name is used by code that counts, so a command may include a library without
declaring what only functions write that it never calls.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import ScriptInvalid
from .compose import Origin, Script
from .header import strip_comment

_READS = frozenset(
    {
        "EXISTS",
        "GET",
        "HEXISTS",
        "HGET",
        "HGETALL",
        "HKEYS",
        "HLEN",
        "HMGET",
        "HSTRLEN",
        "HVALS",
        "PTTL",
        "TTL",
    }
    | {"SISMEMBER", "SMEMBERS", "SCARD", "STRLEN", "TYPE", "XLEN", "XRANGE", "XREVRANGE", "ZCARD", "ZCOUNT"}
    | {"ZLEXCOUNT", "ZMSCORE", "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZRANK"}
    | {"ZREVRANGE", "ZREVRANK", "ZSCORE"}
)
_WRITES = frozenset(
    {
        "DEL",
        "HDEL",
        "HINCRBY",
        "HSET",
        "HSETNX",
        "INCR",
        "INCRBY",
        "PERSIST",
        "PEXPIRE",
        "PEXPIREAT",
        "SADD",
        "SET",
    }
    | {
        "SREM",
        "UNLINK",
        "XADD",
        "XDEL",
        "XTRIM",
        "ZADD",
        "ZINCRBY",
        "ZREM",
        "ZREMRANGEBYRANK",
        "ZREMRANGEBYSCORE",
    }
)
_OF_SEVERAL_KEYS = frozenset({"DEL", "EXISTS", "UNLINK"})
_WITHOUT_KEYS = frozenset({"PUBLISH", "TIME"})  # a channel is no key

_CALL = re.compile(r"redis\.p?call\((.*)")
_COMMAND = re.compile(r'"(\w+)"(?:, (.*))?')
_KEY = re.compile(r"(?:record\.)?(\w+)(?=[,)])")
_FUNCTION = re.compile(r"^(?:local )?function ([\w.]+)\(")
_ASSIGNMENT = re.compile(r"^\s*(?:local )?([\w, ]+?) = (?!.*\b(?:KEYS|ARGV)\[)")
_ANSWER = re.compile(r"(?:return|reply =) \{ (.*) \}$")
_ANSWER_ITEM = re.compile(r"^\s*reply\[[^\]]+\](?:, reply\[[^\]]+\])* = (.*)$")
_NAME = re.compile(r"(?<![\w.])[A-Za-z_][\w.]*")
_STRING = re.compile(r'"[^"]*"')
_CALL_OF_FUNCTION = re.compile(r"[\w.]+\([^()]*\)")


class _Line(NamedTuple):
    code: str
    origin: Origin


@dataclass(slots=True, eq=False)
class _Function:
    name: str  # as it is called: `roster.open`, or `write_meta` within its file
    file: str
    lines: list[_Line] = field(default_factory=list)


def check_statically(script: Script) -> None:
    """Raises ScriptInvalid, naming the file and line of the first fault."""
    lines = [
        _Line(strip_comment(text), origin)
        for text, origin in zip(script.text.split("\n"), script.origins, strict=True)
    ]
    own_file = f"lua/{script.name}.lua"
    for line in lines:
        if line.origin[0] == own_file:
            _check_assignment(line, script.keys)
            _check_answer(line)
    for line in _lines_that_run(lines, own_file):
        _check_call(line, script)


def _lines_that_run(lines: list[_Line], own_file: str) -> list[_Line]:
    """Those of the command, of the libraries outside their functions, and of each function that is used."""
    functions: list[_Function] = []
    running: list[_Line] = []
    current: dict[str, _Function] = {}  # by file: a function may include another library
    for line in lines:
        file = line.origin[0]
        if file == own_file:
            running.append(line)
            continue
        if found := _FUNCTION.match(line.code):
            current[file] = _Function(found[1], file)
            functions.append(current[file])
        (current[file].lines if file in current else running).append(line)
        if line.code == "end":
            current.pop(file, None)
    waiting = running
    while waiting:
        names = {(name, line.origin[0]) for line in waiting for name in _NAME.findall(line.code)}
        anywhere = {name for name, _ in names}
        used = [
            function
            for function in functions
            if (
                function.name in anywhere if "." in function.name else (function.name, function.file) in names
            )
        ]
        functions = [function for function in functions if function not in used]
        waiting = [line for function in used for line in function.lines]
        running = running + waiting
    return running


def _check_call(line: _Line, script: Script) -> None:
    for rest in _calls(line.code):
        command = _COMMAND.match(rest)
        if not command:
            raise _invalid(line, 'a command is written out: redis.call("NAME", ...)')
        name, arguments = command[1], command[2] or ""
        if name in _WITHOUT_KEYS:
            continue
        if name not in _READS | _WRITES:
            raise _invalid(line, f"{name} is not among the commands that a script may use (static_checks.py)")
        keys = _keys(arguments) if name in _OF_SEVERAL_KEYS else [_first_key(arguments)]
        for key in keys:
            _check_key(line, script, name, key)


def _check_key(line: _Line, script: Script, command: str, key: str) -> None:
    if key == "key" and line.origin[0].startswith("lua/lib/"):
        return  # of a loop over several, which the caller named
    if key not in script.keys:
        raise _invalid(line, f"{command} takes {key or 'something'}, which is no name of a KEYS row")
    if command in _WRITES and key not in script.writes:
        raise _invalid(
            line, f"{command} writes {key}, which the Writes row of lua/{script.name}.lua does not name"
        )


def _calls(code: str) -> Iterator[str]:
    """What follows each `redis.call(` of the line."""
    found = _CALL.search(code)
    while found:
        yield found[1]
        found = _CALL.search(found[1])


def _first_key(arguments: str) -> str:
    key = _KEY.match(arguments)
    return key[1] if key else ""


def _keys(arguments: str) -> list[str]:
    inside = arguments.partition(")")[0]
    return [_first_key(f"{argument.strip()},") for argument in inside.split(",")]


def _check_assignment(line: _Line, keys: tuple[str, ...]) -> None:
    assignment = _ASSIGNMENT.match(line.code)
    if not assignment:
        return
    for name in assignment[1].split(", "):
        if name in keys:
            raise _invalid(line, f"{name} is a row of KEYS, and stays what it was unpacked as")


def _check_answer(line: _Line) -> None:
    answer = _ANSWER.search(line.code) or _ANSWER_ITEM.match(line.code)
    if not answer:
        return
    text = _STRING.sub('""', answer[1])
    if re.search(r"\bnil\b", text):
        raise _invalid(line, "an answer ends at nil: send an empty text")
    if re.search(r"\{\s*\}", text):
        raise _invalid(line, "an empty table in an answer is not the same for all servers: send a text")
    while _CALL_OF_FUNCTION.search(text):
        text = _CALL_OF_FUNCTION.sub("x", text)
    if re.search(r"\d\.\d|/", text):
        raise _invalid(line, "a number with a fraction is cut in an answer: send it as text")


def _invalid(line: _Line, message: str) -> ScriptInvalid:
    return ScriptInvalid(f"{line.origin[0]}:{line.origin[1]}: {message}")

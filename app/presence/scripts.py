"""The Lua files of `lua/`, checked, composed and callable by name.

A script's header is its signature: the loader reads the KEYS, ARGV and Returns
rows and refuses to start when the code says something else. A line that is
exactly ``local name = require("lib.name")`` is replaced by the library's file,
since EVAL knows no `require`; a table of lines leads errors back to the source.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import redis.exceptions as redis_errors

from app.presence.errors import ScriptFault, ScriptInvalid, StoreFull, StoreUnavailable

LUA_DIRECTORY = Path(__file__).resolve().parents[2] / "lua"

STATUS_WORDS = frozenset(
    {"OK", "ABSENT", "CLAIMED", "FULL", "TAB_TAKEN", "THROTTLED", "TOO_MANY_FIELDS", "UNCHANGED"}
)

_INCLUDE = re.compile(r'^(\s*)local (\w+) = require\("lib\.(\w+)"\)$')
_TITLE = re.compile(r"^-- ([\w.]+) - \S.*\.$")
_ROW = re.compile(r"^-- (KEYS|ARGV)\[(\d+)\] +(\w+) +(\w+)")
_UNPACK = re.compile(r"^local ([\w, ]+) = (.*(?:KEYS|ARGV)\[.*)$")
_ITEM = re.compile(r"^(tonumber\()?(KEYS|ARGV)\[(\d+)\](\))?$")
_RETURNED = re.compile(r'(?:return|reply =) \{ ?"([A-Z_]+)"')
_ERROR_LINE = re.compile(r'(?:user_script:|\[string "<python>"\]:)(\d+)')
_GLOBAL_SET = re.compile(r"global variables?:? '?(\w+)")

# Answers of a Redis that is alive and says "not now".
_NOT_NOW = (
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOAUTH",
    "NOREPLICAS",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
    "UNKILLABLE",
)
_UNAVAILABLE = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ClusterError,
    redis_errors.RedisClusterException,
    redis_errors.NoPermissionError,  # of our user; what only a script is denied is a fault
    redis_errors.ReadOnlyError,
    redis_errors.TryAgainError,
    redis_errors.ClusterDownError,
    redis_errors.MasterDownError,
    OSError,
)
# The library derives what its Cluster client says from nothing of its own.
_FAILURES = (redis_errors.RedisError, redis_errors.RedisClusterException, OSError)


@dataclass(frozen=True, slots=True)
class Script:
    """One command: its composed text and the signature that its header declares."""

    name: str
    text: str
    sha: str
    keys: tuple[str, ...]  # names of the key rows, in order
    args: tuple[str, ...]  # names of the argument rows, in order
    returns: frozenset[str]  # status words
    origins: tuple[tuple[str, int], ...]  # composed line - 1 -> (file, line)

    def locate(self, message: str) -> str:
        """Put `file:line` of the source where Redis names a composed line."""

        def source(match: re.Match[str]) -> str:
            line = int(match.group(1))
            if not 1 <= line <= len(self.origins):
                return match.group(0)
            return "{}:{}".format(*self.origins[line - 1])

        if (found := _GLOBAL_SET.search(message)) and not _ERROR_LINE.search(message):
            return f"{message}{self._where_set(found.group(1))}"
        return _ERROR_LINE.sub(source, message)

    def _where_set(self, name: str) -> str:
        """fakeredis names no line, and from then on refuses every script."""
        for line, origin in zip(self.text.splitlines(), self.origins, strict=True):
            if re.match(rf"\s*(function\s+{name}\s*\(|{name}\s*=[^=])", line):
                return " at {}:{}; restart the process once it is mended".format(*origin)
        return ""


class Scripts:
    """Every command of a directory, ready to run on any redis-py client.

    Loading checks every header: raises ScriptInvalid, and the process stops.
    With `reload`, a file that was edited is read again on its next call.
    `observe(name, seconds, outcome)` is told of every call; the outcome is a
    status word, `unavailable` or `fault`.
    """

    def __init__(
        self,
        directory: Path = LUA_DIRECTORY,
        *,
        reload: bool = False,
        observe: Callable[[str, float, str], None] | None = None,
    ) -> None:
        self._directory = directory
        self._reload = reload
        self._observe = observe
        stamp = _stamp(directory)
        self._scripts = {path.stem: compose(path) for path in sorted(directory.glob("*.lua"))}
        self._stamps = dict.fromkeys(self._scripts, stamp)
        if not self._scripts:
            raise ScriptInvalid(f"{directory}: no Lua scripts found")

    def __iter__(self) -> Iterable[Script]:
        return iter(self._scripts.values())

    def __getitem__(self, name: str) -> Script:
        if self._reload and (stamp := _stamp(self._directory)) != self._stamps[name]:
            self._scripts[name] = compose(self._directory / f"{name}.lua")
            self._stamps[name] = stamp
        return self._scripts[name]

    def run(self, client: Any, name: str, keys: Sequence[str], args: Sequence[Any]) -> list[Any]:
        """Run a command in one round trip; returns its reply, status word first.

        `keys` and `args` stand in the order of the header. Text comes back as
        str whatever the client decodes. Raises StoreUnavailable or ScriptFault.
        """
        script = self[name]
        started = time.perf_counter()
        outcome = "fault"
        try:
            # Not redis-py's Script: it answers NOSCRIPT by loading on every
            # primary of a Cluster, so that a dead one elsewhere breaks it.
            try:
                raw = _execute(client, "EVALSHA", script.sha, len(keys), *keys, *args)
            except redis_errors.NoScriptError:
                raw = _execute(client, "EVAL", script.text, len(keys), *keys, *args)
            reply = self._read(script, keys, raw)
            outcome = reply[0]
        except StoreUnavailable:
            outcome = "unavailable"
            raise
        except _FAILURES as error:
            failure = self._failure(script, keys, error)
            outcome = "unavailable" if isinstance(failure, StoreUnavailable) else "fault"
            raise failure from error
        finally:
            if self._observe:
                self._observe(name, time.perf_counter() - started, outcome)
        return reply

    def run_many(
        self, client: Any, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]
    ) -> list[list[Any]]:
        """Run one command for many records in one round trip (one a node in a Cluster).

        Not one transaction: each call is atomic by itself.
        """
        script = self[name]
        started = time.perf_counter()
        try:
            commands = [("EVALSHA", script.sha, len(keys), *keys, *args) for keys, args in calls]
            answers = _execute_many(client, commands)
        except _FAILURES as error:
            failure = self._failure(script, calls[0][0], error)
            if self._observe:
                outcome = "unavailable" if isinstance(failure, StoreUnavailable) else "fault"
                self._observe(name, time.perf_counter() - started, outcome)
            raise failure from error
        replies = []
        for (keys, args), answer in zip(calls, answers, strict=True):
            if isinstance(answer, Exception):
                # NOSCRIPT, a slot on the move or a node that is gone: the single call deals with each.
                replies.append(self.run(client, name, keys, args))
            else:
                replies.append(self._read(script, keys, answer))
                if self._observe:
                    self._observe(name, (time.perf_counter() - started) / len(calls), replies[-1][0])
        return replies

    def _read(self, script: Script, keys: Sequence[str], raw: Any) -> list[Any]:
        if isinstance(raw, bytes | str):  # Redis looks through a table for longer than a call takes
            return ["OK", raw.decode() if isinstance(raw, bytes) else raw]
        reply = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in raw]
        if not reply or reply[0] not in script.returns:
            raise ScriptFault(f"{script.name} answered {reply[:1]} (keys {', '.join(keys)})")
        return reply

    def _failure(self, script: Script, keys: Sequence[str], error: Exception) -> Exception:
        message = str(error)
        if isinstance(error, redis_errors.OutOfMemoryError) or message.startswith("OOM"):
            return StoreFull(f"{script.name}: {message}")
        if isinstance(error, _UNAVAILABLE) or message.startswith(_NOT_NOW):
            return StoreUnavailable(f"{script.name}: {type(error).__name__}: {message}")
        return ScriptFault(f"{script.name} (keys {', '.join(keys)}): {script.locate(message)}")


def _execute(client: Any, *command: Any) -> Any:
    """`client.execute_command` without its instrumentation, a third of its time.

    The answer is bytes whatever the client decodes: other systems write to the
    hash too, and what they write need not be UTF-8.
    """
    exchange = getattr(client, "exchange", None)
    if exchange:
        return exchange(*command)
    if type(client) is not redis.Redis:
        return client.execute_command(*command, NEVER_DECODE=True)
    pool = client.connection_pool
    connection = pool.get_connection()

    def exchange() -> Any:
        connection.send_command(*command)
        return connection.read_response(disable_decoding=True)

    try:
        return connection.retry.call_with_retry(exchange, lambda _: connection.disconnect())
    finally:
        pool.release(connection)


def _execute_many(client: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
    """The answers to these EVALSHA, or what each failed by, in one round trip a node.

    Not by the library's pipeline of a Cluster: it asks one node for the keys of
    each command, and so it is slow, and dead with that node.
    """
    if not hasattr(client, "get_node_from_key"):
        return _pipe(client, commands)
    by_node: dict[Any, list[int]] = {}
    for index, command in enumerate(commands):
        by_node.setdefault(client.get_node_from_key(command[3]), []).append(index)
    answers: list[Any] = [None] * len(commands)
    for node, indexes in by_node.items():
        try:
            found = _pipe(client.get_redis_connection(node), [commands[index] for index in indexes])
        except (redis_errors.RedisError, OSError) as error:
            found = [error] * len(indexes)
        for index, answer in zip(indexes, found, strict=True):
            answers[index] = answer
    return answers


def _pipe(client: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command, NEVER_DECODE=True)
    return pipeline.execute(raise_on_error=False)


def compose(path: Path) -> Script:
    """Read, check and compose one script. Raises ScriptInvalid with file and line."""
    lines = path.read_text("utf-8").splitlines()
    text: list[str] = []
    origins: list[tuple[str, int]] = []

    def append(line: str, file: str, number: int) -> None:
        text.append(line)
        origins.append((file, number))

    file = f"lua/{path.name}"

    def include(lines: list[str], file: str, including: tuple[str, ...]) -> None:
        for number, line in enumerate(lines, 1):
            if including and re.search(r"\b(KEYS|ARGV)\b", _code(line)):
                raise ScriptInvalid(f"{file}:{number}: a library has no KEYS or ARGV")
            if not (statement := _INCLUDE.match(line)):
                if "require" in _code(line):
                    raise ScriptInvalid(
                        f'{file}:{number}: only `local name = require("lib.name")` is allowed'
                    )
                append(line, file, number)
                continue
            indent, local_name, library = statement.groups()
            library_path = path.parent / "lib" / f"{library}.lua"
            library_file = f"lua/lib/{library}.lua"
            if local_name != library or not library_path.is_file():
                raise ScriptInvalid(f"{file}:{number}: there is no {library_file} to call {local_name}")
            if library in including:
                raise ScriptInvalid(f"{file}:{number}: {library_file} includes itself")
            append(f"{indent}local {library} = (function()", file, number)
            library_lines = library_path.read_text("utf-8").splitlines()
            include(library_lines, library_file, (*including, library))
            # Where Lua notices that the library has an `end` too few.
            append(f"{indent}end)()", library_file, len(library_lines))

    include(lines, file, ())
    keys, args, returns = _check_header(file, path.stem, lines)
    body = "\n".join(text)
    sha = hashlib.sha1(body.encode("utf-8"), usedforsecurity=False).hexdigest()
    return Script(path.stem, body, sha, keys, args, returns, tuple(origins))


def _check_header(
    file: str, name: str, lines: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]:
    header_length = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    header, code = lines[:header_length], [_code(line) for line in lines[header_length:]]

    title = _TITLE.match(header[0]) if header else None
    if not title or title.group(1) != name:
        raise ScriptInvalid(f"{file}:1: must read `-- {name} - What it does.`")

    rows: dict[str, list[tuple[str, str]]] = {"KEYS": [], "ARGV": []}
    sections: dict[str, str] = {}
    section = ""
    for number, line in enumerate(header, 1):
        if row := _ROW.match(line):
            array, index, row_name, row_type = row.groups()
            if int(index) != len(rows[array]) + 1:
                raise ScriptInvalid(f"{file}:{number}: {array} rows must count from 1")
            rows[array].append((row_name, row_type))
        elif start := re.match(r"-- (Returns|Writes|Cost) +(\S.*)$", line):
            section = start.group(1)
            sections[section] = start.group(2)
        elif section and (more := re.match(r"--  +(\S.*)$", line)):
            sections[section] += " " + more.group(1)
    for needed in ("Returns", "Writes", "Cost"):
        if needed not in sections:
            raise ScriptInvalid(f"{file}: the header has no {needed} row")

    key_names = [row_name for row_name, _ in rows["KEYS"]]
    if unknown := set(re.findall(r"\w+", sections["Writes"])) - {*key_names, "nothing"}:
        raise ScriptInvalid(f"{file}: Writes names {', '.join(sorted(unknown))}, which no KEYS row has")

    _check_unpacking(file, header_length, code, rows)

    declared = frozenset(re.findall(r'\{"([A-Z_]+)"', sections["Returns"]))
    returned = frozenset(_RETURNED.findall("\n".join(code)))
    if declared != returned:
        raise ScriptInvalid(
            f"{file}: Returns declares {sorted(declared)}, the code returns {sorted(returned)}"
        )
    if unknown := declared - STATUS_WORDS:
        raise ScriptInvalid(f"{file}: Python does not know the status {', '.join(sorted(unknown))}")
    return tuple(key_names), tuple(row_name for row_name, _ in rows["ARGV"]), declared


def _check_unpacking(
    file: str, header_length: int, code: list[str], rows: dict[str, list[tuple[str, str]]]
) -> None:
    """KEYS and ARGV are unpacked once, in order, under the names of their rows."""
    unpacked: dict[str, list[tuple[str, str]]] = {"KEYS": [], "ARGV": []}
    for number, line in enumerate(code, header_length + 1):
        if not re.search(r"\b(KEYS|ARGV)\b", line):
            continue
        statement = _UNPACK.match(line)
        names = statement.group(1).split(", ") if statement else []
        items = [_ITEM.match(item) for item in statement.group(2).split(", ")] if statement else []
        if not statement or len(names) != len(items) or not all(items):
            raise ScriptInvalid(f"{file}:{number}: KEYS and ARGV may only be unpacked into locals")
        for local_name, item in zip(names, items, strict=True):
            converts, array, index, closes = item.groups()
            if int(index) != len(unpacked[array]) + 1 or bool(converts) != bool(closes):
                raise ScriptInvalid(f"{file}:{number}: {array}[{index}] is out of order")
            unpacked[array].append((local_name, "int" if converts else ""))
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


def _code(line: str) -> str:
    """The line without its comment."""
    return line.split("--", 1)[0].rstrip()


def _stamp(directory: Path) -> dict[Path, int]:
    """What every edit changes, also one that brings back an older file."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*.lua")}


def main() -> None:
    """`python -m app.presence.scripts heartbeat` prints the composed text, for `redis-cli --ldb`."""
    import argparse

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("name", help="a command, such as heartbeat")
    parser.add_argument("--origins", action="store_true", help="put file and line before each line")
    options = parser.parse_args()
    script = compose(LUA_DIRECTORY / f"{options.name}.lua")
    for line, (file, number) in zip(script.text.split("\n"), script.origins, strict=True):
        print(f"{file}:{number}: {line}" if options.origins else line)


if __name__ == "__main__":
    main()

"""`make lua-mistakes`: mistakes in Lua, made one by one, and what says so.

Each is made in a copy of lua/. First luacheck and the loader get to see it, as in `make lint`; then, unless
the loader refuses the start, a record's life is played on the embedded Redis and on a real one.
`python -m tests.lua.mistakes [--write]` prints the table, or puts it into lua/MISTAKES.md.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from record_presence.presence.errors import ScriptFault, ScriptInvalid
from record_presence.presence.scripts import Scripts, find_lua_directory
from record_presence.redis_client.embedded import connect_embedded
from tests.lua import commands
from tests.redis_server import RedisServer

DOCUMENT = Path(__file__).parents[2] / "lua" / "MISTAKES.md"
LOOP_SECONDS = 0.8  # an endless loop of the embedded Redis
NOTHING = "nothing"
PLAYED = ("heartbeat.lua", "leave.lua")

HEADER, TEXT, STATIC, NAMES, RUNNING = (
    "In the header",
    "No Lua",
    "What can't work",
    "Names that are not there",
    "While it runs",
)


@dataclass(frozen=True)
class Mistake:
    """In `file`, `old`, which stands there exactly once, becomes `new`."""

    kind: str
    what: str
    file: str
    old: str
    new: str
    # A real Redis would have to be killed.
    is_for_embedded_only: bool = False


@dataclass(frozen=True)
class Report:
    """What each says of a mistake; "" where it says nothing, None where it was not asked."""

    luacheck: str
    loader: str
    embedded: str | None
    redis: str | None

    def said_by(self) -> list[str]:
        named = {
            "luacheck": self.luacheck,
            "loader": self.loader,
            "embedded": self.embedded,
            "Redis": self.redis,
        }
        return [name for name, message in named.items() if message]

    def message(self) -> str:
        return self.loader or self.redis or self.embedded or self.luacheck or NOTHING


LEAVE, TOMBSTONES = "leave.lua", "lib/tombstones.lua"
COMMIT = "roster.commit(record, nonce)\n"
ADD = "tombstones.add(left, tab_id, user, stamp, lease_ms)\n"
ABSENT = 'end\nreturn { "ABSENT" }'
HSET = '  redis.call("HSET", left, field, stamp)\n'

MISTAKES = (
    Mistake(HEADER, "a title with another name", LEAVE, "-- leave - ", "-- leafe - "),
    Mistake(HEADER, "rows that don't count from 1", LEAVE, "-- KEYS[2]  seen", "-- KEYS[3]  seen"),
    Mistake(
        HEADER,
        "a row that the code unpacks by another name",
        LEAVE,
        "-- KEYS[2]  seen  ",
        "-- KEYS[2]  leases",
    ),
    Mistake(HEADER, "no Cost", LEAVE, "-- Cost     O(log tabs)\n", ""),
    Mistake(
        HEADER,
        "a name in Writes that no row has",
        LEAVE,
        "timeline, unsaved, left\n-- Cost",
        "timeline, lost\n-- Cost",
    ),
    Mistake(HEADER, "an int without tonumber", LEAVE, "tonumber(ARGV[4])", "ARGV[4]"),
    Mistake(HEADER, "a row that is not unpacked", LEAVE, "local stamp = ARGV[7]\n", "local stamp = user\n"),
    Mistake(HEADER, "KEYS in the middle of the code", LEAVE, "add(left,", "add(KEYS[6],"),
    Mistake(HEADER, "a status that is not in Returns", LEAVE, 'return { "ABSENT" }', 'return { "GONE" }'),
    Mistake(HEADER, "a require that is not replaced", LEAVE, 'require("lib.roster")', 'require("roster")'),
    Mistake(HEADER, "a library that is not there", LEAVE, 'require("lib.roster")', 'require("lib.rooster")'),
    Mistake(HEADER, "ARGV in a library", TOMBSTONES, HSET, '  redis.call("HSET", left, field, ARGV[7])\n'),
    Mistake(TEXT, "a missing `then`", LEAVE, "if is_live then\n  roster", "if is_live\n  roster"),
    Mistake(TEXT, "a missing `end`", LEAVE, 'return { "OK" }\nend', 'return { "OK" }'),
    Mistake(
        TEXT,
        "a missing `end` in a library",
        TOMBSTONES,
        "\nend\n\nreturn tombstones",
        "\n\nreturn tombstones",
    ),
    Mistake(TEXT, "a string without its end", LEAVE, 'return { "TAB_TAKEN" }', 'return { "TAB_TAKEN }'),
    Mistake(TEXT, "`!=`", LEAVE, 'user ~= ""', 'user != ""'),
    Mistake(TEXT, "`+=`", LEAVE, COMMIT, "lease_ms += 1\n" + COMMIT),
    Mistake(
        STATIC,
        "a write that Writes lacks",
        LEAVE,
        "timeline, unsaved, left\n-- Cost",
        "timeline, unsaved\n-- Cost",
    ),
    Mistake(STATIC, "a key written out", LEAVE, COMMIT, 'redis.call("DEL", "left")\n' + COMMIT),
    Mistake(STATIC, "a key made up", LEAVE, COMMIT, 'redis.call("DEL", tabs .. ":left")\n' + COMMIT),
    Mistake(STATIC, "an argument as a key", LEAVE, COMMIT, 'redis.call("DEL", tab_id)\n' + COMMIT),
    Mistake(
        STATIC,
        "an argument as one of several keys",
        LEAVE,
        COMMIT,
        'redis.call("DEL", left, tab_id)\n' + COMMIT,
    ),
    Mistake(STATIC, "a key that stands for another", LEAVE, COMMIT, 'left = "others"\n' + COMMIT),
    Mistake(
        STATIC,
        "a key of another command, in a library",
        TOMBSTONES,
        HSET,
        HSET + '  redis.call("GET", calls)\n',
    ),
    Mistake(STATIC, "a command that Redis lacks", LEAVE, COMMIT, 'redis.call("HGETAL", tabs)\n' + COMMIT),
    Mistake(
        STATIC,
        "a command that goes to one node of a Cluster",
        LEAVE,
        COMMIT,
        'redis.call("SCAN", 0)\n' + COMMIT,
    ),
    Mistake(
        STATIC, "a command from Redis 7 on", LEAVE, COMMIT, 'redis.call("SPUBLISH", tabs, "")\n' + COMMIT
    ),
    Mistake(STATIC, "a command that a variable names", LEAVE, COMMIT, "redis.call(reason, tabs)\n" + COMMIT),
    Mistake(STATIC, "a nil in an answer", LEAVE, '{ "ABSENT" }', '{ "ABSENT", nil, 1 }'),
    Mistake(STATIC, "an empty table in an answer", LEAVE, '{ "ABSENT" }', '{ "ABSENT", {} }'),
    Mistake(STATIC, "a fraction in an answer", LEAVE, '{ "ABSENT" }', '{ "ABSENT", lease_ms / 1000 }'),
    Mistake(NAMES, "a global", LEAVE, COMMIT, "count = 1\n" + COMMIT),
    Mistake(NAMES, "a global in a library", TOMBSTONES, HSET, HSET + "  count = 1\n"),
    Mistake(
        NAMES,
        "a name with a typing error",
        LEAVE,
        "tab_id, user, stamp, lease_ms)\n",
        "tab_id, user, stanp, lease_ms)\n",
    ),
    Mistake(NAMES, "a variable that nothing uses", LEAVE, COMMIT, "local count = 1\n" + COMMIT),
    Mistake(NAMES, "`os`", LEAVE, COMMIT, "roster.now = os.time()\n" + COMMIT),
    Mistake(NAMES, "`redis.log`", LEAVE, COMMIT, 'redis.log(1, "here")\n' + COMMIT),
    Mistake(NAMES, "`redis.sha1hex`", LEAVE, COMMIT, "roster.sha = redis.sha1hex(reason)\n" + COMMIT),
    Mistake(NAMES, "`cmsgpack`", LEAVE, COMMIT, "roster.text = cmsgpack.pack(reason)\n" + COMMIT),
    Mistake(RUNNING, "arithmetic with nil", LEAVE, COMMIT, "lease_ms = lease_ms + record.lease\n" + COMMIT),
    Mistake(RUNNING, "a function that a library lacks", LEAVE, COMMIT, "roster.comit(record, nonce)\n"),
    Mistake(RUNNING, "a field of nil", TOMBSTONES, HSET, HSET + "  stamp = tombstones.last.stamp\n"),
    Mistake(
        RUNNING,
        "a number compared with a text",
        LEAVE,
        COMMIT,
        'if lease_ms > reason then\n  return { "OK" }\nend\n' + COMMIT,
    ),
    Mistake(
        RUNNING, "a command of another type", LEAVE, COMMIT, 'redis.call("HGET", seen, tab_id)\n' + COMMIT
    ),
    Mistake(
        RUNNING,
        "a command of another type, in a library",
        TOMBSTONES,
        HSET,
        HSET + '  redis.call("ZSCORE", left, field)\n',
    ),
    Mistake(
        RUNNING,
        "a command with an argument too few",
        LEAVE,
        COMMIT,
        'redis.call("HSET", left, tab_id)\n' + COMMIT,
    ),
    Mistake(
        RUNNING,
        "a table as an argument",
        LEAVE,
        COMMIT,
        'redis.call("HSET", left, tab_id, record)\n' + COMMIT,
    ),
    Mistake(
        RUNNING,
        "nil as an argument",
        LEAVE,
        COMMIT,
        'redis.call("HSET", left, tab_id, record.left)\n' + COMMIT,
    ),
    Mistake(
        RUNNING, "a text that is no JSON", LEAVE, COMMIT, "record.reason = cjson.decode(reason)\n" + COMMIT
    ),
    Mistake(
        RUNNING,
        "a loop that never ends",
        LEAVE,
        COMMIT,
        "while lease_ms do\n  lease_ms = 1\nend\n" + COMMIT,
        True,
    ),
    Mistake(
        RUNNING,
        "a loop that never ends, in a library",
        TOMBSTONES,
        HSET,
        "  while stamp do\n    stamp = field\n  end\n",
        True,
    ),
)


class Bench:
    """A place to make mistakes in."""

    def __init__(self, folder: Path, redis: Any) -> None:
        self._lua = folder / "lua"
        self._redis = redis

    def report(self, mistake: Mistake) -> Report:
        """Raises ValueError if its place in the file is not there once."""
        shutil.rmtree(self._lua, ignore_errors=True)
        shutil.copytree(find_lua_directory(), self._lua, ignore=_leave_out)
        self._make(mistake)
        luacheck = self._ask_luacheck(mistake)
        try:
            scripts = Scripts(self._lua)
        except ScriptInvalid as refusal:
            return Report(luacheck, str(refusal), None, None)
        with connect_embedded(LOOP_SECONDS) as embedded:
            embedded_says = play(embedded, scripts)
        if mistake.is_for_embedded_only:
            return Report(luacheck, "", embedded_says, None)
        self._redis.flushall()
        return Report(luacheck, "", embedded_says, play(self._redis, scripts))

    def lines_of(self, mistake: Mistake) -> range:
        """Where it was made."""
        text = (find_lua_directory() / mistake.file).read_text("utf-8")
        first = text[: text.index(mistake.old)].count("\n") + 1
        return range(first, first + mistake.new.rstrip("\n").count("\n") + 1)

    def _make(self, mistake: Mistake) -> None:
        path = self._lua / mistake.file
        text = path.read_text("utf-8")
        if text.count(mistake.old) != 1:
            raise ValueError(f"{mistake.file} has {mistake.old!r} {text.count(mistake.old)} times")
        path.write_text(text.replace(mistake.old, mistake.new), "utf-8")

    def _ask_luacheck(self, mistake: Mistake) -> str:
        """What it says of the line, or else of the file."""
        config = str(self._lua / ".luacheckrc")
        command = ["luacheck", "--no-color", "--config", config, f"lua/{mistake.file}"]
        run = subprocess.run(command, cwd=self._lua.parent, capture_output=True, text=True)
        found = re.findall(r"^\s*(lua/\S+?):(\d+):\d+(?:-\d+)?: (.*)$", run.stdout, re.M)
        lines = self.lines_of(mistake)
        found.sort(key=lambda warning: int(warning[1]) not in lines)
        return "{}:{}: {}".format(*found[0]) if found else ""


def _leave_out(folder: str, names: list[str]) -> list[str]:
    """The commands that `play` doesn't call: to load them all takes a while."""
    return [
        name for name in names if name.endswith(".lua") and Path(folder).name == "lua" and name not in PLAYED
    ]


def play(redis: Any, scripts: Scripts) -> str:
    """A short life of a record; what goes wrong with it, on one line."""
    with patch.object(commands, "scripts", scripts):
        try:
            commands.heartbeat(redis, "t1", 42, mode="edit", known="?", timeline_ms=commands.DAY_MS)
            commands.heartbeat(redis, "t2", 43)
            commands.leave(redis, "t3", 44)
            commands.leave(redis, "t1", 42, timeline_ms=commands.DAY_MS)
        except ScriptFault as fault:
            return " ".join(str(fault).partition("stack traceback")[0].split())
    return ""


def short(message: str) -> str:
    """Without the keys and what Redis puts around it, and with N in the place of a line's number."""
    message = re.sub(r"^\w+ \(keys [^)]*\): ", "", message)
    message = re.sub(r"(ERR )?Error running script \(call to f_\w+\): ", "", message)
    message = re.sub(r"@?user_script:\?: |@?user_script: ?\d*:? ?", "", message)
    message = re.sub(r"script: [0-9a-f]{40}, on @?", "on ", message)
    return re.sub(r"(\.lua):\d+", r"\1:N", message).replace("@", "").replace("|", "\\|")


def table(reports: dict[Mistake, Report]) -> Iterator[str]:
    kind = ""
    for mistake, report in reports.items():
        if mistake.kind != kind:
            kind = mistake.kind
            yield f"\n## {kind}\n\n| Mistake | Said by | As |\n|---|---|---|\n"
        yield f"{row_start(mistake, report)} {_as_code(short(report.message()))} |\n"


def row_start(mistake: Mistake, report: Report) -> str:
    """What of a row is the same for all versions of Redis."""
    return f"| {mistake.what} | {', '.join(report.said_by()) or NOTHING} |"


def _as_code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


@contextmanager
def bench() -> Iterator[Bench]:
    server = RedisServer()
    try:
        with tempfile.TemporaryDirectory() as folder, server.client() as redis:
            yield Bench(Path(folder), redis)
    finally:
        server.close()


def main() -> None:
    """Exits with 1 if nothing says so."""
    with bench() as place:
        reports = {mistake: place.report(mistake) for mistake in MISTAKES}
    text = "".join(table(reports))
    if "--write" in sys.argv:
        head = DOCUMENT.read_text("utf-8").partition("\n## ")[0]
        DOCUMENT.write_text(head + text, "utf-8")
    else:
        print(text)
    sys.exit(any(not report.said_by() for report in reports.values()))


if __name__ == "__main__":
    main()

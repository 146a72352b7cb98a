"""The loader: what it refuses, where it says an error is, and what it survives."""

import math
import os
import re
import subprocess
import sys

import fakeredis
import pytest
import redis.exceptions as redis_errors

from record_presence.presence.errors import ScriptFault, ScriptInvalid, StoreUnavailable
from record_presence.presence.scripts import Scripts, compose, find_lua_directory, sharded_publishing, syntax
from record_presence.presence.scripts import __main__ as scripts_main
from record_presence.presence.scripts.sharded_publishing import publish_sharded
from record_presence.redis_client.embedded import connect_embedded

GOOD = """\
-- touch - Mark a viewer.
--
-- KEYS[1]  tabs    hash    tab_id -> state
-- ARGV[1]  tab_id  string
-- ARGV[2]  ttl_ms  int     > 0
--
-- Returns  {"OK", tab_id}
--          | {"ABSENT"}
-- Writes   tabs
-- Cost     O(1)
local words = require("lib.words")

local tabs = KEYS[1]
local tab_id, ttl_ms = ARGV[1], tonumber(ARGV[2])

if ttl_ms < 0 then
  return { "ABSENT" }
end
redis.call("HSET", tabs, tab_id, words.hello())
return { "OK", words.hello() }
"""

WORDS = """\
-- lib.words - What to say.
local words = {}

function words.hello()
  return "hello"
end

return words
"""


@pytest.fixture
def lua(tmp_path):
    """A directory of Lua files, good until a test changes one."""
    directory = tmp_path / "lua"
    (directory / "lib").mkdir(parents=True)
    (directory / "touch.lua").write_text(GOOD)
    (directory / "lib" / "words.lua").write_text(WORDS)
    return directory


@pytest.fixture(params=["embedded", "redis-server"])
def strict_redis(request):
    """The embedded Redis as it is shipped, and a real one: both say as much about an error."""
    if request.param == "redis-server":
        yield request.getfixturevalue("real_redis")
        return
    with connect_embedded() as client:
        yield client


def edit(path, old, new):
    """Replace text in a file, which is then newer than all the others."""
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))
    newest = max(other.stat().st_mtime_ns for other in path.parents[1].rglob("*.lua"))
    os.utime(path, ns=(newest + 1_000_000, newest + 1_000_000))


def touch(redis, scripts, ttl_ms=1):
    return scripts.run(redis, "touch", ("record",), ("t1", ttl_ms))


# What is refused when the process starts


def test_good_script_has_the_signature_of_its_header(lua):
    script = Scripts(lua)["touch"]

    assert script.keys == ("tabs",)
    assert script.args == ("tab_id", "ttl_ms")
    assert script.returns == {"OK", "ABSENT"}


def test_every_script_of_the_project_is_good():
    names = {script.name for script in Scripts()}

    assert {"heartbeat", "leave", "viewers", "tabs", "throttle"} <= names
    assert names == {path.stem for path in find_lua_directory().glob("*.lua")}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("-- touch - Mark a viewer.", "-- tuch - Mark a viewer.", "lua/touch.lua:1: must read `-- touch - "),
        ("-- touch - Mark a viewer.", "-- touch - Mark a viewer", "lua/touch.lua:1: must read"),
        ("-- touch - Mark a viewer.", "local x = 1", "lua/touch.lua:1: must read"),
        ("KEYS[1]  tabs", "KEYS[2]  tabs", "lua/touch.lua:3: KEYS rows must count from 1"),
        ("ARGV[2]  ttl_ms", "ARGV[3]  ttl_ms", "lua/touch.lua:5: ARGV rows must count from 1"),
        ("ARGV[2]  ttl_ms  int     > 0", "", "has 1 ARGV rows, the code unpacks 2"),
        ("ARGV[1]  tab_id", "ARGV[1]  tab", "ARGV[1] is tab in the header, tab_id in the code"),
        ("KEYS[1]  tabs", "KEYS[1]  seen", "Writes names tabs, which no KEYS row has"),
        ("ttl_ms  int ", "ttl_ms  string ", "ARGV[2] ttl_ms: an int, and only an int, takes tonumber()"),
        ("tab_id  string", "tab_id  int", "ARGV[1] tab_id: an int, and only an int, takes tonumber()"),
        ('-- Returns  {"OK", tab_id}\n--          | {"ABSENT"}\n', "", "header has no Returns row"),
        ("-- Writes   tabs\n", "", "lua/touch.lua: the header has no Writes row"),
        ("-- Cost     O(1)\n", "", "lua/touch.lua: the header has no Cost row"),
        ("-- Writes   tabs", "-- Writes   tabs, seen", "lua/touch.lua: Writes names seen, which no KEYS row"),
        ("--          | {\"ABSENT\"}\n", "", "declares ['OK'], the code returns ['ABSENT', 'OK']"),
        ('return { "ABSENT" }', "return nil", "declares ['ABSENT', 'OK'], the code returns ['OK']"),
        ('{ "OK", words.hello() }', '{ "FINE" }', "the code returns ['ABSENT', 'FINE']"),
        ("local tabs = KEYS[1]", "local tabs = KEYS[2]", "lua/touch.lua:13: KEYS[2] is out of order"),
        ("ARGV[1], tonumber(ARGV[2])", "ARGV[2], tonumber(ARGV[1])", "touch.lua:14: ARGV[2] is out of order"),
        ('"HSET", tabs,', '"HSET", KEYS[1],', "lua/touch.lua:19: KEYS and ARGV may only be unpacked"),
        ("if ttl_ms < 0", "if #ARGV < 0", "lua/touch.lua:16: KEYS and ARGV may only be unpacked"),
        ("local tabs = KEYS[1]", "local tabs, seen = KEYS[1]", "lua/touch.lua:13: KEYS and ARGV may only"),
        ('require("lib.words")', "require('lib.words')", "lua/touch.lua:11: "),
        ('require("lib.words")', 'require("socket")', "lua/touch.lua:11: "),
        ('require("lib.words")', 'require("lib.gone")', "lua/touch.lua:11: "),
        ("local words = require", "words = require", "lua/touch.lua:11: "),
    ],
)  # fmt: skip
def test_script_that_breaks_a_rule_is_refused_with_its_place(lua, old, new, complaint):
    edit(lua / "touch.lua", old, new)

    with pytest.raises(ScriptInvalid) as refusal:
        Scripts(lua)
    assert complaint in str(refusal.value)


def test_status_that_python_does_not_know_is_refused(lua):
    edit(lua / "touch.lua", '| {"ABSENT"}', '| {"GONE"}')
    edit(lua / "touch.lua", 'return { "ABSENT" }', 'return { "GONE" }')

    with pytest.raises(ScriptInvalid, match=r"touch\.lua: Python does not know the status GONE"):
        Scripts(lua)


@pytest.mark.parametrize("line", ["local tabs = KEYS[1]", "local a = ARGV"])
def test_library_does_not_know_the_keys(lua, line):
    edit(lua / "lib" / "words.lua", "local words = {}", line)

    with pytest.raises(ScriptInvalid, match=r"lua/lib/words\.lua:2: a library has no KEYS or ARGV"):
        Scripts(lua)


def test_library_may_include_another_and_an_error_there_names_its_line(lua, redis):
    (lua / "lib" / "other.lua").write_text("local other = {}\nerror('spilt')\nreturn other\n")
    edit(lua / "lib" / "words.lua", "local words = {}", 'local other = require("lib.other")')

    with pytest.raises(ScriptFault, match=r"lua/lib/other\.lua:2: spilt"):
        touch(redis, Scripts(lua))


def test_library_shares_what_was_included_before_it(lua, redis):
    (lua / "lib" / "other.lua").write_text("local other = { times = 0 }\nreturn other\n")
    use = 'local other = require("lib.other")\nother.times = other.times + 1'
    edit(lua / "lib" / "words.lua", "local words = {}", f"{use}\nlocal words = {{}}")
    edit(
        lua / "touch.lua", 'local words = require("lib.words")', f'{use}\nlocal words = require("lib.words")'
    )
    edit(lua / "touch.lua", '{ "OK", words.hello() }', '{ "OK", other.times }')

    assert touch(redis, Scripts(lua)) == ["OK", 2]


def test_library_that_was_included_in_a_block_is_not_shared_outside_it(lua, redis):
    (lua / "lib" / "other.lua").write_text("local other = {}\nreturn other\n")
    edit(
        lua / "lib" / "words.lua",
        "local words = {}",
        'local other = require("lib.other")\nlocal words = other',
    )
    include = 'local words = require("lib.words")'
    block = f'if redis then\n  local other = require("lib.other")\n  other.x = 1\nend\n{include}'
    edit(lua / "touch.lua", include, block)

    assert touch(redis, Scripts(lua)) == ["OK", "hello"]


@pytest.mark.parametrize("library", ["words", "missing"])
def test_library_may_not_include_itself_nor_what_is_not_there(lua, library):
    edit(lua / "lib" / "words.lua", "local words = {}", f'local {library} = require("lib.{library}")')

    with pytest.raises(ScriptInvalid, match=rf"lua/lib/words\.lua:2: .*lua/lib/{library}\.lua"):
        Scripts(lua)


def test_comment_may_speak_of_anything(lua):
    edit(lua / "lib" / "words.lua", "local words = {}", "local words = {} -- not KEYS, ARGV or require")
    edit(
        lua / "touch.lua",
        "if ttl_ms < 0 then",
        "-- KEYS[9] and require are only words here\nif ttl_ms < 0 then",
    )

    assert Scripts(lua)["touch"].keys == ("tabs",)


def test_directory_without_scripts_is_refused(tmp_path):
    with pytest.raises(ScriptInvalid, match="no Lua scripts found"):
        Scripts(tmp_path)


# Where an error is


@pytest.mark.parametrize(
    ("file", "old", "new", "place"),
    [
        ("touch.lua", "if ttl_ms < 0 then", 'error("boom")\nif ttl_ms < 0 then', "lua/touch.lua:16"),
        ("touch.lua", "if ttl_ms < 0 then", "if ttl_ms < nil then", "lua/touch.lua:16"),
        ("touch.lua", '{ "OK", words.hello() }', '{ "OK", tabs.x.y }', "lua/touch.lua:20"),
        ("lib/words.lua", 'return "hello"', 'return nil .. "hello"', "lua/lib/words.lua:5"),
        ("lib/words.lua", "local words = {}", 'local words = {}\nerror("boom")', "lua/lib/words.lua:3"),
    ],
)
def test_error_names_the_file_and_line_as_they_were_written(redis, lua, file, old, new, place):
    edit(lua / file, old, new)

    with pytest.raises(ScriptFault) as fault:
        touch(redis, Scripts(lua))
    assert place in str(fault.value)
    assert "touch (keys record)" in str(fault.value)


def test_error_of_a_redis_command_names_the_line_too(strict_redis, lua):
    strict_redis.set("record", "a string")

    with pytest.raises(ScriptFault, match=r"WRONGTYPE(.|\n)*lua/touch\.lua:19|lua/touch\.lua:19: WRONGTYPE"):
        touch(strict_redis, Scripts(lua))


@pytest.mark.parametrize(
    ("file", "old", "new", "place"),
    [
        ("touch.lua", "if ttl_ms < 0 then", "if ttl_ms < 0 do", "lua/touch.lua:16: 'then' expected"),
        ("touch.lua", '{ "ABSENT" }\nend', '{ "ABSENT" }', "lua/touch.lua:16) near"),  # (to close 'if' at …)
        ("lib/words.lua", "\nend", "", "lua/lib/words.lua:7: unexpected symbol near ')'|'end' expected"),
    ],
)
def test_text_that_is_no_lua_stops_the_start_with_file_and_line(lua, file, old, new, place):
    edit(lua / file, old, new)

    with pytest.raises(ScriptInvalid) as refusal:
        Scripts(lua)
    assert any(part in str(refusal.value) for part in place.split("|"))
    assert "<python>" not in str(refusal.value)
    assert not re.search(r"\bline \d", str(refusal.value))


def test_text_that_is_no_lua_is_told_by_redis_where_no_compiler_is_installed(redis, lua, monkeypatch):
    monkeypatch.setattr(syntax, "_compiler", lambda: None)
    edit(lua / "touch.lua", "if ttl_ms < 0 then", "if ttl_ms < 0 do")

    with pytest.raises(ScriptFault, match=r"lua/touch\.lua:1[67]"):
        touch(redis, Scripts(lua))


@pytest.mark.parametrize("line", ["waited = 0", "local waited = wated"], ids=["set", "read"])
def test_global_is_named_with_its_file_and_line_and_spoils_no_later_script(strict_redis, lua, line):
    edit(lua / "touch.lua", "if ttl_ms < 0 then", f"{line}\nif ttl_ms < 0 then")

    with pytest.raises(ScriptFault) as fault:
        touch(strict_redis, Scripts(lua))
    assert "lua/touch.lua:16" in str(fault.value)

    (lua / "touch.lua").write_text(GOOD)
    assert touch(strict_redis, Scripts(lua)) == ["OK", "hello"]


def test_endless_loop_of_the_embedded_redis_ends_with_its_file_and_line(lua):
    edit(lua / "lib/words.lua", 'return "hello"', "while true do\n  end")

    with connect_embedded(max_script_seconds=0.5) as redis:
        with pytest.raises(
            ScriptFault, match=r"lua/lib/words\.lua:[56]: the script has run for more than 0\.5 s"
        ):
            touch(redis, Scripts(lua))
        (lua / "lib/words.lua").write_text(WORDS)
        assert touch(redis, Scripts(lua)) == ["OK", "hello"]


def test_embedded_redis_keeps_scripts_apart_and_begins_each_anew():
    with connect_embedded() as redis:
        for _ in range(2):
            for number in range(100):  # more than it keeps compiled
                script = f"local seen = {{}}; seen[#seen + 1] = 1; return {{ {number}, #seen, ARGV[1] }}"
                assert redis.eval(script, 0, f"x{number}") == [number, 1, f"x{number}".encode()]


def test_answer_that_the_header_does_not_declare_is_a_fault(redis, lua):
    edit(
        lua / "touch.lua",
        'return { "OK", words.hello() }',
        'local reply = { "OK" }\nreply[1] = "ODD"\nreturn reply',
    )

    with pytest.raises(ScriptFault, match="touch answered"):
        touch(redis, Scripts(lua))


def test_origin_of_every_composed_line_is_known(lua):
    script = compose(lua / "touch.lua")

    composed = script.text.split("\n")
    sources = {"lua/touch.lua": GOOD.splitlines(), "lua/lib/words.lua": WORDS.splitlines()}
    for line, (file, number) in zip(composed, script.origins, strict=True):
        source = sources[file][number - 1]
        is_comment = source.startswith("--")
        assert line == ("" if is_comment else source) or "function()" in line or "end)()" in line


# What is seen before it runs


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "touch.lua",
            "-- Writes   tabs",
            "-- Writes   nothing",
            "touch.lua:19: HSET writes tabs, which the Writes row",
        ),
        (
            "touch.lua",
            '"HSET", tabs',
            '"HSET", "tabs"',
            "touch.lua:19: HSET takes something, which is no name",
        ),
        (
            "touch.lua",
            '"HSET", tabs',
            '"HSET", tabs .. ":x"',
            "touch.lua:19: HSET takes something, which is no name",
        ),
        ("touch.lua", '"HSET", tabs', '"HSET", tab_id', "touch.lua:19: HSET takes tab_id, which is no name"),
        (
            "touch.lua",
            '"HSET", tabs',
            '"HSET", words.key',
            "touch.lua:19: HSET takes something, which is no name",
        ),
        (
            "touch.lua",
            '"HSET", tabs,',
            '"DEL", tabs, tab_id, "",',
            "touch.lua:19: DEL takes tab_id, which is no name",
        ),
        ("touch.lua", '"HSET", tabs', '"HGETAL", tabs', "touch.lua:19: HGETAL is not among the commands"),
        ("touch.lua", '"HSET", tabs', '"SPUBLISH", tabs', "touch.lua:19: SPUBLISH is not among the commands"),
        ("touch.lua", '"HSET", tabs', '"RANDOMKEY"', "touch.lua:19: RANDOMKEY is not among the commands"),
        ("touch.lua", '"HSET", tabs', "tab_id, tabs", "touch.lua:19: a command is written out"),
        ("touch.lua", "redis.call", 'tabs = "others"\nredis.call', "touch.lua:19: tabs is a row of KEYS"),
        ("touch.lua", '"OK", words.hello() }', '"OK", nil }', "touch.lua:20: an answer ends at nil"),
        ("touch.lua", '"OK", words.hello() }', '"OK", {} }', "touch.lua:20: an empty table in an answer"),
        (
            "touch.lua",
            '"OK", words.hello() }',
            '"OK", ttl_ms / 1000 }',
            "touch.lua:20: a number with a fraction",
        ),
        ("touch.lua", '"OK", words.hello() }', '"OK", 0.5 }', "touch.lua:20: a number with a fraction"),
        (
            "lib/words.lua",
            'return "hello"',
            'return redis.call("HLEN", seen)',
            "lib/words.lua:5: HLEN takes seen",
        ),
        (
            "lib/words.lua",
            "return words",
            'redis.call("HLEN", seen)\nreturn words',
            "lib/words.lua:8: HLEN takes seen",
        ),
    ],
)
def test_mistake_in_the_text_stops_the_start_with_file_and_line(lua, file, old, new, message):
    edit(lua / file, old, new)

    with pytest.raises(ScriptInvalid) as refusal:
        Scripts(lua)
    assert str(refusal.value).startswith(f"lua/{message}")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("touch.lua", '"OK", words.hello() }', '"OK", math.floor(ttl_ms / 1000) }'),
        ("touch.lua", '"OK", words.hello() }', '"OK", "1.5 {} nil/" }'),
        ("touch.lua", "redis.call", 'local own_tabs = "others"\nredis.call'),
        ("touch.lua", "redis.call(", 'redis.call("PUBLISH", tab_id, "")\nredis.call('),
        (
            "lib/words.lua",
            "return words",
            'function words.unused()\n  redis.call("SET", "x")\nend\n\nreturn words',
        ),
    ],
)
def test_what_only_looks_like_a_mistake_is_none(lua, file, old, new):
    edit(lua / file, old, new)

    Scripts(lua)


# Redis forgets scripts


def test_forgotten_script_is_sent_again(redis, lua):
    scripts = Scripts(lua)
    assert touch(redis, scripts) == ["OK", "hello"]
    redis.script_flush()

    assert touch(redis, scripts) == ["OK", "hello"]


def test_script_that_redis_knows_is_not_sent_again(real_redis, lua):
    scripts = Scripts(lua)
    touch(real_redis, scripts)
    real_redis.config_resetstat()
    touch(real_redis, scripts)

    calls = real_redis.info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_eval" not in calls


def test_many_calls_survive_a_forgotten_script(redis, lua):
    scripts = Scripts(lua)
    calls = [((f"record {number}",), ("t1", 1)) for number in range(5)]
    expected = [["OK", "hello"]] * 5
    assert scripts.run_many(redis, "touch", calls) == expected
    redis.script_flush()

    assert scripts.run_many(redis, "touch", calls) == expected
    assert len(redis.keys("record *")) == 5


def test_fault_in_one_of_many_calls_is_a_fault(redis, lua):
    redis.set("wrong", "a string")

    with pytest.raises(ScriptFault, match="wrong"):
        Scripts(lua).run_many(redis, "touch", [(("right",), ("t1", 1)), (("wrong",), ("t1", 1))])


def test_nested_connection_is_usable_after_a_fault(redis, lua):
    scripts = Scripts(lua)
    redis.set("wrong", "a string")
    for _ in range(3):
        with pytest.raises(ScriptFault):
            scripts.run(redis, "touch", ("wrong",), ("t1", 1))
        assert touch(redis, scripts) == ["OK", "hello"]


def test_every_call_is_observed_with_its_outcome(lua):
    server = fakeredis.FakeServer()
    redis = fakeredis.FakeRedis(server=server)
    seen = []
    scripts = Scripts(lua, observe=lambda name, seconds, outcome: seen.append((name, seconds >= 0, outcome)))

    touch(redis, scripts)
    touch(redis, scripts, ttl_ms=-1)
    redis.set("wrong", "a string")
    with pytest.raises(ScriptFault):
        scripts.run(redis, "touch", ("wrong",), ("t1", 1))
    scripts.run_many(redis, "touch", [(("record",), ("t1", 1))] * 2)
    with pytest.raises(ScriptFault):
        scripts.run_many(redis, "touch", [(("record",), (None, 1))])  # which can't be sent
    server.connected = False
    with pytest.raises(StoreUnavailable):
        touch(redis, scripts)
    with pytest.raises(StoreUnavailable):
        scripts.run_many(redis, "touch", [(("record",), ("t1", 1))])

    assert seen == [
        ("touch", True, outcome)
        for outcome in ("OK", "ABSENT", "fault", "OK", "OK", "fault", "unavailable", "unavailable")
    ]


# A maintainer edits


def test_edit_of_a_script_runs_with_the_next_call(redis, lua):
    scripts = Scripts(lua, reload=True)
    touch(redis, scripts)

    edit(lua / "touch.lua", 'return { "OK", words.hello() }', 'return { "OK", "good morning" }')

    assert touch(redis, scripts) == ["OK", "good morning"]


def test_edit_of_a_library_runs_with_the_next_call(redis, lua):
    scripts = Scripts(lua, reload=True)
    touch(redis, scripts)

    edit(lua / "lib" / "words.lua", '"hello"', '"good morning"')

    assert touch(redis, scripts) == ["OK", "good morning"]


BROKEN_EDITS = [
    ("-- Cost     O(1)\n", "", "lua/touch.lua: the header has no Cost row"),
    ("local tabs = KEYS[1]", "local tabs = KEYS[2]", "lua/touch.lua:13"),
    ("if ttl_ms < 0 then", "if ttl_ms < 0 do", "lua/touch.lua:16"),
]


@pytest.mark.parametrize(("old", "new", "place"), BROKEN_EDITS)
def test_last_good_text_runs_while_a_file_is_broken_which_is_told_once(redis, lua, caplog, old, new, place):
    scripts = Scripts(lua, reload=True)
    touch(redis, scripts)

    edit(lua / "touch.lua", old, new)
    for _ in range(2):
        assert touch(redis, scripts) == ["OK", "hello"]
    assert place in str(scripts.invalid["touch"])
    assert [place in record.message for record in caplog.records] == [True]

    (lua / "touch.lua").write_text(GOOD)
    edit(lua / "touch.lua", '{ "OK", words.hello() }', '{ "OK", "good again" }')
    assert touch(redis, scripts) == ["OK", "good again"]
    assert scripts.invalid == {}


@pytest.mark.parametrize(("old", "new", "place"), BROKEN_EDITS)
def test_process_that_reloads_starts_with_a_broken_file_and_mends_with_it(redis, lua, old, new, place):
    edit(lua / "touch.lua", old, new)
    scripts = Scripts(lua, reload=True)

    for _ in range(2):
        with pytest.raises(ScriptInvalid) as complaint:
            touch(redis, scripts)
        assert place in str(complaint.value)

    (lua / "touch.lua").write_text(GOOD)
    assert touch(redis, scripts) == ["OK", "hello"]


def test_half_written_file_is_no_end_either(redis, lua):
    scripts = Scripts(lua, reload=True)
    (lua / "touch.lua").write_bytes(GOOD.encode()[:200] + b"\xff")

    assert touch(redis, scripts) == ["OK", "hello"]


def test_edit_that_is_older_than_what_runs_counts_too(redis, lua):
    """`git checkout` or a copy may bring back a file with an older time."""
    scripts = Scripts(lua, reload=True)
    touch(redis, scripts)

    edit(lua / "touch.lua", '{ "OK", words.hello() }', '{ "OK", "from the archive" }')
    os.utime(lua / "touch.lua", (1_000_000_000, 1_000_000_000))

    assert touch(redis, scripts) == ["OK", "from the archive"]


def test_edit_waits_for_the_next_start_where_nobody_asked_for_reloading(redis, lua):
    scripts = Scripts(lua)
    touch(redis, scripts)

    edit(lua / "lib" / "words.lua", '"hello"', '"good morning"')

    assert touch(redis, scripts) == ["OK", "hello"]


def print_composed(*arguments):
    command = [sys.executable, "-m", "record_presence.presence.scripts", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_composed_text_can_be_printed():
    printed = print_composed("heartbeat")

    assert printed.stdout == Scripts()["heartbeat"].text + "\n"


def test_composed_text_can_be_printed_with_its_origins():
    printed = print_composed("heartbeat", "--origins").stdout.splitlines()

    assert printed[0].startswith("lua/heartbeat.lua:1: ")
    assert any(line.startswith("lua/lib/quota.lua:") for line in printed)


def test_all_commands_can_be_checked():
    assert print_composed("--check").returncode == 0


def test_check_names_each_error_once(lua, monkeypatch, capsys):
    edit(lua / "lib/words.lua", "return words", "return = words")
    (lua / "again.lua").write_text(GOOD.replace("touch", "again"))
    monkeypatch.setattr(scripts_main, "find_lua_directory", lambda: lua)
    monkeypatch.setattr(sys, "argv", ["scripts", "--check"])

    with pytest.raises(SystemExit) as end:
        scripts_main.main()
    assert str(end.value.code) == "lua/lib/words.lua:8: unexpected symbol near '='"


def test_command_that_does_not_exist_is_not_printed():
    printed = print_composed("heartbreak")

    assert (printed.returncode, printed.stdout) == (2, "")
    assert "there is no command heartbreak in" in printed.stderr


# Where the files are


@pytest.mark.parametrize("place", ["package/lua", "lua"], ids=["installed", "checkout"])
def test_lua_files_are_found_in_the_package_and_beside_it(tmp_path, place):
    directory = tmp_path / place
    directory.mkdir(parents=True)
    (directory / "heartbeat.lua").touch()

    assert find_lua_directory(tmp_path / "package") == directory


def test_lua_files_of_the_package_come_before_a_folder_of_that_name_beside_it(tmp_path):
    for place in ("package/lua", "lua"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "heartbeat.lua").touch()

    assert find_lua_directory(tmp_path / "package") == tmp_path / "package/lua"


def test_package_without_lua_files_says_where_it_looked(tmp_path):
    with pytest.raises(
        ScriptInvalid, match=rf"^no Lua scripts found in {tmp_path}/package/lua or {tmp_path}/lua"
    ):
        find_lua_directory(tmp_path / "package")


def test_each_message_is_published_by_spublish_where_it_can_be_and_nothing_else_differs():
    for script in Scripts():
        sharded = publish_sharded(script)

        assert not re.search(r'[("]PUBLISH"', sharded.text)
        assert sharded.text.replace('"SPUBLISH"', '"PUBLISH"') == script.text
        assert (sharded.sha == script.sha) == ('"PUBLISH"' not in script.text)


@pytest.mark.parametrize(
    "refusal",
    [
        redis_errors.ResponseError("ACL failure in script: User x has no permissions to run 'spublish'"),
        redis_errors.ResponseError("Unknown Redis command called from script script: f0"),
        redis_errors.NoPermissionError("no permissions to run 'spublish'"),  # with its own code, NOPERM
    ],
)
def test_call_is_answered_though_the_right_to_spublish_was_taken_away(refusal):
    scripts = Scripts(may_publish_sharded=True)
    scripts._sharding._switch(True)
    sharded = {text for script in scripts for text in (script.sha, script.text) if "SPUBLISH" in script.text}

    class Denied(fakeredis.FakeRedis):
        def execute_command(self, *command, **options):
            if command[1:2] and command[1] in sharded:
                raise refusal
            return super().execute_command(*command, **options)

    reply = scripts.run(Denied(), "probe", ["presence_ready"], ["presence_stream:1"])

    assert reply[0] == "OK"
    assert not scripts.publishes_sharded


def test_exploration_that_fails_in_any_way_is_tried_again(monkeypatch):
    def fail(cluster):
        raise AttributeError("as by another version of the client library")

    monkeypatch.setattr(sharded_publishing, "find_refusing_node", fail)
    publishing = sharded_publishing.ShardedPublishing(lambda is_on: None, is_wanted=True)
    publishing.explore_at = math.inf  # as it is meanwhile
    publishing._find_out(object())

    assert publishing.explore_at < math.inf
    assert not publishing.is_on

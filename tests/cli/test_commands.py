"""The commands of `flask`, on a real Redis."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace

import fakeredis
import pytest

from record_presence import create_app
from record_presence.demo.people import TENANT
from record_presence.presence import tab_state
from record_presence.presence.records import Record
from record_presence.presence.service import RecordPresenceService
from record_presence.presence.streaming import timings
from record_presence.redis_client.client import connect
from tests.api.client import PREFIX, SETTINGS, data_of
from tests.gunicorn_server import OURS, ROOT
from tests.waiting import wait_until

RECORD = Record("1", "flow", "12")
DAY_SECONDS = 86_400
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"


@pytest.fixture
def redis_url(redis_server, real_redis):
    return f"unix://{redis_server.socket}"


@pytest.fixture
def presence(real_redis):
    """What the service's processes do."""
    return RecordPresenceService(real_redis, "1", timeline_seconds=DAY_SECONDS)


@pytest.fixture
def flask(redis_url, real_redis):
    """`flask("who", "flow:12")`: runs `flask presence …`, with the environment of the service."""

    def run(*arguments, redis=real_redis, **settings):
        settings = {"redis_url": redis_url, **settings}
        app = create_app(replace(SETTINGS, **settings), redis=redis)
        return app.test_cli_runner().invoke(args=["presence", *arguments])

    return run


def rows(result):
    """The cells of a table, without its head."""
    assert result.exit_code == 0, result.output
    lines = [re.split(r" {2,}", line.strip()) for line in result.output.splitlines() if line.strip()]
    assert set(lines[1][0]) == {"─"}
    return lines[2:]


def lines(result):
    assert result.exit_code == 0, result.output
    return [re.sub(rf"^{TIME}  ", "", line) for line in result.output.splitlines()]


def alice_edits(presence):
    fields = {"active_field": "steps", "dirty_fields": ["name", "steps"]}
    presence.update_presence("flow", 12, "a1", 42, "Alice", mode="edit", dirty=True, **fields)


# Who


def test_who_tells_who_has_the_record_open(flask, presence):
    alice_edits(presence)
    presence.update_presence("flow", 12, "a2", 42, "Alice")
    presence.update_presence("flow", 12, "b1", "u-7", "ليلى حداد", visible=False)

    found = rows(flask("who", "flow:12"))
    assert [row[:-1] for row in found] == [
        ["Alice", "42", "2", "edit", "name, steps", "steps"],
        ["ليلى حداد", '"u-7"', "1", "view"],
    ]
    assert [row[-1].partition("+00:00")[2] for row in found] == ["", ", away"]


def test_who_of_an_empty_record_says_so(flask):
    result = flask("who", "flow:12")

    assert (result.exit_code, result.output) == (0, "Nobody has flow:12 open.\n")


def test_tenant_is_the_one_that_is_named(flask, presence, real_redis):
    presence.update_presence("flow", 12, "a1", 42, "Alice")
    RecordPresenceService(real_redis, "acme").update_presence("flow", 12, "b1", 43, "Bob")

    assert [row[0] for row in rows(flask("who", "flow:12"))] == ["Alice"]
    assert [row[0] for row in rows(flask("who", "flow:12", "--tenant", "acme"))] == ["Bob"]
    assert "Nobody" in flask("who", "flow:12", "--tenant", "other").output


def test_name_is_neither_markup_nor_a_command_to_the_terminal(flask, presence, monkeypatch):
    # As another system, or an earlier version, may have stored it.
    monkeypatch.setattr(tab_state, "clean_name", lambda name: name)
    presence.update_presence("flow", 12, "a1", 42, "[bold]\x1b[31mred\x9b2J\nnext\u202e")
    outputs = [flask(command, "flow:12").output for command in ("who", "why", "timeline")]

    for output in outputs:
        assert "[bold]\ufffd[31mred\ufffd2J\ufffdnext\ufffd" in output
    assert "\x1b" not in flask("timeline", "flow:12", "--json").output


# Open


@pytest.fixture
def noted(real_redis):
    """What the service's processes do, noting which records are open."""
    return RecordPresenceService(real_redis, "1", timeline_seconds=DAY_SECONDS, has_open_index=True)


def test_open_lists_what_is_open_and_where_a_user_is(flask, noted):
    alice_edits(noted)
    noted.update_presence("flow", 12, "b1", "u-7", "ليلى حداد")
    noted.update_presence("flow", 13, "b2", "u-7", "ليلى حداد")
    noted.update_presence("order", 7, "a2", 42, "Alice")

    found = rows(flask("open", "--type", "flow"))
    assert [row[:-1] for row in found] == [["flow:12", "2", "Alice", "Alice"], ["flow:13", "1"]]
    assert all(re.fullmatch(TIME, row[-1]) for row in found)
    assert [row[0] for row in rows(flask("open", "--user", "42"))] == ["order:7", "flow:12"]
    assert [row[0] for row in rows(flask("open", "--user", "u-7", "--type", "flow"))] == [
        "flow:13",
        "flow:12",
    ]
    assert flask("open", "--type", "invoice").output == "No record of the type invoice is open.\n"
    assert flask("open", "--user", '"42"').output == "This user has no such record open.\n"


def test_open_without_a_type_or_a_user_is_a_wrong_use_and_without_an_index_an_error(flask, noted):
    assert flask("open").exit_code == 2
    result = flask("open", "--type", "flow", open_index=False)

    assert (result.exit_code, "PRESENCE_OPEN_INDEX" in result.stderr) == (1, True)


# Forget


def test_forget_erases_a_user(flask, noted):
    alice_edits(noted)
    noted.update_presence("flow", 12, "b1", "u-7", "Bob")
    noted.record_saved("flow", 12, 8, ["name"], 42, "Alice")

    assert flask("forget", "42").output == (
        "Erased in 1 records: 1 tabs, 0 claims, 2 entries of timelines, and the name in 1 saves.\n"
    )
    assert [row[0] for row in rows(flask("who", "flow:12"))] == ["Bob"]
    assert "Alice" not in flask("timeline", "flow:12").output


def test_forget_also_looks_at_the_records_that_are_named(flask, presence):
    alice_edits(presence)

    assert flask("forget", "42").output.startswith("Erased in 0 records")
    assert flask("forget", "42", "flow:12").output.startswith("Erased in 1 records: 1 tabs")


# Why


def test_why_tells_every_tab_with_its_lease_and_reason(flask, presence, real_redis):
    alice_edits(presence)
    presence.update_presence("flow", 12, "b1", "u-7", "Bob")
    real_redis.zincrby(RECORD.seen_key, -100_000, "b1")
    real_redis.hset(RECORD.tabs_key, "by-hand", "no JSON")
    found = {row[0]: row[1:] for row in rows(flask("why", "flow:12"))}

    assert found["a1"][:4] == ["Alice", "42", "edit", "name, steps"]
    assert re.fullmatch(r"(89|90) s", found["a1"][4])
    assert re.fullmatch(rf"Shown: last heartbeat at {TIME}, the lease ends in \d+\.\d s\.", found["a1"][5])
    assert found["b1"][:3] == ["Bob", '"u-7"', "view"]
    assert re.match(r"Not shown: the lease ended 1\d\.\d s ago", found["b1"][-1])
    assert found["by-hand"] == ["Not shown: another system wrote this field, and it has no lease."]


def test_why_changes_nothing(flask, presence, real_redis):
    presence.update_presence("flow", 12, "a1", 42, "Alice")
    real_redis.zincrby(RECORD.seen_key, -100_000, "a1")
    before = {key: real_redis.dump(key) for key in real_redis.keys("*")}
    flask("why", "flow:12")

    assert {key: real_redis.dump(key) for key in real_redis.keys("*")} == before


# Evict


def test_evict_removes_the_tab_and_tells_why(flask, presence):
    alice_edits(presence)
    result = flask("evict", "flow:12", "a1")

    assert (result.exit_code, result.output) == (0, "Evicted a1 from flow:12.\n")
    assert presence.get_presence("flow", 12) == {}
    assert presence.get_timeline("flow", 12).entries[-1]["reason"] == "evicted"


def test_evict_of_a_tab_that_is_not_there_fails(flask, presence):
    alice_edits(presence)

    for arguments in (("flow:12", "a2"), ("flow:13", "a1"), ("flow:12", "a1", "--tenant", "2")):
        result = flask("evict", *arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: flow:1")
    assert list(presence.get_presence("flow", 12)) == ["a1"]


# The timeline


def live_through(presence):
    alice_edits(presence)
    presence.update_presence("flow", 12, "b1", 43, "Bob", "edit")
    presence.record_saved("flow", 12, 8, ["name"], 43, "Bob", "b1")
    presence.claim_field("flow", 12, "a1", 42, "name")
    presence.claim_field("flow", 12, "b1", 43, "name", take_over=True)
    presence.release_field("flow", 12, "b1", 43, "name")
    presence.update_presence("flow", 12, "a1", 42, "Alice")
    presence.remove_presence("flow", 12, "b1", 43)


LIVED = [
    "Alice (42) comes: edit, 1 tab, unsaved: name, steps, in steps",
    "Bob (43) comes: edit, 1 tab",
    "Bob (43) saves version 8: name",
    "Alice (42) claims name",
    "Bob (43) claims name from Alice",
    "Bob (43) lets name go",
    "Alice (42) now: view, 1 tab",
    "Bob (43) is gone: left",
]


def test_timeline_tells_what_happened_a_line_each(flask, presence):
    live_through(presence)

    assert lines(flask("timeline", "flow:12")) == LIVED


def test_timeline_as_json_is_what_the_service_answers(flask, presence):
    live_through(presence)
    result = flask("timeline", "flow:12", "--json")

    assert [json.loads(line) for line in result.output.splitlines()] == presence.get_timeline(
        "flow", 12
    ).entries


def test_long_timeline_is_told_whole(flask, presence, monkeypatch):
    monkeypatch.setattr("record_presence.cli.presence.TIMELINE_PAGE_SIZE", 3)
    presence.update_presence("flow", 12, "a1", 42, "Alice")
    for lock_version in range(8):
        presence.record_saved("flow", 12, lock_version, [], 42, "Alice")

    assert lines(flask("timeline", "flow:12")) == [
        "Alice (42) comes: view, 1 tab",
        *(f"Alice (42) saves version {lock_version}: no fields" for lock_version in range(8)),
    ]


def test_viewers_that_were_counted_anew_are_told_of(flask, presence, real_redis):
    alice_edits(presence)
    real_redis.delete(RECORD.viewers_key)
    presence.get_presence("flow", 12)

    assert lines(flask("timeline", "flow:12"))[1] == "The viewers were counted anew."


def test_timeline_that_is_off_says_so(flask):
    result = flask("timeline", "flow:12", timeline_seconds=0)

    assert result.exit_code == 1
    assert "PRESENCE_TIMELINE_SECONDS" in result.stderr


# What goes wrong


COMMANDS = [("who",), ("why",), ("evict", "a1"), ("timeline",), ("timeline", "--follow"), ("watch",)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_memory_of_another_process_can_not_be_seen(flask, command):
    embedded = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    result = flask(command[0], "flow:12", *command[1:], redis_url=None, redis=embedded)

    assert result.exit_code == 2
    assert result.stderr.startswith("Error: REDIS_URL is not set.")
    assert embedded.keys() == []


@pytest.mark.parametrize("command", [("who",), ("timeline", "--follow"), ("watch",)], ids=" ".join)
def test_redis_out_of_reach_is_one_line(flask, command, monkeypatch):
    monkeypatch.setattr(timings, "OPEN_TIMEOUT_SECONDS", 0.2)
    result = flask(command[0], "flow:12", *command[1:], redis=connect("redis://127.0.0.1:1"))

    assert (result.exit_code, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: Redis did not answer: ")


def test_wrong_setting_is_one_line_too():
    command = [sys.executable, "-m", "flask", "presence", "who", "flow:12"]
    environ = {**os.environ, "SECRET_KEY": SETTINGS.secret_key, "PORT": "80x"}
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)

    assert (run.returncode, run.stdout) == (4, "")
    assert run.stderr.startswith("PORT: ")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("record", ["flow", "flow:", "Flow:12", "flow:1:2", ":12", ""])
def test_what_names_no_record_is_a_wrong_use(flask, record):
    result = flask("who", record)

    assert result.exit_code == 2
    assert "Usage:" in result.stderr


@pytest.mark.parametrize(
    "arguments", [("evict", "flow:12", "a b"), ("who", "flow:12", "--tenant", ""), ("forget", "")]
)
def test_what_names_no_tab_or_tenant_is_a_wrong_use(flask, arguments):
    result = flask(*arguments)

    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_every_command_has_a_sentence_of_help(flask):
    text = flask("--help").output

    for name, *_ in COMMANDS:
        assert re.search(rf"^  {name} +[A-Z].+", text, re.MULTILINE)


# What goes on until Ctrl-C


class Running:
    """`flask presence …` in a process of its own; `output()` is what it has written so far."""

    def __init__(self, redis_url, *arguments, has_terminal=False):
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
        self._file, self._terminal = None, None
        if has_terminal:
            self._terminal, theirs = pty.openpty()
            os.set_blocking(self._terminal, False)
        else:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as we live
            theirs = self._file.fileno()
        self._read = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flask", "presence", *arguments],
            cwd=ROOT,
            env={
                **inherited,
                "REDIS_URL": redis_url,
                "SECRET_KEY": SETTINGS.secret_key,
                "TERM": "xterm",
                "COLUMNS": "200",
            },
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
        if has_terminal:
            os.close(theirs)

    def output(self):
        if self._terminal is None:
            self._file.seek(0)
            return self._file.read().decode()
        with contextlib.suppress(OSError):  # nothing yet, or nobody there any more
            while data := os.read(self._terminal, 65_536):
                self._read += data
        return self._read.decode()

    def wait_for(self, text):
        return wait_until(self.output, lambda output: text in output)

    def interrupt(self):
        """Ctrl-C; returns its exit code and what stands in its errors."""
        self.process.send_signal(signal.SIGINT)
        errors = self.process.communicate(timeout=20)[1].decode()
        return self.process.returncode, errors.strip()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        if self._terminal is not None:
            os.close(self._terminal)
        else:
            self._file.close()


@pytest.fixture
def start(redis_url):
    started = []

    def start(*arguments, **options):
        started.append(Running(redis_url, *arguments, **options))
        return started[-1]

    yield start
    for running in started:
        running.close()


def test_watch_without_a_terminal_tells_each_change_and_ends_on_ctrl_c(start, presence):
    alice_edits(presence)
    watch = start("watch", "flow:12")
    watch.wait_for("1 here")
    presence.update_presence("flow", 12, "b1", 43, "Bob")
    watch.wait_for("Bob (43) comes: view, 1 tab")
    presence.record_saved("flow", 12, 8, ["name"], 43, "Bob", "b1")
    presence.claim_field("flow", 12, "a1", 42, "name")
    watch.wait_for("Claimed: name: Alice")
    presence.remove_presence("flow", 12, "a1", reason="evicted")
    output = watch.wait_for("Claimed: nothing")

    assert watch.interrupt() == (0, "")
    assert "Alice (42) now: edit, 1 tab, unsaved: name, steps, in steps" in output
    assert "Bob (43) saves version 8: name" in output
    assert "Alice (42) is gone: evicted" in output
    assert "\x1b" not in output


def test_watch_in_a_terminal_redraws_its_table_and_ends_on_ctrl_c(start, presence):
    watch = start("watch", "flow:12", has_terminal=True)
    watch.wait_for("Nobody has flow:12 open.")
    alice_edits(presence)
    watch.wait_for("name, steps")
    drawn = len(watch.output())
    presence.update_presence("flow", 12, "b1", 43, "Bob")
    wait_until(watch.output, lambda output: "Bob" in output[drawn:])

    assert watch.interrupt() == (0, "")
    assert watch.output().rstrip().endswith("\x1b[?25h")  # the cursor is there again


def test_followed_timeline_goes_on_and_ends_on_ctrl_c(start, presence):
    alice_edits(presence)
    follow = start("timeline", "flow:12", "--follow")
    follow.wait_for("Alice (42) comes")
    presence.record_saved("flow", 12, 8, ["name"], 43, "Bob", "b1")
    follow.wait_for("Bob (43) saves version 8: name")
    presence.remove_presence("flow", 12, "a1")
    follow.wait_for("Alice (42) is gone: left")
    presence.record_saved("flow", 12, 9, [], 43, "Bob")  # with nobody there
    output = follow.wait_for("Bob (43) saves version 9")

    assert follow.interrupt() == (0, "")
    assert len(output.splitlines()) == 4


# Tokens


@pytest.mark.parametrize("role", ["operator", "service"])
def test_token_of_a_role_is_one_of_that_role(redis_url, real_redis, role):
    app = create_app(replace(SETTINGS, redis_url=redis_url), redis=real_redis)
    arguments = ["token", "--sub", "ops", "--name", "Olga", "--role", role]
    proof = app.test_cli_runner().invoke(args=arguments).output.strip()
    answer = app.test_client().get(f"{PREFIX}/flow/12/inspect", headers={"Authorization": f"Bearer {proof}"})

    if role == "operator":
        assert data_of(answer)["tabs"] == []
    else:
        assert answer.status_code == 403


def test_token_of_a_role_that_there_is_not_is_a_wrong_use(redis_url, real_redis):
    app = create_app(replace(SETTINGS, redis_url=redis_url), redis=real_redis)
    arguments = ["token", "--sub", "ops", "--name", "Olga", "--role", "admin"]

    assert app.test_cli_runner().invoke(args=arguments).exit_code == 2


TOKEN = ["token", "--sub", "42", "--name", "Alice"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sub", ""], "Error: The claim sub"),
        (["--sub", "x" * 300], "Error: The claim sub"),
        (["--sub", "9" * 300], "Error: The claim sub"),
        (["--tenant", ""], "Error: The claim tenant"),
        (["--tenant", "x" * 129], "Error: The claim tenant"),
        (["--tenant", TENANT], "Error: This token may not name this tenant"),
        (["--records", "flow:[1]"], "Error: The claim records"),
        (["--name", "x" * 8_000], "Error: The token is too long"),
        (["--hours", "0.0001"], "Error: The token has expired"),
        *(
            (["--hours", hours], "Error: Invalid value for --hours")
            for hours in ("0", "-1", "nan", "inf", "1e9")
        ),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_token_that_the_service_would_refuse_is_not_printed(arguments, told):
    app = create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    result = app.test_cli_runner().invoke(args=[*TOKEN, *arguments])

    assert (result.exit_code, result.stdout) in {(1, ""), (2, "")}
    assert result.stderr.splitlines()[-1].startswith(told)
    assert "Traceback" not in result.output


def test_token_that_is_printed_is_accepted():
    app = create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    proof = (
        app.test_cli_runner().invoke(args=[*TOKEN, "--records", "flow:*", "--hours", "0.5"]).stdout.strip()
    )
    caller = app.extensions["presence"].bearer_tokens.identify(proof)

    assert (caller.user_id, caller.user_name, caller.tenant, caller.records) == (
        42,
        "Alice",
        "1",
        ("flow:*",),
    )

"""The console script `record-presence`, as it is called in a shell."""

import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace

import gunicorn.arbiter
import pytest
import requests
from click.testing import CliRunner

from record_presence import create_app
from record_presence.cli.main import main
from record_presence.presence.service import RecordPresenceService
from record_presence.server import wsgi
from tests.api.client import SETTINGS, token
from tests.gunicorn_server import OURS
from tests.redis_binary import is_before_redis_7, redis_binary
from tests.redis_cluster import RedisCluster
from tests.waiting import START_SECONDS, wait_until

SECRET = "a secret of the tests, and long enough for production"
COMMAND = [sys.executable, "-m", "record_presence.cli.main"]


SERVICE = replace(SETTINGS, secret_key=SECRET)


def environment(**settings):
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    return {**inherited, "SECRET_KEY": SECRET, **settings}


@pytest.fixture
def call(monkeypatch):
    """`call("doctor", PORT="0")`: the command in this process, with nothing set but these and a secret."""

    def invoke(*arguments, **settings):
        for name in [name for name in os.environ if name.startswith(OURS)]:
            monkeypatch.delenv(name)
        return CliRunner().invoke(main, arguments, env={"SECRET_KEY": SECRET, **settings})

    return invoke


@pytest.fixture
def redis_url(redis_server, real_redis):
    return f"unix://{redis_server.socket}"


# Serve


@pytest.fixture
def serving(tmp_path):
    """`serving(REDIS_URL=…)`: what `serve` prints, and its address; started where there is no checkout."""
    processes = []

    def start(*arguments, **settings):
        output = tmp_path / "output"
        with output.open("w") as file:
            process = subprocess.Popen(
                [*COMMAND, "serve", *arguments],
                cwd=tmp_path,
                env=environment(PRESENCE_DEMO="no", **settings),
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        wait_until(lambda: "Record Presence is on" in output.read_text(), seconds=START_SECONDS)
        line = output.read_text()
        return line, line.split()[4], process

    yield start
    for process in processes:
        process.terminate()
        process.wait(START_SECONDS)


def test_serve_needs_neither_a_checkout_nor_redis(serving):
    line, url, process = serving("--port", "0", PORT="1")
    body = {"tab_id": "t1", "mode": "view", "dirty": False}
    proof = {"Authorization": f"Bearer {token(settings=SERVICE)}"}
    answer = requests.post(
        f"{url}/api/v1/presence/flow/12/heartbeat", json=body, headers=proof, timeout=START_SECONDS
    )

    assert answer.status_code == 200
    assert url.startswith("http://127.0.0.1:")
    assert line.endswith("(embedded, one process; demo off)\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(START_SECONDS) == 0


def test_serve_uses_the_redis_and_the_processes_that_are_set(serving, redis_url):
    line, url, _ = serving("--host", "localhost", "--port", "0", REDIS_URL=redis_url, WEB_CONCURRENCY="2")

    assert line.endswith("(2 processes; demo off)\n")
    assert requests.get(f"{url}/health/ready", timeout=START_SECONDS).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "settings", "line"),
    [
        ((), {"PRESENCE_TTL_SECONDS": "x"}, "PRESENCE_TTL_SECONDS: Not a valid number."),
        ((), {"PRESENCE_IDENTITY_LOADER": "no:such"}, "PRESENCE_IDENTITY_LOADER: No module named 'no'"),
        (("--host", "256.0.0.1"), {}, "HOST: can't listen on 256.0.0.1:8000 (Name or service not known)"),
    ],
)
def test_serve_stops_with_one_line_that_names_the_wrong_setting(tmp_path, arguments, settings, line):
    run = subprocess.run(
        [*COMMAND, "serve", *arguments],
        cwd=tmp_path,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )

    assert run.returncode != 0
    assert (run.stdout, run.stderr) == ("", f"{line}\n")


def test_wrong_port_is_a_wrong_use(call):
    assert call("serve", "--port", "65536").exit_code == 2


def test_status_of_a_failed_start_is_the_one_that_gunicorn_gives_up_at():
    assert wsgi.APP_LOAD_ERROR == gunicorn.arbiter.Arbiter.APP_LOAD_ERROR


# The commands that `flask` has as well


def test_token_is_accepted_by_the_service(call):
    result = call("token", "--sub", "42", "--name", "Alice")
    app = create_app(SERVICE)

    assert app.extensions["presence"].bearer_tokens.identify(result.stdout.strip()).user_id == 42


def test_presence_asks_the_redis_that_is_set(call, redis_url, real_redis):
    RecordPresenceService(real_redis, "1").update_presence("flow", 12, "a1", 42, "Alice")

    assert "Alice" in call("presence", "who", "flow:12", REDIS_URL=redis_url).stdout


@pytest.mark.parametrize("command", [["token", "--sub", "1", "--name", "A"], ["presence", "who", "flow:1"]])
def test_wrong_setting_is_one_line_of_every_command(call, command):
    result = call(*command, PORT="80x")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: PORT: Not a valid integer.\n"


def test_help_names_every_command(call):
    text = call("--help").stdout

    assert [name for name in ("serve", "token", "presence", "doctor") if f"\n  {name} " not in text] == []


# Doctor


def report(result):
    """subject -> [(status, text), …]"""
    found = {}
    for line in result.stdout.splitlines():
        status, _, rest = line.partition(" ")
        subject, _, text = rest.strip().partition(": ")
        found.setdefault(subject, []).append((status, text))
    return found


def test_doctor_finds_nothing_wrong_with_the_defaults(call):
    result = call("doctor")

    assert result.exit_code == 0
    assert "WRONG" not in result.stdout
    assert report(result)["Redis"] == [
        ("ok", "embedded: in the memory of one process, and lost when it ends")
    ]


def test_doctor_finds_nothing_wrong_with_a_redis_that_works(call, redis_url, real_redis):
    result = call("doctor", REDIS_URL=redis_url, WEB_CONCURRENCY="3", PRESENCE_DEMO="no")
    found = report(result)

    assert result.exit_code == 0
    [(status, text)] = found["Redis"]
    assert (status, text.split(": ")[0]) == ("ok", redis_url.removeprefix("unix://"))
    assert real_redis.info("server")["redis_version"] in text
    assert found["Redis scripts"] == [("ok", "a script that writes has run")]
    assert found["Redis eviction"] == [("ok", "noeviction")]
    assert found["processes"] == [("ok", "3")]
    assert found["demo"] == [("ok", "off")]


def test_doctor_says_how_changes_are_published_on_a_cluster(call):
    cluster = RedisCluster()
    try:
        [(status, text)] = report(call("doctor", REDIS_URL=cluster.url))["Redis pub/sub"]
        is_sharded = not is_before_redis_7(redis_binary())
        assert (status, text.split()[0]) == (("ok", "sharded:") if is_sharded else ("note", "PUBLISH,"))
        for port in cluster.ports:
            cluster.client(port).execute_command("ACL", "SETUSER", "default", "-@pubsub", "+publish")
        [(status, text)] = report(call("doctor", REDIS_URL=cluster.url))["Redis pub/sub"]
        assert (status, text.split()[0]) == ("note", "PUBLISH,")
    finally:
        cluster.close()


def test_doctor_tells_what_is_set_and_no_value_of_it(call, redis_url):
    result = call("doctor", REDIS_URL=redis_url, PRESENCE_JWT_KEY="x7" * 8 + "hunter2-of-the-tests")

    assert report(result)["environment"] == [("ok", "sets PRESENCE_JWT_KEY, REDIS_URL, SECRET_KEY")]
    assert "hunter2" not in result.output
    assert SECRET not in result.output


def test_doctor_notes_a_variable_that_is_no_setting(call):
    result = call("doctor", PRESENCE_TTL="30")

    assert ("note", "PRESENCE_TTL is not a setting") in report(result)["environment"]
    assert result.exit_code == 0


def test_doctor_notes_a_redis_that_evicts(call, redis_url, real_redis):
    real_redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        [(status, text)] = report(call("doctor", REDIS_URL=redis_url))["Redis eviction"]
    finally:
        real_redis.config_set("maxmemory-policy", "noeviction")

    assert status == "note"
    assert "allkeys-lru" in text


@pytest.mark.parametrize(
    ("settings", "subject", "text"),
    [
        ({"PRESENCE_TTL_SECONDS": "x"}, "settings", "PRESENCE_TTL_SECONDS: Not a valid number."),
        ({"WEB_CONCURRENCY": "2"}, "settings", "WEB_CONCURRENCY: more than one process needs REDIS_URL"),
        ({"REDIS_URL": "redis://127.0.0.1:1"}, "Redis", "127.0.0.1:1 does not answer: "),
        (
            {"PRESENCE_IDENTITY_LOADER": "no:such"},
            "application",
            "PRESENCE_IDENTITY_LOADER: No module named 'no'",
        ),
        (
            {"PRESENCE_JWT_JWKS_URL": "http://127.0.0.1:1/keys", "PRESENCE_JWT_ALGORITHMS": "RS256"},
            "JWKS",
            "PRESENCE_JWT_JWKS_URL: URLError: ",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_doctor_ends_with_status_1_where_something_is_wrong(call, settings, subject, text):
    result = call("doctor", **settings)
    [(status, told)] = report(result)[subject]

    assert result.exit_code == 1
    assert (status, told[: len(text)]) == ("WRONG", text)


def test_doctor_finds_a_limit_of_open_files_that_is_too_low(call, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    result = call("doctor")

    assert result.exit_code == 1
    assert report(result)["open files"][0][0] == "WRONG"


def test_doctor_finds_a_redis_that_refuses_to_write(call, redis_url, real_redis):
    real_redis.replicaof("127.0.0.1", 1)
    try:
        result = call("doctor", REDIS_URL=redis_url)
    finally:
        real_redis.replicaof("NO", "ONE")

    assert result.exit_code == 1
    [(status, text)] = report(result)["Redis scripts"]
    assert status == "WRONG"
    assert "\n" not in text

"""A host installs only the libraries that it uses; what it lacks is named with the extra that brings it."""

import pytest

from tests.without_modules import run_without

OPTIONAL = ("gunicorn", "gevent", "hiredis", "fakeredis", "lupa", "sqlalchemy", "rich", "cryptography")
HOST = """
import redis
from flask import Flask
from record_presence import init_app
from record_presence.identity.bearer import issue_token

app = Flask("host")
init_app(app, redis=redis.Redis(unix_socket_path=sys.argv[1]), docs=True, metrics=True, health=True)
token = issue_token(app.extensions["presence"].settings, {"sub": 42, "name": "Alice", "tenant": 1}, 60)
headers = {"Authorization": f"Bearer {token}"}
client = app.test_client()
body = {"tab_id": "t1", "mode": "edit", "dirty": False}
print(client.post("/api/v1/presence/flow/12/heartbeat", json=body, headers=headers).status)
print(client.get("/api/v1/presence/flow/12/viewers?include_self=true", headers=headers).json["data"]["total"])
print(client.get("/metrics").status)
print(app.test_cli_runner().invoke(args=["token", "--sub", "1", "--name", "A"]).exit_code)
"""


def test_host_that_only_calls_init_app_needs_no_optional_library(redis_server, real_redis):
    run = run_without(*OPTIONAL, code=HOST, arguments=(str(redis_server.socket),))

    assert run.stderr == ""
    assert run.stdout.splitlines() == ["200 OK", "1", "200 OK", "0"]


def test_service_that_nobody_has_asked_for_the_demo_starts_without_its_database():
    code = "from record_presence.server import wsgi; print(wsgi.app.test_client().get('/').status)"
    run = run_without("sqlalchemy", code=code)

    assert (run.stdout, run.stderr) == ("404 NOT FOUND\n", "")


@pytest.mark.parametrize(
    ("missing", "code", "environment", "line"),
    [
        (
            "sqlalchemy",
            "import record_presence.versioned",
            {},
            "ModuleNotFoundError: record_presence.versioned needs SQLAlchemy: "
            "pip install 'record-presence[versioned]'",
        ),
        (
            "sqlalchemy",
            "import record_presence.server.wsgi",
            {"PRESENCE_DEMO": "yes"},
            "PRESENCE_DEMO: the demo needs SQLAlchemy: pip install 'record-presence[versioned]', or set no",
        ),
        (
            "fakeredis",
            "import record_presence.server.wsgi",
            {},
            "REDIS_URL: is not set, and the embedded Redis is missing: "
            "pip install 'record-presence[embedded]', or set it",
        ),
        (
            "gunicorn",
            "from record_presence.cli.main import main; main(['serve'])",
            {},
            "Error: serve needs gunicorn: pip install 'record-presence[server]'",
        ),
        (
            "gevent",
            "from record_presence.cli.main import main; main(['serve'])",
            {},
            "Error: serve needs gevent: pip install 'record-presence[server]'",
        ),
        (
            "rich",
            "from record_presence.cli.main import main; main(['presence', 'who', 'flow:12'])",
            {"REDIS_URL": "redis://127.0.0.1:1"},
            "Error: This command needs rich: pip install 'record-presence[cli]'",
        ),
        (
            "cryptography",
            "import record_presence.server.wsgi",
            {"PRESENCE_JWT_ALGORITHMS": "RS256", "PRESENCE_JWT_KEY": "-----BEGIN PUBLIC KEY----- ABCDEFGH"},
            "PRESENCE_JWT_ALGORITHMS: RS256 needs cryptography: pip install 'record-presence[jwks]'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_missing_library_is_one_line_that_names_its_extra(missing, code, environment, line):
    run = run_without(missing, code=code, **environment)

    assert run.returncode != 0
    assert run.stderr.splitlines()[-1] == line

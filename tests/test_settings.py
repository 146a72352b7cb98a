"""Settings: what is read, what it means unset, and one line about a wrong value."""

import os
import secrets
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from record_presence import settings as settings_module
from record_presence.settings import SettingError, Settings, documented, read_settings, variable
from tests.gunicorn_server import CONFIG, ROOT

SECRET = {"SECRET_KEY": "a secret of the tests, long enough"}
DEFAULTS = {
    "redis_url": None,
    "ttl_seconds": 90,
    "agent_ttl_seconds": 75,
    "hidden_roles": (),
    "heartbeat_seconds": 30,
    "streams": None,
    "max_streams": 8000,
    "jwt_key": "",
    "jwt_algorithms": ("HS256",),
    "jwt_jwks_url": None,
    "jwt_audience": None,
    "jwt_issuer": None,
    "cors_origins": (),
    "identity_loader": None,
    "host": "127.0.0.1",
    "port": 8000,
    "web_concurrency": None,
    "access_log": None,
    "demo": None,
    "database_url": None,
}
GOOD = [
    ("REDIS_URL", "redis://:p@ss@cache:6379/2", "redis://:p@ss@cache:6379/2"),
    ("REDIS_URL", "rediss://cache", "rediss://cache"),
    ("REDIS_URL", "unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
    (
        "REDIS_URL",
        "redis+sentinel://a:26379,b,[::1]:26379/main/3",
        "redis+sentinel://a:26379,b,[::1]:26379/main/3",
    ),
    ("REDIS_URL", "rediss+cluster://u:p@a:7000,b:7001", "rediss+cluster://u:p@a:7000,b:7001"),
    ("PRESENCE_TTL_SECONDS", "120", 120),
    ("PRESENCE_TTL_SECONDS", "45.5", 45.5),
    ("PRESENCE_HEARTBEAT_SECONDS", "0.2", 0.2),
    ("PRESENCE_STREAMS", "no", False),
    ("PRESENCE_MAX_STREAMS", "20000", 20_000),
    ("PRESENCE_JWT_ALGORITHMS", "HS256, HS512", ("HS256", "HS512")),
    ("PRESENCE_JWT_AUDIENCE", "presence", "presence"),
    ("PRESENCE_JWT_ISSUER", "https://login.example", "https://login.example"),
    ("PRESENCE_CORS_ORIGINS", "https://app.example.com", ("https://app.example.com",)),
    (
        "PRESENCE_CORS_ORIGINS",
        "http://localhost:3000, https://a-1.example:8443,https://[2001:db8::1]:444",
        ("http://localhost:3000", "https://a-1.example:8443", "https://[2001:db8::1]:444"),
    ),
    ("PRESENCE_IDENTITY_LOADER", "host.users:load", "host.users:load"),
    ("PRESENCE_ACCESS_LOG", "false", False),
    ("PRESENCE_DEMO", "no", False),
    ("HOST", "::1", "::1"),
    ("PORT", "0", 0),
    ("DATABASE_URL", "postgresql://u:p@db/flows", "postgresql://u:p@db/flows"),
]
WRONG = [
    ("REDIS_URL", "localhost:6379"),
    ("PRESENCE_STREAMS", "perhaps"),
    ("PRESENCE_MAX_STREAMS", "0"),
    ("PRESENCE_MAX_STREAMS", "many"),
    ("REDIS_URL", "http://localhost"),
    ("REDIS_URL", "redis://localhost:abc/0"),
    ("REDIS_URL", "redis://localhost:99999/0"),
    ("REDIS_URL", "redis://localhost/first"),
    ("REDIS_URL", "redis://a,b"),
    ("REDIS_URL", "redis+sentinel://localhost:26379"),
    ("REDIS_URL", "redis+sentinel://localhost/main/x"),
    ("REDIS_URL", "redis+cluster://localhost:abc"),
    ("REDIS_URL", "unix://"),
    ("REDIS_URL", "unix://?db=1"),
    ("REDIS_URL", "rediss+cluster://a,b:c:d"),
    *(
        (name, text)
        for name in ("SECRET_KEY", "PRESENCE_JWT_KEY")
        for text in (
            *("short", "a" * 40, "1234" * 10, "change-me-before-production", "CHANGEME" * 5),
            *("your-secret-key-goes-in-here-please", "password" * 5, "django-insecure-0123456789abcdefgh"),
            *("your_jwt_secret_here", "replace-me-please-now", "CHANGE IT PLEASE 12345", "0123456789abcdef"),
            *("default-secret-1234", "supersecret123456", "development-secret", "example-key-1234567"),
        )
    ),
    ("PRESENCE_TTL_SECONDS", "0"),
    ("PRESENCE_TTL_SECONDS", "-1"),
    ("PRESENCE_TTL_SECONDS", "nan"),
    ("PRESENCE_TTL_SECONDS", "inf"),
    ("PRESENCE_TTL_SECONDS", "a while"),
    ("PRESENCE_TTL_SECONDS", "100000"),
    ("PRESENCE_HEARTBEAT_SECONDS", "90"),
    ("PRESENCE_HEARTBEAT_SECONDS", "0"),
    ("PRESENCE_RATE_LIMIT", "often"),
    ("PRESENCE_RATE_LIMIT", "0/minute"),
    ("PRESENCE_RATE_LIMIT", "5/minute;100/hour"),
    ("PRESENCE_RATE_LIMIT", "99999999999999999999/minute"),
    ("PRESENCE_RATE_LIMIT", "200/99999999999999 year"),
    ("PRESENCE_SIGNAL_RATE_LIMIT", "200/2 year"),
    ("PRESENCE_JWT_KEY", "thirty-one bytes are one too fe"),
    ("PRESENCE_JWT_ALGORITHMS", "none"),
    ("PRESENCE_JWT_ALGORITHMS", "HS257"),
    ("PRESENCE_JWT_ALGORITHMS", "HS256,RS256"),
    ("PRESENCE_JWT_ALGORITHMS", "HS256,"),
    ("PRESENCE_JWT_JWKS_URL", "file:///etc/passwd"),
    ("PRESENCE_JWT_JWKS_URL", "not a url"),
    *(
        ("PRESENCE_CORS_ORIGINS", origin)
        for origin in (
            *("*", "null", "app.example.com", "https://", "//app.example.com", "https://*.example.com"),
            *("https://app.example.com/", "https://app.example.com/path", "https://app.example.com?x"),
            *("https://App.example.com", "HTTPS://app.example.com", "https://app.example.com:443"),
            *("http://app.example.com:80", "https://app.example.com:0", "https://app.example.com:99999"),
            *("https://u:p@app.example.com", "https://a.example https://b.example", "https://a.example,"),
            *("https://a.example,*", "file:///x", "https://äpp.example", "https://app.example.com\nx"),
        )
    ),
    ("PRESENCE_IDENTITY_LOADER", "host.users.load"),
    ("PRESENCE_IDENTITY_LOADER", "os:system('x')"),
    ("PRESENCE_IDENTITY_LOADER", ".foo:bar"),
    ("PRESENCE_IDENTITY_LOADER", "foo..bar:load"),
    ("PRESENCE_ACCESS_LOG", "maybe"),
    ("PORT", "80x"),
    ("PORT", "-1"),
    ("PORT", "65536"),
    ("WEB_CONCURRENCY", "0"),
    ("WEB_CONCURRENCY", "2"),  # without REDIS_URL
    ("WEB_CONCURRENCY", "many"),
]


def test_nothing_set_means_the_defaults_of_the_contract():
    settings = read_settings(SECRET)

    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
    assert str(settings.rate_limit) == "200 per 1 minute"
    assert settings.is_embedded


def test_defaults_are_the_same_in_python():
    settings = Settings(**{name: getattr(read_settings(SECRET), name) for name in ["secret_key"]})

    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


def test_empty_variable_counts_as_unset():
    empty = {name: " " for name, _ in documented()}

    assert read_settings({**empty, **SECRET}) == read_settings(SECRET)


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        ({}, "demo on"),
        ({"HOST": "localhost"}, "demo on"),
        ({"HOST": "::1", "PRESENCE_DEMO": "no"}, "demo off"),
        (
            {"REDIS_URL": "redis://127.0.0.1"},
            "demo off, because REDIS_URL is set; PRESENCE_DEMO=yes turns it on",
        ),
        ({"HOST": "0.0.0.0"}, "demo off, because HOST is beyond this machine; PRESENCE_DEMO=yes turns it on"),
        ({"REDIS_URL": "redis://cache", "HOST": "0.0.0.0", "PRESENCE_DEMO": "yes"}, "demo on"),
    ],
)
def test_demo_is_on_only_where_nobody_else_comes_or_where_it_is_asked_for(environ, state):
    settings = read_settings({**SECRET, **environ})

    assert settings.demo_state == state
    assert settings.has_demo == (state == "demo on")


def test_environment_of_the_process_has_no_say_when_another_is_given(monkeypatch):
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("REDIS_URL", "")

    assert read_settings(SECRET).port == 8000
    assert read_settings().port == 9000
    assert read_settings().is_embedded


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_value_is_read_with_its_type(name, text, value):
    settings = read_settings({**SECRET, name: text})
    [field] = [item for item in Settings.__dataclass_fields__ if variable(item) == name]

    assert getattr(settings, field) == value
    assert type(getattr(settings, field)) is type(value)


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_wrong_value_is_one_line_that_names_the_setting(name, text):
    with pytest.raises(SettingError) as raised:
        read_settings({**SECRET, name: text})

    message = str(raised.value)
    assert message.startswith(f"{name}: ")
    assert len(message) > len(name) + 5
    assert "\n" not in message


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"PRESENCE_TTL_SECONDS": "30"}, "PRESENCE_HEARTBEAT_SECONDS"),
        ({"PRESENCE_JWT_ALGORITHMS": "RS256"}, "PRESENCE_JWT_KEY"),
        ({"PRESENCE_JWT_JWKS_URL": "https://login.example/keys"}, "PRESENCE_JWT_ALGORITHMS"),
    ],
)
def test_settings_that_do_not_fit_together_are_named(environ, name):
    with pytest.raises(SettingError, match=f"^{name}: "):
        read_settings({**SECRET, **environ})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REDIS_URL", "redis://u:hunter2@a:b:c/0"),
        ("REDIS_URL", "redis://cache:hunter2"),
        # Passwords that should have been percent-encoded.
        *(("REDIS_URL", f"redis://:hunter2{sign}hunter2@cache:6379/0") for sign in "/?#[]"),
        ("REDIS_URL", "redis://u:p@x/hunter2@cache:6379/0"),
        ("REDIS_URL", "redis+sentinel://:hunter2/x@a:1,b:2/main/0"),
        ("REDIS_URL", "redis+cluster://:hunter2/x@a:1"),
        ("SECRET_KEY", "hunter2"),
        ("PRESENCE_JWT_KEY", "hunter2"),
    ],
)
def test_message_tells_no_secret(name, text):
    with pytest.raises(SettingError) as raised:
        read_settings({**SECRET, name: text})

    assert "hunter2" not in str(raised.value)


def test_settings_print_no_secret():
    settings = read_settings({"SECRET_KEY": "hunter2" * 4, "PRESENCE_JWT_KEY": "hunter3" * 5})

    assert "hunter" not in repr(settings)


def test_secret_that_was_made_is_no_placeholder():
    for make in (secrets.token_urlsafe, secrets.token_hex):
        for _ in range(2_000):
            settings_module._check_secret(make(32))


def test_secret_is_made_once_and_kept_for_the_owner_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(settings_module, "INSTANCE_DIRECTORY", tmp_path / "instance")
    first, second = read_settings({}), read_settings({})

    assert first.secret_key == second.secret_key
    assert len(first.secret_key) >= 32
    [kept] = (tmp_path / "instance").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


BEYOND = [
    {"REDIS_URL": "redis://cache:6379/0"},
    {"REDIS_URL": "rediss://u:p@10.0.0.7"},
    {"REDIS_URL": "redis://localhost.example.com"},
    {"REDIS_URL": "redis://127.0.0.1.example.com"},
    {"REDIS_URL": "redis+sentinel://localhost:26379,cache:26379/main"},
    {"REDIS_URL": "redis+cluster://127.0.0.1:7000,10.0.0.7:7001"},
    {"REDIS_URL": "redis://localhost", "HOST": "0.0.0.0"},
    {"REDIS_URL": "unix:///run/redis.sock", "HOST": "::"},
]
HERE = [
    {},
    {"HOST": "0.0.0.0"},  # the embedded Redis is nobody else's
    {"REDIS_URL": "redis://localhost:6379/0"},
    {"REDIS_URL": "redis://:p%40ss@127.0.0.1", "HOST": "127.0.0.1"},
    {"REDIS_URL": "redis://[::1]:6379", "HOST": "::1"},
    {"REDIS_URL": "unix:///run/redis.sock?db=1"},
    {"REDIS_URL": "redis+cluster://localhost:7000,127.0.0.1:7001", "HOST": "localhost"},
]


@pytest.mark.parametrize("environ", BEYOND, ids=lambda environ: " ".join(environ.values()))
def test_production_start_without_a_secret_is_refused_with_the_way_to_make_one(
    tmp_path, monkeypatch, environ
):
    monkeypatch.setattr(settings_module, "INSTANCE_DIRECTORY", tmp_path / "instance")
    with pytest.raises(SettingError, match=r"^SECRET_KEY: must be set .*token_urlsafe") as raised:
        read_settings(environ)

    assert "\n" not in str(raised.value)
    assert not (tmp_path / "instance").exists()
    assert read_settings({**SECRET, **environ}).secret_key == SECRET["SECRET_KEY"]


@pytest.mark.parametrize("environ", BEYOND, ids=lambda environ: " ".join(environ.values()))
def test_production_start_with_a_short_secret_is_refused(environ):
    with pytest.raises(SettingError, match=r"^SECRET_KEY: must be at least 32 .*token_urlsafe"):
        read_settings({**environ, "SECRET_KEY": "x9fK2-mmQ0rT7wLz3bYe8nJ5hGd1sVc"})


@pytest.mark.parametrize("environ", HERE, ids=lambda environ: " ".join(environ.values()) or "nothing set")
def test_start_on_one_machine_makes_its_own_secret(tmp_path, monkeypatch, environ):
    monkeypatch.setattr(settings_module, "INSTANCE_DIRECTORY", tmp_path / "instance")

    assert len(read_settings(environ).secret_key) >= 32


def test_processes_that_start_together_keep_the_same_secret(tmp_path, monkeypatch):
    monkeypatch.setattr(settings_module, "INSTANCE_DIRECTORY", tmp_path / "instance")
    monkeypatch.setattr(settings_module.os, "getpid", iter(range(100)).__next__)
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: read_settings({}).secret_key, range(8)))

    assert len(keys) == 1


def test_secret_that_can_not_be_kept_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "instance").write_text("a file, no directory")
    monkeypatch.setattr(settings_module, "INSTANCE_DIRECTORY", tmp_path / "instance")

    with pytest.raises(SettingError, match=r"^SECRET_KEY: is not set, and .*/instance/secret_key can't be "):
        read_settings({})


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """As if the package was installed in site-packages, by a user whose home is `home`."""
    monkeypatch.setattr(settings_module, "__file__", f"{tmp_path}/site-packages/record_presence/settings.py")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    return tmp_path


def test_checkout_keeps_its_secret_in_the_checkout():
    assert settings_module._find_instance_directory() == ROOT / "instance"


def test_installed_package_keeps_its_secret_with_its_user_and_not_beside_its_code(installed, monkeypatch):
    assert settings_module._find_instance_directory() == installed / "home/.local/state/record-presence"

    monkeypatch.setenv("XDG_STATE_HOME", str(installed / "state"))
    assert settings_module._find_instance_directory() == installed / "state/record-presence"


def test_folders_for_the_secret_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(settings_module, "INSTANCE_DIRECTORY", tmp_path / "not/yet/there")

    assert read_settings({}).secret_key == read_settings({}).secret_key


def test_every_setting_says_what_it_is_for():
    assert all(help_text.endswith(".") for _, help_text in documented())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "80x"),
        ("HOST", "256.0.0.1"),
        ("HOST", "no host"),
        ("PRESENCE_IDENTITY_LOADER", "nowhere.at_all:load"),
        ("PRESENCE_JWT_KEY", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
        ("REDIS_URL", "redis://localhost/0?no_such_option=1"),
        ("REDIS_URL", "redis+sentinel://localhost/m/0?no_such_option=1"),
        ("REDIS_URL", "rediss://localhost/0?ssl_ca_certs=/no/such/file"),
        ("PRESENCE_IDENTITY_LOADER", ".foo:bar"),
        ("DATABASE_URL", "flows.db"),
    ],
)
def test_wrong_value_stops_the_start_with_one_line_however_many_processes_there_are(name, value):
    assert stopped_with(**{name: value}).startswith(f"{name}: ")


def test_port_that_is_taken_stops_the_start_with_one_line():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        assert (
            stopped_with(PORT=str(port)) == f"PORT: can't listen on 127.0.0.1:{port} (Address already in use)"
        )


def test_production_start_without_a_secret_stops_with_one_line():
    line = stopped_with(SECRET_KEY="", REDIS_URL="redis://cache.example:6379/0")

    assert line.startswith("SECRET_KEY: must be set ")


def stopped_with(**settings):
    """The only line of a server that could not start with these settings."""
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        f"python:{CONFIG}",
        "wsgi:app",
    ]
    usual = {"REDIS_URL": "redis://127.0.0.1:1", "WEB_CONCURRENCY": "3", "HOST": "127.0.0.1", "PORT": "0"}
    usual["PRESENCE_DEMO"] = "yes"  # whose database is looked at, too
    environ = {**os.environ, **SECRET, **usual, **settings}
    run = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20)

    assert run.returncode != 0
    assert run.stdout == ""
    [line] = run.stderr.splitlines()
    return line

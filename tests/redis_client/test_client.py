"""REDIS_URL to a client: which kind, with which limits, and nothing asked before it is needed."""

import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis as redis_py

from record_presence.presence.errors import StoreUnavailable
from record_presence.presence.scripts import Scripts
from record_presence.redis_client.client import connect
from record_presence.redis_client.cluster import LazyCluster
from record_presence.settings import SettingError

IN_TIME_SECONDS = 2.0
PATCH = "from gevent import monkey; monkey.patch_all()"
SHOW_KIND = "import sys; print(type(connect(sys.argv[1])).__name__)"


def ask(client):
    return Scripts().run(client, "ready", ("presence_ready",), ())


def test_each_client_without_a_url_has_an_embedded_redis_of_its_own():
    first, second = connect(None), connect(None)
    first.set("key", "value")

    assert ask(first) == ["OK"]
    assert second.get("key") is None


def test_unix_socket_with_a_database_and_a_password_is_understood(redis_server, real_redis):
    with connect(f"unix://{redis_server.socket}?db=2") as client:
        client.set("key", "value")

        assert client.get("key") == b"value"
        assert real_redis.get("key") is None


def test_credentials_and_database_of_a_url_are_used():
    with connect("rediss://ann:s%40crets@cache:6380/3") as client:
        kwargs = client.connection_pool.connection_kwargs

    assert {name: kwargs[name] for name in ("host", "port", "db", "username", "password")} == {
        "host": "cache",
        "port": 6380,
        "db": 3,
        "username": "ann",
        "password": "s@crets",
    }
    assert issubclass(client.connection_pool.connection_class, redis_py.SSLConnection)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost?no_such_option=1",
        "redis://localhost?db=first",
        "rediss://localhost?ssl_cert_reqs=never",
        "rediss://localhost?ssl_ca_certs=/no/such/file",
        "rediss://localhost?ssl_certfile=/no/such/file",
        *(
            f"{scheme}+{kind}?{option}"
            for kind in ("sentinel://localhost/main/0", "cluster://localhost")
            for scheme, option in (
                ("redis", "no_such_option=1"),
                ("redis", "socket_timeout=soon"),
                ("rediss", "ssl_ca_certs=/no/such/file"),
                ("rediss", f"ssl_ca_certs={__file__}"),
            )
        ),
        "redis+cluster://localhost?db=1",
        "redis+cluster://localhost/1",
    ],
)
def test_option_that_no_connection_has_is_a_setting_error(url):
    with pytest.raises(SettingError, match=r"^REDIS_URL: .+\Z"):
        connect(url)


def test_options_of_a_url_of_many_hosts_are_read_with_their_types():
    kwargs = connect(
        "redis+sentinel://ann:s%40crets@a,b/main/3?socket_timeout=1.5"
    ).connection_pool.connection_kwargs

    assert {name: kwargs[name] for name in ("db", "username", "password", "socket_timeout")} == {
        "db": 3,
        "username": "ann",
        "password": "s@crets",
        "socket_timeout": 1.5,
    }


@pytest.mark.measured
@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1",
        "unix:///no/such/socket",
        "redis+sentinel://127.0.0.1:1,127.0.0.1:2/main/0",
        "redis+cluster://127.0.0.1:1,127.0.0.1:2",
    ],
)
def test_first_call_to_an_unreachable_server_fails_in_time(url):
    client = connect(url)
    started = time.monotonic()

    with pytest.raises(StoreUnavailable):
        ask(client)
    with pytest.raises(StoreUnavailable):
        Scripts().run_many(client, "ready", [(("presence_ready",), ())])
    assert time.monotonic() - started < IN_TIME_SECONDS


@pytest.fixture
def mute_port():
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@pytest.mark.measured
@pytest.mark.parametrize(
    "kind",
    [
        "redis://127.0.0.1:{0}",
        "redis+sentinel://127.0.0.1:{0},127.0.0.1:{0},127.0.0.1:{0}/main",
        "redis+cluster://127.0.0.1:{0},127.0.0.1:{0}",
    ],
)
def test_call_to_a_server_that_does_not_answer_fails_in_time(mute_port, kind):
    client = connect(kind.format(mute_port))
    started = time.monotonic()

    with pytest.raises(StoreUnavailable):
        ask(client)
    assert time.monotonic() - started < IN_TIME_SECONDS


def test_more_callers_than_connections_wait_and_are_all_served(redis_server, real_redis):
    with connect(f"unix://{redis_server.socket}") as client, ThreadPoolExecutor(100) as pool:
        assert set(pool.map(lambda _: client.ping(), range(400))) == {True}
        assert real_redis.info("clients")["connected_clients"] <= 64 + 1


def test_connection_that_was_closed_in_the_meantime_is_replaced(redis_server, real_redis):
    with connect(f"unix://{redis_server.socket}") as client:
        ask(client)
        real_redis.client_kill_filter(_type="normal", skipme=True)

        assert ask(client) == ["OK"]


def test_connection_that_was_interrupted_is_not_lent_again(redis_server, real_redis):
    with connect(f"unix://{redis_server.socket}") as client:
        client.set("key", "right")
        redis_server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(redis_py.TimeoutError):
                client.execute_command("ECHO", "late")
        finally:
            redis_server.signal(signal.SIGCONT)

        assert client.get("key") == b"right"


def test_cluster_is_asked_for_its_slots_once(monkeypatch):
    made = []
    monkeypatch.setattr(redis_py, "RedisCluster", lambda **options: made.append(options) or options)
    cluster = LazyCluster("rediss+cluster://ann:s%40crets@a:7000,[::1]:7001?client_name=x")
    assert made == []
    for _ in range(2):
        _ = cluster.keys

    [options] = made
    assert [(node.host, node.port) for node in options["startup_nodes"]] == [("a", 7000), ("::1", 7001)]
    assert (options["username"], options["password"], options["ssl"]) == ("ann", "s@crets", True)
    assert options["client_name"] == "x"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://localhost", "PipeliningRedis"),
        ("unix:///redis.sock", "PipeliningRedis"),
        ("rediss://localhost", "Redis"),
        ("redis+sentinel://localhost/main", "Redis"),
    ],
)
def test_process_of_greenlets_shares_one_connection_where_it_can(url, kind):
    pytest.importorskip("gevent")
    pytest.importorskip("hiredis")
    code = f"{PATCH}; from record_presence.redis_client.client import connect; {SHOW_KIND}"
    shown = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == kind


def test_process_of_threads_has_a_connection_a_thread():
    assert type(connect("redis://localhost")) is redis_py.Redis


BLOCK = """
import sys
for name in {names!r}:
    sys.modules[name] = None  # as if it were not installed
from record_presence.redis_client.client import connect
"""


def run_without(names, code, *arguments, first=""):
    command = [sys.executable, "-c", first + BLOCK.format(names=names) + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_without_the_libraries_of_the_server_a_plain_client_works(redis_server, real_redis):
    code = """
from record_presence.presence.service import RecordPresenceService
client = connect(sys.argv[1])
service = RecordPresenceService(client, 1)
service.update_presence("flow", 12, "t1", 10**30, "Zo\u00eb", list_viewers=True)
print(type(client).__name__, ascii(service.get_unique_viewers("flow", 12)[0]["name"]))
"""
    shown = run_without(["gevent", "hiredis", "orjson"], code, f"unix://{redis_server.socket}")

    assert (shown.stdout.strip(), shown.stderr) == ("Redis 'Zo\\xeb'", "")
    assert real_redis.exists("tenant_1_record_presence:flow:12")


def test_patched_process_without_hiredis_has_a_plain_client():
    pytest.importorskip("gevent")
    shown = run_without(["hiredis"], SHOW_KIND, "redis://localhost", first=PATCH)

    assert (shown.stdout.strip(), shown.stderr) == ("Redis", "")


def test_missing_embedded_redis_is_a_setting_error_that_names_the_extra():
    code = """
from record_presence.settings import SettingError
try:
    connect(None)
except SettingError as error:
    print(error)
"""
    [line] = run_without(["fakeredis"], code).stdout.splitlines()

    assert line.startswith("REDIS_URL: ")
    assert "pip install 'record-presence[embedded]'" in line

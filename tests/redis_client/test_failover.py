"""What only another connection mends ends the connection, on every way to Redis."""

import contextlib
import re
import socket
import ssl
import threading
import time

import pytest
import redis as redis_py

from record_presence.presence.errors import StoreUnavailable
from record_presence.presence.records import Record
from record_presence.presence.scripts import Scripts
from record_presence.presence.scripts.redis_errors import is_mended_by_reconnecting
from record_presence.presence.service import RecordPresenceService
from record_presence.presence.streaming.broadcast import Broadcast
from record_presence.redis_client import connection as connection_module
from record_presence.redis_client.client import connect
from record_presence.redis_client.connection import TcpConnection, TlsConnection
from record_presence.redis_client.pool import UncheckedPool
from tests.deploy.test_nginx import make_certificate
from tests.managed_redis import ManagedRedis
from tests.presence.streaming.screen import open_page, running_broadcasts
from tests.presence.streaming.test_broadcast_ha import reconnect_until_shown
from tests.waiting import wait_until

HEAL_SECONDS = 5.0
RECORD = Record("1", "flow", "12")
IN_SCRIPT = f"ERR Error running script (call to f_{'0' * 40}): @user_script:3: @user_script: 3: -"
MENDED = [
    "READONLY You can't write against a read only replica.",
    "READONLY You can't write against a read only replica. script: on @user_script:1.",
    f"{IN_SCRIPT}READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "LOADING Redis is loading the dataset in memory",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "NOPERM User alice has no permissions to run the 'evalsha' command",
    "NOAUTH Authentication required.",
]
NOT_MENDED = [
    "OOM command not allowed when used memory > 'maxmemory'.",
    f"{IN_SCRIPT}OOM command not allowed when used memory > 'maxmemory'.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR user_script:1: READONLY is what a user typed script: on @user_script:1.",
]
COMMAND = re.compile(rb"\r\n(?:SET|EVALSHA)\r\n")
scripts = Scripts()


def ask(client):
    return scripts.run(client, "ready", ("presence_ready",), ())


def ask_many(client):
    return scripts.run_many(client, "ready", [(("presence_ready",), ())] * 2)


def ask_by_redis_py(client):
    with contextlib.suppress(redis_py.ConnectionError):  # before redis-py 6 it leaves the retry to us
        return client.execute_command("SET", "key", "value")
    return client.execute_command("SET", "key", "value")


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """What makes a server's connection a TLS one, and the file of its certificate."""
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "fullchain.pem", folder / "privkey.pem")
    return lambda connection: context.wrap_socket(connection, server_side=True), folder / "fullchain.pem"


class DemotedServer:
    """One address: the first connection is answered with an error at each call, all later ones with `OK`."""

    def __init__(self, error, wrap=lambda connection: connection):
        self._error = f"-{error}\r\n".encode()
        self._wrap = wrap
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                answer = self._error if self.connections == 1 else b"+OK\r\n"
                threading.Thread(target=self._answer, args=(connection, answer), daemon=True).start()

    def _answer(self, connection, answer):
        with contextlib.suppress(OSError), self._wrap(connection) as wrapped:
            while data := wrapped.recv(65_536):
                wrapped.sendall(answer * len(COMMAND.findall(data)))

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def demoted():
    servers = []

    def start(error, **options):
        servers.append(DemotedServer(error, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def at_once(monkeypatch):
    """Connections are given up however young they are."""
    monkeypatch.setattr(connection_module, "MIN_SECONDS_BETWEEN_RECONNECTS", 0.0)


def parsed(answer):
    return redis_py.connection.DefaultParser.parse_error(answer)


@pytest.mark.parametrize("answer", MENDED)
def test_answer_that_another_connection_may_mend_is_known(answer):
    assert is_mended_by_reconnecting(parsed(answer))


@pytest.mark.parametrize("answer", NOT_MENDED)
def test_answer_that_every_connection_would_bring_is_known(answer):
    assert not is_mended_by_reconnecting(parsed(answer))


@pytest.mark.parametrize("call", [ask, ask_many, ask_by_redis_py])
@pytest.mark.parametrize("answer", MENDED)
def test_call_is_answered_over_a_new_connection(demoted, at_once, answer, call):
    server = demoted(answer)
    with connect(f"redis://127.0.0.1:{server.port}") as client:
        assert call(client)
        assert server.connections == 2


@pytest.mark.parametrize("answer", MENDED)
def test_call_of_a_greenlet_is_answered_over_a_new_connection(demoted, at_once, answer):
    pytest.importorskip("gevent")
    pytest.importorskip("hiredis")
    from record_presence.redis_client.pipelining import PipeliningRedis

    server = demoted(answer)
    pool = connect(f"redis://127.0.0.1:{server.port}").connection_pool
    with PipeliningRedis(pool, answer_timeout_seconds=20, retry_delay_seconds=0.01) as client:
        assert client.execute_pipelined("SET", "key", "value") == b"OK"
        assert server.connections == 2


@pytest.mark.parametrize("answer", MENDED)
def test_call_over_tls_is_answered_over_a_new_connection(demoted, at_once, answer, tls):
    wrap, certificate = tls
    server = demoted(answer, wrap=wrap)
    options = f"ssl_ca_certs={certificate}&ssl_check_hostname=false"
    with connect(f"rediss://127.0.0.1:{server.port}?{options}") as client:
        assert ask(client)[0] == "OK"
        assert server.connections == 2


@pytest.mark.parametrize("url", ["redis://localhost", "rediss://localhost", "unix:///redis.sock"])
def test_pool_of_every_transport_gives_connections_up(url):
    assert connect(url).connection_pool.connection_class in connection_module.SELF_ENDING.values()


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        ("redis", connection_module.SentinelTcpConnection),
        ("rediss", connection_module.SentinelTlsConnection),
    ],
)
def test_connections_found_by_sentinels_are_given_up_too(scheme, kind):
    assert connect(f"{scheme}+sentinel://localhost/main").connection_pool.connection_class is kind
    assert issubclass(TlsConnection, redis_py.SSLConnection)


def test_server_that_stays_a_replica_is_not_connected_to_at_each_call(redis_server, real_redis, monkeypatch):
    monkeypatch.setattr(
        connection_module, "MIN_SECONDS_BETWEEN_RECONNECTS", 60.0
    )  # longer than it takes here
    real_redis.replicaof("127.0.0.1", "1")
    try:
        with connect(f"unix://{redis_server.socket}") as client:
            before = real_redis.info("stats")["total_connections_received"]
            for _ in range(50):
                with pytest.raises(StoreUnavailable):
                    ask(client)
            assert real_redis.info("stats")["total_connections_received"] - before <= 5
    finally:
        real_redis.replicaof("NO", "ONE")


def test_idle_connections_are_replaced_once_one_of_them_was_given_up(redis_server, real_redis):
    """A demoted primary still answers what only reads: those would never be told."""
    pool = UncheckedPool(connection_class=connection_module.UnixConnection, path=redis_server.socket)
    lent = [pool.get_connection() for _ in range(3)]
    lent[0].was_given_up = True
    sockets = [connection._sock for connection in lent]
    for connection in lent:
        pool.release(connection)

    again = [pool.get_connection() for _ in range(3)]
    assert {id(connection._sock) for connection in again}.isdisjoint(map(id, sockets))
    assert issubclass(TcpConnection, redis_py.Connection)
    pool.disconnect()


class SilentNetwork:
    """A TLS address before a real Redis. What was connected when it went silent gets no byte more."""

    def __init__(self, upstream, wrap):
        self._upstream, self._wrap = upstream, wrap
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._silent_before = 0
        self._count = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def go_silent(self):
        self._silent_before = self._count

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._count += 1
                threading.Thread(target=self._pass, args=(connection, self._count), daemon=True).start()

    def _pass(self, connection, number):
        with (
            contextlib.suppress(OSError),
            self._wrap(connection) as client,
            socket.socket(socket.AF_UNIX) as server,
        ):
            server.connect(self._upstream)

            def answer():
                with contextlib.suppress(OSError):
                    while data := server.recv(65_536):
                        if number > self._silent_before:
                            client.sendall(data)

            threading.Thread(target=answer, daemon=True).start()
            while data := client.recv(65_536):
                server.sendall(data)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def test_everything_over_tls_heals_after_the_network_went_silent(redis_server, real_redis, tls):
    wrap, certificate = tls
    network = SilentNetwork(redis_server.socket, wrap)
    url = f"rediss://127.0.0.1:{network.port}?ssl_ca_certs={certificate}&ssl_check_hostname=false"
    before, client = running_broadcasts(), connect(url)
    service, broadcast = RecordPresenceService(client, 1), Broadcast(client, scripts, 90_000)
    try:
        service.update_presence("flow", "12", "t1", 42, "Alice")
        page = open_page(broadcast, [RECORD])
        page.waits_for(RECORD, [42])
        network.go_silent()
        with contextlib.suppress(
            StoreUnavailable
        ):  # the connection is given up, and the next call has another
            service.update_presence("flow", "12", "t2", 43, "Bob")
        service.update_presence("flow", "12", "t2", 43, "Bob")
        reconnect_until_shown(broadcast, page, RECORD, [42, 43])
    finally:
        broadcast.close()
        wait_until(lambda: running_broadcasts() <= before)
        client.close()
        network.close()


@pytest.fixture
def managed():
    redis = ManagedRedis()
    yield redis
    redis.close()


@pytest.mark.measured
@pytest.mark.parametrize("is_isolated", [False, True], ids=["linked", "isolated"])
def test_everything_is_healed_soon_after_the_address_has_moved(managed, is_isolated):
    before, client = running_broadcasts(), connect(managed.url)
    service, broadcast = RecordPresenceService(client, 1), Broadcast(client, scripts, 90_000)
    try:
        service.update_presence("flow", "12", "t1", 42, "Alice")
        page = open_page(broadcast, [RECORD])
        page.waits_for(RECORD, [42])
        assert client.wait(1, 1_000) == 1  # what the replica does not have is lost
        time.sleep(connection_module.MIN_SECONDS_BETWEEN_RECONNECTS)
        managed.fail_over(is_isolated=is_isolated)
        moved_at = time.monotonic()

        service.update_presence("flow", "12", "t2", 43, "Bob")
        assert time.monotonic() - moved_at < 1
        page.waits_for(RECORD, [42, 43], HEAL_SECONDS)
    finally:
        broadcast.close()
        wait_until(lambda: running_broadcasts() <= before)
        client.close()

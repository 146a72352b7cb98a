"""Many greenlets on one connection: each gets its own reply, in time, or its own error."""

import os
import signal
import time
from inspect import signature

import pytest
import redis as redis_py
from redis.connection import AbstractConnection

gevent = pytest.importorskip("gevent")
pytest.importorskip("hiredis")

from gevent import socket  # noqa: E402

from record_presence.redis_client.connection import TcpConnection, UnixConnection  # noqa: E402
from record_presence.redis_client.pipelining import PipeliningRedis  # noqa: E402
from record_presence.redis_client.pool import UncheckedPool  # noqa: E402

PATIENCE_SECONDS = 20.0  # where no test waits for its end
ANSWER_TIMEOUT_SECONDS = 0.3  # where one does
IN_TIME_SECONDS = 2.0
# redis-py tells the server its own name, since 7.1 by another option.
HAS_DRIVER_INFO = "driver_info" in signature(AbstractConnection.__init__).parameters
WITHOUT_GREETING = {"driver_info": None} if HAS_DRIVER_INFO else {"lib_name": None, "lib_version": None}


def pipelining(pool, answer_timeout_seconds=PATIENCE_SECONDS):
    return PipeliningRedis(pool, answer_timeout_seconds=answer_timeout_seconds, retry_delay_seconds=0.01)


@pytest.fixture
def pool(redis_server, real_redis):
    pool = UncheckedPool.from_url(
        f"unix://{redis_server.socket}",
        max_connections=4,
        timeout=PATIENCE_SECONDS,
        protocol=2,
        **WITHOUT_GREETING,
    )
    pool.connection_class = UnixConnection
    return pool


@pytest.fixture
def client(pool):
    with pipelining(pool) as client:
        client.execute_pipelined("PING")
        yield client


@pytest.fixture
def impatient_client(pool):
    """It gives a command up after ANSWER_TIMEOUT_SECONDS."""
    with pipelining(pool, ANSWER_TIMEOUT_SECONDS) as client:
        client.execute_pipelined("PING")
        yield client


def at_once(*calls):
    """Carry out calls in a greenlet each; what they returned or raised, in order."""

    def outcome(call):
        try:
            return call()
        except Exception as error:
            return error

    greenlets = [gevent.spawn(outcome, call) for call in calls]
    gevent.joinall(greenlets, raise_error=True)
    return [greenlet.value for greenlet in greenlets]


def execute(client, *command):
    return lambda: client.execute_pipelined(*command)


class FakeServer:
    """Accepts connections, one script each: what it answers to which number of bytes, or None to hang up."""

    def __init__(self, *scripts):
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._scripts = scripts
        self.received = []
        self._greenlet = gevent.spawn(self._serve)

    def client(self):
        port = self._listener.getsockname()[1]
        pool = UncheckedPool(
            connection_class=GeventConnection, host="127.0.0.1", port=port, protocol=2, **WITHOUT_GREETING
        )
        return pipelining(pool)

    def _serve(self):
        for script in self._scripts:
            connection, _ = self._listener.accept()
            with connection:
                for answer in script:
                    self.received.append(connection.recv(65_536))
                    if answer is not None:
                        connection.sendall(answer)

    def close(self):
        self._greenlet.kill()
        self._listener.close()


class GeventConnection(TcpConnection):
    """Its connect gives way to the server's greenlet, as in a process that gevent has patched."""

    def _connect(self):
        return socket.create_connection((self.host, self.port), timeout=PATIENCE_SECONDS)


@pytest.fixture
def fake_server():
    servers = []

    def start(*scripts):
        servers.append(FakeServer(*scripts))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_each_greenlet_gets_its_own_reply_over_one_connection(client, real_redis):
    connections = real_redis.info("stats")["total_connections_received"]

    assert at_once(*(execute(client, "ECHO", n) for n in range(300))) == [b"%d" % n for n in range(300)]
    assert real_redis.info("stats")["total_connections_received"] == connections


def test_commands_sent_at_the_same_time_go_out_in_one_write(fake_server):
    server = fake_server([b"+1\r\n", b"+2\r\n+3\r\n"])
    client = server.client()
    client.execute_pipelined("PING")

    assert at_once(execute(client, "PING"), execute(client, "PING")) == [b"2", b"3"]
    assert server.received == [b"*1\r\n$4\r\nPING\r\n", b"*1\r\n$4\r\nPING\r\n" * 2]


def test_commands_and_replies_larger_than_any_buffer_pass(client):
    large = os.urandom(8_000_000)

    stored, *answers = at_once(execute(client, "SET", "k", large), *[execute(client, "ECHO", "x")] * 5)
    assert (stored, answers) == (b"OK", [b"x"] * 5)
    assert at_once(execute(client, "GET", "k"), execute(client, "ECHO", "y")) == [large, b"y"]


def test_error_reaches_only_the_command_that_caused_it(client):
    good, bad, unknown = at_once(
        execute(client, "ECHO", "good"), execute(client, "EVALSHA", "0" * 40, 0), execute(client, "NONSENSE")
    )

    assert good == b"good"
    assert isinstance(bad, redis_py.exceptions.NoScriptError)
    assert isinstance(unknown, redis_py.ResponseError)


def test_error_inside_a_reply_is_part_of_it(client):
    [status, error] = client.execute_pipelined("EVAL", "return {'OK', redis.error_reply('NO')}", 0)

    assert status == b"OK"
    assert isinstance(error, redis_py.ResponseError)


def test_reply_to_a_killed_greenlet_is_given_to_no_other(client, real_redis):
    real_redis.client_pause(100)
    given_up = gevent.spawn(client.execute_pipelined, "ECHO", "given up")
    patient = gevent.spawn(client.execute_pipelined, "ECHO", "patient")
    gevent.sleep(0.02)
    given_up.kill()

    assert patient.get() == b"patient"
    assert client.execute_pipelined("ECHO", "next") == b"next"


def test_connection_that_was_closed_in_the_meantime_is_replaced(client, real_redis):
    real_redis.client_kill_filter(_type="normal", skipme=True)

    assert client.execute_pipelined("ECHO", "again") == b"again"


def test_commands_of_a_broken_connection_are_sent_once_more(fake_server):
    server = fake_server([b"+1\r\n", b"+first\r\n$6\r\nsec"], [b"$6\r\nsecond\r\n"])
    client = server.client()
    client.execute_pipelined("PING")

    assert at_once(execute(client, "ECHO", "1"), execute(client, "ECHO", "2")) == [b"first", b"second"]
    assert [received.count(b"ECHO") for received in server.received] == [0, 2, 1]


def test_command_fails_when_the_connection_breaks_twice(fake_server):
    client = fake_server([None], [None]).client()

    with pytest.raises(redis_py.ConnectionError):
        client.execute_pipelined("PING")


@pytest.mark.parametrize("nonsense", [b"?!\r\n", b"+asked\r\n+not asked\r\n"])
def test_connection_with_an_invalid_reply_is_replaced(fake_server, nonsense):
    server = fake_server([nonsense], [b"+right\r\n", b"+right\r\n"])
    client = server.client()
    client.execute_pipelined("PING")

    assert client.execute_pipelined("PING") == b"right"


@pytest.mark.measured
def test_late_reply_is_given_to_no_other_command(impatient_client, redis_server):
    client = impatient_client
    client.execute_pipelined("SET", "key", "right")
    redis_server.signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        late = at_once(*[execute(client, "ECHO", "late")] * 20)
        took = time.monotonic() - started
    finally:
        redis_server.signal(signal.SIGCONT)

    assert {type(error) for error in late} == {redis_py.TimeoutError}
    assert took < IN_TIME_SECONDS
    assert client.execute_pipelined("GET", "key") == b"right"


@pytest.mark.measured
def test_each_command_has_the_whole_timeout_for_itself(impatient_client, real_redis):
    """One that is asked later may wait longer, however long the first has waited already."""
    client = impatient_client
    client.execute_pipelined("ECHO", "starts the clock")
    gevent.sleep(0.8 * ANSWER_TIMEOUT_SECONDS)
    real_redis.client_pause(int(0.6 * ANSWER_TIMEOUT_SECONDS * 1000))
    asked = real_redis.info("stats")["total_connections_received"]

    assert client.execute_pipelined("ECHO", "in time") == b"in time"
    assert real_redis.info("stats")["total_connections_received"] == asked


@pytest.mark.measured
def test_reply_that_came_while_this_process_was_busy_is_not_late(impatient_client, real_redis):
    def count():
        answer = impatient_client.execute_pipelined("INCR", "asked")
        time.sleep(0.002)  # nobody else runs meanwhile
        return answer

    waiting = [gevent.spawn(count) for _ in range(300)]
    gevent.sleep(0)  # they are sent
    time.sleep(2 * ANSWER_TIMEOUT_SECONDS)

    assert [greenlet.get() for greenlet in waiting] == list(range(1, 301))
    assert real_redis.get("asked") == "300"


@pytest.mark.measured
def test_thousands_of_commands_at_once_wait_their_turn_without_timing_out(pool, real_redis, monkeypatch):
    monkeypatch.setattr("record_presence.redis_client.pipelining.MAX_IN_FLIGHT", 8)
    busy = "for _ = 1, 300000 do end return redis.call('INCR', KEYS[1])"
    with pipelining(pool, answer_timeout_seconds=0.5) as client:
        started = time.monotonic()
        answers = at_once(*[execute(client, "EVAL", busy, 1, "asked")] * 2_000)
        took = time.monotonic() - started

    assert answers == list(range(1, 2_001))
    assert real_redis.get("asked") == "2000"
    assert took > 0.5  # longer than any of them waits; 1.9 s on a fast machine


@pytest.mark.measured
def test_all_commands_learn_at_once_that_the_server_is_unreachable(fake_server):
    client = fake_server().client()
    client.connection_pool.connection_kwargs["port"] = 1
    started = time.monotonic()

    outcomes = at_once(*[execute(client, "PING")] * 100)
    assert {type(error) for error in outcomes} == {redis_py.ConnectionError}
    assert time.monotonic() - started < IN_TIME_SECONDS


def test_command_that_waits_while_the_client_is_closed_is_sent_again(client, real_redis):
    real_redis.client_pause(100)
    waiting = gevent.spawn(client.execute_pipelined, "ECHO", "x")
    gevent.sleep(0.01)
    client.close()

    assert waiting.get() == b"x"  # over a connection of its own making


def test_forked_process_has_a_connection_of_its_own(client):
    ids = {client.execute_pipelined("CLIENT", "ID") for _ in range(2)}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, b"%d" % client.execute_pipelined("CLIENT", "ID"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        ids.add(int(pipe.read()))

    assert len(ids) == 2
    assert client.execute_pipelined("ECHO", "the parent's still works") == b"the parent's still works"

"""Many greenlets on one connection: each gets its own answer, in time, or its own error."""

import os
import time

import gevent
import pytest
import redis as redis_py
from gevent import socket

from app.redis_pipelining import PipeliningRedis

ANSWER_TIMEOUT_SECONDS = 0.3
IN_TIME_SECONDS = 2.0


def pipelining(pool):
    return PipeliningRedis(pool, answer_timeout_seconds=ANSWER_TIMEOUT_SECONDS, pause_seconds=0.01)


@pytest.fixture
def client(redis_server, real_redis):
    pool = redis_py.BlockingConnectionPool.from_url(
        f"unix://{redis_server.socket}", max_connections=4, timeout=1, protocol=2
    )
    with pipelining(pool) as client:
        client.exchange("PING")
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


def asking(client, *command):
    return lambda: client.exchange(*command)


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
        # Without the library's own greeting.
        port = self._listener.getsockname()[1]
        pool = redis_py.ConnectionPool(
            connection_class=GeventConnection, host="127.0.0.1", port=port, protocol=2, driver_info=None
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


class GeventConnection(redis_py.Connection):
    """Its connect gives way to the server's greenlet, as in a process that gevent has patched."""

    def _connect(self):
        return socket.create_connection((self.host, self.port), timeout=1)


@pytest.fixture
def fake_server():
    servers = []

    def start(*scripts):
        servers.append(FakeServer(*scripts))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_everyone_gets_her_own_answer_over_one_connection(client, real_redis):
    connections = real_redis.info("stats")["total_connections_received"]

    assert at_once(*(asking(client, "ECHO", n) for n in range(300))) == [b"%d" % n for n in range(300)]
    assert real_redis.info("stats")["total_connections_received"] == connections


def test_what_is_asked_at_once_goes_out_in_one_write(fake_server):
    server = fake_server([b"+1\r\n", b"+2\r\n+3\r\n"])
    client = server.client()
    client.exchange("PING")

    assert at_once(asking(client, "PING"), asking(client, "PING")) == [b"2", b"3"]
    assert server.received == [b"*1\r\n$4\r\nPING\r\n", b"*1\r\n$4\r\nPING\r\n" * 2]


def test_commands_and_answers_larger_than_any_buffer_pass(client):
    large = os.urandom(8_000_000)

    stored, *answers = at_once(asking(client, "SET", "k", large), *[asking(client, "ECHO", "x")] * 5)
    assert (stored, answers) == (b"OK", [b"x"] * 5)
    assert at_once(asking(client, "GET", "k"), asking(client, "ECHO", "y")) == [large, b"y"]


def test_an_error_reaches_only_whom_it_answers(client):
    good, bad, unknown = at_once(
        asking(client, "ECHO", "good"), asking(client, "EVALSHA", "0" * 40, 0), asking(client, "NONSENSE")
    )

    assert good == b"good"
    assert isinstance(bad, redis_py.exceptions.NoScriptError)
    assert isinstance(unknown, redis_py.ResponseError)


def test_an_error_inside_an_answer_is_part_of_it(client):
    [status, error] = client.exchange("EVAL", "return {'OK', redis.error_reply('NO')}", 0)

    assert status == b"OK"
    assert isinstance(error, redis_py.ResponseError)


def test_whoever_is_killed_while_she_waits_leaves_her_answer_to_nobody(client, real_redis):
    real_redis.client_pause(100)
    given_up = gevent.spawn(client.exchange, "ECHO", "given up")
    patient = gevent.spawn(client.exchange, "ECHO", "patient")
    gevent.sleep(0.02)
    given_up.kill()

    assert patient.get() == b"patient"
    assert client.exchange("ECHO", "next") == b"next"


def test_connection_that_was_closed_meanwhile_is_made_anew(client, real_redis):
    real_redis.client_kill_filter(_type="normal", skipme=True)

    assert client.exchange("ECHO", "again") == b"again"


def test_calls_that_were_cut_off_are_sent_once_more(fake_server):
    server = fake_server([b"+1\r\n", b"+first\r\n$6\r\nsec"], [b"$6\r\nsecond\r\n"])
    client = server.client()
    client.exchange("PING")

    assert at_once(asking(client, "ECHO", "1"), asking(client, "ECHO", "2")) == [b"first", b"second"]
    assert [received.count(b"ECHO") for received in server.received] == [0, 2, 1]


def test_calls_that_are_cut_off_twice_fail(fake_server):
    client = fake_server([None], [None]).client()

    with pytest.raises(redis_py.ConnectionError):
        client.exchange("PING")


@pytest.mark.parametrize("nonsense", [b"?!\r\n", b"+asked\r\n+not asked\r\n"])
def test_server_that_speaks_nonsense_is_not_believed(fake_server, nonsense):
    server = fake_server([nonsense], [b"+right\r\n", b"+right\r\n"])
    client = server.client()
    client.exchange("PING")

    assert client.exchange("PING") == b"right"


def test_answer_that_comes_too_late_is_given_to_nobody(client, real_redis):
    client.exchange("SET", "key", "right")
    real_redis.client_pause(int(3 * ANSWER_TIMEOUT_SECONDS * 1000))
    started = time.monotonic()

    late = at_once(*[asking(client, "ECHO", "late")] * 20)
    assert {type(error) for error in late} == {redis_py.TimeoutError}
    assert time.monotonic() - started < IN_TIME_SECONDS
    real_redis.client_unpause()
    assert client.exchange("GET", "key") == b"right"


def test_each_call_has_the_whole_time_for_itself(client, real_redis):
    """One that is asked later may wait longer, however long the first has waited already."""
    client.exchange("ECHO", "starts the clock")
    gevent.sleep(0.8 * ANSWER_TIMEOUT_SECONDS)
    real_redis.client_pause(int(0.6 * ANSWER_TIMEOUT_SECONDS * 1000))
    asked = real_redis.info("stats")["total_connections_received"]

    assert client.exchange("ECHO", "in time") == b"in time"
    assert real_redis.info("stats")["total_connections_received"] == asked


def test_answer_that_came_while_we_were_busy_ourselves_is_not_late(client, real_redis):
    def count():
        answer = client.exchange("INCR", "asked")
        time.sleep(0.002)  # nobody else runs meanwhile
        return answer

    waiting = [gevent.spawn(count) for _ in range(300)]
    gevent.sleep(0)  # they are sent
    time.sleep(2 * ANSWER_TIMEOUT_SECONDS)

    assert [greenlet.get() for greenlet in waiting] == list(range(1, 301))
    assert real_redis.get("asked") == "300"


def test_thousands_at_once_wait_for_their_turn_and_not_in_vain(client, real_redis, monkeypatch):
    monkeypatch.setattr("app.redis_pipelining.MOST_ON_THE_WAY", 8)
    busy = "for _ = 1, 100000 do end return redis.call('INCR', KEYS[1])"

    answers = at_once(*[asking(client, "EVAL", busy, 1, "asked")] * 1_500)  # longer than anybody waits

    assert answers == list(range(1, 1_501))
    assert real_redis.get("asked") == "1500"


def test_server_that_is_not_there_is_found_out_by_all_at_once(fake_server):
    client = fake_server().client()
    client.connection_pool.connection_kwargs["port"] = 1
    started = time.monotonic()

    outcomes = at_once(*[asking(client, "PING")] * 100)
    assert {type(error) for error in outcomes} == {redis_py.ConnectionError}
    assert time.monotonic() - started < IN_TIME_SECONDS


def test_closed_client_lets_nobody_wait(client, real_redis):
    real_redis.client_pause(100)
    waiting = gevent.spawn(client.exchange, "ECHO", "x")
    gevent.sleep(0.01)
    client.close()

    assert waiting.get() == b"x"  # over a connection of its own making


def test_forked_process_has_a_connection_of_its_own(client):
    ids = {client.exchange("CLIENT", "ID") for _ in range(2)}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, b"%d" % client.exchange("CLIENT", "ID"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        ids.add(int(pipe.read()))

    assert len(ids) == 2
    assert client.exchange("ECHO", "the parent's still works") == b"the parent's still works"

"""Clients that take their time, over real sockets: they are given up, and everybody else is served."""

import contextlib
import json
import socket
import time
from urllib.parse import urlsplit

import pytest

from tests.api.client import PREFIX, token
from tests.gunicorn_server import GunicornServer
from tests.waiting import wait_until

BEAT = b'{"tab_id": "t1", "mode": "view", "dirty": false}'
HEAD = f"POST {PREFIX}/flow/1/heartbeat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
TOKEN = b"<token>"  # signed when it is sent: one from the collection may be over by then
GIVEN_UP_SECONDS = 5.0  # half a second or one, and what a busy machine adds


@pytest.fixture(scope="module")
def server():
    server = GunicornServer(config="tests.security.impatient")
    yield server
    server.close()


class Slow:
    """A client that has sent something and now sends a byte at a time, or nothing."""

    def __init__(self, server, begin, *, drip=b""):
        address = urlsplit(server.url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=60)
        self._socket.sendall(signed(begin))
        self._socket.setblocking(False)
        self._drip = drip
        self.answer = b""
        self.is_closed = False

    def look(self):
        """Send one byte more, and see whether the server has hung up."""
        self._receive()
        if self._drip and not self.is_closed:
            try:
                self._socket.send(self._drip)
            except BlockingIOError:
                pass
            except OSError:  # the answer may have come before the connection broke
                self._receive()
                self.is_closed = True
        return self.is_closed

    def _receive(self):
        try:
            while received := self._socket.recv(65_536):
                self.answer += received
            self.is_closed = True
        except BlockingIOError:
            pass
        except OSError:
            self.is_closed = True

    def close(self):
        self._socket.close()


@pytest.fixture
def slow(server):
    """`slow(begin, drip=b"x")` is one more slow client."""
    clients = []

    def create(begin, **options):
        clients.append(Slow(server, begin, **options))
        return clients[-1]

    yield create
    for client in clients:
        client.close()


def head(*more):
    lines = [f"Authorization: Bearer {TOKEN.decode()}", *more, "", ""]
    return (HEAD + "\r\n".join(lines)).encode()


def signed(request):
    return request.replace(TOKEN, token().encode())


WAYS = {
    "nothing at all": (b"", b""),
    "half a request line": (b"GET /heal", b""),
    "a head without an end": (HEAD.encode(), b""),
    "a head that drips": (f"{HEAD}X-Slow: ".encode(), b"x"),
    "no body": (head("Content-Length: 500"), b""),
    "a body that drips": (head("Content-Length: 60000"), b" "),
    "a chunk that drips": (head("Transfer-Encoding: chunked") + b"ea60\r\n", b" "),
    "chunks that drip": (head("Transfer-Encoding: chunked"), b"1\r\n \r\n"),
    "a form that drips": (
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\nperson=",
        b"x",
    ),
    "a body that nobody asked for": (
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n",
        b"x",
    ),
}


@pytest.mark.measured
@pytest.mark.parametrize("way", WAYS)
def test_client_that_takes_its_time_is_given_up(slow, way):
    begin, drip = WAYS[way]
    client = slow(begin, drip=drip)

    wait_until(client.look, seconds=GIVEN_UP_SECONDS)


@pytest.fixture(scope="module")
def server_that_keeps_idle_connections():
    server = GunicornServer(config="tests.security.impatient_with_heads")
    yield server
    server.close()


@pytest.mark.parametrize("way", ["half a request line", "a head without an end", "a head that drips"])
def test_head_that_comes_too_slowly_ends_though_an_idle_connection_is_kept(
    server_that_keeps_idle_connections, way
):
    begin, drip = WAYS[way]
    client = Slow(server_that_keeps_idle_connections, begin, drip=drip)
    idle = Slow(server_that_keeps_idle_connections, b"")
    with contextlib.closing(client), contextlib.closing(idle):
        wait_until(client.look)
        assert not idle.look()

        idle._socket.sendall(signed(head(f"Content-Length: {len(BEAT)}") + BEAT))
        wait_until(lambda: idle.look() or b'"registered":true' in idle.answer)


def test_slow_head_of_a_second_request_ends_as_well(server_that_keeps_idle_connections):
    request = head(f"Content-Length: {len(BEAT)}") + BEAT
    client = Slow(server_that_keeps_idle_connections, request)
    with contextlib.closing(client):
        wait_until(lambda: client.look() or b"registered" in client.answer)
        client._drip = b"x"

        wait_until(client.look)


@pytest.mark.parametrize("way", ["no body", "a body that drips", "chunks that drip"])
def test_body_that_comes_too_slowly_is_400_in_the_envelope(slow, way):
    begin, drip = WAYS[way]
    client = slow(begin, drip=drip)
    wait_until(lambda: client.look() or client.answer.endswith(b"}"))  # head and body may come apart
    status, _, rest = client.answer.partition(b"\r\n")

    assert status.split()[1] == b"400"
    assert json.loads(rest.partition(b"\r\n\r\n")[2])["success"] is False


@pytest.mark.measured
def test_hundreds_of_slow_clients_keep_nobody_else_waiting(server, slow):
    clients = [slow(begin, drip=drip) for begin, drip in list(WAYS.values()) * 30]
    for client in clients:
        client.look()
    took = []
    for number in range(20):
        started = time.monotonic()
        assert server.heartbeat(f"t{number}").status_code == 200
        took.append(time.monotonic() - started)

    assert sorted(took)[len(took) // 2] < 1
    wait_until(lambda: sum(client.look() for client in clients) == len(clients), seconds=2 * GIVEN_UP_SECONDS)


@pytest.mark.measured
def test_slow_heartbeat_that_comes_whole_in_time_is_done(slow):
    client = slow(head(f"Content-Length: {len(BEAT)}") + BEAT[:-3])
    client._socket.setblocking(True)
    client._socket.sendall(BEAT[-3:])
    client._socket.setblocking(False)

    wait_until(lambda: client.look() or b'"registered":true' in client.answer)


def test_connection_is_not_cut_for_what_an_earlier_request_took(slow):
    request = head(f"Content-Length: {len(BEAT)}") + BEAT
    client = slow(request)
    wait_until(lambda: client.look() or client.answer.count(b"registered") == 1)
    waited = time.monotonic()
    wait_until(lambda: time.monotonic() - waited > 0.6)  # longer than a body may take
    client._socket.sendall(signed(request))

    wait_until(lambda: client.look() or client.answer.count(b"registered") == 2)
    assert client.answer.count(b"registered") == 2


@pytest.mark.measured
def test_client_that_sends_hundreds_of_requests_at_once_lets_others_have_their_turn(server, slow):
    ask = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    greedy = slow(ask * 400)
    other = slow(ask)
    wait_until(lambda: other.look() or b"HTTP/1.1 200" in other.answer)
    greedy.look()

    assert greedy.answer.count(b"HTTP/1.1 200") < 400
    wait_until(lambda: greedy.look() or greedy.answer.count(b"HTTP/1.1 200") == 400)


def test_client_that_reads_no_answers_is_given_up_and_not_logged(server, slow):
    ask = b"GET /api/docs/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client = slow(ask)
    sent = 0

    def send_more():
        nonlocal sent
        try:
            for _ in range(100):
                client._socket.send(ask)
                sent += 1
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False

    wait_until(send_more)
    assert sent > 100
    assert not [line for line in server.logs() if "Socket error" in line or "Traceback" in line]


def test_form_that_is_too_large_is_refused_unread(server):
    body = b"x" * 70_000
    start = (
        "POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {10**10}\r\n\r\n"
    )
    with contextlib.suppress(ConnectionError):
        status, _, _ = server.send(start.encode() + body)

        assert status == 413

"""How an answer leaves the process."""

import socket

import pytest
import requests

from record_presence.server.sending import MAX_JOINED_BYTES, _Answer
from tests.gunicorn_server import GunicornServer

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: presence.example\r\n\r\n"


@pytest.fixture(scope="module")
def server():
    server = GunicornServer()
    yield server
    server.close()


@pytest.fixture
def connection(server):
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=20) as connection:
        yield connection


def test_answer_is_sent_in_one_piece(connection):
    """Sent in two, its head often comes alone."""
    for _ in range(30):
        connection.sendall(REQUEST)
        assert connection.recv(65_536).endswith(b"}")


@pytest.mark.parametrize(
    ("path", "least_bytes"),
    [("/static/presence/presence.js", 1), ("/api/docs/openapi.json", MAX_JOINED_BYTES + 1)],
)
def test_large_answer_is_whole(server, path, least_bytes):
    """A file, and a text that is larger than what is joined with the head."""
    plain = {"Accept-Encoding": "identity"}
    answer = requests.get(f"{server.url}{path}", headers=plain, timeout=20)

    assert answer.status_code == 200
    assert len(answer.content) == int(answer.headers["Content-Length"]) >= least_bytes


def test_head_comes_without_a_body_that_was_not_asked_for(connection):
    connection.sendall(REQUEST.replace(b"GET", b"HEAD"))
    assert connection.recv(65_536).endswith(b"\r\n\r\n")


class Narrow:
    """A socket that takes three bytes at a time."""

    def __init__(self):
        self.received = b""

    def send(self, data):
        self.received += bytes(data[:3])
        return len(data[:3])

    def sendall(self, data):
        while data:
            data = data[self.send(data) :]


@pytest.mark.parametrize(("is_chunked", "expected"), [(True, b"A\r\n0123456789\r\n"), (False, b"0123456789")])
def test_piece_of_a_body_is_whole_on_a_socket_that_takes_part_of_it(is_chunked, expected):
    answer = object.__new__(_Answer)
    answer.sock, answer.chunked = Narrow(), is_chunked

    answer._emit_body(b"0123456789")

    assert answer.sock.received == expected

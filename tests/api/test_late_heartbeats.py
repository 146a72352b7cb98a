"""A goodbye that was answered stays true against a heartbeat that comes late, over HTTP."""

import json
import os
import signal
import socket
import time
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.api.client import PREFIX, contents, data_of, failure_of, token
from tests.gunicorn_server import GunicornServer
from tests.redis_server import RedisServer

BEAT = {"tab_id": "t1", "mode": "view", "dirty": False}
MAX_SENT_AT = 2**53 - 1


def is_there(person):
    return bool(data_of(person.viewers())["viewers"])


def test_heartbeat_that_a_proxy_sends_again_after_the_goodbye_is_refused(alice, bob, redis):
    data_of(alice.heartbeat(sent_at=1000))
    data_of(alice.call("DELETE", "flow/12/unregister", json={"tab_id": "t1", "sent_at": 2000}))
    before = contents(redis)

    failure = failure_of(alice.heartbeat(sent_at=1000), 409)
    assert failure["message"] == "This tab has said goodbye after this heartbeat was sent."
    assert contents(redis) == before
    assert not is_there(bob)


def test_tab_that_registers_again_after_its_goodbye_is_back_at_once(alice, bob):
    for _ in range(3):
        data_of(alice.heartbeat())
        assert is_there(bob)
        data_of(alice.unregister())
        assert not is_there(bob)


def test_evicted_page_that_is_still_open_comes_back_with_its_next_heartbeat(app, alice, bob):
    data_of(alice.heartbeat())
    operator = type(alice)(app, 1, "Olga", role="operator")
    data_of(operator.evict())

    data_of(alice.heartbeat())
    assert is_there(bob)


@pytest.mark.parametrize("where", ["body", "query"])
def test_when_a_call_was_sent_stands_in_its_body_or_in_its_query(alice, where):
    def beat(sent_at):
        if where == "body":
            return alice.heartbeat(sent_at=sent_at)
        return alice.call("POST", "flow/12/heartbeat", json=BEAT, query_string={"sent_at": sent_at})

    data_of(
        alice.call("DELETE", "flow/12/unregister", json={"tab_id": "t1", "sent_at": 2000})
        if where == "body"
        else alice.call("DELETE", "flow/12/unregister", query_string={"tab_id": "t1", "sent_at": 2000})
    )

    failure_of(beat(1999), 409)
    data_of(beat(2001))


def test_when_a_goodbye_was_sent_counts_in_the_query_beside_a_body(alice):
    query = {"tab_id": "t1", "sent_at": 2000}
    data_of(alice.call("DELETE", "flow/12/unregister", json={"tab_id": "t1"}, query_string=query))

    failure_of(alice.heartbeat(sent_at=1999), 409)


@pytest.mark.parametrize("sent_at", [-1, MAX_SENT_AT + 1, 0.5, True, None, "soon", [1]])
def test_time_that_is_none_is_refused_by_its_name(alice, sent_at):
    assert "sent_at" in failure_of(alice.heartbeat(sent_at=sent_at), 422)["errors"]
    body = {"tab_id": "t1", "sent_at": sent_at}
    assert "sent_at" in failure_of(alice.call("DELETE", "flow/12/unregister", json=body), 422)["errors"]


@pytest.mark.parametrize("sent_at", [-1, MAX_SENT_AT + 1, "0.5", "soon", "", "１"])
def test_time_in_a_query_that_is_none_is_refused_by_its_name(alice, sent_at):
    query = {"tab_id": "t1", "sent_at": sent_at}
    for call in (
        alice.call("POST", "flow/12/heartbeat", json=BEAT, query_string=query),
        alice.call("DELETE", "flow/12/unregister", query_string=query),
    ):
        assert "sent_at" in failure_of(call, 422)["errors"]


@pytest.mark.parametrize("sent_at", [0, 1795887132723, MAX_SENT_AT])
def test_every_time_that_a_browser_can_say_is_taken(alice, sent_at):
    data_of(alice.heartbeat(sent_at=sent_at))
    data_of(alice.call("POST", f"flow/12/heartbeat?_=1&sent_at={sent_at}", json=BEAT))


# Two processes


@pytest.fixture(scope="module")
def processes():
    """Two gunicorns of one worker each, on one Redis."""
    with ExitStack() as stack:
        redis = RedisServer()
        stack.callback(redis.close)

        def start():
            server = GunicornServer(REDIS_URL=f"unix://{redis.socket}", WEB_CONCURRENCY="1")
            stack.callback(server.close)
            return server

        yield start(), start()


@contextmanager
def held_beat(server, record):
    """A heartbeat whose head has reached the server, and whose body comes at the end; gives its status."""
    address, body, status = urlsplit(server.url), json.dumps(BEAT).encode(), []
    head = (
        f"POST {PREFIX}/{record}/heartbeat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token()}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head.encode() + body[:1])
        # Said when the head has been read; then the application has it a moment later.
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        time.sleep(0.3)
        yield status
        connection.sendall(body[1:])
        status.append(int(connection.recv(65_536).split()[1]))


def viewers(server, record):
    return server.call("GET", f"{record}/viewers", user=43).json()["data"]["viewers"]


def test_beat_that_one_process_holds_is_refused_after_the_goodbye_that_another_has_answered(processes):
    slow, quick = processes
    with held_beat(slow, "flow/1") as status:
        goodbye = quick.call("DELETE", "flow/1/unregister", json={"tab_id": "t1"})
        assert goodbye.status_code == 200

    assert status == [409]
    assert viewers(quick, "flow/1") == []
    assert quick.heartbeat(record="flow/1").status_code == 200  # on purpose
    assert len(viewers(slow, "flow/1")) == 1


def test_beat_that_waits_for_a_process_is_refused_where_client_and_goodbye_say_when(processes):
    slow, quick = processes
    address, [pid] = urlsplit(slow.url), slow.worker_pids()
    body = json.dumps({**BEAT, "sent_at": 1000})
    head = (
        f"POST {PREFIX}/flow/2/heartbeat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token()}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall((head + body).encode())
            goodbye = quick.call("DELETE", "flow/2/unregister?tab_id=t1&sent_at=2000")
            assert goodbye.status_code == 200
            os.kill(pid, signal.SIGCONT)
            assert connection.recv(65_536).split()[1] == b"409"
    finally:
        os.kill(pid, signal.SIGCONT)

    assert viewers(quick, "flow/2") == []

"""Events over HTTP: what a stream says, when it ends, and signals."""

import json
import os
import re
import signal
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from limits import parse

from app import create_app
from app.api import events as events_module
from app.presence import broadcast as broadcast_module
from app.redis_client import connect
from tests.api.client import SETTINGS, Person, contents, data_of, failure_of, token
from tests.api.sse import Parser, Tail
from tests.gunicorn_server import GunicornServer
from tests.redis_server import RedisServer

BOB = {"id": 43, "name": "Bob", "tabs": 1, "mode": "view", "has_dirty_tab": False, "active_fields": []}


@pytest.fixture
def make_app(redis, monkeypatch):
    """`make_app()`; what streams started there ends with the test."""
    monkeypatch.setattr(broadcast_module, "OPEN_SECONDS", 0.5)
    apps = []

    def make(redis=redis, **settings):
        apps.append(create_app(replace(SETTINGS, **settings), redis=redis))
        return apps[-1]

    yield make
    for app in apps:
        app.extensions["presence"].broadcast.close()


@pytest.fixture
def app(make_app):
    return make_app()


REST_SECONDS = 5.0


class Reading:
    """A stream over the test client, read chunk by chunk."""

    def __init__(self, person, query="record=flow:12", **headers):
        self.response = person.call("GET", f"events?{query}", headers=headers)
        self.chunks = iter(self.response.response)
        self.parser = Parser()

    def __enter__(self):
        assert self.response.status_code == 200, self.response.data
        return self

    def __exit__(self, *_):
        self.response.close()

    def next(self):
        """The messages of the next chunk that has any."""
        before = len(self.parser.messages)
        while len(self.parser.messages) == before:
            self.parser.feed(next(self.chunks))
        return self.parser.messages[before:]

    def until(self, kind):
        """The next message of that kind; all before it are passed over."""
        while True:
            for message in self.next():
                if message.event == kind:
                    return message

    def rest(self):
        """Every message until the stream ends, which must be soon."""
        deadline = time.monotonic() + REST_SECONDS
        for chunk in self.chunks:
            assert time.monotonic() < deadline, "the stream goes on"
            self.parser.feed(chunk)
        return self.parser.messages


# What a stream says


def test_stream_says_when_to_come_back_then_who_is_there_then_what_happens(alice, bob):
    bob.heartbeat()
    with Reading(alice) as stream:
        [retry] = stream.next()
        assert 500 <= retry.retry <= 3000
        snapshot = stream.until("snapshot")
        assert snapshot.data == {
            "viewers": [BOB],
            "record": "flow:12",
            "total": 1,
            "version": data_of(alice.viewers())["version"],
        }
        assert snapshot.id == snapshot.data["version"]

        carol = Person(alice._client.application, "c", "Carol Čapková")
        carol.heartbeat(tab_id="t2", mode="edit", active_field="title")
        join = stream.until("join")
        assert join.data["viewer"] == {
            "id": "c",
            "name": "Carol Čapková",
            "tabs": 1,
            "mode": "edit",
            "has_dirty_tab": False,
            "active_fields": ["title"],
        }
        assert (join.data["record"], join.data["total"]) == ("flow:12", 2)
        assert join.id == join.data["version"]

        bob.heartbeat(dirty=True)
        update = stream.until("update")
        assert update.data["viewer"] == {**BOB, "has_dirty_tab": True}
        assert "reason" not in update.data
        bob.unregister()
        leave = stream.until("leave")
        assert (leave.data["viewer"]["id"], leave.data["reason"], leave.data["total"]) == (43, "left", 1)
        assert leave.id == data_of(alice.viewers())["version"]


def test_headers_keep_proxies_from_holding_it_back(alice):
    with Reading(alice) as stream:
        headers = stream.response.headers

    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Length" not in headers


def test_oneself_is_left_out_unless_asked_for(alice, bob):
    with Reading(alice) as stream, Reading(alice, "record=flow:12&include_self=true") as whole:
        stream.until("snapshot")
        whole.until("snapshot")
        alice.heartbeat()
        assert whole.until("join").data["viewer"]["id"] == 42
        [own] = stream.next()
        assert (own.event, own.data) == (None, None)
        assert own.id == data_of(alice.viewers())["version"]
        bob.heartbeat(tab_id="t2")
        assert stream.until("join").data["total"] == 1
        assert whole.until("join").data["total"] == 2


def test_limit_cuts_the_list_and_not_the_total(app, alice):
    for user in range(4):
        Person(app, user, f"User {user}").heartbeat(tab_id=f"t{user}")
    with Reading(alice, "record=flow:12&limit=2") as stream:
        snapshot = stream.until("snapshot").data

    assert [viewer["id"] for viewer in snapshot["viewers"]] == [0, 1]
    assert snapshot["total"] == 4


def test_reader_who_comes_back_gets_what_has_changed(alice, bob):
    bob.heartbeat()
    bob.heartbeat("flow/13")
    query = "record=flow:12&record=flow:13"
    with Reading(alice, query) as stream:
        snapshot = stream.until("snapshot")
    with Reading(alice, query, Last_Event_ID="") as stream:
        assert stream.until("snapshot").data["record"] == "flow:12"
    with Reading(alice, query, **{"Last-Event-ID": snapshot.id}) as stream:
        assert stream.until("snapshot").data["record"] == "flow:13"
    bob.heartbeat(mode="edit")
    with Reading(alice, query, **{"Last-Event-ID": snapshot.id}) as stream:
        assert stream.until("snapshot").data["record"] == "flow:12"


def test_comments_keep_a_silent_stream_open(alice, monkeypatch):
    monkeypatch.setattr(events_module, "COMMENT_SECONDS", 0.02)
    with Reading(alice) as stream:
        stream.until("snapshot")
        for _ in range(3):
            [message] = stream.next()
            assert message.is_comment


def test_stream_ends_with_its_token_and_says_when_to_come_back(app, monkeypatch):
    monkeypatch.setattr(events_module, "COMMENT_SECONDS", 0.5)  # one that does not end goes on talking
    alice = Person(app, seconds=2)  # a token ends with a whole second: one to two from now
    started = time.time()
    with Reading(alice) as stream:
        messages = stream.rest()

    assert time.time() - started < 3
    assert [message.event for message in messages if message.event] == ["snapshot"]
    assert messages[0].retry
    assert messages[-1].retry


def test_stream_ends_after_a_while_so_that_the_proof_is_looked_at_again(alice, monkeypatch):
    monkeypatch.setattr(events_module, "LONGEST_STREAM_SECONDS", 0.1)
    with Reading(alice) as stream:
        assert stream.rest()[-1].retry


def test_stream_of_a_process_that_stops_ends(app, alice):
    with Reading(alice) as stream:
        stream.until("snapshot")
        app.extensions["presence"].broadcast.is_draining = lambda: True
        assert stream.rest()[-1].retry


# What is refused


@pytest.mark.parametrize(
    "query",
    [
        "",
        "record=",
        "record=flow",
        "record=Flow:1",
        "record=flow:1:2",
        "record=flow:1&limit=0",
        "record=flow:1&limit=1001",
        "record=flow:1&limit=x",
        "record=flow:1&include_self=maybe",
        "&".join(f"record=flow:{number}" for number in range(101)),
    ],
)
def test_bad_query_is_422(app, alice, query):
    failure_of(alice.call("GET", f"events?{query}"), 422)
    assert streams(app) == 0


def test_caller_without_a_proof_is_401(app):
    failure_of(app.test_client().get("/api/v1/presence/events?record=flow:12"), 401)


def test_record_that_the_proof_does_not_cover_is_403(app):
    alice = Person(app, records=["flow:12"])

    failure_of(alice.call("GET", "events?record=flow:12&record=flow:13"), 403)
    assert streams(app) == 0


def test_opening_streams_is_throttled_like_other_calls(make_app):
    alice = Person(make_app(rate_limit=parse("2/minute")))
    for _ in range(2):
        with Reading(alice):
            pass

    failure_of(alice.call("GET", "events?record=flow:12"), 429)


def test_stream_of_a_redis_that_is_away_is_503(make_app):
    server = RedisServer()
    with closing(server):
        app = make_app(connect(f"unix://{server.socket}"))
        alice = Person(app)
        with Reading(alice) as stream:
            stream.until("snapshot")
            server.kill()
            failure_of(alice.call("GET", "events?record=flow:12"), 503)
            assert stream.rest()[-1].retry  # what can't be confirmed is not shown
        server.start()
        with Reading(alice) as stream:
            stream.until("snapshot")


def test_process_full_of_streams_refuses_another_and_answers_heartbeats(make_app):
    app = make_app(max_streams=2)
    alice, bob = Person(app), Person(app, 43, "Bob")
    with Reading(alice), Reading(bob):
        refused = alice.call("GET", "events?record=flow:12")
        assert "no room" in failure_of(refused, 503)["message"]
        assert int(refused.headers["Retry-After"]) >= 5
        assert alice.heartbeat().status_code == 200
        assert alice.call("GET", "viewers?record=flow:12").status_code == 200
    with Reading(alice) as stream:
        stream.until("snapshot")


def test_other_methods_are_405(alice):
    failure_of(alice.call("POST", "events?record=flow:12", json={}), 405)


def streams(app):
    return app.extensions["presence"].broadcast.counts()["streams"]


def test_head_opens_no_stream(app, alice):
    response = alice.call("HEAD", "events?record=flow:12")

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert streams(app) == 0


def test_reader_who_left_before_the_first_byte_is_let_go(app, alice):
    response = alice.call("GET", "events?record=flow:12")
    assert streams(app) == 1
    response.close()
    response.close()

    assert streams(app) == 0


# Signals


def send(person, tab_id="t1", record="flow/12", **body):
    return person.call(
        "POST", f"{record}/signal", json={"tab_id": tab_id, "kind": "typing", "data": None, **body}
    )


def test_signal_reaches_the_others_and_is_not_stored(app, alice, bob):
    alice.heartbeat()
    redis = app.extensions["presence"].redis
    with Reading(bob) as stream, Reading(alice) as own:
        stream.until("snapshot")
        own.until("snapshot")
        before = {key: value for key, value in contents(redis).items() if b"_signals:" not in key_bytes(key)}
        assert data_of(send(alice, kind="cursor", data={"x": 1, "ř": [True]})) == {"relayed": True}
        got = stream.until("signal")
        bob.heartbeat(tab_id="t2")
        own.until("join")
        after = {key: value for key, value in contents(redis).items() if b"_signals:" not in key_bytes(key)}

        assert got.data == {
            "record": "flow:12",
            "tab_id": "t1",
            "user": {"id": 42, "name": "Alice"},
            "kind": "cursor",
            "data": {"x": 1, "ř": [True]},
        }
        assert got.id is None
        assert "signal" not in [message.event for message in own.parser.messages]
        assert before.items() <= {**after, **before}.items()
        assert not any("typing" in str(value) or "cursor" in str(value) for value in after.values())


def key_bytes(key):
    return key if isinstance(key, bytes) else key.encode()


def test_signal_of_a_tab_that_is_not_registered_is_not_relayed(alice):
    assert data_of(send(alice)) == {"relayed": False}


def test_signal_from_another_users_tab_is_409(alice, bob):
    alice.heartbeat()

    failure_of(send(bob), 409)


@pytest.mark.parametrize("data", ["\ud800", {"\udfff": 1}, ["a", {"b": "\ud83d"}]], ids=ascii)
def test_signal_with_half_a_character_ends_nobodys_stream(alice, bob, data):
    bob.heartbeat(tab_id="t2")
    alice.heartbeat()
    with Reading(bob) as stream:
        stream.until("snapshot")
        send(alice, data=data)
        first = stream.until("signal")
        send(alice, data="whole")

        assert "?" in str(first.data["data"])
        assert stream.until("signal").data["data"] == "whole"


def test_signal_nested_as_deep_as_json_may_be_is_too_long_and_no_fault(alice):
    alice.heartbeat()
    statuses = set()
    for depth in range(513, 1100):
        text = '{"tab_id":"t1","kind":"typing","data":' + "[" * depth + "]" * depth + "}"
        statuses.add(
            alice.call("POST", "flow/12/signal", data=text, content_type="application/json").status_code
        )

    assert statuses == {400, 422}


@pytest.mark.parametrize(("size", "is_taken"), [(1022, True), (1023, False)])
def test_signal_holds_a_kibibyte(alice, size, is_taken):
    alice.heartbeat()
    response = send(alice, data="x" * size)

    if is_taken:
        assert data_of(response) == {"relayed": True}
    else:
        assert "data" in failure_of(response, 422)["errors"]


@pytest.mark.parametrize(
    "body", [{"kind": "dance"}, {"kind": None}, {"tab_id": "ä"}, {"more": 1}, {"data": "ř" * 600}]
)
def test_bad_signal_is_422(alice, body):
    failure_of(send(alice, **body), 422)


def test_signal_to_a_record_that_the_proof_does_not_cover_is_403(app):
    failure_of(send(Person(app, records=["flow:13"])), 403)


def test_signals_have_a_throttle_of_their_own(make_app):
    app = make_app(rate_limit=parse("5/minute"), signal_rate_limit=parse("3/minute"))
    alice = Person(app)
    alice.heartbeat()
    for _ in range(3):
        data_of(send(alice))
    failure_of(send(alice), 429)
    for _ in range(4):
        data_of(alice.heartbeat())

    failure_of(alice.heartbeat(), 429)


# Saves and claims


def test_save_is_told_to_every_stream_also_to_its_users(alice, bob):
    alice.heartbeat()
    bob.heartbeat(tab_id="t2")
    with Reading(alice) as own, Reading(bob) as stream:
        own.until("snapshot")
        stream.until("snapshot")
        alice.saved(fields=["steps", "name"])
        got = stream.until("saved")
        saved_at = got.data["saved_at"]

        assert got.data == {
            "record": "flow:12",
            "lock_version": 8,
            "fields": ["name", "steps"],
            "user": {"id": 42, "name": "Alice"},
            "tab_id": "t1",
            "saved_at": saved_at,
            "version": data_of(bob.viewers())["version"],
        }
        assert got.id == got.data["version"]
        assert own.until("saved").data == got.data


def test_save_that_a_server_tells_has_no_tab(app, alice):
    alice.heartbeat()
    with Reading(alice) as stream:
        stream.until("snapshot")
        Person(app, "crm", "CRM", role="service").saved(tab_id=None, user={"id": "u-7", "name": "Zoë"})
        data = stream.until("saved").data

    assert (data["tab_id"], data["user"]) == (None, {"id": "u-7", "name": "Zoë"})


def test_save_told_again_is_no_event(alice, bob):
    bob.heartbeat(tab_id="t2")
    with Reading(bob) as stream:
        stream.until("snapshot")
        for lock_version in (8, 8, 9):
            alice.saved(lock_version=lock_version)
        told = []
        while 9 not in told:
            told += [message.data["lock_version"] for message in stream.next() if message.event == "saved"]

    assert told == [8, 9]


def test_claims_are_told_whole_as_they_are_made_taken_over_and_released(alice, bob):
    alice.heartbeat()
    bob.heartbeat(tab_id="t2")
    with Reading(bob) as stream:
        stream.until("snapshot")
        claim = data_of(alice.claim("title"))["claim"]
        made = stream.until("claims")
        assert made.data == {
            "record": "flow:12",
            "claims": {"title": claim},
            "version": data_of(bob.viewers())["version"],
        }
        assert made.id == made.data["version"]
        bob.claim("title", tab_id="t2", take_over=True)
        assert stream.until("claims").data["claims"]["title"]["taken_from"] == {"id": 42, "name": "Alice"}
        bob.release("title", tab_id="t2")
        assert stream.until("claims").data["claims"] == {}


@pytest.mark.parametrize("others_stay", [True, False])
def test_claim_that_ends_with_its_tab_is_told_to_have_ended(alice, bob, others_stay):
    alice.heartbeat()
    if others_stay:
        bob.heartbeat(tab_id="t2")
    alice.claim("title")
    with Reading(bob) as stream:
        assert list(stream.until("snapshot").data["claims"]) == ["title"]
        alice.unregister()

        assert stream.until("claims").data["claims"] == {}
    with Reading(bob) as stream:
        assert "claims" not in stream.until("snapshot").data


def test_snapshot_has_the_saves_and_claims_that_there_are(alice, bob):
    alice.heartbeat()
    alice.saved(lock_version=8)
    claim = data_of(alice.claim("title"))["claim"]
    with Reading(bob) as stream:
        snapshot = stream.until("snapshot").data
        alice.saved(lock_version=9)
        stream.until("saved")
        with Reading(bob) as later:
            again = later.until("snapshot").data

    assert [save["lock_version"] for save in snapshot["saved"]] == [8]
    assert [save["lock_version"] for save in again["saved"]] == [8, 9]
    assert snapshot["claims"] == again["claims"] == {"title": claim}


def test_record_that_was_empty_remembers_nothing_for_who_comes_next(alice, bob):
    with Reading(bob) as stream:
        stream.until("snapshot")
        alice.heartbeat()
        alice.saved()
        stream.until("saved")
        alice.unregister()
        stream.until("leave")
        alice.heartbeat()
        stream.until("join")
        with Reading(bob) as later:
            assert set(later.until("snapshot").data) == {"record", "viewers", "total", "version"}


def test_evicted_tab_leaves_with_that_reason(app, alice, bob):
    alice.heartbeat()
    with Reading(bob) as stream:
        stream.until("snapshot")
        Person(app, role="operator").evict()

        assert stream.until("leave").data["reason"] == "evicted"


# As it is run: gunicorn with gevent


class Service:
    """Two gunicorn processes on a Redis of their own."""

    def __init__(self):
        self.redis = RedisServer()
        self.server = GunicornServer(
            REDIS_URL=f"unix://{self.redis.socket}",
            WEB_CONCURRENCY="2",
            PRESENCE_RATE_LIMIT="100000/minute",
            PRESENCE_SIGNAL_RATE_LIMIT="100000/minute",
        )
        self.beats = 0
        self.tails = []

    def tail(self, user=99, query="record=flow:12", **headers):
        self.tails.append(Tail(self.server.url, token(user, f"User {user}"), query, **headers))
        return self.tails[-1]

    def tail_that_is_served(self):
        """A reader who comes back until she is let in; a process that stops answers 503."""
        deadline = time.monotonic() + 10
        while True:
            tail = self.tail()
            tail.wait_for(lambda tail: tail.is_over or tail.events())
            if tail.events() and not tail.is_over:
                return tail
            assert tail.status in (200, 503)
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def change(self, record="flow/12"):
        """Let user 42 do something that everybody sees."""
        self.beats += 1
        body = {"tab_id": "t1", "mode": "edit", "dirty": False, "active_field": f"f{self.beats}"}
        return self.server.call("POST", f"{record}/heartbeat", json=body)

    def gauge(self):
        text = requests.get(f"{self.server.url}/metrics", timeout=5).text
        return sum(float(value) for value in re.findall(r"^presence_streams(?:\{.*\})? (\S+)$", text, re.M))

    def workers(self):
        children = f"/proc/{self.server._process.pid}/task/{self.server._process.pid}/children"
        return [int(pid) for pid in Path(children).read_text().split()]

    def eventually(self, is_true, seconds=10.0):
        deadline = time.monotonic() + seconds
        while not is_true():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def close(self):
        for tail in self.tails:
            tail.close()
        self.server.close()
        self.redis.close()


def connections_of(pid):
    """How many connections by TCP a process has accepted; Redis is asked by another kind of socket."""
    sockets = {
        os.readlink(path).strip("socket:[]")
        for path in Path(f"/proc/{pid}/fd").iterdir()
        if path.is_symlink() and os.readlink(path).startswith("socket:")
    }
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return sum(row[3] == established and row[9] in sockets for row in rows)


@pytest.fixture(scope="module")
def running():
    service = Service()
    yield service
    service.close()


@pytest.fixture
def service(running):
    """No stream of an earlier test is open."""
    for tail in running.tails:
        tail.close()
    running.tails.clear()

    def is_quiet():
        running.change()
        running.change("flow/1")
        return running.gauge() == 0

    running.eventually(is_quiet)
    return running


def test_stream_over_http_is_told_by_whichever_process_hears_it(service):
    tails = [service.tail() for _ in range(6)]
    for tail in tails:
        tail.wait_for_event("snapshot")
        assert tail.status == 200
        assert tail.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert tail.headers["x-accel-buffering"] == "no"
        assert tail.headers["cache-control"] == "no-store"
    service.change()
    for tail in tails:
        assert tail.wait_for_event("update").data["viewer"]["id"] == 42
    with service.redis.client() as client:
        assert len(client.client_list(_type="pubsub")) <= 2


def test_two_hundred_streams_that_open_at_once_are_all_told(service):
    tails = [
        service.tail(user=100 + number, query=f"record=flow:12&record=flow:s{number}")
        for number in range(200)
    ]
    for tail in tails:
        tail.wait_for_event("snapshot", 2)
    assert service.gauge() == 200
    service.change()
    service.server.heartbeat("t7", user=7, record="flow/s7")
    for tail in tails:
        tail.wait_for_event("update")
    tails[7].wait_for_event("join")
    assert not [entry for entry in service.server.entries() if "lost" in entry["message"]]


def test_readers_who_left_are_noticed(service):
    tails = [service.tail() for _ in range(10)]
    for tail in tails:
        tail.wait_for_event("snapshot")
    assert service.gauge() == 10
    for tail in tails[:9]:
        tail.close()

    def is_noticed():
        service.change()
        return service.gauge() == 1

    service.eventually(is_noticed)


@pytest.mark.parametrize("query", ["record=flow:12", "record=nothing"])
def test_head_over_http_leaves_no_stream_and_keeps_the_connection(service, query):
    with requests.Session() as session:
        headers = {"Authorization": f"Bearer {token()}"}
        for method in ("HEAD", "HEAD"):
            answer = session.request(
                method, f"{service.server.url}/api/v1/presence/events?{query}", headers=headers, timeout=5
            )
            assert answer.status_code == (200 if "flow" in query else 422)
    assert service.gauge() == 0


def test_slow_readers_do_not_slow_down_the_others(service):
    stuck = [service.tail() for _ in range(5)]  # nobody reads these
    reader = service.tail()
    reader.wait_for_event("snapshot")
    started = time.monotonic()
    for _ in range(10):
        assert service.change().status_code == 200
    reader.wait_for(lambda tail: len(tail.events()) > 2)

    assert time.monotonic() - started < 3
    del stuck


def test_signal_crosses_processes(service):
    tails = [service.tail() for _ in range(6)]
    for tail in tails:
        tail.wait_for_event("snapshot")
    service.change()
    body = {"tab_id": "t1", "kind": "typing", "data": {"field": "title"}}
    answer = service.server.call("POST", "flow/12/signal", json=body)
    assert answer.json()["data"] == {"relayed": True}
    for tail in tails:
        assert tail.wait_for_event("signal").data["data"] == {"field": "title"}


def test_killed_worker_cuts_its_streams_and_the_readers_come_back(service):
    tails = [service.tail() for _ in range(12)]
    for tail in tails:
        tail.wait_for_event("snapshot")
    # Streams go to whichever process accepts first, and that may be one for all of them.
    [worker, *_] = [pid for pid in service.workers() if connections_of(pid) > 1]
    os.kill(worker, signal.SIGKILL)

    def cut():
        for tail in tails:
            tail.read()
        return any(tail.is_over for tail in tails)

    service.eventually(cut)
    time.sleep(0.3)  # they are not all cut in one moment
    cut()
    lost = [tail for tail in tails if tail.is_over]
    kept = [tail for tail in tails if not tail.is_over]
    again = [service.tail(Last_Event_ID=tail.messages[-1].id) for tail in lost]
    service.change()
    for tail in again:
        tail.wait_for(lambda tail: tail.status == 200 and tail.events())
    for tail in kept:
        tail.wait_for_event("update")
    service.eventually(lambda: service.gauge() == len(again) + len(kept))


def test_reload_ends_the_streams_soon_and_new_processes_serve_them(service):
    tails = [service.tail() for _ in range(8)]
    for tail in tails:
        tail.wait_for_event("snapshot")
    old, logged = set(service.workers()), len(service.server.entries())
    os.kill(service.server._process.pid, signal.SIGHUP)
    for tail in tails:
        tail.wait_for(lambda tail: tail.is_over, seconds=3)
        assert tail.messages[-1].retry
    started = time.monotonic()
    again = [service.tail_that_is_served() for _ in tails]
    # The new processes take as long to start as the first ones.
    assert time.monotonic() - started < 3 + service.server.start_seconds
    service.eventually(lambda: not old & set(service.workers()))
    for tail in again:
        tail.read()  # some may have come to the old process once more, which let them in and stopped
    again = [service.tail_that_is_served() if tail.is_over else tail for tail in again]
    entries = service.server.entries()[logged:]
    assert not [entry for entry in entries if entry["level"] in ("error", "critical")]
    service.change()
    for tail in again:
        tail.wait_for_event("update")


def test_redis_that_is_killed_under_open_streams_is_noticed_and_healed(service):
    tails = [service.tail() for _ in range(4)]
    for tail in tails:
        tail.wait_for_event("snapshot")
    service.redis.kill()
    started = time.monotonic()
    for tail in tails:
        tail.wait_for(lambda tail: tail.is_over, seconds=8)
    answers = service.tail()
    answers.wait_for(lambda tail: tail.body.endswith(b"}"), seconds=4)
    assert answers.status == 503
    assert json.loads(answers.body)["success"] is False
    # The processes serve whoever does not need Redis.
    assert requests.get(f"{service.server.url}/health/live", timeout=1).status_code == 200
    assert time.monotonic() - started < 10
    service.redis.start()

    tail = service.tail_that_is_served()
    service.change()
    # Whoever was shown before is kept for her return: then she does not join again.
    field = f'"f{service.beats}"'
    tail.wait_for(lambda tail: field in json.dumps([message.data for message in tail.messages]))


def test_terminated_server_ends_its_streams_first(service):
    """The last test on this server."""
    tails = [service.tail() for _ in range(4)]
    for tail in tails:
        tail.wait_for_event("snapshot")
    os.kill(service.server._process.pid, signal.SIGTERM)
    for tail in tails:
        tail.wait_for(lambda tail: tail.is_over, seconds=3)
        assert tail.messages[-1].retry
        tail.close()
    assert service.server._process.wait(10) == 0

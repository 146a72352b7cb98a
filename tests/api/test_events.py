"""Events over HTTP: what a stream contains, when it ends, and signals."""

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

from record_presence import create_app
from record_presence.api import events as events_module
from record_presence.presence.streaming import timings
from record_presence.redis_client.client import connect
from tests.api.client import SETTINGS, Person, contents, data_of, failure_of, token
from tests.api.sse import Parser, StreamReader
from tests.gunicorn_server import GunicornServer
from tests.redis_server import RedisServer
from tests.viewers import viewer

BOB = viewer(43, "Bob")


@pytest.fixture
def make_app(redis, monkeypatch):
    """`make_app()`. The threads that its streams start end with the test."""
    monkeypatch.setattr(timings, "OPEN_TIMEOUT_SECONDS", 20.0)  # on a busy machine
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


MAX_REST_SECONDS = 30.0


class OpenStream:
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
        """The messages of the next chunk that contains any."""
        before = len(self.parser.messages)
        while len(self.parser.messages) == before:
            self.parser.feed(next(self.chunks))
        return self.parser.messages[before:]

    def until(self, kind):
        """The next message of that kind; those before it are skipped."""
        while True:
            for message in self.next():
                if message.event == kind:
                    return message

    def rest(self):
        """Every message until the stream ends, which must be soon."""
        deadline = time.monotonic() + MAX_REST_SECONDS
        for chunk in self.chunks:
            assert time.monotonic() < deadline, "the stream does not end"
            self.parser.feed(chunk)
        return self.parser.messages


# What a stream contains


def test_stream_has_a_retry_delay_then_a_snapshot_then_events(alice, bob):
    bob.heartbeat()
    with OpenStream(alice) as stream:
        retry, snapshot = stream.next()  # in one piece: nobody waits for the list longer than for the rest
        assert 500 <= retry.retry <= 3000
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
        assert join.data["viewer"] == viewer("c", "Carol Čapková", mode="edit", active_fields=["title"])
        assert (join.data["record"], join.data["total"]) == ("flow:12", 2)
        assert join.id == join.data["version"]

        bob.heartbeat(dirty=True)
        update = stream.until("update")
        assert update.data["viewer"] == {**BOB, "has_dirty_tab": True}
        assert "reason" not in update.data
        bob.heartbeat(dirty=True, active=False)
        update = stream.until("update")
        assert update.data["viewer"] == {**BOB, "has_dirty_tab": True, "away": True}
        bob.unregister()
        leave = stream.until("leave")
        assert (leave.data["viewer"]["id"], leave.data["reason"], leave.data["total"]) == (43, "left", 1)
        assert leave.id == data_of(alice.viewers())["version"]


def test_headers_keep_proxies_from_buffering(alice):
    with OpenStream(alice) as stream:
        headers = stream.response.headers

    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Length" not in headers


def test_callers_are_left_out_of_their_own_stream_unless_they_ask(alice, bob):
    with OpenStream(alice) as stream, OpenStream(alice, "record=flow:12&include_self=true") as whole:
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


def test_limit_applies_to_the_list_and_not_to_the_total(app, alice):
    for user in range(4):
        Person(app, user, f"User {user}").heartbeat(tab_id=f"t{user}")
    with OpenStream(alice, "record=flow:12&limit=2") as stream:
        snapshot = stream.until("snapshot").data

    assert [viewer["id"] for viewer in snapshot["viewers"]] == [0, 1]
    assert snapshot["total"] == 4


def test_client_that_reconnects_gets_what_has_changed(alice, bob):
    bob.heartbeat()
    bob.heartbeat("flow/13")
    query = "record=flow:12&record=flow:13"
    with OpenStream(alice, query) as stream:
        snapshot = stream.until("snapshot")
    with OpenStream(alice, query, Last_Event_ID="") as stream:
        assert stream.until("snapshot").data["record"] == "flow:12"
    with OpenStream(alice, query, **{"Last-Event-ID": snapshot.id}) as stream:
        assert stream.until("snapshot").data["record"] == "flow:13"
    bob.heartbeat(mode="edit")
    with OpenStream(alice, query, **{"Last-Event-ID": snapshot.id}) as stream:
        assert stream.until("snapshot").data["record"] == "flow:12"


def test_comments_keep_a_silent_stream_open(alice, monkeypatch):
    monkeypatch.setattr(events_module, "COMMENT_INTERVAL_SECONDS", 0.02)
    with OpenStream(alice) as stream:
        stream.until("snapshot")
        for _ in range(3):
            [message] = stream.next()
            assert message.is_comment


@pytest.mark.measured
def test_stream_ends_with_its_token_and_a_retry_delay(app, monkeypatch):
    monkeypatch.setattr(
        events_module, "COMMENT_INTERVAL_SECONDS", 0.5
    )  # one that does not end goes on talking
    alice = Person(app, seconds=2)  # a token ends with a whole second: one to two from now
    started = time.time()
    with OpenStream(alice) as stream:
        messages = stream.rest()

    assert time.time() - started < 3
    assert [message.event for message in messages if message.event] == ["snapshot"]
    assert messages[0].retry
    assert messages[-1].retry


def test_stream_ends_after_a_while_so_that_the_proof_is_checked_again(alice, monkeypatch):
    monkeypatch.setattr(events_module, "MAX_STREAM_SECONDS", 0.1)
    with OpenStream(alice) as stream:
        assert stream.rest()[-1].retry


def test_stream_ends_when_its_process_is_stopping(app, alice):
    with OpenStream(alice) as stream:
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


def test_stream_of_records_that_the_proof_does_not_cover_is_403(app):
    alice = Person(app, records=["flow:12"])

    failure_of(alice.call("GET", "events?record=flow:13&record=flow:14"), 403)
    assert streams(app) == 0


def test_opening_streams_is_throttled_like_other_calls(make_app):
    alice = Person(make_app(rate_limit=parse("2/minute")))
    for _ in range(2):
        with OpenStream(alice):
            pass

    failure_of(alice.call("GET", "events?record=flow:12"), 429)


def test_stream_is_503_while_redis_is_unreachable(make_app, monkeypatch):
    server = RedisServer()
    with closing(server):
        app = make_app(connect(f"unix://{server.socket}"))
        alice = Person(app)
        with OpenStream(alice) as stream:
            stream.until("snapshot")
            server.kill()
            monkeypatch.setattr(timings, "OPEN_TIMEOUT_SECONDS", 0.5)
            failure_of(alice.call("GET", "events?record=flow:12"), 503)
            assert stream.rest()[-1].retry  # an unconfirmed list is not shown
        server.start()
        monkeypatch.setattr(timings, "OPEN_TIMEOUT_SECONDS", 20.0)
        with OpenStream(alice) as stream:
            stream.until("snapshot")


def test_process_with_all_its_streams_open_refuses_another_and_answers_heartbeats(make_app):
    app = make_app(max_streams=2)
    alice, bob = Person(app), Person(app, 43, "Bob")
    with OpenStream(alice), OpenStream(bob):
        refused = alice.call("GET", "events?record=flow:12")
        assert "no room" in failure_of(refused, 503)["message"]
        assert int(refused.headers["Retry-After"]) >= 5
        assert alice.heartbeat().status_code == 200
        assert alice.call("GET", "viewers?record=flow:12").status_code == 200
    with OpenStream(alice) as stream:
        stream.until("snapshot")


def test_user_with_too_many_streams_is_told_so_and_others_get_theirs(make_app):
    app = make_app(max_streams_per_user=1)
    alice, bob = Person(app), Person(app, 43, "Bob")
    with OpenStream(alice):
        refused = alice.call("GET", "events?record=flow:12")
        assert "streams open" in failure_of(refused, 429)["message"]
        assert int(refused.headers["Retry-After"]) >= 5
        with OpenStream(bob) as stream:
            stream.until("snapshot")


def test_stream_of_another_tenant_takes_the_place_of_the_newest_of_a_tenant_that_has_all(make_app):
    app = make_app(max_streams=2)
    first, second = Person(app, 41, "Ann"), Person(app, 43, "Bob")
    other = Person(app, 44, "Chiara", tenant="2")
    with OpenStream(first) as kept, OpenStream(second) as ended:
        kept.until("snapshot")
        with OpenStream(other) as stream:
            stream.until("snapshot")
            assert ended.rest()[-1].retry
        assert second.heartbeat().status_code == 200
        assert kept.until("join").data["viewer"]["id"] == 43


def test_records_that_are_forbidden_are_named_and_the_others_streamed(app):
    reader = Person(app, records=["flow:12"])
    with OpenStream(reader, "record=flow:12&record=flow:13&record=order:1") as stream:
        retry, forbidden, snapshot = stream.next()

    assert retry.retry
    assert (forbidden.event, forbidden.data) == ("forbidden", {"records": ["flow:13", "order:1"]})
    assert snapshot.data["record"] == "flow:12"
    failure_of(reader.call("GET", "events?record=flow:13"), 403)


def test_other_methods_are_405(alice):
    failure_of(alice.call("POST", "events?record=flow:12", json={}), 405)


def streams(app):
    return app.extensions["presence"].broadcast.counts()["streams"]


def test_head_opens_no_stream(app, alice):
    response = alice.call("HEAD", "events?record=flow:12")

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert streams(app) == 0


def test_stream_of_a_reader_who_left_before_the_first_byte_is_closed(app, alice):
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
    with OpenStream(bob) as stream, OpenStream(alice) as own:
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
def test_signal_with_a_lone_surrogate_ends_no_stream(alice, bob, data):
    bob.heartbeat(tab_id="t2")
    alice.heartbeat()
    with OpenStream(bob) as stream:
        stream.until("snapshot")
        send(alice, data=data)
        first = stream.until("signal")
        send(alice, data="whole")

        assert "?" in str(first.data["data"])
        assert stream.until("signal").data["data"] == "whole"


def test_deeply_nested_signal_is_refused_without_an_error_of_ours(alice):
    alice.heartbeat()
    statuses = set()
    for depth in range(513, 1100):
        text = '{"tab_id":"t1","kind":"typing","data":' + "[" * depth + "]" * depth + "}"
        statuses.add(
            alice.call("POST", "flow/12/signal", data=text, content_type="application/json").status_code
        )

    assert statuses == {400, 422}


@pytest.mark.parametrize(("size", "is_taken"), [(1022, True), (1023, False)])
def test_data_of_a_signal_may_have_1_kib(alice, size, is_taken):
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


def test_save_reaches_every_stream_even_those_of_its_user(alice, bob):
    alice.heartbeat(mode="edit")
    bob.heartbeat(tab_id="t2", mode="edit")
    with OpenStream(alice) as own, OpenStream(bob) as stream:
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


def test_save_reported_by_a_server_has_no_tab(app, alice):
    alice.heartbeat(mode="edit")
    with OpenStream(alice) as stream:
        stream.until("snapshot")
        Person(app, "crm", "CRM", role="service").saved(tab_id=None, user={"id": "u-7", "name": "Zoë"})
        data = stream.until("saved").data

    assert (data["tab_id"], data["user"]) == (None, {"id": "u-7", "name": "Zoë"})


def test_save_reported_twice_is_one_event(alice, bob):
    alice.heartbeat(mode="edit")
    bob.heartbeat(tab_id="t2", mode="edit")
    with OpenStream(bob) as stream:
        stream.until("snapshot")
        for lock_version in (8, 8, 9):
            alice.saved(lock_version=lock_version)
        versions = []
        while 9 not in versions:
            messages = stream.next()
            versions += [message.data["lock_version"] for message in messages if message.event == "saved"]

    assert versions == [8, 9]


def test_event_has_all_claims_after_each_claim_takeover_and_release(alice, bob):
    alice.heartbeat(mode="edit")
    bob.heartbeat(tab_id="t2", mode="edit")
    with OpenStream(bob) as stream:
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
def test_end_of_a_claim_with_its_tab_is_an_event(alice, bob, others_stay):
    alice.heartbeat(mode="edit")
    if others_stay:
        bob.heartbeat(tab_id="t2", mode="edit")
    alice.claim("title")
    with OpenStream(bob) as stream:
        assert list(stream.until("snapshot").data["claims"]) == ["title"]
        alice.unregister()

        assert stream.until("claims").data["claims"] == {}
    with OpenStream(bob) as stream:
        assert "claims" not in stream.until("snapshot").data


def test_snapshot_has_the_current_saves_and_claims(alice, bob):
    alice.heartbeat(mode="edit")
    alice.saved(lock_version=8)
    claim = data_of(alice.claim("title"))["claim"]
    with OpenStream(bob) as stream:
        snapshot = stream.until("snapshot").data
        alice.saved(lock_version=9)
        stream.until("saved")
        with OpenStream(bob) as later:
            again = later.until("snapshot").data

    assert [save["lock_version"] for save in snapshot["saved"]] == [8]
    assert [save["lock_version"] for save in again["saved"]] == [8, 9]
    assert snapshot["claims"] == again["claims"] == {"title": claim}


def test_record_that_became_empty_remembers_no_saves_and_claims(alice, bob):
    with OpenStream(bob) as stream:
        stream.until("snapshot")
        alice.heartbeat(mode="edit")
        alice.saved()
        stream.until("saved")
        alice.unregister()
        stream.until("leave")
        alice.heartbeat(mode="edit")
        stream.until("join")
        with OpenStream(bob) as later:
            assert set(later.until("snapshot").data) == {"record", "viewers", "total", "version"}


def test_evicted_tab_leaves_with_that_reason(app, alice, bob):
    alice.heartbeat(mode="edit")
    with OpenStream(bob) as stream:
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
        self.readers = []

    def open(self, user=99, query="record=flow:12", **headers):
        self.readers.append(StreamReader(self.server.url, token(user, f"User {user}"), query, **headers))
        return self.readers[-1]

    def open_until_accepted(self):
        """Reconnect until a process accepts the stream; one that is stopping answers 503."""
        deadline = time.monotonic() + 30
        while True:
            reader = self.open()
            reader.wait_for(lambda reader: reader.is_over or reader.events())
            if reader.events() and not reader.is_over:
                return reader
            assert reader.status in (200, 503)
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def change(self, record="flow/12"):
        """Let user 42 make a change that every stream shows."""
        self.beats += 1
        body = {"tab_id": "t1", "mode": "edit", "dirty": False, "active_field": f"f{self.beats}"}
        return self.server.call("POST", f"{record}/heartbeat", json=body)

    def gauge(self):
        text = requests.get(f"{self.server.url}/metrics", timeout=20).text
        return sum(float(value) for value in re.findall(r"^presence_streams(?:\{.*\})? (\S+)$", text, re.M))

    def workers(self):
        children = f"/proc/{self.server._process.pid}/task/{self.server._process.pid}/children"
        return [int(pid) for pid in Path(children).read_text().split()]

    def wait_until(self, is_true, seconds=30.0):
        deadline = time.monotonic() + seconds
        while not is_true():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def close(self):
        for reader in self.readers:
            reader.close()
        self.server.close()
        self.redis.close()


def connections_of(pid):
    """How many TCP connections a process has accepted. It reaches Redis over a Unix socket."""
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
    """The service, with the streams of earlier tests closed."""
    for reader in running.readers:
        reader.close()
    running.readers.clear()

    def is_quiet():
        running.change()
        running.change("flow/1")
        return running.gauge() == 0

    running.wait_until(is_quiet)
    return running


def test_streams_of_all_processes_get_the_events(service):
    readers = [service.open() for _ in range(6)]
    for reader in readers:
        reader.wait_for_event("snapshot")
        assert reader.status == 200
        assert reader.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reader.headers["x-accel-buffering"] == "no"
        assert reader.headers["cache-control"] == "no-store"
    service.change()
    for reader in readers:
        assert reader.wait_for_event("update").data["viewer"]["id"] == 42
    with service.redis.client() as client:
        assert len(client.client_list(_type="pubsub")) <= 2


@pytest.mark.measured  # to open a stream may take so long
def test_two_hundred_streams_that_open_at_once_all_get_the_events(service):
    readers = [
        service.open(user=100 + number, query=f"record=flow:12&record=flow:s{number}")
        for number in range(200)
    ]
    for reader in readers:
        reader.wait_for_event("snapshot", 2)
    assert service.gauge() == 200
    service.change()
    service.server.heartbeat("t7", user=7, record="flow/s7")
    for reader in readers:
        reader.wait_for_event("update")
    readers[7].wait_for_event("join")
    assert not [entry for entry in service.server.entries() if "lost" in entry["message"]]


def test_readers_who_left_are_no_longer_counted(service):
    readers = [service.open() for _ in range(10)]
    for reader in readers:
        reader.wait_for_event("snapshot")
    service.wait_until(lambda: service.gauge() == 10)
    for reader in readers[:9]:
        reader.close()

    def is_noticed():
        service.change()
        return service.gauge() == 1

    service.wait_until(is_noticed)


@pytest.mark.parametrize("query", ["record=flow:12", "record=nothing"])
def test_head_opens_no_stream_and_keeps_the_connection(service, query):
    with requests.Session() as session:
        headers = {"Authorization": f"Bearer {token()}"}
        for method in ("HEAD", "HEAD"):
            answer = session.request(
                method, f"{service.server.url}/api/v1/presence/events?{query}", headers=headers, timeout=20
            )
            assert answer.status_code == (200 if "flow" in query else 422)
    assert service.gauge() == 0


def test_reader_who_leaves_at_once_is_noticed_though_nothing_happens(service):
    for number in range(5):
        reader = service.open(query=f"record=flow:quiet{number}")
        reader.wait_for_event("snapshot")
        reader.close()
    kept = service.open(query="record=flow:quiet0")
    kept.wait_for_event("snapshot")

    # Without a change; the first comment would come after 15 s, and fail at the second only.
    service.wait_until(lambda: service.gauge() == 1)
    assert not kept.is_over


@pytest.mark.measured
def test_slow_readers_do_not_delay_the_others(service):
    stuck = [service.open() for _ in range(5)]  # these are never read
    reader = service.open()
    reader.wait_for_event("snapshot")
    started = time.monotonic()
    for _ in range(10):
        assert service.change().status_code == 200
    reader.wait_for(lambda reader: len(reader.events()) > 2)

    assert time.monotonic() - started < 3
    del stuck


def test_signal_crosses_processes(service):
    readers = [service.open() for _ in range(6)]
    for reader in readers:
        reader.wait_for_event("snapshot")
    service.change()
    body = {"tab_id": "t1", "kind": "typing", "data": {"field": "title"}}
    answer = service.server.call("POST", "flow/12/signal", json=body)
    assert answer.json()["data"] == {"relayed": True}
    for reader in readers:
        assert reader.wait_for_event("signal").data["data"] == {"field": "title"}


def test_readers_of_a_killed_worker_reconnect_to_another(service):
    readers = [service.open() for _ in range(12)]
    for reader in readers:
        reader.wait_for_event("snapshot")
    # Whichever process accepts first gets a stream, and one may have got all of them.
    [worker, *_] = [pid for pid in service.workers() if connections_of(pid) > 1]
    os.kill(worker, signal.SIGKILL)
    service.wait_until(lambda: worker not in service.workers())  # then all its connections are closed

    def cut():
        for reader in readers:
            reader.read()
        return any(reader.is_over for reader in readers)

    service.wait_until(cut)
    cut()
    lost = [reader for reader in readers if reader.is_over]
    kept = [reader for reader in readers if not reader.is_over]
    again = [service.open(Last_Event_ID=reader.messages[-1].id) for reader in lost]
    service.change()
    for reader in again:
        reader.wait_for(lambda reader: reader.status == 200 and reader.events())
    for reader in kept:
        reader.wait_for_event("update")
    service.wait_until(lambda: service.gauge() == len(again) + len(kept))


def test_reload_ends_the_streams_and_new_processes_serve_them(service):
    readers = [service.open() for _ in range(8)]
    for reader in readers:
        reader.wait_for_event("snapshot")
    old, logged = set(service.workers()), len(service.server.entries())
    os.kill(service.server._process.pid, signal.SIGHUP)
    for reader in readers:
        reader.wait_for(lambda reader: reader.is_over)
        assert reader.messages[-1].retry
    again = [service.open_until_accepted() for _ in readers]
    service.wait_until(lambda: not old & set(service.workers()))
    for reader in again:
        reader.read()  # some may have reached the old process once more, before it stopped
    again = [service.open_until_accepted() if reader.is_over else reader for reader in again]
    entries = service.server.entries()[logged:]
    assert not [entry for entry in entries if entry["level"] in ("error", "critical")]
    service.change()
    for reader in again:
        reader.wait_for_event("update")


def test_streams_end_when_redis_is_killed_and_work_again_afterwards(service):
    readers = [service.open() for _ in range(4)]
    for reader in readers:
        reader.wait_for_event("snapshot")
    service.redis.kill()
    for reader in readers:
        reader.wait_for(lambda reader: reader.is_over)
    answers = service.open()
    answers.wait_for(lambda reader: reader.body.endswith(b"}"))
    assert answers.status == 503
    assert json.loads(answers.body)["success"] is False
    # Requests that need no Redis are answered.
    assert requests.get(f"{service.server.url}/health/live", timeout=20).status_code == 200
    service.redis.start()

    reader = service.open_until_accepted()
    service.change()
    # User 42 was shown before, and is kept for a grace period instead of joining again.
    field = f'"f{service.beats}"'
    reader.wait_for(lambda reader: field in json.dumps([message.data for message in reader.messages]))


def test_terminated_server_ends_its_streams_first(service):
    """Must be the last test on this server."""
    readers = [service.open() for _ in range(4)]
    for reader in readers:
        reader.wait_for_event("snapshot")
    os.kill(service.server._process.pid, signal.SIGTERM)
    for reader in readers:
        reader.wait_for(lambda reader: reader.is_over)
        assert reader.messages[-1].retry
        reader.close()
    assert service.server._process.wait(60) == 0

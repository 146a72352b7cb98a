"""The main path on each server that can be had here; `make test-servers` runs far more tests on each."""

import re
from dataclasses import replace

import pytest

from record_presence import create_app
from record_presence.cli.doctor import _server_version
from record_presence.presence.records import Record
from record_presence.redis_client.client import connect
from tests.api.client import SETTINGS, Person
from tests.deploy.test_redis_rights import GuardedServer
from tests.presence.streaming.screen import open_page
from tests.redis_binary import MISSING, SERVERS, version_of
from tests.redis_server import RedisServer

RECORD = Record("1", "flow", "12")


@pytest.fixture(scope="module", params=SERVERS)
def binary(request):
    found = SERVERS[request.param]()
    if found is None:
        pytest.skip(MISSING[request.param])
    return found


@pytest.fixture(scope="module")
def server(binary):
    server = RedisServer(binary=binary)
    yield server
    server.close()


def application(url):
    return create_app(replace(SETTINGS, demo=False, redis_url=url), redis=connect(url))


@pytest.fixture
def app(server):
    with server.client() as client:
        client.flushall()
    app = application(f"unix://{server.socket}")
    yield app
    app.extensions["presence"].broadcast.close()


@pytest.fixture
def alice(app):
    return Person(app, 42, "Alice")


@pytest.fixture
def bob(app):
    return Person(app, 43, "Bob")


def shown(person):
    return [viewer["id"] for viewer in person.viewers().json["data"]["viewers"]]


def test_users_come_edit_save_and_leave(alice, bob):
    assert alice.heartbeat(mode="edit").status_code == 200
    assert bob.heartbeat(tab_id="t2", mode="edit").status_code == 200
    assert (shown(alice), shown(bob)) == ([43], [42])
    assert alice.claim("title").json["data"]["claimed"]
    assert not bob.claim("title", tab_id="t2").json["data"]["claimed"]
    assert alice.saved(lock_version=8, fields=["title"]).status_code == 200
    assert alice.unregister().status_code == 200
    assert shown(bob) == []
    assert 8 in [entry.get("lock_version") for entry in bob.timeline().json["data"]["entries"]]


def test_stream_tells_who_comes_and_leaves(app, alice):
    page = open_page(app.extensions["presence"].broadcast, [RECORD])

    alice.heartbeat()
    page.waits_for(RECORD, [42])
    alice.unregister()
    page.waits_for(RECORD, [])


def assert_is_called_again(answer):
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1


def test_full_server_is_503_with_retry_after_and_lets_tabs_leave(server, alice):
    alice.heartbeat(mode="edit")
    with server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            assert_is_called_again(alice.heartbeat(tab_id="t2"))
            assert_is_called_again(alice.claim())
            assert alice.unregister().status_code == 200
        finally:
            client.config_set("maxmemory", 0)


def test_replica_is_503_with_retry_after(server, alice):
    alice.heartbeat(mode="edit")
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
        try:
            for call in (alice.heartbeat, alice.claim, alice.saved, alice.unregister):
                assert_is_called_again(call())
        finally:
            client.replicaof("NO", "ONE")
    assert alice.heartbeat().status_code == 200


def test_acl_file_grants_all_that_is_asked(binary, tmp_path):
    guarded = GuardedServer(tmp_path, binary=binary)
    app = application(guarded.url)
    try:
        alice = Person(app, 42, "Alice")
        page = open_page(app.extensions["presence"].broadcast, [RECORD])
        assert alice.heartbeat(mode="edit").status_code == 200
        assert alice.claim().status_code == 200
        page.waits_for(RECORD, [42])
        with guarded.client() as operator:
            assert operator.execute_command("ACL", "LOG") == []
    finally:
        app.extensions["presence"].broadcast.close()
        guarded.close()


def test_doctor_names_the_server_and_its_version(binary, server):
    with server.client() as client:
        name, version = _server_version(client.info("server"))

    assert (name, tuple(map(int, re.findall(r"\d+", version)[:2]))) == version_of(binary)

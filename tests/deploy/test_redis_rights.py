"""The service with no more rights in Redis than app/deploy/redis-users.acl gives it."""

import hashlib
import logging
import re
import threading
from dataclasses import replace
from pathlib import Path

import fakeredis
import pytest
import redis as redis_py

from record_presence import create_app
from record_presence.redis_client.client import connect
from tests.api.client import SETTINGS
from tests.gunicorn_server import ROOT, GunicornServer
from tests.redis_binary import is_before_redis_7, redis_binary
from tests.redis_cluster import RedisCluster
from tests.redis_server import RedisServer
from tests.security.routes import CASES, Visitor
from tests.waiting import wait_until

FILE = ROOT / "app/deploy/redis-users.acl"
PASSWORD = "the service's own, p@ss:word/in?Redis"
IN_URL = "record-presence:the%20service%27s%20own%2C%20p%40ss%3Aword%2Fin%3FRedis"
# What redis-py sends of its own accord: to log in, to subscribe and, to a Cluster, to find its way.
BESIDE_SCRIPTS = {
    *("auth", "hello", "ping", "select", "asking", "command", "cluster|slots"),
    *("eval", "evalsha", "publish", "subscribe", "unsubscribe"),
}
DEPLOY = ROOT / "app/deploy/README.md"
CLUSTER_RIGHTS = "+spublish +ssubscribe +sunsubscribe"
needs_sharded_pubsub = pytest.mark.skipif(
    is_before_redis_7(redis_binary()), reason="this server has no sharded pub/sub"
)


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def filled_in():
    """The file as an operator has filled it in; the operator has no password here, and no name."""
    text = FILE.read_text()
    text = text.replace("#PUT_HERE_THE_SHA256_OF_THE_SERVICES_PASSWORD", f"#{sha256(PASSWORD)}")
    return text.replace("#PUT_HERE_THE_SHA256_OF_THE_OPERATORS_PASSWORD", f"#{sha256('operator')}")


def rules():
    """What the service's user may do, word for word."""
    [line] = [line for line in filled_in().splitlines() if line.startswith("user record-presence ")]
    return line.split()[2:]


class GuardedServer(RedisServer):
    """A Redis whose users are those of the file."""

    def __init__(self, tmp_path, **options):
        (tmp_path / "users.acl").write_text(filled_in())
        super().__init__("--aclfile", str(tmp_path / "users.acl"), **options)

    def client(self, **options):
        return super().client(**{"username": "operator", "password": "operator", **options})

    @property
    def url(self):
        return f"unix://{IN_URL}@{self.socket}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    server = GuardedServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture
def operator(guarded):
    with guarded.client() as client:
        client.flushall()
        client.execute_command("ACL", "LOG", "RESET")
        yield client


@pytest.fixture
def make_app():
    apps = []

    def make(redis):
        apps.append(create_app(replace(SETTINGS, database_url="sqlite://"), redis=redis))
        return apps[-1]

    yield make
    for app in apps:
        app.extensions["presence"].broadcast.close()


def statuses(app):
    visitor = Visitor(app, "1", role="operator")
    app.test_client().get("/health/ready")
    return {endpoint: status for endpoint, (status, _) in visitor.visit().items()}


def test_every_call_works_with_these_rights_and_asks_for_no_others(make_app, guarded, operator):
    anywhere = statuses(make_app(fakeredis.FakeRedis(server=fakeredis.FakeServer())))

    assert statuses(make_app(connect(guarded.url))) == anywhere
    assert operator.execute_command("ACL", "LOG") == []


def test_server_with_streams_works_with_these_rights(guarded, operator):
    server = GunicornServer(REDIS_URL=guarded.url, WEB_CONCURRENCY="1")
    try:
        stream = server.call("GET", "events", params={"record": "flow:12"}, stream=True)
        lines = stream.iter_lines(decode_unicode=True)
        assert server.heartbeat("t1", user=43).status_code == 200
        assert server.call("DELETE", "flow/12/unregister", user=43, json={"tab_id": "t1"}).ok
        heard = [line for line in iter(lambda: next(lines), "event: leave") if line.startswith("event")]
        stream.close()
        assert "event: join" in heard
        assert PASSWORD not in "\n".join(server.logs())
    finally:
        server.close()
    assert operator.execute_command("ACL", "LOG") == []


def answers_on_a_cluster(make_app, *more_rules):
    """Of all calls; whether it publishes by SPUBLISH in the end; and what was denied."""
    cluster = RedisCluster()
    try:
        for port in cluster.ports:
            cluster.client(port).execute_command("ACL", "SETUSER", "record-presence", *rules(), *more_rules)
        app = make_app(connect(cluster.url.replace("://", f"://{IN_URL}@")))
        statuses(app)  # it finds out after its first call
        wait_until(lambda: "presence-explorer" not in {thread.name for thread in threading.enumerate()})
        answers = set(statuses(app).values())
        denied = [cluster.client(port).execute_command("ACL", "LOG") for port in cluster.ports]
        return answers, app.extensions["presence"].scripts.publishes_sharded, denied
    finally:
        cluster.close()


def test_cluster_works_with_these_rights(make_app):
    answers, _, denied = answers_on_a_cluster(make_app)

    assert answers <= {200, 403}
    # Found out by trying.
    assert {entry["object"] for of_node in denied for entry in of_node} <= {"ssubscribe"}


@needs_sharded_pubsub
def test_cluster_with_the_rights_to_sharded_pubsub_uses_it_and_asks_for_no_others(make_app):
    assert CLUSTER_RIGHTS in DEPLOY.read_text()

    answers, publishes_sharded, denied = answers_on_a_cluster(make_app, *CLUSTER_RIGHTS.split())

    assert answers <= {200, 403}
    assert publishes_sharded
    assert denied == [[], [], []]


def test_rights_are_those_that_the_scripts_need_and_no_more():
    text = "\n".join(path.read_text() for path in Path(ROOT, "lua").rglob("*.lua"))
    called = {name.lower() for name in re.findall(r'redis\.p?call\(\s*"(\w+)"', text)}
    granted = {rule[1:] for rule in rules() if rule.startswith("+")}

    assert granted == called | BESIDE_SCRIPTS, "change app/deploy/redis-users.acl with the scripts"


@pytest.mark.parametrize(
    "command",
    [
        *("KEYS *", "SCAN 0", "RANDOMKEY", "DBSIZE", "FLUSHALL", "FLUSHDB", "CONFIG GET *", "DEBUG JMAP"),
        *("CLIENT LIST", "CLIENT KILL TYPE normal", "MONITOR", "SHUTDOWN", "SAVE", "ACL LIST", "INFO"),
        *("SCRIPT FLUSH", "FUNCTION LIST", "REPLICAOF NO ONE", "MODULE LIST", "PSUBSCRIBE *"),
        *("GET secret", "SET secret 1", "GET other:tenant_1_record_presence:flow:1", "DEL secret"),
        *("GET tenant_1_secret", "GET {tenant_1_secret}:tenant_1_record_presence:flow:1"),
        *("PUBLISH secret 1", "SUBSCRIBE secret", "SUBSCRIBE tenant_1_secret"),
        *("HSET tenant_1_presence_ready a 1", "MIGRATE h 1 key 0 1", "SORT tenant_1_record_presence:flow:1"),
        *("EVAL return(redis.call('HGETALL','secret')) 0", "EVAL return(redis.call('KEYS','*')) 0"),
        *("EVAL return(redis.call('PUBLISH','secret','x')) 0", "EVAL return(redis.call('FLUSHALL')) 0"),
    ],
)
@pytest.mark.usefixtures("operator")
def test_whoever_has_the_services_password_can_not_do_more(guarded, command):
    with guarded.client(username="record-presence", password=PASSWORD) as client:
        with pytest.raises(redis_py.ResponseError) as refusal:
            client.execute_command(*command.split())

        # The last: FUNCTION on Redis 6.2
        assert re.search("permission|user executing the script can't|unknown command", str(refusal.value))


def test_password_that_is_wrong_or_none_is_503_and_not_told(make_app, guarded, caplog):
    for url in (f"unix://record-presence:hunter2@{guarded.socket}", f"unix://{guarded.socket}"):
        answer = make_app(connect(url)).test_client().get("/health/ready")

        assert answer.status_code == 503
        assert "hunter2" not in answer.text + caplog.text


def test_right_that_is_missing_is_in_the_log_and_not_in_the_answer(make_app, guarded, operator, caplog):
    logging.getLogger("presence").propagate = True
    app = make_app(connect(guarded.url))
    beat = CASES["record_presence.heartbeat"]
    try:
        operator.execute_command("ACL", "SETUSER", "record-presence", "-evalsha")
        status, _ = Visitor(app, "1").answer(beat)
        operator.execute_command("ACL", "SETUSER", "record-presence", "+evalsha", "-zadd")
        status_inside, text = Visitor(app, "1").answer(beat)
    finally:
        operator.execute_command("ACL", "LOAD")
        logging.getLogger("presence").propagate = False

    assert (status, status_inside) == (503, 500)
    assert "evalsha" in str([vars(record) for record in caplog.records if record.levelname == "WARNING"])
    assert re.search("can't run this command|has no permissions to run", caplog.text)  # Redis, Valkey
    assert re.search(r"\blua/(lib/)?\w+\.lua:\d+", caplog.text)
    assert "lua" not in text


def test_file_is_of_no_use_until_passwords_are_put_in(tmp_path):
    (tmp_path / "users.acl").write_text(FILE.read_text())

    with pytest.raises(RuntimeError, match="did not start"):
        RedisServer("--aclfile", str(tmp_path / "users.acl"))

"""Health and metrics: what operators and their machines ask."""

import fakeredis
import pytest

from record_presence import create_app
from record_presence.api import extension, pacing
from record_presence.redis_client.client import connect
from tests.api.client import SETTINGS, Person, data_of, failure_of
from tests.api.test_pacing import Clock
from tests.waiting import wait_until


def counted(app, sample):
    """The value of one sample; 0 before it is first counted."""
    # Rendered anew, as where nobody asked before: on a busy machine, a second answer may be the first again.
    app.extensions["record_presence"]._metrics.text = b""
    lines = app.test_client().get("/metrics").text.splitlines()
    values = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{sample} ")]
    return float(values[0]) if values else 0.0


def script(name, outcome):
    return f'presence_script_seconds_count{{outcome="{outcome}",script="{name}"}}'


def request(endpoint, status):
    return f'presence_request_seconds_count{{endpoint="{endpoint}",status="{status}"}}'


def counts_of(app, call, *samples):
    before = [counted(app, sample) for sample in samples]
    call()
    return [counted(app, sample) - count for sample, count in zip(samples, before, strict=True)]


def test_ready_asks_redis_for_a_write(app, redis):
    assert data_of(app.test_client().get("/health/ready")) == {"ready": True}


def test_live_says_that_the_process_answers_and_ready_that_redis_is_away():
    client = create_app(SETTINGS, redis=connect("redis://127.0.0.1:1")).test_client()

    assert data_of(client.get("/health/live")) == {"live": True}
    failure_of(client.get("/health/ready"), 503)


@pytest.mark.measured
def test_ready_writes_to_redis_at_most_once_a_second(app, monkeypatch):
    client = app.test_client()
    sample = script("ready", "OK")

    assert counts_of(app, lambda: [client.get("/health/ready") for _ in range(5)], sample) == [1]
    monkeypatch.setattr(extension, "MIN_CHECK_INTERVAL_SECONDS", 0)
    app.extensions["presence"]._readiness.check_again_at = 0
    assert counts_of(app, lambda: [client.get("/health/ready") for _ in range(5)], sample) == [5]


@pytest.mark.measured
def test_redis_that_comes_and_goes_is_noticed_within_a_second(redis_server):
    with redis_server.client() as real_redis:
        client = create_app(SETTINGS, redis=real_redis).test_client()
        data_of(client.get("/health/ready"))
        real_redis.config_set("maxmemory", 1)
        try:
            wait_until(lambda: client.get("/health/ready").status_code == 503, seconds=2)
            failure_of(client.get("/health/ready"), 503)
        finally:
            real_redis.config_set("maxmemory", 0)
        wait_until(lambda: client.get("/health/ready").status_code == 200, seconds=2)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/api/docs"])
def test_operators_need_no_identity_and_are_not_throttled(app, redis, path):
    client = app.test_client()

    assert all(client.get(path).status_code == 200 for _ in range(3))
    assert not list(redis.scan_iter("*_presence_calls:*"))


def test_heartbeats_and_their_time_are_counted(app, alice):
    samples = (script("heartbeat", "OK"), request("presence.heartbeat", 200))

    assert counts_of(app, alice.heartbeat, *samples) == [1, 1]
    assert counted(app, 'presence_script_seconds_sum{outcome="OK",script="heartbeat"}') > 0


def test_calls_are_counted_by_their_status(app, alice, bob):
    alice.heartbeat()
    samples = (script("heartbeat", "TAB_TAKEN"), request("presence.heartbeat", 409))

    assert counts_of(app, bob.heartbeat, *samples) == [1, 1]
    assert counts_of(app, lambda: alice.viewers("Flow/1"), request("presence.viewers", 422)) == [1]


def test_every_record_of_a_batch_is_counted(app, alice):
    assert counts_of(app, lambda: alice.batch("flow:1", "flow:2"), script("viewers", "OK")) == [2]


def test_redis_that_is_away_is_counted():
    app = create_app(SETTINGS, redis=connect("redis://127.0.0.1:1"))

    assert counts_of(app, Person(app).heartbeat, script("heartbeat", "unavailable")) == [1]


def test_error_of_a_script_is_counted(app, alice, redis):
    redis.set("tenant_1_record_presence:flow:12", "no hash")

    assert counts_of(app, lambda: failure_of(alice.heartbeat(), 500), script("heartbeat", "fault")) == [1]


def test_metrics_tell_of_no_tenant_user_or_record():
    app = create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    Person(app, "u-secret", "N-secret", tenant="t-secret").heartbeat("r_secret/i-secret", tab_id="tab-secret")
    app.test_client().get("/api/v1/presence/p-secret")

    assert "secret" not in app.test_client().get("/metrics").text


def test_metrics_are_rendered_anew_unless_they_are_asked_for_all_the_time(app, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    monkeypatch.setattr(extension, "time", clock)
    rendered = []

    def render():
        rendered.append(clock.now)
        clock.now += 0.01
        return b"text"

    monkeypatch.setattr(extension, "exposition", render)
    for _ in range(100):
        assert app.test_client().get("/metrics").text == "text"
        clock.now += 0.01
    at_once = extension.METRICS_BURST_SECONDS / 0.01
    assert len(rendered) <= at_once + (rendered[-1] - rendered[0]) * extension.METRICS_SHARE / 0.01 + 2
    assert len(rendered) < 25

    clock.now += 5
    app.test_client().get("/metrics")
    assert rendered[-1] == pytest.approx(clock.now - 0.01)


def test_metrics_are_what_prometheus_reads(app):
    response = app.test_client().get("/metrics")

    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE presence_request_seconds histogram" in response.text
    assert "# TYPE presence_script_seconds histogram" in response.text

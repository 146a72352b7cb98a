"""Pages, files and metrics, which anybody may ask for, take turns; calls of presence don't wait for them."""

import fakeredis
import pytest

from record_presence import create_app
from record_presence.api import pacing
from record_presence.api.pacing import BURST_SECONDS, MAX_SHARE, MAX_WAIT_SECONDS, Pacer
from tests.api.client import SETTINGS, Person, data_of


class Clock:
    """Time that passes only while somebody sleeps or works."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def monotonic(self):
        return self.now

    perf_counter = monotonic

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    return clock


@pytest.fixture
def greenlets(monkeypatch):
    monkeypatch.setattr(pacing, "runs_greenlets", lambda: True)


def pacer(**options):
    return Pacer(**{"share": 0.25, "burst_seconds": 0.02, "max_wait_seconds": 1.0, **options})


def test_work_beyond_a_burst_is_spread_so_that_it_takes_its_share_of_the_time(clock):
    one = pacer()
    began = clock.now
    for _ in range(200):
        clock.sleep(one.reserve(0.004))

    assert 200 * 0.004 / (clock.now - began) == pytest.approx(0.25, rel=0.05)
    assert clock.slept[:2] == [0, 0]  # the burst


def test_turns_of_many_connections_at_once_come_one_after_the_other(clock):
    one = pacer(burst_seconds=0.0)
    assert [one.reserve(0.004) for _ in range(4)] == pytest.approx([0, 0.016, 0.032, 0.048])


def test_nobody_waits_longer_than_the_maximum_and_the_past_is_forgotten(clock):
    one = pacer()
    waits = [one.reserve(0.05) for _ in range(100)]

    assert max(waits) == pytest.approx(1.0)
    clock.now += 1.1
    assert one.reserve(0.05) == 0


def test_pages_of_a_flood_wait_for_their_turns_and_heartbeats_do_not(clock, greenlets):
    app = create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    client = app.test_client()

    @app.get("/slow")
    def slow():
        clock.now += 0.01
        return "done"

    began = clock.now
    for _ in range(100):
        assert client.get("/slow").text == "done"
    assert 100 * 0.01 / (clock.now - began) < MAX_SHARE * 1.2
    assert max(clock.slept) <= MAX_WAIT_SECONDS

    clock.slept.clear()
    data_of(Person(app).heartbeat())
    assert client.get("/health/live").status_code == 200  # probes have turns of their own
    assert clock.slept == []


def test_a_page_with_its_files_waits_for_nothing(clock, greenlets):
    app = create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    for _ in range(10):
        clock.now += BURST_SECONDS / 40
        app.test_client().get("/static/presence/presence.js").close()

    assert clock.slept == []


def test_threads_never_wait_for_a_turn(clock):
    app = create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))

    @app.get("/slow")
    def slow():
        clock.now += 0.01
        return "done"

    for _ in range(100):
        app.test_client().get("/slow")
    assert clock.slept == []

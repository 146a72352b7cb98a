"""The service, on a Redis and a database of its own."""

from dataclasses import replace

import fakeredis
import pytest

from record_presence import create_app
from tests.api.client import SETTINGS
from tests.presence.streaming.screen import running_broadcasts
from tests.waiting import wait_until


@pytest.fixture
def make_app(open_clients):
    apps, before = [], running_broadcasts()

    def make(redis=None, **changes):
        # The embedded one, with a server of its own, unless the test asks for another.
        redis = redis if redis is not None else fakeredis.FakeRedis(server=fakeredis.FakeServer())
        settings = replace(SETTINGS, database_url="sqlite://", **changes)
        apps.append(create_app(settings, redis=redis))
        return apps[-1]

    yield make
    for app in apps:
        app.extensions["presence"].broadcast.close()
    wait_until(lambda: running_broadcasts() <= before)  # they use the client until then

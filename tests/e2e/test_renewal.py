"""A page that renews its token, having kept the one before until its end; `make renewal` is the long form."""

import pytest

from tests.e2e.renewal import renew
from tests.e2e.server import Server


@pytest.fixture
def own_server(redis_server):
    """With leases that are longer than a token."""
    server = Server(redis_server, PRESENCE_TTL_SECONDS="30", PRESENCE_HEARTBEAT_SECONDS="10")
    yield server
    server.close()


def test_renewing_a_token_changes_nothing_that_anybody_sees(browser, own_server):
    seen = renew(browser, own_server, token_seconds=4, seconds=17)

    assert seen.noticed() == []
    assert seen.renewals >= 6

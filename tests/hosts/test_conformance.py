"""The same scenarios on the pages of every host, in Chromium."""

import pytest

from tests.hosts.conftest import chosen_hosts, chosen_scenarios, is_there
from tests.hosts.hosts import application_of
from tests.hosts.scenarios import applies, begun

HOSTS = chosen_hosts()


@pytest.fixture(scope="module", params=chosen_scenarios())
def scenario(request):
    return request.param


@pytest.fixture(scope="module")
def attempts(scenario, people, hosts):
    with begun(scenario, people, hosts) as attempts:
        yield attempts


@pytest.mark.parametrize("host", HOSTS, ids=str)
def test_presence_on_a_page_of(host, scenario, attempts, stage):
    if not is_there(host):
        pytest.skip(application_of(host).missing)
    if not applies(scenario, host):
        pytest.skip("no tokens: the session of the application is the proof")
    try:
        attempts[host].finish()
    except AssertionError as error:
        error.add_note(stage.log_of(host))
        raise

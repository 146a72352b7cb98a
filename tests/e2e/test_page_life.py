"""What browsers do to pages: hide, freeze, cache and restore them. By the bare protocol, see chromium.py."""

import pytest

from tests.e2e.chromium import Chromium
from tests.e2e.people import EDITORS
from tests.waiting import becomes, settles, stays, wait_until

both_editors = pytest.mark.parametrize("editor", EDITORS)

LABELS = "[...document.querySelectorAll('.title-people .presence-face')].map((face) => face.ariaLabel)"


@pytest.fixture(scope="module")
def shared_chromium():
    with Chromium() as browser:
        yield browser


@pytest.fixture
def chromium(shared_chromium):
    """A browser whose tabs are closed afterwards."""
    yield shared_chromium
    shared_chromium.close_tabs()


@pytest.mark.measured
@both_editors
def test_page_from_the_back_forward_cache_is_there_again_at_once(chromium, server, witness, flow_id, editor):
    tab = chromium.open(f"{server.url}{EDITORS[editor]}/{flow_id}?as=bob")
    wait_until(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"])
    before = set(witness.tabs(flow_id))
    tab.evaluate("window.kept = true; onpageshow = (event) => (window.persisted = event.persisted)")

    tab.go(f"{server.url}/sign-in")
    wait_until(lambda: witness.names(flow_id), lambda names: names == [], seconds=3)  # by a goodbye
    tab.go_back()

    wait_until(
        lambda: tab.evaluate("window.kept && window.persisted")
    )  # else the page was loaded anew, and this test is about nothing
    wait_until(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"], seconds=3)
    assert before.isdisjoint(witness.tabs(flow_id))
    with server.as_user(1, "Alice Moreau") as alice:

        def labels_while_she_stays():
            alice.beat(flow_id)
            return tab.evaluate(LABELS)

        wait_until(labels_while_she_stays, lambda labels: labels == ["Alice Moreau, viewing"])


@pytest.mark.measured
def test_tab_closed_by_its_x_says_goodbye(chromium, server, witness, flow_id):
    tab = chromium.open(f"{server.url}/flows/{flow_id}?as=bob")
    wait_until(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"])
    tab.close()
    wait_until(lambda: witness.names(flow_id), lambda names: names == [], seconds=3)


def test_hidden_tab_says_so_and_stays(chromium, server, witness, flow_id):
    tab = chromium.open(f"{server.url}/flows/{flow_id}?as=bob")
    wait_until(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"])

    chromium.open("about:blank")
    becomes(lambda: tab.evaluate("document.visibilityState"), "hidden")
    stays(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"], seconds=6)


def test_hidden_tab_stays_while_the_browser_wakes_its_timers_once_a_minute(server, witness, flow_id):
    """Chromium begins that after five minutes; told to, sooner. A clock in the page shows that it has."""
    with Chromium("--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1") as chromium:
        tab = chromium.open(f"{server.url}/flows/{flow_id}?as=bob")
        wait_until(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"])
        tab.evaluate("(function tick() { window.ticked = Date.now(); setTimeout(tick, 1000); })(); 'a clock'")
        chromium.open("about:blank")

        def silence_ms() -> float:
            assert witness.names(flow_id) == ["Bob Tanaka"]
            return tab.evaluate("Date.now() - ticked")

        # Two leases long: the page's own timers would have lost the tab.
        wait_until(silence_ms, lambda ms: ms > 11_000, seconds=90)


def test_frozen_page_is_gone_when_its_lease_ends_and_back_when_it_thaws(chromium, server, witness, flow_id):
    tab = chromium.open(f"{server.url}/flows/{flow_id}?as=bob")
    wait_until(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"])
    chromium.open("about:blank")

    tab.set_lifecycle("frozen")
    wait_until(lambda: witness.names(flow_id), lambda names: names == [])
    tab.set_lifecycle("active")
    wait_until(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"])


@pytest.mark.measured
def test_frozen_tab_that_is_thawed_to_be_closed_leaves_no_ghost(chromium, server, witness, flow_id):
    tab = chromium.open(f"{server.url}/flows/{flow_id}?as=bob")
    for _ in range(2):
        wait_until(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"])
        chromium.open("about:blank")
        tab.set_lifecycle("frozen")
        wait_until(lambda: witness.names(flow_id), lambda names: names == [])
        tab.set_lifecycle("active")
        tab.close()
        # On a busy machine it may have been there between the two; not for a lease.
        settles(lambda: witness.names(flow_id), lambda names: names == [], seconds=3)
        tab = chromium.open(f"{server.url}/flows/{flow_id}?as=bob")


@pytest.mark.measured
def test_tab_closed_in_the_middle_of_a_change_leaves_no_ghost(chromium, server, witness, flow_id):
    """The beat of the change is under way when the goodbye follows it, on another connection."""
    for _ in range(3):
        tab = chromium.open(f"{server.url}/flows/{flow_id}?as=bob")
        wait_until(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"])
        tab.evaluate("document.getElementById('steps').focus()")
        tab.close()
        settles(lambda: witness.names(flow_id), lambda names: names == [], seconds=3)

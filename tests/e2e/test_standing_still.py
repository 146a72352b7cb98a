"""A page whose script stands still, for longer than a lease, is open all the same: its worker says so."""

import pytest

from tests.e2e.chromium import ARGUMENTS, PAGES_CHROMIUM
from tests.e2e.people import EDITORS
from tests.waiting import TIMEOUT_MS, settles, stays, wait_until

both_editors = pytest.mark.parametrize("editor", EDITORS)
LONGER_THAN_A_LEASE_SECONDS = 8


@pytest.fixture(scope="module")
def browser(chromium):
    """With a process for each tab: a dialog stops all tabs of its process."""
    browser = chromium.launch(executable_path=PAGES_CHROMIUM, args=ARGUMENTS, timeout=TIMEOUT_MS)
    yield browser
    browser.close()


def wait_for_its_worker(page):
    wait_until(lambda: page.tab.evaluate("'what time passes'") and page.tab.workers)


def open_dialog(page):
    """Gives the dialog, which stays open until its dismiss()."""
    with page.tab.expect_event("dialog") as opened:
        page.tab.evaluate("setTimeout(() => alert('Really?'), 0)")
    return opened.value


@pytest.mark.measured
@both_editors
def test_tab_with_an_open_dialog_stays(person, witness, flow_id, editor):
    bob = person("bob").edit(flow_id, editor=editor)
    wait_until(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"])
    before = set(witness.tabs(flow_id))
    wait_for_its_worker(bob)

    dialog = open_dialog(bob)
    stays(
        lambda: (witness.names(flow_id), set(witness.tabs(flow_id))),
        lambda seen: seen == (["Bob Tanaka"], before),
        seconds=LONGER_THAN_A_LEASE_SECONDS,
    )

    dialog.dismiss()
    bob.tab.close()
    settles(lambda: witness.names(flow_id), lambda names: names == [], seconds=3)


@pytest.mark.measured
def test_tab_whose_script_runs_too_long_stays(person, witness, flow_id):
    bob = person("bob").edit(flow_id)
    wait_until(lambda: witness.names(flow_id), lambda names: names == ["Bob Tanaka"])
    before = set(witness.tabs(flow_id))
    wait_for_its_worker(bob)

    bob.tab.evaluate("setTimeout(() => { const end = Date.now() + 8000; while (Date.now() < end); }, 0)")
    stays(
        lambda: (witness.names(flow_id), set(witness.tabs(flow_id))),
        lambda seen: seen == (["Bob Tanaka"], before),
        seconds=LONGER_THAN_A_LEASE_SECONDS + 3,
    )


def test_dialog_in_the_tab_that_leads_does_not_leave_the_other_deaf(person, flow_id):
    bob = person("bob")
    leading = bob.edit(flow_id)
    following = bob.edit(flow_id)
    dialog = open_dialog(leading)

    person("alice").edit(flow_id)
    wait_until(following.avatars, lambda seen: seen == ["Alice Moreau, viewing"])
    dialog.dismiss()

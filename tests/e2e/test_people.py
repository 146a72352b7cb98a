"""Who is seen by whom, in real browsers, with Alpine and with React."""

import pytest

from tests.e2e.chromium import Chromium
from tests.e2e.people import EDITORS, NAMES
from tests.e2e.server import Server
from tests.waiting import becomes, stays, wait_until

both_editors = pytest.mark.parametrize("editor", EDITORS)

# Notes every state of the page in which somebody is not drawn, in the row or in the panel.
WATCH = """name => {
  window.missed = [];
  const look = () => {
    const row = [...document.querySelectorAll('.title-people .presence-face')].map((face) => face.ariaLabel);
    const panel = [...document.querySelectorAll('.here-name')].map((who) => who.textContent);
    if (!row.some((label) => label.startsWith(name)) || !panel.includes(name))
      missed.push([Math.round(performance.now()), row, panel]);
  };
  look();
  new MutationObserver(look).observe(document.body, {
    subtree: true, childList: true, characterData: true, attributes: true });
}"""


def test_people_of_both_editors_see_each_other_and_not_themselves(person, flow_id):
    alice = person("alice").edit(flow_id, editor="alpine")
    bob = person("bob").edit(flow_id, editor="react")

    alice.wait_for_avatars("Bob Tanaka, viewing")
    bob.wait_for_avatars("Alice Moreau, viewing")
    becomes(alice.panel, ["Bob Tanaka: Viewing"])
    becomes(bob.panel, ["Alice Moreau: Viewing"])


@both_editors
def test_editing_field_and_unsaved_work_are_seen_and_taken_back(person, flow_id, editor):
    alice = person("alice").edit(flow_id)
    bob = person("bob").edit(flow_id, editor=editor)

    bob.tab.focus("#description")
    alice.wait_for_avatars("Bob Tanaka, editing description")
    wait_until(lambda: alice.in_field("description"), lambda names: names == ["Bob Tanaka"])

    before = bob.tab.input_value("#description")
    bob.tab.fill("#description", f"{before} More.")
    alice.wait_for_avatars("Bob Tanaka, editing description, unsaved changes")
    wait_until(alice.panel, lambda people: people == ["Bob Tanaka: Unsaved changes in description"])

    bob.tab.fill("#description", before)
    alice.wait_for_avatars("Bob Tanaka, editing description")

    bob.tab.locator("#description").blur()
    alice.wait_for_avatars("Bob Tanaka, viewing")
    wait_until(
        lambda: alice.in_field("description"), lambda names: names == []
    )  # typing is over a moment later


def test_text_typed_before_the_script_ran_is_seen_as_unsaved(person, server, flow_id):
    alice = person("alice").edit(flow_id)
    bob = person("bob")
    held = []
    bob._context.route("**/demo/dist/alpine.js", lambda route: held.append(route))
    tab = bob._context.new_page()
    tab.goto(f"{server.url}/flows/{flow_id}?as=bob", wait_until="commit")
    tab.fill("#description", "Typed before the script.")
    wait_until(lambda: tab.evaluate("true") and held)
    becomes(alice.avatars, [])

    held[0].continue_()
    alice.wait_for_avatars("Bob Tanaka, editing description, unsaved changes")
    wait_until(alice.panel, lambda people: people == ["Bob Tanaka: Unsaved changes in description"])


@pytest.mark.measured
def test_two_tabs_are_one_avatar_which_stays_until_the_last_is_closed(person, witness, flow_id):
    alice = person("alice").edit(flow_id)
    bob = person("bob")
    first, second = (bob.edit(flow_id, editor=editor) for editor in EDITORS)
    wait_until(alice.panel, lambda people: people == ["Bob Tanaka: Viewing · 2 tabs"])
    becomes(alice.avatars, ["Bob Tanaka, viewing"])

    first.tab.close()
    wait_until(alice.panel, lambda people: people == ["Bob Tanaka: Viewing"])
    stays(alice.avatars, lambda labels: labels == ["Bob Tanaka, viewing"], seconds=1)

    second.tab.close()
    wait_until(
        lambda: len(witness.tabs(flow_id)), lambda count: count == 1, seconds=3
    )  # by a goodbye, no lease
    alice.wait_for_avatars()
    wait_until(alice.panel, lambda people: people == [])


def test_duplicated_tab_is_a_tab_of_its_own(person, witness, flow_id):
    bob = person("bob").edit(flow_id)
    with bob.tab.expect_popup() as popup:  # with an opener: what sessionStorage holds is copied
        bob.tab.evaluate("window.open(location.href)")
    popup.value.wait_for_load_state()

    wait_until(lambda: len(witness.tabs(flow_id)), lambda count: count == 2)


@pytest.mark.measured  # who reloads is drawn for three seconds
def test_reload_does_not_make_anybody_flicker(person, flow_id):
    alice = person("alice")
    tabs = [alice.edit(flow_id, editor=editor) for editor in EDITORS]
    bob = person("bob").edit(flow_id)
    for page in tabs:
        page.wait_to_see("Bob Tanaka")
        wait_until(page.panel)
        page.tab.evaluate(WATCH, "Bob Tanaka")

    def missed():
        return [missed for page in tabs for missed in page.tab.evaluate("missed")]

    for _ in range(2):
        bob.tab.reload()
        bob.wait_for_presence()
        stays(missed, lambda missed: missed == [], seconds=1.5)


@pytest.mark.measured  # who reloads is drawn for three seconds
def test_reload_in_the_middle_of_a_long_heartbeat_does_not_make_anybody_flicker(
    person, redis_server, flow_id
):
    server = Server(redis_server, PRESENCE_HEARTBEAT_SECONDS="30", PRESENCE_TTL_SECONDS="90")
    try:
        alice = person("alice", at=server).edit(flow_id)
        bob = person("bob", at=server).edit(flow_id)
        alice.tab.evaluate("dispatchEvent(new Event('online'))")  # or she would see him 30 s later
        alice.wait_to_see("Bob Tanaka")
        alice.tab.evaluate(WATCH, "Bob Tanaka")

        bob.tab.goto("about:blank")
        # Her beat falls right between his goodbye and his return.
        alice.tab.evaluate("dispatchEvent(new Event('online'))")
        alice.tab.locator(".title-people [data-leaving]").wait_for()
        bob.tab.go_back()

        alice.tab.locator(".title-people :not([data-leaving]) > .presence-face").wait_for()
        assert alice.tab.evaluate("missed") == []
    finally:
        server.close()


@pytest.mark.measured
def test_colleague_sees_within_a_second_that_somebody_looks_away_and_back(person, server, flow_id):
    alice = person("alice").edit(flow_id)
    with Chromium() as chromium:
        bobs = chromium.open(f"{server.url}{EDITORS['react']}/{flow_id}?as=bob")
        alice.wait_for_avatars("Bob Tanaka, viewing")
        wait_until(lambda: bobs.evaluate("document.querySelector('.here-name')?.textContent"))

        other = chromium.open("about:blank")
        stays(alice.avatars, lambda labels: labels == ["Bob Tanaka, viewing"], seconds=0.5)
        bobs.bring_to_front()  # a glance at another tab is told to nobody
        stays(alice.avatars, lambda labels: labels == ["Bob Tanaka, viewing"], seconds=0.5)
        other.bring_to_front()
        (label,) = wait_until(alice.avatars, lambda labels: "away" in labels[0], seconds=3 + 1)
        assert label.startswith("Bob Tanaka, viewing, away since ")
        wait_until(alice.panel, lambda people: people[0].startswith("Bob Tanaka: Viewing · away since "))

        bobs.bring_to_front()
        wait_until(alice.avatars, lambda labels: labels == ["Bob Tanaka, viewing"], seconds=1)


@pytest.mark.measured
def test_killed_browser_is_gone_when_its_lease_ends(person, server, witness, flow_id):
    alice = person("alice").edit(flow_id)
    with Chromium() as bobs:
        bobs.open(f"{server.url}/flows/{flow_id}?as=bob")
        alice.wait_to_see("Bob Tanaka")
        bobs.kill()

        stays(lambda: witness.names(flow_id), lambda names: "Bob Tanaka" in names, seconds=2)
        wait_until(lambda: witness.names(flow_id), lambda names: names == ["Alice Moreau"], seconds=6)
        alice.wait_for_avatars()


def test_people_come_in_the_order_of_arrival_and_the_fourth_is_a_number(person, server, flow_id):
    alice = person("alice").edit(flow_id)

    def avatars_while_they_stay():
        for number, handle in enumerate(("dmitri", "bob", "layla", "chiara", "emeka")):
            with server.as_user(100 + number, NAMES[handle]) as somebody:
                somebody.beat(flow_id, handle)
        return alice.avatars()

    wait_until(avatars_while_they_stay, lambda labels: len(labels) == 4 and labels[3].startswith("2 more"))
    becomes(
        lambda: [label.partition(",")[0] for label in avatars_while_they_stay()[:3]],
        ["Dmitri Volkov", "Bob Tanaka", "ليلى حداد"],
    )
    becomes(lambda: avatars_while_they_stay()[3:], ["2 more: Chiara Rossi, viewing; Emeka Okafor, viewing"])
    becomes(lambda: avatars_while_they_stay() and len(alice.panel()), 5)


def test_list_shows_who_is_in_each_flow(person, flow_id):
    alice = person("alice").go("/")
    bob = person("bob").edit(flow_id)
    wait_until(lambda: alice.row(flow_id), lambda labels: labels == ["Bob Tanaka, viewing"])
    becomes(lambda: alice.row(flow_id % 6 + 1), [])

    bob.tab.fill("#name", "Another name")
    wait_until(
        lambda: alice.row(flow_id), lambda labels: labels == ["Bob Tanaka, editing name, unsaved changes"]
    )

    bob.tab.close()
    wait_until(lambda: alice.row(flow_id), lambda labels: labels == [])

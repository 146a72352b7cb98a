"""The service goes away and comes back, and nobody reloads a page."""

import pytest

from tests.e2e.people import EDITORS
from tests.e2e.server import Server
from tests.redis_server import RedisServer
from tests.waiting import becomes, wait_until

EMPTY_ICONS = """[...document.querySelectorAll('.icon')]
  .filter((icon) => icon.checkVisibility() && !icon.getBBox().width).map((icon) => icon.innerHTML)"""


@pytest.fixture
def own_redis():
    redis = RedisServer()
    yield redis
    redis.close()


@pytest.fixture
def own_server(own_redis):
    server = Server(own_redis)
    yield server
    server.close()


def test_restart_of_everything_heals_without_a_reload(person, own_redis, own_server):
    alice = person("alice", at=own_server).edit(1, editor="alpine")
    bob = person("bob", at=own_server).edit(1, editor="react")
    for page in (alice, bob):
        wait_until(page.avatars)
        page.tab.evaluate("window.isSamePage = true")

    own_server.kill()
    own_redis.kill()
    # Old, and said to be old; never "nobody". The list is confirmed for 11 s.
    wait_until(lambda: alice.tab.locator(".here-state").inner_text(), lambda text: "reconnect" in text)
    becomes(alice.avatars, ["Bob Tanaka, viewing"])
    becomes(bob.avatars, ["Alice Moreau, viewing"])
    for page in (alice, bob):
        page.tab.fill("#steps", "Typed while nobody answers")
        wait_until(page.save_state, lambda text: text == "Unsaved: 1 field")
        becomes(lambda page=page: page.tab.evaluate(EMPTY_ICONS), [])

    own_redis.start()
    own_server.start()
    for page in (alice, bob):
        wait_until(lambda page=page: page.tab.locator(".here-state").text_content(), lambda text: text == "")
        becomes(lambda page=page: len(page.avatars()), 1)
        assert page.tab.evaluate("isSamePage")
    bob.tab.focus("#name")
    alice.wait_for_avatars("Bob Tanaka, editing name, unsaved changes")


def test_lost_redis_is_told_in_the_list_and_forgotten_when_it_is_back(person, own_redis, own_server):
    overview = person("alice", at=own_server).go("/")
    state = overview.tab.locator("[data-list-state]")
    person("bob", at=own_server).edit(2)
    wait_until(lambda: overview.row(2), lambda labels: labels == ["Bob Tanaka, viewing"])

    own_redis.kill()
    wait_until(state.text_content, lambda text: text == "Can’t see who is here right now. Trying again.")
    becomes(lambda: overview.row(2), ["Bob Tanaka, viewing"])

    own_redis.start()
    wait_until(state.text_content, lambda text: text == "")
    wait_until(lambda: overview.row(2), lambda labels: labels == ["Bob Tanaka, viewing"])


@pytest.mark.parametrize(("editor", "way"), [("alpine", "signs out"), ("react", "becomes another")])
def test_person_who_is_somebody_else_by_now_is_told(person, server, flow_id, editor, way):
    alice = person("alice")
    tab = alice.go_by_cookie(f"{EDITORS[editor]}/{flow_id}").tab
    tab.locator(".here-list").wait_for(state="attached")
    other = alice.go_by_cookie("/").tab
    other.click("summary")
    if way == "signs out":
        other.click("text=Sign out")
        other.wait_for_url("**/sign-in")
    else:
        with other.expect_navigation():
            other.locator(".menu-sheet button[name=person]").first.click()
    with server.as_user(99, "Witness") as witness:
        tabs = set(witness.tabs(flow_id))

        tab.get_by_text("signed in as somebody else, or signed out").wait_for()
        assert set(witness.tabs(flow_id)) <= tabs  # nobody came in by the new identity
        tab.get_by_role("button", name="Reload").click()
        tab.locator(".here-state", has_text="Just you, for now.").wait_for()


@pytest.mark.measured
@pytest.mark.parametrize("editor", EDITORS)
def test_user_whom_others_no_longer_see_is_told_so_though_the_list_is_fresh(
    person, server, witness, flow_id, editor
):
    bob = person("bob")
    page = bob.edit(flow_id, editor=editor)
    with server.as_user(1, "Alice Moreau") as alice:
        becomes(lambda: alice.beat(flow_id) or page.avatars(), ["Alice Moreau, viewing"])
        note = page.tab.locator(".title-people .presence-note")
        protocol = bob.protocol(page)
        protocol.send("Network.enable")
        protocol.send("Network.setBlockedURLs", {"urls": ["*/heartbeat"]})

        def say() -> str:
            alice.beat(flow_id)
            return note.text_content()

        wait_until(say, lambda text: text == "Others can\u2019t see you", seconds=20)
        wait_until(lambda: witness.names(flow_id), lambda names: names == ["Alice Moreau"], seconds=3)
        becomes(page.avatars, ["Alice Moreau, viewing"])

        protocol.send("Network.setBlockedURLs", {"urls": []})
        wait_until(say, lambda text: text == "", seconds=20)
        wait_until(lambda: "Bob Tanaka" in witness.names(flow_id))

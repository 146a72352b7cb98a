"""Pages keep their shape: on a phone, with long names, in a crowd, from right to left, as one has set it.

Heartbeats are a minute apart here: a crowd that came once stays.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.axe import violations
from tests.e2e.people import COME_TO_REST, EDITORS, NAMES, Page, plain
from tests.e2e.server import Server
from tests.redis_server import RedisServer
from tests.waiting import becomes, wait_until

both_editors = pytest.mark.parametrize("editor", EDITORS)

PHONE = {"width": 360, "height": 800}
WIDTHS = (320, 360, 390, 1280)
LONG, CROWDED, QUIET, BUSY = 1, 2, 3, 4  # flows
LONGEST_NAME = "x" * 120
FIELDS = ("name", "status", "owner", "description", "steps")

TOO_WIDE = """() => {
  const { scrollWidth, clientWidth } = document.documentElement;
  return scrollWidth > clientWidth ? `${location.pathname}: ${scrollWidth} of ${clientWidth} px` : '';
}"""
BROKEN_WORDS = """(selector) => {
  const text = document.querySelector(selector).firstChild;
  return [...text.data.matchAll(/\\S+/g)].filter(({ 0: word, index }) => {
    const range = new Range();
    range.setStart(text, index);
    range.setEnd(text, index + word.length);
    return range.getClientRects().length > 1;
  }).map(([word]) => word);
}"""
TOPS = """() => [...document.querySelectorAll('.field [name]')]
  .map((control) => control.getBoundingClientRect().top + scrollY)"""
# What is measured last may be looked at minutes later, on a slow machine.
ALL_STAY = {"PRESENCE_TTL_SECONDS": "3600", "PRESENCE_AGENT_TTL_SECONDS": "3600"}
LOG = """() => {
  const rows = [...document.querySelectorAll('.log-row')];
  const number = rows.findIndex((row) => row.matches('.is-current'));
  const nodes = [document.getElementById('log'), rows[number]];
  const [box, { top, bottom }] = nodes.map((node) => node.getBoundingClientRect());
  return [number, rows.length, top >= box.top - 1 && bottom <= box.bottom + 1, scrollY];
}"""
STYLE = "(node, property) => getComputedStyle(node)[property]"


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    redis = RedisServer()
    server = Server(redis, PRESENCE_HEARTBEAT_SECONDS="60", **ALL_STAY)
    with server.as_user(4, "Dmitri Volkov") as dmitri:
        dmitri.save(LONG, name=LONGEST_NAME)
        dmitri.beat(LONG, "dmitris", mode="edit", dirty=True, active=False)
    for number, name in enumerate(("Summariser", LONGEST_NAME, "Checker")):
        with server.as_user(6, LONGEST_NAME, act={"sub": number, "name": name}) as agent:
            agent.beat(LONG, "agents", mode="edit")
    for number in range(60):
        with server.as_user(100 + number, f"Maximiliane-Charlotte von und zu Hohenlohe {number}") as somebody:
            where = {
                "mode": "edit",
                "active_field": FIELDS[number % 5],
                "dirty": True,
                "dirty_fields": ["name"],
            }
            somebody.beat(CROWDED, f"crowd-{number}", **where)
    yield server
    server.close()
    redis.close()


@pytest.fixture
def visit(person: Callable[..., Any], own_server: Server) -> Callable[..., Page]:
    """`visit("bob", "/")` is a page in Bob's browser, once it knows who is there."""

    def open_page(handle: str, path: str, **options: Any) -> Page:
        page = person(handle, at=own_server, **options).go(path)
        if path.rpartition("/")[0].endswith("flows"):
            page.wait_for_presence()
            page.tab.locator(".claim-button").first.wait_for()
        return page

    return open_page


@pytest.mark.parametrize("handle", ["dmitri", "layla"])  # the longest name, and one from right to left
def test_no_page_scrolls_sideways(visit, own_server, handle):
    page = visit(handle, "/")
    too_wide = []
    flow_pages = ("/flows/{}", "/react/flows/{}", "/flows/{}/timeline", "/flows/{}/why")
    for path in ("/", "/sign-in", "/nowhere", *(path.format(LONG) for path in flow_pages)):
        page.tab.goto(f"{own_server.url}{path}?as={handle}")
        for width in WIDTHS:
            page.tab.set_viewport_size({"width": width, "height": 800})
            too_wide.append(page.tab.evaluate(TOO_WIDE))

    assert [found for found in too_wide if found] == []


@both_editors
def test_title_breaks_between_words_on_a_small_phone(visit, own_server, editor):
    page = visit("alice", f"{EDITORS[editor]}/{CROWDED}", viewport={"width": 320, "height": 800})
    wait_until(page.avatars)
    page.come_to_rest()
    before = page.tab.evaluate("document.querySelector('form.form').getBoundingClientRect().top")
    page.tab.fill("#name", "Subscription cancellation")
    page.tab.evaluate("document.querySelector('.title h1').textContent = 'Subscription cancellation'")

    becomes(lambda: page.tab.evaluate(BROKEN_WORDS, ".title h1"), [])
    assert page.tab.evaluate(TOO_WIDE) == ""
    alone = visit("bob", f"{EDITORS[editor]}/{QUIET}", viewport={"width": 320, "height": 800})
    alone.come_to_rest()
    top = alone.tab.evaluate("document.querySelector('form.form').getBoundingClientRect().top")
    assert top == before  # nothing moves when somebody comes


@both_editors
def test_crowd_is_told_in_few_words_and_all_of_it_to_who_asks(visit, editor):
    page = visit("alice", f"{EDITORS[editor]}/{CROWDED}", viewport={"width": 1000, "height": 800})
    wait_until(lambda: len(page.panel()), lambda count: count == 8)
    badges = page.tab.locator("#name-people .in-field-person")
    becomes(badges.count, 3)
    more = badges.last
    becomes(lambda: plain(more.inner_text()).strip(), "+58")
    becomes(lambda: more.get_attribute("title").count("Maximiliane"), 58)
    expect(more).to_have_attribute("aria-label", re.compile("^58 more: "))
    assert violations(page) == []
    page.come_to_rest()
    here, form = (page.tab.locator(part).bounding_box() for part in (".here", "form.form"))
    assert here["x"] >= form["x"] + form["width"]  # beside it, where there is room

    show_all = page.tab.get_by_role("button", name="Show all 60")
    show_all.focus()
    expect(show_all).to_have_attribute("aria-expanded", "false")
    page.tab.keyboard.press("Enter")
    wait_until(lambda: len(page.panel()), lambda count: count == 60)
    fewer = page.tab.get_by_role("button", name="Show fewer")
    expect(fewer).to_have_attribute("aria-expanded", "true")
    page.tab.keyboard.press("Space")
    wait_until(lambda: len(page.panel()), lambda count: count == 8)
    for width in WIDTHS:
        page.tab.set_viewport_size({"width": width, "height": 800})
        assert page.tab.evaluate(TOO_WIDE) == ""


def test_replay_of_a_crowd_shows_some_and_keeps_its_log_at_the_moment(visit):
    page = visit("alice", f"/flows/{CROWDED}/timeline", viewport={"width": 1000, "height": 700})
    tab = page.tab
    tab.locator(".log-row").nth(59).wait_for()
    for few in (".moment-person", ".lane:not(.lane-axis)"):
        expect(tab.locator(few)).to_have_count(8)
    for button, rows in (("#all-people", ".moment-person"), ("#all-lanes", ".lane:not(.lane-axis)")):
        tab.locator(button).press("Enter")
        wait_until(tab.locator(rows).count, lambda count: count >= 60)
        tab.locator(button).press("Enter")
        expect(tab.locator(rows)).to_have_count(8)

    scrubber = tab.get_by_role("slider", name="Moment")
    scrubber.focus()  # which may scroll the page
    for key, place in (("Home", 0), ("PageUp", 10), ("PageUp", 20), ("PageUp", 30), ("End", -1), ("Home", 0)):
        before = tab.evaluate("scrollY")
        scrubber.press(key)
        _, _, _, scrolled = wait_until(
            lambda: tab.evaluate(LOG), lambda log, place=place: (log[0], log[2]) == (place % log[1], True)
        )
        if place in (20, 30):  # elsewhere there are more people, or fewer, than the moment before
            assert scrolled == before


@pytest.mark.parametrize(
    ("editor", "size"),
    [("alpine", {"width": 1000, "height": 800}), ("react", {"width": 1280, "height": 800}), ("react", PHONE)],
)
def test_what_others_do_moves_no_field_of_mine(visit, own_server, editor, size):
    with own_server.as_user(99, "Witness", role="operator") as witness:
        witness.evict_all(QUIET)
    page = visit("layla", f"{EDITORS[editor]}/{QUIET}", viewport=size, has_touch=size == PHONE)
    page.come_to_rest()
    before = page.tab.evaluate(TOPS)
    assert len(before) == 5
    with own_server.as_user(2, "Bob Tanaka") as bob, own_server.as_user(70, NAMES["emeka"] * 4) as other:
        for field in FIELDS:
            state = {"mode": "edit", "active_field": field, "dirty": True, "dirty_fields": list(FIELDS)}
            bob.beat(QUIET, "bobs", **state)
            other.beat(QUIET, "others", **state)
            bob.tell(QUIET, "claim", "bobs", field=field, take_over=True)
            wait_until(lambda field=field: page.in_field(field), lambda names: len(names) == 2)
        who = page.tab.locator(".claim-who").last
        wait_until(who.inner_text, lambda text: plain(text) == "Bob Tanaka is on it")
        page.come_to_rest()
        assert page.tab.evaluate(TOPS) == before

        # And where there is least room of all: unsaved here and there, claimed, with a narrow screen.
        page.tab.fill("#description", "Mine")
        page.tab.locator(".field:has(#description) .unsaved-mark").wait_for()
        page.tab.set_viewport_size({"width": 320, "height": 800})
        assert page.tab.evaluate(TOO_WIDE) == ""


def test_name_at_a_pointer_is_never_cut(visit):
    # Without motion, since a name that is on its way to the other side is measured in between.
    alice = visit("alice", f"/flows/{BUSY}", viewport={"width": 390, "height": 1600}, reduced_motion="reduce")
    bob = visit("bob", f"/react/flows/{BUSY}", viewport={"width": 1280, "height": 1600})
    wait_until(bob.avatars)
    field = bob.tab.locator(".field:has(#steps)").bounding_box()
    form = alice.tab.locator("form.form").bounding_box()
    label = alice.tab.locator(".cursor bdi")
    for share, side in ((0.99, -1), (0.01, 1)):
        bob.tab.mouse.move(field["x"] + share * field["width"], field["y"] + 60)

        def is_there(side=side):
            arrow, box = alice.tab.locator(".cursor svg").bounding_box(), label.bounding_box()
            return arrow and box and (box["x"] - arrow["x"]) * side > 0 and box

        box = wait_until(is_there)
        assert form["x"] <= box["x"]
        assert box["x"] + box["width"] <= form["x"] + form["width"]


def test_list_and_sign_in_and_who_is_away_or_a_program_are_no_barrier(visit, own_server):
    with own_server.as_user(99, "Witness", role="operator") as witness:
        witness.evict_all(BUSY)
    with own_server.as_user(71, "ليلى حداد") as somebody:
        somebody.beat(BUSY, "somebody", mode="edit", dirty=True, active=False)
    with own_server.as_user(71, "Layla", act={"sub": "summariser", "name": "Summariser"}) as agent:
        agent.beat(BUSY, "agents", mode="edit")
    row = ["ليلى حداد, editing, unsaved changes, away", "Summariser, for Layla, editing"]
    for path in ("/", f"/flows/{BUSY}", "/sign-in"):
        page = visit("alice", path)
        if path != "/sign-in":
            look_at = page.avatars if "flows" in path else lambda page=page: page.row(BUSY)
            wait_until(look_at, lambda labels: labels == row)
        for size in ({"width": 1280, "height": 800}, PHONE):
            page.tab.set_viewport_size(size)
            assert violations(page) == []


@both_editors
def test_keyboard_alone_claims_saves_and_opens_the_menu(visit, editor):
    page = visit("alice", f"{EDITORS[editor]}/{BUSY}")
    tab, keys = page.tab, page.tab.keyboard
    focused = "document.activeElement.closest('summary, button, a, input, select, textarea')"

    def reach(wanted: str) -> None:
        for _ in range(40):
            keys.press("Tab")
            if tab.evaluate(f"{focused}?.matches({wanted!r})"):
                assert tab.evaluate(f"getComputedStyle({focused}).outlineStyle") != "none"  # and it is seen
                return
        raise AssertionError(f"no way to {wanted}")

    reach(".skip")
    reach("summary")
    keys.press("Enter")
    reach(".menu-item")
    keys.press("Escape")
    state = "[document.activeElement.tagName, document.querySelector('.menu').open]"
    becomes(lambda: tab.evaluate(state), ["SUMMARY", False])
    reach(".claim-button")
    keys.press("Space")
    claim = tab.locator(".claim-button").first
    wait_until(lambda: claim.get_attribute("aria-pressed"), lambda pressed: pressed == "true")
    keys.press("Enter")
    wait_until(lambda: claim.get_attribute("aria-pressed"), lambda pressed: pressed == "false")
    reach("#name")
    keys.press("End")
    keys.type(" by keys")
    reach(".save-bar .button-main")
    keys.press("Enter")
    wait_until(page.save_state, lambda text: text.startswith("Saved, version "))
    wait_until(lambda: tab.input_value("#name").endswith(" by keys"))
    wait_until(tab.locator("h1").inner_text, lambda text: text.endswith(" by keys"))


# --- as a reader, or a device, has set it ---


def look(page: Page, selector: str, *properties: str) -> list[str]:
    """The computed style of the first such element."""
    node = page.tab.locator(selector).first
    node.wait_for(state="attached")
    return [node.evaluate(STYLE, name) for name in properties]


@both_editors
def test_forced_colours_and_calm_are_kept_to(visit, editor):
    page = visit("alice", f"{EDITORS[editor]}/{CROWDED}")
    wait_until(page.avatars)
    for box in (".face", ".in-field-person", ".step-mark", ".presence-face"):
        assert look(page, box, "borderTopStyle")[0] in ("none", "dashed"), box
    moving = (
        look(page, ".presence-face", "transitionDuration"),
        look(page, ".presence-person", "transitionDuration"),
    )
    assert moving == (["0.2s"], ["0.2s, 0.2s"])

    page.tab.emulate_media(forced_colors="active", reduced_motion="reduce")
    # Backgrounds are gone then: what is left of a face and a badge is its border.
    for box in (
        ".face",
        ".in-field-person",
        ".step-mark",
        ".presence-face",
        ".presence-mark",
        ".presence-moon",
        ".presence-tip",
    ):
        assert look(page, box, "borderTopStyle", "borderTopWidth") == ["solid", "1px"], box
    still = (
        look(page, ".presence-face", "transitionDuration"),
        look(page, ".presence-person", "transitionDuration"),
    )
    assert still == (["0s"], ["0s"])


def test_paper_gets_the_flow_and_nothing_to_press(visit):
    page = visit("alice", f"/flows/{BUSY}")
    page.tab.emulate_media(media="print")
    expect(page.tab.locator("#steps")).to_be_visible()
    for part in (".top", ".save-bar", ".here"):
        expect(page.tab.locator(part).first).to_be_hidden()


def test_pointers_jump_for_who_wants_no_motion(visit):
    alice = visit("alice", f"/flows/{BUSY}")
    bob = visit("bob", f"/flows/{BUSY}")
    wait_until(bob.avatars)
    for motion, takes, y in (("no-preference", "0.16s", 10), ("reduce", "0s", 20)):
        alice.tab.emulate_media(reduced_motion=motion)
        bob.tab.locator("#steps").hover(
            position={"x": 10, "y": y}
        )  # a pointer that rests is gone after a while
        assert look(alice, ".cursor", "transitionDuration") == [takes]


def test_phone_gets_one_column_and_what_a_thumb_needs(visit):
    alice = visit("alice", "/", viewport=PHONE, is_mobile=True, has_touch=True)
    wait_until(lambda: alice.row(CROWDED))
    expect(alice.tab.locator(".brand-first")).to_be_hidden()
    alice.come_to_rest()
    viewers, text = (
        alice.tab.locator(f".flow:has([data-record='flow:{CROWDED}']) {part}").bounding_box()
        for part in (".flow-viewers", ".flow-text")
    )
    assert viewers["y"] >= text["y"] + text["height"]
    assert viewers["x"] == text["x"]

    page = visit("alice", f"/flows/{CROWDED}", viewport=PHONE, is_mobile=True, has_touch=True)
    wait_until(page.avatars)
    page.come_to_rest()
    fields = [page.tab.locator(f".field:has(#{name})").bounding_box() for name in FIELDS]
    assert len({field["x"] for field in fields}) == 1
    assert page.tab.locator(".claim-button").first.bounding_box()["height"] >= 36
    people, control = (page.tab.locator(where).bounding_box() for where in ("#name-people", "#name"))
    assert people["y"] >= control["y"] + control["height"]  # beside the label there is no room
    assert people["y"] + people["height"] <= fields[1]["y"]

    replay = visit("alice", f"/flows/{CROWDED}/timeline", viewport=PHONE).tab
    replay.locator(".lane").first.wait_for()
    replay.evaluate(COME_TO_REST)
    scrubber, play = (replay.locator(where).bounding_box() for where in ("#scrubber", "#play"))
    assert scrubber["y"] + scrubber["height"] <= play["y"]
    why = visit("alice", f"/flows/{CROWDED}/why", viewport=PHONE).tab
    evict = why.locator(".why-tab .button").first
    evict.wait_for()
    why.evaluate(COME_TO_REST)
    assert evict.bounding_box()["width"] > PHONE["width"] / 2


def test_phone_shows_a_conflict_from_edge_to_edge(visit, own_server):
    page = visit("alice", f"/flows/{BUSY}", viewport=PHONE, is_mobile=True, has_touch=True)
    page.tab.fill("#name", "Of Alice")
    with own_server.as_user(2, "Bob Tanaka") as bob:
        bob.save(BUSY, name="Of Bob")
    compare, keep, take = (
        page.tab.get_by_role("button", name=name)
        for name in ("Compare field by field", "Keep mine", "Take theirs")
    )
    compare.wait_for()
    page.come_to_rest()
    boxes = [button.bounding_box() for button in (compare, keep, take)]
    assert boxes[0]["width"] > 2 * boxes[1]["width"]
    assert (boxes[1]["y"], boxes[1]["width"]) == (boxes[2]["y"], boxes[2]["width"])
    save, discard = (page.tab.get_by_role("button", name=name, exact=True) for name in ("Save", "Discard"))
    assert save.bounding_box()["y"] == discard.bounding_box()["y"]

    compare.click()
    page.tab.get_by_role("dialog").wait_for()
    page.come_to_rest()
    sheet = page.tab.get_by_role("dialog").bounding_box()
    assert (sheet["x"], sheet["width"]) == (0, PHONE["width"])
    assert sheet["y"] + sheet["height"] == PHONE["height"]
    assert violations(page) == []


def test_page_from_right_to_left_is_its_mirror(visit):
    page = visit("alice", f"/flows/{CROWDED}", viewport=PHONE)
    wait_until(page.avatars)
    page.tab.evaluate("document.documentElement.dir = 'rtl'")
    page.come_to_rest()
    assert page.tab.evaluate(TOO_WIDE) == ""
    face, mark = (
        page.tab.locator(f".title-people {part}").first.bounding_box()
        for part in (".presence-face", ".presence-mark")
    )
    assert mark["x"] < face["x"]
    assert look(page, ".presence-more .presence-initials", "direction") == ["ltr"]
    here_face, name = (
        page.tab.locator(f".here-person {part}").first.bounding_box() for part in (".face", ".here-name")
    )
    assert here_face["x"] > name["x"]
    assert look(page, ".cursors", "pointerEvents") == ["none"]
    assert violations(page) == []

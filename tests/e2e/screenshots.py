"""Takes the pictures of the demo that its documents show: `python -m tests.e2e.screenshots`."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import product
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from record_presence.demo.people import person_by_handle
from tests.e2e.chromium import ARGUMENTS, CHROMIUM, MISSING
from tests.e2e.people import EDITORS, Page, Person, plain
from tests.e2e.server import ROOT, Server
from tests.redis_server import RedisServer
from tests.waiting import wait_until

FOLDER = ROOT / "app/demo/screenshots"
FLOW = 1
DESKTOP = {"viewport": {"width": 1200, "height": 860}}
LOOKS: dict[str, dict[str, Any]] = {
    "": DESKTOP,
    "-dark": {**DESKTOP, "color_scheme": "dark"},
    "-phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
PAGES = {"list": "/", "editor": f"{EDITORS['alpine']}/{FLOW}", "react-editor": f"{EDITORS['react']}/{FLOW}"}
QUARRELS = (3, 5, 6)  # the flow for each look
COMPANY: dict[str, dict[str, object]] = {
    "chiara": {"active": False},
    "layla": {"mode": "edit", "active_field": "steps"},
    "emeka": {"mode": "edit", "dirty": True, "dirty_fields": ["owner"]},
}
AGENT = {"sub": "summariser", "name": "Summariser"}  # works for Chiara
ELSEWHERE: dict[int, dict[str, dict[str, object]]] = {
    2: {"dmitri": {"mode": "edit", "dirty": True, "active_field": "name"}},
    4: {"emeka": {}, "alice": {}, "chiara": {"mode": "edit"}},
}


def main() -> None:
    """Every page in every look."""
    assert CHROMIUM, MISSING
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    with _busy_server() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        bob = Person(browser.new_context(), server, "bob")
        bobs = bob.edit(FLOW)
        description = bobs.tab.locator("#description")
        for (page_name, path), (look, options) in product(PAGES.items(), LOOKS.items()):
            alice = Person(browser.new_context(**options, reduced_motion="reduce"), server, "alice")
            page = alice.go(path)
            if path == "/":
                wait_until(lambda page=page: len(page.row(FLOW)) == 5)
            else:
                description.press_sequentially(" Today")
                wait_until(page.panel, lambda people: "Bob Tanaka: Unsaved changes in description" in people)
                _type_until_seen(description, page.tab.locator("#description-people"))
                bobs.tab.mouse.move(0, 0)
                description.hover(position={"x": 210, "y": 80})
                page.tab.locator(".cursor").wait_for(state="attached")
            _take(page, page_name + look)
            alice.close()
        for flow_id, (look, options) in zip(QUARRELS, LOOKS.items(), strict=True):
            alice = Person(browser.new_context(**options, reduced_motion="reduce"), server, "alice")
            _quarrel(alice, bob, flow_id, look)
            alice.close()
        bob.close()
        browser.close()


def _type_until_seen(field: Any, people: Any) -> None:
    """A page that has only just been opened may have missed the first keys."""

    def is_seen() -> bool:
        field.press_sequentially("!")
        return "typing" in people.inner_text()

    wait_until(is_seen)


def _quarrel(alice: Person, bob: Person, flow_id: int, look: str) -> None:
    """Both change the same fields, and Bob is first; then what that leaves behind."""
    page, bobs = alice.edit(flow_id), bob.edit(flow_id, editor="react")
    name, description = (page.tab.input_value(f"#{field}") for field in ("name", "description"))
    page.tab.fill("#name", f"{name} in Europe")
    page.tab.fill("#description", f"{description} Written down for everybody.")
    page.tab.locator("#owner").select_option("bob")
    bobs.tab.locator(".field:has(#description) .claim-button").click()
    bobs.tab.fill("#description", f"{description} Call first, then write.")
    says = page.tab.locator("#description-notes").inner_text
    wait_until(says, lambda text: "Bob Tanaka also has unsaved changes" in plain(text))
    bobs.tab.fill("#name", f"{name} (Europe)")
    bobs.tab.get_by_role("button", name="Save", exact=True).click()
    page.tab.locator("#conflict h2").wait_for()
    bobs.tab.locator("#steps").press_sequentially(" ")
    bobs.tab.mouse.move(0, 0)
    wait_until(page.tab.locator("#steps-people").inner_text)
    page.tab.locator(".cursor").wait_for(state="detached")
    _take(page, f"conflict{look}")
    if look:
        bobs.tab.close()
        return
    page.tab.get_by_role("button", name="Compare field by field").click()
    page.tab.get_by_role("radio", name="saved", exact=False).last.check()
    _take(page, "compare")
    page.tab.keyboard.press("Escape")

    replay = alice.go(f"/flows/{flow_id}/timeline")
    replay.tab.get_by_role("button", name="Next conflict").click()
    _take(replay, "replay")
    why = alice.go(f"/flows/{flow_id}/why")
    why.tab.locator(".why-tab").nth(1).wait_for()
    _take(why, "why")
    bobs.tab.close()


@contextmanager
def _busy_server() -> Iterator[Server]:
    """With people in some of the flows."""
    redis = RedisServer()
    server = Server(redis, PRESENCE_HEARTBEAT_SECONDS="60", PRESENCE_TTL_SECONDS="600")
    try:
        for flow_id, company in {FLOW: COMPANY, **ELSEWHERE}.items():
            for handle, state in company.items():
                person = person_by_handle(handle)
                with server.as_user(person.id, person.name, about=person.about) as user:
                    user.beat(flow_id, f"tab-of-{handle}", **state)
        chiara = person_by_handle("chiara")
        with server.as_user(chiara.id, chiara.name, act=AGENT) as agent:
            agent.beat(FLOW, "tab-of-the-agent")
        yield server
    finally:
        server.close()
        redis.close()


def _take(page: Page, name: str) -> None:
    path = FOLDER / f"{name}.png"
    picture = Image.open(BytesIO(page.tab.screenshot()))
    # Flat colours fit a palette: a third of the bytes.
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)} {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()

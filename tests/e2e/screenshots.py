"""Takes the pictures of the demo that its documents show: `python -m tests.e2e.screenshots`."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import product
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from app.demo.people import person_by_handle
from tests.e2e.chromium import ARGUMENTS, CHROMIUM, MISSING
from tests.e2e.people import EDITORS, Page, Person
from tests.e2e.server import ROOT, Server
from tests.redis_server import RedisServer
from tests.waiting import wait_until

FOLDER = ROOT / "app/static/demo/screenshots"
FLOW = 1
DESKTOP = {"viewport": {"width": 1200, "height": 860}}
LOOKS: dict[str, dict[str, Any]] = {
    "": DESKTOP,
    "-dark": {**DESKTOP, "color_scheme": "dark"},
    "-phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
PAGES = {"list": "/", "editor": f"{EDITORS['alpine']}/{FLOW}", "react-editor": f"{EDITORS['react']}/{FLOW}"}
COMPANY: dict[str, dict[str, object]] = {
    "chiara": {},
    "layla": {"mode": "edit", "active_field": "steps"},
    "emeka": {},
}
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
                wait_until(lambda page=page: len(page.row(FLOW)) == 4)
            else:
                description.press_sequentially(" Today!")
                wait_until(page.panel, lambda people: "Bob Tanaka: Unsaved changes in description" in people)
                wait_until(page.tab.locator("#description-people").inner_text, lambda text: "typing" in text)
                bobs.tab.mouse.move(0, 0)
                description.hover(position={"x": 210, "y": 80})
                page.tab.locator(".cursor").wait_for(state="attached")
            _take(page, page_name + look)
            alice.close()
        bob.close()
        browser.close()


@contextmanager
def _busy_server() -> Iterator[Server]:
    """With people in some of the flows."""
    redis = RedisServer()
    server = Server(redis, PRESENCE_HEARTBEAT_SECONDS="60", PRESENCE_TTL_SECONDS="600")
    try:
        for flow_id, company in {FLOW: COMPANY, **ELSEWHERE}.items():
            for handle, state in company.items():
                person = person_by_handle(handle)
                with server.as_user(person.id, person.name) as user:
                    user.beat(flow_id, f"tab-of-{handle}", **state)
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

"""People of the demo, each with a browser context, and what they see."""

from typing import Any

from tests.e2e.server import Server
from tests.waiting import TIMEOUT_MS, wait_until

EDITORS = {"alpine": "/flows", "react": "/react/flows"}
NAMES = {
    "alice": "Alice Moreau",
    "bob": "Bob Tanaka",
    "chiara": "Chiara Rossi",
    "dmitri": "Dmitri Volkov",
    "emeka": "Emeka Okafor",
    "layla": "ليلى حداد",
}


COME_TO_REST = """async () => {
  const moving = () => document.getAnimations().filter((each) =>
    each.playState === 'running' && each.effect.getComputedTiming().endTime !== Infinity);
  await document.fonts.ready;
  for (let turns = 0; turns < 9 && moving().length; turns += 1)
    await Promise.allSettled(moving().map(({ finished }) => finished));
}"""


def plain(text: str) -> str:
    """Without the marks that keep a name's direction to itself."""
    return text.translate({0x2068: None, 0x2069: None})


class Person:
    """A user with a browser and any number of tabs."""

    def __init__(self, context: Any, server: Server, handle: str) -> None:
        context.set_default_timeout(TIMEOUT_MS)
        self._context = context
        self._server = server
        self.handle = handle
        self.name = NAMES[handle]
        self.errors: list[str] = []

    def go(self, path: str) -> "Page":
        """A new tab with a page of the demo, as this person."""
        return self._open(f"{path}?as={self.handle}")

    def go_by_cookie(self, path: str) -> "Page":
        """A new tab, as whoever the browser is signed in as; anybody at first."""
        return self._open(path)

    def _open(self, path: str) -> "Page":
        page = self._context.new_page()
        page.on("pageerror", lambda error: self.errors.append(f"{page.url}: {error}"))
        page.on("console", lambda message: self._listen(page, message))
        page.goto(self._server.url + path)
        return Page(page)

    def _listen(self, page: Any, message: Any) -> None:
        # What the network does is told by the page itself, and by the tests that break it.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.errors.append(f"{page.url}: {message.text}")

    def edit(self, flow_id: int, *, editor: str = "alpine") -> "Page":
        """A new tab with a flow in it, once the presence is live."""
        page = self.go(f"{EDITORS[editor]}/{flow_id}")
        page.wait_for_presence()
        return page

    def protocol(self, page: "Page") -> Any:
        """The DevTools protocol of one of the tabs."""
        return self._context.new_cdp_session(page.tab)

    def close(self) -> None:
        self._context.close()


class Page:
    """One tab; `tab` is Playwright's page."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab

    def wait_for_presence(self) -> None:
        """Until the panel knows who is here."""
        self.tab.locator(".here-state").wait_for(state="attached")
        wait_until(lambda: self.tab.locator(".here-state").text_content(), lambda text: "Looking" not in text)

    def come_to_rest(self) -> None:
        """Until nothing on the page moves, fades in, or waits for its font."""
        self.tab.evaluate(COME_TO_REST)

    def avatars(self) -> list[str]:
        """Their labels, such as "Bob Tanaka, viewing"."""
        return self._labels(".title-people")

    def row(self, flow_id: int) -> list[str]:
        """The avatars of a flow in the list."""
        return self._labels(f'[data-record="flow:{flow_id}"]')

    def _labels(self, where: str) -> list[str]:
        return self.tab.locator(f"{where} .presence-face").evaluate_all(
            "faces => faces.map((face) => face.getAttribute('aria-label'))"
        )

    def panel(self) -> list[str]:
        """The people in "Here now", such as "Bob Tanaka: Viewing"."""
        return self.tab.locator(".here-person").evaluate_all(
            """people => people.map((person) => ['.here-name', '.here-doing']
            .map((part) => person.querySelector(part).textContent.trim()).join(': '))"""
        )

    def in_field(self, name: str) -> list[str]:
        """Who is shown in a field."""
        return self.tab.locator(f"#{name}-people bdi").all_text_contents()

    def wait_for_avatars(self, *labels: str) -> None:
        wait_until(self.avatars, lambda seen: seen == list(labels))

    def wait_to_see(self, name: str) -> None:
        wait_until(self.avatars, lambda seen: any(label.startswith(f"{name},") for label in seen))

    def wait_to_miss(self, name: str) -> None:
        wait_until(self.avatars, lambda seen: not any(label.startswith(f"{name},") for label in seen))

    def save_state(self) -> str:
        return self.tab.locator(".save-state").inner_text().strip()

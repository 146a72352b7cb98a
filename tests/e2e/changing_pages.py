"""Pages of hosts whose library replaces or morphs parts of them; their server's answers are made here."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.client.node import CLIENT, TOOLS
from tests.e2e.server import ApiUser, Server
from tests.waiting import TIMEOUT_MS, wait_until

MODULES = TOOLS / "node_modules"
FOLDER = "/host/"
TIMER = "presence-timer.js"  # beside what is bundled
BOBS_TAB = "api-tab"

# What the host's server sends. In braces: the record, the version that it is in, and Alice's token.
ELEMENT = (
    '<record-presence type="flow" id="{record}" form="editor" base-version="{version}" token="{token}">'
    "</record-presence>"
)
FORM = (
    '<form id="editor"><input name="title" value="Title {version}">'
    '<input type="hidden" name="lock" value="{version}"></form>'
)
NOTE = '<p id="note">Version {version}</p>'
WITH_ELEMENT = f'<div id="main">{ELEMENT}{FORM}{NOTE}</div>'
WITH_ALPINE = f"""<div id="main"><section x-init="window.component = $data"
    x-data="recordPresence('flow', {{record}},
      {{{{ mode: 'edit', baseVersion: {{version}}, token: '{{token}}' }}}})">
  <div x-presence-avatars></div>
  {FORM.replace("<form", "<form x-presence-form")}
  {NOTE}
</section></div>"""
PARTS = {"form": FORM, "element": ELEMENT, "nothing": '<div id="main"></div>'}
PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8"><title>A host</title>
  <link rel="icon" href="data:,"><link rel="stylesheet" href="/static/presence/avatars.css">{head}
</head>
<body>{body}</body>
</html>
"""
ELEMENT_SCRIPT = '<script type="module" src="/static/presence/element.js"></script>'

LABELS = "[...document.querySelectorAll('.presence-face')].map((face) => face.ariaLabel.split(',')[0])"
PRESENCE = "(document.querySelector('record-presence')?.presence ?? component)"


class HostPage:
    """Alice's page, with Bob in the same record, and what the service knows of both."""

    def __init__(self, tab: Any, server: Server, bob: ApiUser, token: str, **page: Any) -> None:
        """`page`: its `head`, its `body`, and `scripts` by their names."""
        self._server = server
        self._bob = bob
        self._token = token
        self._head: str = page["head"]
        self._body: str = page["body"]
        self._scripts: dict[str, str] = page["scripts"]
        self.tab = tab
        self.errors: list[str] = []
        tab.set_default_timeout(TIMEOUT_MS)
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.route(f"{server.url}{FOLDER}**", self._answer)

    def _answer(self, route: Any) -> None:
        address = urlsplit(route.request.url)
        name = address.path.removeprefix(FOLDER)
        if name.startswith("modules/"):
            route.fulfill(path=MODULES / name.removeprefix("modules/"))
            return
        if name in self._scripts:
            route.fulfill(body=self._scripts[name], content_type="text/javascript; charset=utf-8")
            return
        if name == TIMER:
            route.fulfill(path=CLIENT / TIMER)
            return
        asked = {key: values[0] for key, values in parse_qs(address.query).items()}
        body = PARTS.get(name, self._body).format(
            record=asked["record"], version=asked["version"], token=self._token
        )
        if name == "page":
            body = PAGE.format(head=self._head, body=body)
        route.fulfill(body=body, content_type="text/html; charset=utf-8")

    def open(self, record: int) -> None:
        self.record = record
        self.tab.goto(self._server.url + self.address("page", version=1))
        self.wait_to_see_bob()

    def address(self, name: str, version: int, record: int | None = None) -> str:
        """Of a part of the page, or of the "page"."""
        return f"{FOLDER}{name}?record={record or self.record}&version={version}"

    def change(self, script: str, name: str, version: int, record: int | None = None) -> None:
        """Alice's page changes itself: `url` is in the script the address of what it gets from its server."""
        self.tab.evaluate(f"url => {{ {script} }}", self.address(name, version, record))

    def wait_for_note(self, version: int) -> None:
        """The host's own part of the page is new."""
        self.tab.locator("#note", has_text=f"Version {version}").wait_for()

    def wait_to_see_bob(self, record: int | None = None) -> None:
        def labels() -> Any:
            self._bob.beat(record or self.record, BOBS_TAB)
            return self.tab.evaluate(LABELS)

        wait_until(labels, lambda seen: seen == ["Bob Tanaka"])

    def tabs(self, record: int | None = None) -> dict[str, dict[str, Any]]:
        """Alice's, by id."""
        tabs = self._bob.tabs(record or self.record)
        return {tab_id: tab for tab_id, tab in tabs.items() if tab_id != BOBS_TAB}

    def wait_for_tabs(self, count: int, record: int | None = None) -> None:
        """Until Alice has that many."""
        wait_until(lambda: self._look(record), lambda tabs: len(tabs) == count)

    def wait_for_dirty(self, *fields: str) -> None:
        """Until these are the unsaved fields of Alice's only tab."""
        wait_until(
            lambda: [tab.get("dirty_fields", []) for tab in self._look().values()],
            lambda seen: seen == [list(fields)],
        )

    def _look(self, record: int | None = None) -> dict[str, dict[str, Any]]:
        self.tab.evaluate("'meanwhile Playwright lets _answer() run'")
        return self.tabs(record)

    def type(self, text: str) -> None:
        self.tab.fill("#editor [name=title]", text)

    def wait_to_have_kept(self, tab_id: str) -> None:
        """Until this is Alice's only tab, and has claimed the title."""
        wait_until(
            lambda: (list(self._look()), self.title_is_claimed_by()),
            lambda seen: seen == ([tab_id], [tab_id]),
        )

    def claim_title(self) -> None:
        assert self.tab.evaluate(f"{PRESENCE}.claim('title').then(({{ claimed }}) => claimed)")

    def title_is_claimed_by(self) -> list[object]:
        """The tab that has claimed the title, if any."""
        return [claim["tab_id"] for claim in self._bob.claims(self.record, BOBS_TAB).values()]

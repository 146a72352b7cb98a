"""`make renewal`: two people renew their tokens for ten minutes, and nobody may notice.

`python -m tests.e2e.renewal [MINUTES]`, with tokens of a minute. Each page keeps its token until the very
end, so that the next one is there only when the tab's lease has nothing left of the token.
"""

import sys
import time
from dataclasses import dataclass, field
from typing import Any

import requests

from record_presence.settings import Settings
from tests.api.client import token
from tests.api.sse import StreamReader
from tests.e2e.chromium import ARGUMENTS, CHROMIUM, MISSING
from tests.e2e.server import SECRET, Server
from tests.redis_server import RedisServer
from tests.waiting import TIMEOUT_MS, wait_until

MINUTES = 10.0
TOKEN_SECONDS = 60
ACT_SECONDS = 60.0  # between two keys that each person presses: after five minutes without, they are away
TENANT = "renewal"
RECORD = "flow/12"
SETTINGS = Settings(secret_key=SECRET)

# `tokens` are [end in ms, text], each for the time until its end.
OPEN = """
async ({ tokens }) => {
  const { createPresence } = await import('/static/presence/presence.js');
  const used = new Set();
  const token = async () => {
    const [end, text] = tokens.find(([end]) => Date.now() < end);
    used.add(end);
    return text;
  };
  const noticed = [];
  const presence = createPresence({ type: 'flow', id: 12, mode: 'edit', dirty: ['title'], token });
  const note = (kind, detail) => noticed.push(`${kind}: ${JSON.stringify(detail)}`);
  window.renewal = { presence, used, noticed, watch() {
    const claims = () => JSON.stringify(presence.getSnapshot().claims);
    const before = claims();
    for (const name of ['change', 'unauthorized']) presence.on(name, (detail) => note(name, detail));
    presence.subscribe(({ viewers, fresh, unseen, status }) => {
      if (viewers?.length !== 1 || !fresh || unseen || status === 'stopped') {
        note('state', { viewers, fresh, unseen, status });
      }
      if (claims() !== before) note('claims', claims());
    });
  } };
}
"""


@dataclass
class Renewal:
    """What others, and the pages themselves, noticed of it; all lists are empty if it went well."""

    renewals: int = 0  # tokens that were used after the first one, of both pages
    events: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    timeline: list[str] = field(default_factory=list)
    tabs: list[str] = field(default_factory=list)

    def noticed(self) -> list[str]:
        return [*self.events, *self.pages, *self.timeline, *self.tabs]


class RenewalPage:
    """The page of somebody who has the record open, with tokens that last `token_seconds` each."""

    def __init__(self, browser: Any, server: Server, user_id: int, name: str, token_seconds: int, count: int):
        self._page = browser.new_context().new_page()
        self._page.set_default_timeout(TIMEOUT_MS)
        self._page.goto(f"{server.url}/api/docs")  # any page of the service, whose client it loads
        now = int(time.time())
        tokens = []
        for number in range(1, count + 1):
            end = now + number * token_seconds
            tokens.append((end * 1000, token(user_id, name, TENANT, settings=SETTINGS, exp=end)))
        self._page.evaluate(OPEN, {"tokens": tokens})

    def state(self) -> dict[str, Any]:
        return self._page.evaluate("renewal.presence.getSnapshot()")

    def claim(self, name: str) -> None:
        answer = self._page.evaluate("(name) => renewal.presence.claim(name)", name)
        assert answer["claimed"], answer

    def act(self) -> None:
        """Show that somebody is there; types nothing."""
        self._page.keyboard.press("Shift")

    def watch(self) -> None:
        """Note from now on what the page is told."""
        self._page.evaluate("renewal.watch()")

    def noticed(self) -> list[str]:
        return self._page.evaluate("renewal.noticed")

    def renewals(self) -> int:
        return self._page.evaluate("renewal.used.size") - 1

    def close(self) -> None:
        self._page.context.close()


def renew(browser: Any, server: Server, *, token_seconds: int, seconds: float) -> Renewal:
    """Let two people renew their tokens for so long, and tell what anybody noticed of it."""
    count = int(seconds / token_seconds) + 3 + int(120 / token_seconds)
    people = [
        RenewalPage(browser, server, user_id, name, token_seconds, count)
        for user_id, name in ((1, "Alice"), (2, "Bob"))
    ]
    try:
        for person in people:
            wait_until(lambda person=person: len(person.state()["viewers"] or ()), lambda seen: seen == 1)
        people[1].claim("title")
        for person in people:
            wait_until(
                lambda person=person: person.state()["claims"], lambda claims: "title" in (claims or {})
            )
        return _watch(people, server, seconds)
    finally:
        for person in people:
            person.close()


def _watch(people: list[RenewalPage], server: Server, seconds: float) -> Renewal:
    proof = token(3, "Witness", TENANT, settings=SETTINGS, seconds=7200)
    witness = StreamReader(server.url, proof)
    witness.wait_for(lambda reader: any(message.event for message in reader.messages))
    told = len(witness.messages)
    tabs = _tabs(server, proof)
    assert len(tabs) == 2
    for person in people:
        person.watch()

    seen = Renewal()
    act_at = time.monotonic() + ACT_SECONDS
    end = time.monotonic() + seconds
    while time.monotonic() < end and not seen.tabs:
        if (now := _tabs(server, proof)) != tabs:
            seen.tabs.append(f"tabs became {now} after {seconds - (end - time.monotonic()):.1f} s")
        witness.read()
        if time.monotonic() >= act_at:
            act_at += ACT_SECONDS
            for person in people:
                person.act()
        time.sleep(0.05)
    seen.events = [f"{each.event}: {each.data}" for each in witness.messages[told:] if each.event]
    if witness.is_over:
        seen.events.append("the witness's stream has ended")
    witness.close()
    seen.pages = [f"{number}: {note}" for number, person in enumerate(people) for note in person.noticed()]
    kinds = [entry["kind"] for entry in _get(server, proof, "timeline")["entries"]]
    seen.timeline = [kind for kind in kinds if kind in ("leave", "released", "reset")]
    seen.timeline += ["join again"] * (kinds.count("join") - 2)
    seen.renewals = sum(person.renewals() for person in people)
    return seen


def _tabs(server: Server, proof: str) -> list[str]:
    return sorted(_get(server, proof, "tabs")["tabs"])


def _get(server: Server, proof: str, path: str) -> dict[str, Any]:
    url = f"{server.url}/api/v1/presence/{RECORD}/{path}"
    response = requests.get(url, headers={"Authorization": f"Bearer {proof}"}, timeout=60)
    return response.json()["data"]


def main(minutes: float) -> None:
    """Exits with what was noticed."""
    from playwright.sync_api import sync_playwright  # late: pages' tests run where it isn't installed

    if CHROMIUM is None:
        sys.exit(MISSING)
    redis = RedisServer()
    server = Server(redis, PRESENCE_TTL_SECONDS="90", PRESENCE_HEARTBEAT_SECONDS="30")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            seen = renew(browser, server, token_seconds=TOKEN_SECONDS, seconds=minutes * 60)
            browser.close()
    finally:
        server.close()
        redis.close()
    if seen.noticed():
        sys.exit("\n".join(seen.noticed()))
    print(f"{seen.renewals} tokens renewed in {minutes:g} minutes, and nobody noticed.")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES)

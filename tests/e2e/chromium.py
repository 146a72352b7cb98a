"""Debian's Chromium: where it is, and a bare one by its DevTools protocol.

Playwright's pages are always visible, never frozen and never in the back/forward
cache, so what depends on these is driven by hand.
"""

import itertools
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import websocket

from tests.waiting import START_SECONDS, wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# For Playwright's pages: the same browser without windows, so that a page takes a quarter of the time.
PAGES_CHROMIUM = CHROMIUM and (shutil.which("chromium-headless-shell") or CHROMIUM)
MISSING = "Chromium is missing: apt-get install chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


class Chromium:
    """One browser process with a profile of its own."""

    def __init__(self, *arguments: str) -> None:
        assert CHROMIUM, MISSING
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        self._process = subprocess.Popen(
            [
                *(CHROMIUM, "--headless=new", *ARGUMENTS, f"--user-data-dir={self._profile}"),
                *("--no-first-run", "--remote-debugging-port=0", "--remote-allow-origins=*"),
                *(*arguments, "about:blank"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._ids = itertools.count(1)
        self._socket: Any = None
        try:
            port, path = wait_until(self._address, seconds=START_SECONDS)
            self._socket = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=START_SECONDS)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _address(self) -> list[str] | None:
        try:
            lines = Path(self._profile, "DevToolsActivePort").read_text().split()
        except FileNotFoundError:
            return None
        return lines if len(lines) == 2 else None

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command of the protocol. Raises RuntimeError for one that fails."""
        call_id = next(self._ids)
        message = {"id": call_id, "method": method, "params": params}
        self._socket.send(json.dumps({**message, "sessionId": session} if session else message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == call_id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def open(self, url: str) -> "Tab":
        """A new tab in front of the others."""
        return Tab(self, url)

    def close_tabs(self) -> None:
        """All but a new one that is empty, without which the browser would end."""
        targets = self.call("Target.getTargets")["targetInfos"]
        self.call("Target.createTarget", url="about:blank")
        for target in targets:
            if target["type"] == "page":
                self.call("Target.closeTarget", targetId=target["targetId"])

    def kill(self) -> None:
        """End it as the system does when memory is short: no page gets to say anything."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        if self._socket:
            self._socket.close()
        # Its helper processes may still be writing.
        deadline = time.monotonic() + 20
        while Path(self._profile).exists() and time.monotonic() < deadline:
            shutil.rmtree(self._profile, ignore_errors=True)


class Tab:
    """One tab of a bare Chromium."""

    def __init__(self, browser: Chromium, url: str) -> None:
        self._browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)[
            "sessionId"
        ]
        self.call("Page.enable")
        self.call("Runtime.enable")
        self.bring_to_front()
        self.go(url)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, a promise's when it is one."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def go(self, url: str) -> None:
        """Go to another page, as by a link."""
        self.call("Page.navigate", url=url)
        self._arrive(url)

    def go_back(self) -> None:
        """The browser's back button."""
        history = self.call("Page.getNavigationHistory")
        entry = history["entries"][history["currentIndex"] - 1]
        self.call("Page.navigateToHistoryEntry", entryId=entry["id"])
        self._arrive(entry["url"])

    def _arrive(self, url: str) -> None:
        def where() -> Any:
            try:
                return self.evaluate("document.readyState === 'complete' && location.href")
            except (AssertionError, RuntimeError):  # between two pages
                return None

        wait_until(where, lambda here: here == url)

    def bring_to_front(self) -> None:
        """The other tabs of the window are hidden by it."""
        self._browser.call("Target.activateTarget", targetId=self._target)

    def set_lifecycle(self, state: str) -> None:
        """`frozen` or `active`."""
        self.call("Page.setWebLifecycleState", state=state)

    def close(self) -> None:
        """As by its X."""
        self._browser.call("Target.closeTarget", targetId=self._target)

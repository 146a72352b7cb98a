"""The service and the applications, all running, and people in them."""

import contextlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import requests

from record_presence.settings import Settings
from tests.api.client import token
from tests.e2e.people import plain
from tests.e2e.server import SECRET, Server
from tests.hosts.hosts import Host, RunningApplication, application_of, free_port
from tests.redis_server import RedisServer
from tests.waiting import wait_until

JWT_KEY = "a key that the service and its hosts share"
TOKEN_SECONDS = 8  # a token's end shortens leases; the client asks for the next token 5 s before it
LEASE = {"PRESENCE_HEARTBEAT_SECONDS": "10", "PRESENCE_TTL_SECONDS": "30"}
SHORT_LEASE = {"PRESENCE_HEARTBEAT_SECONDS": "1", "PRESENCE_TTL_SECONDS": "5"}  # where there are no tokens
NO_LIMIT = {"PRESENCE_RATE_LIMIT": "100000/minute"}
LABELS = "[...document.querySelectorAll('.presence-face')].map((face) => face.ariaLabel)"
HAS_MARKERS = """[...document.querySelectorAll('.presence-person')]
    .some((person) => getComputedStyle(person).listStyleType !== 'none')"""
TOKEN_REQUESTS = """performance.getEntriesByType('resource')
    .filter(({ name }) => name.endsWith('/presence-token')).length"""


class Stage:
    """The service, and the applications of these hosts."""

    def __init__(self, redis: RedisServer, hosts: Iterable[Host]) -> None:
        applications = list({application_of(host).name: application_of(host) for host in hosts}.values())
        ports = {application.name: free_port() for application in applications}
        self._folder = tempfile.TemporaryDirectory(prefix="presence-hosts-")
        self._running: dict[str, RunningApplication] = {}
        self.service = Server(
            redis,
            PRESENCE_DEMO="no",
            WEB_CONCURRENCY="1",
            PRESENCE_JWT_KEY=JWT_KEY,
            PRESENCE_CORS_ORIGINS=",".join(f"http://127.0.0.1:{port}" for port in ports.values()),
            **LEASE,
            **NO_LIMIT,
        )
        try:
            for application in applications:
                folder = Path(self._folder.name, application.name)
                folder.mkdir()
                self._running[application.name] = RunningApplication(
                    application,
                    folder,
                    ports[application.name],
                    self.service.url,
                    TOKEN_SECONDS,
                    {
                        "PRESENCE_JWT_KEY": JWT_KEY,
                        "REDIS_URL": f"unix://{redis.socket}",
                        **SHORT_LEASE,
                        **NO_LIMIT,
                    },
                )
            for running in self._running.values():
                running.wait()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Stage":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def url_of(self, host: Host) -> str:
        return self._running[host.application].url

    def get(self, order_id: int, path: str) -> dict[str, Any]:
        """What the service says of an order, such as its `timeline`, without being there."""
        settings = Settings(secret_key=SECRET, jwt_key=JWT_KEY)
        proof = token(99, "Witness", settings=settings)
        url = f"{self.service.url}/api/v1/presence/order/{order_id}/{path}"
        answer = requests.get(url, headers={"Authorization": f"Bearer {proof}"}, timeout=60)
        answer.raise_for_status()
        return answer.json()["data"]

    def departures(self, order_id: int) -> list[tuple[str, str]]:
        """Who has left the order, and why: `left`, or `expired` without a goodbye."""
        entries = self.get(order_id, "timeline")["entries"]
        return [(entry["user"]["name"], entry["reason"]) for entry in entries if entry["kind"] == "leave"]

    def log_of(self, host: Host) -> str:
        return self._running[host.application].log()

    def close(self) -> None:
        for running in self._running.values():
            running.close()
        self.service.close()
        self._folder.cleanup()


class Visitor:
    """A user with a browser of their own, signed in to one host."""

    def __init__(self, context: Any, stage: Stage, host: Host, user_id: int, name: str) -> None:
        context.set_default_timeout(60_000)  # ms; beside many other tests
        self.errors: list[str] = []  # of the pages
        self._context = context
        self._url = stage.url_of(host)
        self._user = (user_id, name)
        self._path = host.path
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def sign_in(self) -> None:
        user_id, name = self._user
        answer = self._context.request.get(f"{self._url}/sign-in/{user_id}/{quote(name)}", max_redirects=0)
        assert answer.status == 302, f"{name} can't sign in: {answer.status}"

    def sign_out(self) -> None:
        """As in another tab of the same browser."""
        assert self._context.request.get(f"{self._url}/sign-out").ok

    def open(self, order_id: int) -> "EditorPage":
        """A new tab with the order in it."""
        tab = self._context.new_page()
        tab.goto(self._url + self._path.format(id=order_id))
        return EditorPage(self, tab)


class EditorPage:
    """A tab of a visitor, with the editor in it."""

    def __init__(self, visitor: Visitor, tab: Any) -> None:
        self.visitor = visitor
        self._tab = tab

    def people(self) -> dict[str, str]:
        """Whom it shows, and what it says of each, such as "title, unsaved changes"."""
        labels = [plain(label) for label in self._tab.evaluate(LABELS)]
        return {
            name: doing.strip(", ") for name, _, doing in (each.rpartition(", editing") for each in labels)
        }

    def has_markers(self) -> bool:
        """Whether the host's own styles draw a bullet beside an avatar."""
        return self._tab.evaluate(HAS_MARKERS)

    def token_requests(self) -> int:
        """How often it has asked its host for a token."""
        return self._tab.evaluate(TOKEN_REQUESTS)

    def wait_for(self, *names: str) -> None:
        """Until it shows these people, and nobody else."""
        wait_until(self.people, lambda seen: sorted(seen) == sorted(names))

    def wait_to_see(self, name: str, doing: str) -> None:
        """Until it says this of them."""
        wait_until(self.people, lambda seen: doing in seen.get(name, ""))

    def wait_to_miss(self, name: str, doing: str) -> None:
        """Until it says this of them no longer."""
        wait_until(self.people, lambda seen: name in seen and doing not in seen[name])

    def type(self, text: str) -> None:
        self._tab.fill("[name=title]", text)

    def close(self) -> None:
        self._tab.close()

    def crash(self) -> None:
        """End its process: it gets to say nothing."""
        from playwright.sync_api import Error  # late: other tests run where it isn't installed

        with contextlib.suppress(Error):  # of the page that is no more
            self._tab.goto("chrome://crash")

"""What clients send: requests of users with a bearer token each, and the tabs that they have open."""

import http.client
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

import redis as redis_py

from record_presence.api.paths import API_PREFIX
from record_presence.identity.bearer import issue_token
from record_presence.presence.service import RecordPresenceService
from record_presence.settings import Settings
from tests.load.crowd import RECORD_TYPE, OpenTab, User
from tests.load.generator import http_request

PROOF_SECONDS = 36_000.0


class Clients:
    """Everybody's requests, as they go over the wire; a user's token is signed once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._headers: dict[User, dict[str, str]] = {}

    def headers(self, user: User) -> dict[str, str]:
        """The proof of who the user is."""
        if user not in self._headers:
            claims = {"sub": user.id, "name": user.name, "tenant": user.tenant}
            token = issue_token(self._settings, claims, PROOF_SECONDS)
            self._headers[user] = {"Authorization": f"Bearer {token}"}
        return self._headers[user]

    def beat(self, tab: OpenTab, **body: Any) -> bytes:
        """A heartbeat, of a tab that only looks where `body` says nothing else."""
        return http_request("POST", path_of(tab, "heartbeat"), self.headers(tab.user), beat_of(tab, **body))

    def viewers(self, tab: OpenTab, **headers: str) -> bytes:
        """The question who is there."""
        return http_request("GET", path_of(tab, "viewers"), {**self.headers(tab.user), **headers})

    def stream(self, user: User, record_ids: Sequence[str]) -> bytes:
        """The opening of a stream of events."""
        query = urlencode([("record", f"{RECORD_TYPE}:{record_id}") for record_id in record_ids])
        return http_request("GET", f"{API_PREFIX}/events?{query}", self.headers(user))

    def call(self, caller: http.client.HTTPConnection, tab: OpenTab, **body: Any) -> dict[str, Any]:
        """One heartbeat; the data of its answer. Raises RuntimeError when it is refused."""
        head, _, text = self.beat(tab, **body).partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")[1:]
        path = path_of(tab, "heartbeat")
        caller.request("POST", path, text, dict(line.split(": ", 1) for line in lines))
        answer = caller.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"a heartbeat was refused: {answer.status} {content!r}")
        return json.loads(content)["data"]


def path_of(tab: OpenTab, call: str) -> str:
    """Where a tab sends this call."""
    return f"{API_PREFIX}/{RECORD_TYPE}/{tab.record_id}/{call}"


def beat_of(tab: OpenTab, mode: str = "view", dirty: bool = False, **more: Any) -> dict[str, Any]:
    """The body of a heartbeat; `more` are further fields of it."""
    return {"tab_id": tab.id, "mode": mode, "dirty": dirty, "visible": True, **more}


def register(
    client: redis_py.Redis, settings: Settings, tabs: Sequence[OpenTab], *, within_seconds: float = 0
) -> dict[str, str]:
    """Open tabs, by the service's own class, evenly over `within_seconds`.

    Returns the version of each record, as its clients then know it.
    """
    presence = RecordPresenceService(client, 1, ttl_seconds=settings.ttl_seconds)
    versions: dict[str, str] = {}
    started = time.monotonic()
    for i, tab in enumerate(tabs):
        answer = presence.update_presence(RECORD_TYPE, tab.record_id, tab.id, tab.user.id, tab.user.name)
        versions[tab.record_id] = answer.version
        ahead = started + within_seconds * i / len(tabs) - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
    return versions


def steady_beats(clients: Clients, tabs: Iterable[OpenTab], versions: dict[str, str]) -> Iterable[bytes]:
    """Heartbeats of clients that say what they know, and it is still so."""
    for tab in tabs:
        yield clients.beat(tab, version=versions[tab.record_id])

"""Tabs as people use them, or as fast as they can, for Locust.

    locust -f tests/load/locustfile.py Tab     beats every 30 s, edits, leaves, comes back, crashes
    locust -f tests/load/locustfile.py Hammer  one heartbeat after the other
    locust -f tests/load/locustfile.py Stream  follows a record by Server-Sent Events

One of them must be named, and the service with --host; SECRET_KEY or PRESENCE_JWT_KEY must be the
service's own, since tokens are signed here with the application's issue_token.

When a test stops, every Tab says goodbye, all of them at once as no people do. These calls are counted apart
and are in no statistics.
"""

import argparse
import itertools
import random
import secrets
import sys
import time
from collections import Counter
from typing import Any

from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import EventHook
from locust.runners import WorkerRunner

from record_presence.api.paths import API_PREFIX
from record_presence.identity.bearer import issue_token
from record_presence.settings import read_settings

RECORD_TYPE = "flow"
FIELDS = ("name", "status", "owner", "description", "steps")
TABS_A_USER = 2
TOKEN_SECONDS = 12 * 3600
JITTER = 0.1  # of the time between two beats
STREAM_SECONDS = 60

_settings = read_settings()
_numbers = itertools.count(random.randrange(10**6) * 1000)  # each process of Locust has tabs of its own


@events.init_command_line_parser.add_listener
def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--tenants", type=_count, default=10, help="Tenants (default 10)")
    parser.add_argument("--records", type=_count, default=300, help="Records of each tenant (default 300)")
    parser.add_argument(
        "--crowd",
        type=_share,
        default=0.0,
        help="Share of the tabs that is on one record, 0 to 1 (default 0)",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("must be a number from 0 to 1")
    return share


@events.init.add_listener
def _refuse_a_mixture(environment: Environment, **_: Any) -> None:
    """Without a class, Locust would run all of them at once, and add up what can't be added."""
    options = environment.parsed_options
    is_worker = isinstance(environment.runner, WorkerRunner)  # its master names them
    if not options or is_worker or options.user_classes or options.class_picker:
        return
    sys.exit("Name what to run, Tab, Hammer or Stream: locust -f tests/load/locustfile.py Tab ...")


_goodbyes = EventHook()
_goodbyes_by_result: Counter[str] = Counter()


@_goodbyes.add_listener
def _count_goodbye(exception: Exception | None, **_: Any) -> None:
    _goodbyes_by_result["failed" if exception else "answered"] += 1


@events.quitting.add_listener
def _tell_goodbyes(**_: Any) -> None:
    if _goodbyes_by_result:
        counts = ", ".join(f"{count} {result}" for result, count in _goodbyes_by_result.items())
        print(f"Goodbyes at the stop, in no statistics: {counts}", file=sys.stderr)


class _Caller(FastHttpUser):
    """One browser tab of a person; two of them make a person."""

    abstract = True

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        options = environment.parsed_options
        person = next(_numbers) // TABS_A_USER
        self._in_crowd = random.random() < options.crowd
        tenant = 1 if self._in_crowd else 1 + person % options.tenants
        claims = {"sub": person, "name": f"Person {person}", "tenant": str(tenant)}
        token = issue_token(_settings, claims, TOKEN_SECONDS)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._records = options.records
        self.enter()

    def enter(self) -> None:
        """Open a record in a new tab."""
        self.record_id = 1 if self._in_crowd else random.randint(1, self._records)
        self.tab_id = secrets.token_urlsafe(16)  # as the client makes them
        self.doing: dict[str, Any] = {"mode": "view", "dirty": False}
        self.version: str | None = None  # asks for the viewers
        self.heartbeat_seconds: float = _settings.heartbeat_seconds

    def beat(self, name: str = "heartbeat") -> None:
        """Say what the tab is doing, and learn who else is there."""
        body = {"tab_id": self.tab_id, **self.doing, "version": self.version, "visible": True}
        with self._call("POST", "heartbeat", name, json=body) as answer:
            data = (answer.js or {}).get("data")
            if data:
                self.version, self.heartbeat_seconds = data["version"], data["heartbeat_seconds"]
            elif not answer.error:
                answer.failure("no data in the answer")

    def leave(self) -> None:
        """Say goodbye, as a page does that is closed."""
        with self._call("DELETE", "unregister", "unregister", json={"tab_id": self.tab_id}):
            pass

    def _call(self, method: str, call: str, name: str, **options: Any) -> Any:
        path = f"{API_PREFIX}/{RECORD_TYPE}/{self.record_id}/{call}"
        return self.rest(method, path, name=name, headers=self._headers, **options)


class Tab(_Caller):
    """Beats as the client does. In an hour, of a hundred: many edits, some leave, few crash."""

    weight = 10

    def wait_time(self) -> float:
        return self.heartbeat_seconds * random.uniform(1 - JITTER, 1 + JITTER)

    def on_start(self) -> None:
        # Not all at once: people arrive one by one.
        time.sleep(random.uniform(0, self.heartbeat_seconds))
        self.beat("heartbeat, arriving")

    def on_stop(self) -> None:
        self.client.request_event = _goodbyes
        self.leave()

    @task(80)
    def stay(self) -> None:
        self.beat()

    @task(12)
    def edit(self) -> None:
        """Edit a field, then save or give up; the client tells of both at once."""
        self.doing = {"mode": "edit", "dirty": True, "active_field": random.choice(FIELDS)}
        self.beat("heartbeat, changed")
        time.sleep(random.uniform(1, self.heartbeat_seconds))
        self.doing = {"mode": "view", "dirty": False}
        self.beat("heartbeat, changed")

    @task(6)
    def go_elsewhere(self) -> None:
        """Leave, and open another record."""
        self.leave()
        self.enter()
        self.beat("heartbeat, arriving")

    @task(2)
    def crash(self) -> None:
        """Be gone without a goodbye: the lease has to end by itself."""
        self.enter()
        self.beat("heartbeat, arriving")


class Hammer(_Caller):
    """Beats as soon as it is answered. Start the service with a high PRESENCE_RATE_LIMIT."""

    wait_time = constant(0)

    @task
    def hammer(self) -> None:
        self.beat()


class Stream(_Caller):
    """Follows its record for a minute at a time; what is measured is the time to the snapshot."""

    weight = 1
    wait_time = constant(1)

    @task
    def follow(self) -> None:
        path = f"{API_PREFIX}/events?record={RECORD_TYPE}:{self.record_id}"
        until = time.monotonic() + STREAM_SECONDS
        with self.client.get(
            path, name="stream, to its start", headers=self._headers, stream=True, catch_response=True
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
                return
            answer.success()
            while time.monotonic() < until and answer.stream.readline():
                pass

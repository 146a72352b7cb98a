"""Throughput and latency of calls over HTTP, beside routes of the same gunicorn that do nothing."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis as redis_py
import requests

from record_presence import create_app
from record_presence.identity.caller import Caller
from record_presence.identity.session import CSRF_HEADER, csrf_token, sign_in
from record_presence.settings import Settings, read_settings
from tests.load.clients import Clients, beat_of, path_of, register, steady_beats
from tests.load.crowd import Crowd, OpenTab, User
from tests.load.figures import Rounds, Table, at_least, at_most
from tests.load.generator import CONNECTIONS, Answered, Generator, http_request
from tests.load.parts import Effort
from tests.load.rounds import interleaved
from tests.load.servers import PROCESSES, Service
from tests.redis_server import RedisServer

ENVIRONMENT = {
    "SECRET_KEY": "a secret of the bench, long enough",
    "WEB_CONCURRENCY": str(PROCESSES),
    # Counted as ever, but a thousand users beat as often here as a hundred thousand do.
    "PRESENCE_RATE_LIMIT": "100000000/minute",
    "PRESENCE_TTL_SECONDS": "3600",  # nobody may expire while others are measured
    "PRESENCE_ACCESS_LOG": "false",  # it would make the floor slower, and every ratio better
}
FLOOR, FLOOR_WITH_REDIS = "/presence/floor", "/presence/floor-with-redis"  # of tests/load/floor.py
HALF = 0.5  # of what was answered at full load
ANSWER_MS = 1  # takes about as long at half load
TABS = 2_000  # beating in turns, on records of 1 to 10 tabs


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent in one measurement, and the share of the floor that it should reach."""

    name: str
    requests: Path
    goal_share: float | None = None
    goal_p99_ms: float | None = None
    has_latency: bool = True


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of one load."""

    answered: Answered
    cpu_us: float  # of gunicorn's workers, a request
    at_half: Answered  # when half as many are sent


def run(effort: Effort) -> list[Table]:
    redis = RedisServer()
    try:
        settings = {**ENVIRONMENT, "REDIS_URL": f"unix://{redis.socket}"}
        service = Service("tests.load.floor:app", **settings)
        generator = Generator(service.url)
        try:
            with redis.client() as client:
                loads = _Loads(read_settings(settings), client, service, generator, effort).all()
            return _tables(loads, service, generator, effort)
        finally:
            generator.close()
            service.close()
    finally:
        redis.close()


def _tables(loads: list[Load], service: Service, generator: Generator, effort: Effort) -> list[Table]:
    def measure(load: Load) -> Measured:
        cpu_seconds = service.cpu_seconds()
        answered = generator.send(load.requests, effort.seconds)
        cpu_us = (service.cpu_seconds() - cpu_seconds) / answered.requests * 1e6
        pause_ms = round(CONNECTIONS / (HALF * answered.a_second) * 1000 - ANSWER_MS)
        return Measured(answered, cpu_us, generator.send(load.requests, effort.seconds, pause_ms=pause_ms))

    generator.send(
        loads[0].requests, min(1, effort.seconds)
    )  # the first second of a process is not like the others
    measured = interleaved(effort.rounds, {load.name: lambda load=load: measure(load) for load in loads})
    figures = {name: _Figures(rounds) for name, rounds in measured.items()}
    floor = figures[_FLOOR]

    table = Table(
        "Calls over HTTP",
        ("call", "requests/s", "of the floor", "goal", "p50, ms", "p99, ms", "goal", "CPU, µs", "× floor"),
        f"{PROCESSES} gevent processes, {CONNECTIONS} connections; generator and Redis on the same machine. "
        "All is on: identity, validation, metrics, a throttle that counts and never refuses (its limit is "
        "set high); the access log is off, for the floor as well. Tokens are known to the process, as from "
        "a user's second beat on. CPU is that of gunicorn's workers, a request. The floor reads JSON and "
        "answers a constant. It has no latency: gevent passes on only where a call waits for something, and "
        "a call of the floor never does, so one connection has a process to itself for a while: p50 below "
        "1 ms, p99 up to 250. The floor that asks Redis for a PING waits, as every call of the service does.",
    )
    for load in loads:
        figure = figures[load.name]
        share = figure.a_second.over(floor.a_second)
        table.add(
            load.name,
            figure.a_second,
            share,
            load.goal_share and at_least(load.goal_share, share),
            figure.p50_ms if load.has_latency else None,
            figure.p99_ms if load.has_latency else None,
            load.goal_p99_ms and at_most(load.goal_p99_ms, figure.p99_ms, " ms"),
            figure.cpu_us,
            figure.cpu_us.over(floor.cpu_us),
        )
    crowd, few = figures[_CROWD], figures[_FEW]
    dearer = few.a_second.over(crowd.a_second)
    table.add(
        "room of 10,000: cost over 10",
        None,
        dearer,
        at_most(1.2, dearer, "×"),
        *(None,) * 4,
        crowd.cpu_us.over(few.cpu_us),
    )
    return [table, _table_at_half(loads, figures)]


def _table_at_half(loads: list[Load], figures: dict[str, "_Figures"]) -> Table:
    table = Table(
        "Latency at half load",
        ("call", "requests/s", "of its full load", "p50, ms", "p99, ms", "goal"),
        "The same calls, but each connection pauses, at random, so that about half as many are sent as were "
        "answered above. At full load generator, Redis and gunicorn fight for two cores, and the p99 is as "
        "much the machine's scheduler as the service; this is what a service sees that is not overloaded.",
    )
    for load in (load for load in loads if load.has_latency):
        figure, half = figures[load.name], figures[load.name].at_half
        table.add(
            load.name,
            half.a_second,
            half.a_second.over(figure.a_second),
            half.p50_ms,
            half.p99_ms,
            load.goal_p99_ms and at_most(load.goal_p99_ms, half.p99_ms, " ms"),
        )
    return table


_FLOOR = "floor: JSON in and out"
_CROWD, _FEW = "heartbeat, one room of 10,000", "heartbeat, rooms of 10"


class _Latency:
    """What the generator counted, round by round."""

    def __init__(self, rounds: list[Answered]) -> None:
        self.a_second = Rounds(tuple(one.a_second for one in rounds))
        self.p50_ms = Rounds(tuple(one.p50_ms for one in rounds))
        self.p99_ms = Rounds(tuple(one.p99_ms for one in rounds))


class _Figures(_Latency):
    def __init__(self, rounds: list[Measured]) -> None:
        super().__init__([one.answered for one in rounds])
        self.cpu_us = Rounds(tuple(one.cpu_us for one in rounds))
        self.at_half = _Latency([one.at_half for one in rounds])


class _Loads:
    """Opens the tabs, and writes down what each load sends."""

    def __init__(
        self,
        settings: Settings,
        client: redis_py.Redis,
        service: Service,
        generator: Generator,
        effort: Effort,
    ) -> None:
        self._settings = settings
        self._client = client
        self._clients = Clients(settings)
        self._service = service
        self._generator = generator
        self._effort = effort
        self._crowd = Crowd()
        self._app = create_app(settings, redis=client)  # to sign sessions as the service does

    def all(self) -> list[Load]:
        tabs = tabs_of_small_rooms(self._crowd, self._effort)
        few = [tab for room in self._crowd.rooms(10, min(TABS, self._effort.crowd)) for tab in room]
        crowd = self._crowd.room(self._effort.crowd)
        hundred = [tab for room in self._crowd.rooms(100, min(TABS, self._effort.crowd)) for tab in room]
        versions = register(self._client, self._settings, [*tabs, *few, *crowd, *hundred])

        def beats(tabs: Iterable[OpenTab]) -> Iterable[bytes]:
            return steady_beats(self._clients, tabs, versions)

        def posts(path: str) -> Iterable[bytes]:
            return (
                http_request(
                    "POST",
                    path,
                    self._clients.headers(tab.user),
                    beat_of(tab, version=versions[tab.record_id]),
                )
                for tab in tabs
            )

        in_sessions = (
            http_request(
                "POST",
                path_of(tab, "heartbeat"),
                self._session(tab.user),
                beat_of(tab, version=versions[tab.record_id]),
            )
            for tab in tabs
        )
        return [
            self._load(_FLOOR, posts(FLOOR), has_latency=False),
            self._load("floor, and a PING of Redis", posts(FLOOR_WITH_REDIS)),
            self._load("heartbeat", beats(tabs), 0.5, 10),
            self._load("heartbeat, session and CSRF", in_sessions, 0.4),
            self._load("viewers, unchanged (304)", self._unchanged(tabs), 0.6),
            self._load("viewers, 50 listed", map(self._clients.viewers, hundred), 0.4),
            self._load(_FEW, beats(few)),
            self._load(_CROWD, beats(crowd[:TABS])),
        ]

    def _load(self, name: str, lines: Iterable[bytes], *goals: float, has_latency: bool = True) -> Load:
        path = self._generator.write(re.sub(r"\W+", "-", name), lines)
        return Load(name, path, *goals, has_latency=has_latency)

    def _session(self, user: User) -> dict[str, str]:
        session: dict[str, Any] = {}
        sign_in(session, Caller(user_id=user.id, user_name=user.name, tenant=user.tenant))
        token = csrf_token(session)
        signed = self._app.session_interface.get_signing_serializer(self._app).dumps(session)
        return {"Cookie": f"session={signed}", CSRF_HEADER: token}

    def _unchanged(self, tabs: list[OpenTab]) -> list[bytes]:
        """Questions with the ETag that was the answer to the question before."""
        lines = []
        with requests.Session() as session:
            for tab in tabs:
                url, headers = self._service.url + path_of(tab, "viewers"), self._clients.headers(tab.user)
                etag = session.get(url, headers=headers, timeout=10).headers["ETag"]
                lines.append(self._clients.viewers(tab, **{"If-None-Match": etag}))
            again = session.get(url, headers={**headers, "If-None-Match": etag}, timeout=10)
            if again.status_code != 304:
                raise RuntimeError(f"expected 304, got {again.status_code}")
        return lines


def tabs_of_small_rooms(crowd: Crowd, effort: Effort) -> list[OpenTab]:
    """TABS on records of 1 to 10, as most records are."""
    sizes, tabs = (1, 1, 2, 3, 10), min(TABS, effort.crowd)
    return [tab for size in sizes for room in crowd.rooms(size, tabs // len(sizes)) for tab in room]

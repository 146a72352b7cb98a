"""Where the time of a heartbeat goes, from socket to socket."""

import io
import json
import subprocess
import sys
from typing import Any

from record_presence.api.paths import API_PREFIX
from tests.gunicorn_server import ROOT
from tests.load.clients import PROOF_SECONDS
from tests.load.figures import Rounds, Table
from tests.load.generator import Generator, http_request
from tests.load.parts import Effort
from tests.load.parts.http import ENVIRONMENT
from tests.load.progress import steps
from tests.load.rounds import interleaved
from tests.load.servers import Service
from tests.load.stopwatch import Stopwatch
from tests.redis_server import RedisServer

WARM_UP_CALLS = 200

# In the order of a request; what stands in another's inside is not counted twice.
PIECES = {
    "Flask: its contexts and hooks": ("flask.app:Flask.wsgi_app",),
    "Flask: the request object": ("flask.app:Flask.request_context",),
    "routing": ("flask.ctx:RequestContext.match_request", "flask.app:Flask.create_url_adapter"),
    "session": (
        "record_presence.identity.session:CachedSessionInterface.open_session",
        "record_presence.identity.session:CachedSessionInterface.save_session",
    ),
    "identity: the token": ("record_presence.api.calls:_identify",),
    "the record, and access to it": (
        "record_presence.api.presence:read_record_call",
        "record_presence.api.calls:authorize",
    ),
    "reading the body": ("record_presence.api.presence:read_body",),
    "JSON in": ("record_presence.api.requests:read_json",),
    "validation": ("record_presence.api.fast_schema:FastSchema.load",),
    "throttle: its key": ("record_presence.identity.throttle:Throttle.quota",),
    "service: keys, state, answer": ("record_presence.presence.service.tabs:TabCalls.update_presence",),
    "scripts: call and answer": ("record_presence.presence.scripts.runner:Scripts.run",),
    "Redis client, and gevent's loop": (
        "record_presence.redis_client.pipelining:PipeliningRedis.execute_pipelined",
    ),
    "metrics": ("record_presence.factory:observe_script", "record_presence.factory:observe_request"),
    "JSON out, the envelope": ("record_presence.api.presence:success",),
    "Flask: sending the answer": ("werkzeug.wrappers:Response.__call__",),
    "the view": (),
}


def run(effort: Effort) -> list[Table]:
    redis = RedisServer()
    try:
        settings = {**ENVIRONMENT, "REDIS_URL": f"unix://{redis.socket}"}
        inside = _inside(settings, effort)
        outside = _outside(settings, effort)
    finally:
        redis.close()
    table = Table(
        "A heartbeat, from socket to socket",
        ("piece", "CPU, µs", "share"),
        "CPU time of one worker, the wait for Redis not counted; one call at a time, so that no other shares "
        "its way to Redis. The pieces are measured in one process by "
        "wrapping their functions, each without those inside it; gunicorn's share is what a request costs "
        "its workers when the application is a constant.",
    )
    pieces = {"gunicorn, gevent, the kernel": outside, **inside}
    total = Rounds(tuple(map(sum, zip(*(figure.values for figure in pieces.values()), strict=True))))
    for name, figure in pieces.items():
        table.add(name, figure, f"{figure.over(total).median:.0%}")
    table.add("sum", total, None)
    return [table]


def _inside(settings: dict[str, str], effort: Effort) -> dict[str, Rounds]:
    """A process of its own, since gevent has to patch it first and the watch stays in it."""
    command = [sys.executable, "-m", "tests.load.parts.profile", str(effort.calls)]
    rounds = []
    for _ in steps(range(effort.rounds), lambda _: "the pieces, in a process of their own"):
        output = subprocess.run(
            command, cwd=ROOT, env=settings, capture_output=True, text=True, check=True
        ).stdout
        rounds.append(json.loads(output))
    return {piece: Rounds(tuple(one[piece] for one in rounds)) for piece in rounds[0]}


def _outside(settings: dict[str, str], effort: Effort) -> Rounds:
    service = Service("tests.load.floor:constant", **settings)
    generator = Generator(service.url)
    try:
        requests = generator.write("constant", [http_request(*_request({}))])
        generator.send(requests, min(1, effort.seconds))

        def measure() -> float:
            cpu_seconds = service.cpu_seconds()
            answered = generator.send(requests, effort.seconds)
            return (service.cpu_seconds() - cpu_seconds) / answered.requests * 1e6

        return Rounds(tuple(interleaved(effort.rounds, {"": measure})[""]))
    finally:
        generator.close()
        service.close()


def _request(headers: dict[str, str]) -> tuple[str, str, dict[str, str], dict[str, Any]]:
    body = {"tab_id": "6c1b1d6e-4a39-4f21-9d65-08bb0b4d5a11", "mode": "view", "dirty": False, "visible": True}
    return "POST", f"{API_PREFIX}/flow/100007/heartbeat", headers, body


def main(calls: int) -> None:
    """In the child: heartbeats by WSGI, and the pieces as JSON."""
    from record_presence import create_app
    from record_presence.identity.bearer import issue_token
    from record_presence.settings import read_settings

    watch = Stopwatch()
    for label, paths in PIECES.items():
        for path in paths:
            watch.watch(label, path)
    settings = read_settings()
    app = create_app(settings)
    app.view_functions["record_presence.heartbeat"] = watch.timed(
        "the view", app.view_functions["record_presence.heartbeat"]
    )
    token = issue_token(settings, {"sub": 10_007, "name": "Alice Moreau", "tenant": "1"}, PROOF_SECONDS)
    method, path, _, body = _request({})
    text = json.dumps(body, separators=(",", ":")).encode()
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(text)),
        "wsgi.url_scheme": "http",
    }
    for call in range(WARM_UP_CALLS + calls):
        answer = app(dict(environ, **{"wsgi.input": io.BytesIO(text)}), lambda *_: None)
        body = b"".join(answer)
        answer.close()
        if call >= WARM_UP_CALLS:
            watch.next_call()
    if b'"registered":true' not in body:
        raise RuntimeError(body.decode())
    print(json.dumps(watch.pieces()))


if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()
    main(int(sys.argv[1]))

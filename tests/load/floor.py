"""The service with two routes more, the floors of figures over HTTP, and an application that is no Flask.

They lie below /presence/, as the service's own calls do: after a call of any other path gunicorn's worker
pauses for a millisecond (record_presence.server.timeouts), which would be in the floor.
"""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Response, request

from record_presence import create_app

app = create_app()
_redis = app.extensions["record_presence"].redis

_ANSWER = b'{"success":true,"data":{}}'


@app.post("/presence/floor")
def floor() -> Response:
    """Parse the body, answer a constant."""
    request.get_json()
    return Response(_ANSWER, mimetype="application/json")


@app.post("/presence/floor-with-redis")
def floor_with_redis() -> Response:
    """The same, and the least that Redis can be asked: PING."""
    request.get_json()
    _redis.ping()
    return Response(_ANSWER, mimetype="application/json")


def constant(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An application that is no Flask: what gunicorn costs by itself."""
    if environ["REQUEST_METHOD"] == "POST":
        environ["wsgi.input"].read()
    head = [("Content-Type", "application/json"), ("Content-Length", str(len(_ANSWER)))]
    start_response("200 OK", head)
    return [_ANSWER]

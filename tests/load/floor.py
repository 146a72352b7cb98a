"""The service with one route more: a POST that reads JSON and does nothing, the floor of every figure."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Response, request

from record_presence import create_app

app = create_app()

_ANSWER = b'{"success":true,"data":{}}'


@app.post("/floor")
def floor() -> Response:
    """Parse the body, answer a constant."""
    request.get_json()
    return Response(_ANSWER, mimetype="application/json")


def constant(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An application that is no Flask: what gunicorn costs by itself."""
    if environ["REQUEST_METHOD"] == "POST":
        environ["wsgi.input"].read()
    head = [("Content-Type", "application/json"), ("Content-Length", str(len(_ANSWER)))]
    start_response("200 OK", head)
    return [_ANSWER]

"""Settings, Redis, scripts and blueprints, put together into an application."""

import time
from importlib import import_module
from typing import Any

from flask import Flask, Request, Response, abort, request

from app.api import conflicts, events, openapi, operations, operators
from app.api.extension import IdentityLoader, Presence
from app.api.headers import secure, share_with
from app.api.presence import API_PREFIX
from app.api.presence import blueprint as presence_blueprint
from app.api.requests import MAX_BODY_BYTES
from app.api.responses import NOT_KEPT, answer_errors
from app.cli import token_command
from app.console import presence_commands
from app.identity.bearer import BearerTokens
from app.identity.session import Sessions
from app.identity.throttle import Throttle
from app.logs import configure_logging
from app.metrics import observe_broadcast, observe_request, observe_script
from app.presence.broadcast import Broadcast
from app.presence.scripts import Scripts
from app.redis_client import LazyCluster, connect
from app.settings import SettingError, Settings, read_settings

_OUR_PATHS = (API_PREFIX, "/health/live", "/health/ready", "/metrics", "/api/docs")
OUR_BLUEPRINTS = frozenset({"presence", "conflicts", "events", "operations", "operators", "openapi"})
_SHARED_PATHS = (f"{API_PREFIX}/", "/static/presence/")  # with the origins of PRESENCE_CORS_ORIGINS


def create_app(settings: Settings | None = None, *, redis: Any = None) -> Flask:
    """The service as an application of its own, with the demo at `/` unless the settings leave it out.

    `settings` default to the environment (raises SettingError); `redis` to a
    client for `settings.redis_url`.
    """
    settings = settings or read_settings()
    app = Flask("app")
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_HTTPONLY=True,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,  # of the demo's forms; nothing goes to the disk
    )
    # Else //a/b is sent on to /a/b, at whatever host the request names.
    app.url_map.merge_slashes = False
    app.session_interface = Sessions(app)
    configure_logging()
    init_app(app, settings, redis=redis)
    _keep_tools_private(app)
    if settings.demo:
        from app.demo import blueprint as demo_blueprint  # late: its database library is a fifth of a process

        app.register_blueprint(demo_blueprint)
    app.after_request(_secure)
    return app


def init_app(
    app: Flask,
    settings: Settings | None = None,
    *,
    redis: Any = None,
    identity_loader: IdentityLoader | None = None,
) -> None:
    """Put the service into a Flask application: its routes, errors, metrics and commands.

    `identity_loader(request)` returns the Caller that the host knows, or None;
    it stands in the place of PRESENCE_IDENTITY_LOADER. Bearer tokens work beside it.
    """
    settings = settings or read_settings()
    redis = connect(settings.redis_url) if redis is None else redis
    scripts = Scripts(reload=app.debug, observe=observe_script)
    one_slot = not isinstance(redis, LazyCluster)
    app.extensions["presence"] = Presence(
        settings=settings,
        redis=redis,
        scripts=scripts,
        broadcast=Broadcast(
            redis,
            scripts,
            round(settings.ttl_seconds * 1000),
            max_streams=settings.max_streams,
            timeline_ms=round(settings.timeline_seconds * 1000),
            settle_seconds=settings.settle_seconds,
            observe=observe_broadcast,
        ),
        throttle=Throttle(redis, scripts, settings.rate_limit, one_slot=one_slot),
        signal_throttle=Throttle(
            redis, scripts, settings.signal_rate_limit, one_slot=one_slot, counts="signals"
        ),
        bearer_tokens=BearerTokens(settings),
        load_identity=identity_loader or _load(settings.identity_loader),
    )
    app.register_blueprint(presence_blueprint)
    app.register_blueprint(events.blueprint)
    app.register_blueprint(conflicts.blueprint)
    app.register_blueprint(operators.blueprint)
    app.register_blueprint(operations.blueprint)
    app.register_blueprint(openapi.blueprint)
    app.cli.add_command(token_command)
    app.cli.add_command(presence_commands)
    answer_errors(app, _is_ours)
    app.wsgi_app = _Clock(app.wsgi_app)  # type: ignore[method-assign]
    app.after_request(_observe)
    if settings.cors_origins:
        share_with(app, settings.cors_origins, _SHARED_PATHS)


def _keep_tools_private(app: Flask) -> None:
    """npm puts the tools below the static files, beside the package that they are for."""
    serve = app.view_functions["static"]

    def static(filename: str) -> Response:
        if "node_modules" in filename.lower():
            abort(404)
        return serve(filename=filename)

    app.view_functions["static"] = static


def _load(dotted_path: str | None) -> IdentityLoader | None:
    if not dotted_path:
        return None
    module, _, name = dotted_path.partition(":")
    try:
        loader = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingError(f"PRESENCE_IDENTITY_LOADER: {error}") from None
    if not callable(loader):
        raise SettingError(f"PRESENCE_IDENTITY_LOADER: {dotted_path} is no function")
    return loader


def _is_ours(request: Request) -> bool:
    return any(request.path == path or request.path.startswith(f"{path}/") for path in _OUR_PATHS)


class _Clock:
    """Notes when a request came in; a before_request hook costs ten times as much."""

    def __init__(self, wsgi_app: Any) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        environ["presence.started"] = time.perf_counter()
        return self._wsgi_app(environ, start_response)


def _observe(response: Response) -> Response:
    endpoint = request.endpoint
    if endpoint and endpoint.partition(".")[0] in OUR_BLUEPRINTS:
        if request.method == "OPTIONS":  # answered by Flask
            response.headers.extend(NOT_KEPT)
            response.headers["X-Content-Type-Options"] = "nosniff"
        observe_request(
            endpoint, response.status_code, time.perf_counter() - request.environ["presence.started"]
        )
    return response


def _secure(response: Response) -> Response:
    # The presence calls have their headers from the start, and every microsecond counts there.
    return response if request.blueprint == presence_blueprint.name else secure(response)

"""Settings, Redis, scripts and blueprints, put together into an application."""

import logging
import time
from functools import partial
from importlib import import_module
from typing import Any

from flask import Blueprint, Flask, Request, Response, request

from .api import conflicts, events, operations, operators, reference
from .api.calls import ARRIVED_US
from .api.csrf import exempt_from_flask_wtf
from .api.extension import EXTENSION_NAME, IdentityLoader, PresenceExtension
from .api.headers import add_security_headers, enable_cors
from .api.pacing import PacedPaths
from .api.paths import API_PREFIX
from .api.presence import blueprint as presence_blueprint
from .api.refusals import answer_to_refused_call
from .api.requests import MAX_BODY_BYTES
from .api.responses import NO_STORE, register_error_handlers
from .cli.presence import presence_commands
from .cli.token import token_command
from .identity.bearer import BearerTokens
from .identity.failed_authentication_limit import FailedAuthenticationLimit
from .identity.kept_bytes import KeptBytesLimit, TenantMemory
from .identity.session import CachedSessionInterface
from .identity.signed_out_sessions import SignedOutSessions
from .identity.throttle import Throttle
from .metrics import count_broadcast_event, observe_request, observe_script
from .presence.scripts import Scripts
from .presence.stamps import now_us
from .presence.streaming.broadcast import Broadcast
from .redis_client.client import connect
from .redis_client.cluster import LazyCluster
from .server.logs import configure_logging
from .server.processes import is_first_of_its_siblings
from .settings import SettingError, Settings, read_host_settings, read_settings

log = logging.getLogger("presence")

# Each with the paths below which a call of nobody's is answered by us.
_CALLS = (presence_blueprint, events.blueprint, conflicts.blueprint, operators.blueprint)
_DOCS = (reference.blueprint, ("/api/docs",))
_HEALTH = (operations.health_blueprint, ("/health/live", "/health/ready"))
_METRICS = (operations.metrics_blueprint, ("/metrics",))
_BLUEPRINTS = (*_CALLS, _DOCS[0], _HEALTH[0], _METRICS[0])
PRESENCE_BLUEPRINTS = frozenset(blueprint.name for blueprint in _BLUEPRINTS)
_CORS_PATHS = (f"{API_PREFIX}/", "/static/presence/")  # for the origins of PRESENCE_CORS_ORIGINS


def create_app(settings: Settings | None = None, *, redis: Any = None) -> Flask:
    """The service as an application of its own, with the demo at `/` where `settings.has_demo`.

    `settings` default to the environment, `redis` to a client for `settings.redis_url`.
    Raises SettingError, and ScriptInvalid for a Lua file that breaks the rules.
    """
    settings = settings or read_settings()
    app = Flask("record_presence")
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_HTTPONLY=True,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,  # of the demo's forms
    )
    # Otherwise //a/b would be redirected to /a/b, at whatever host the request names.
    app.url_map.merge_slashes = False
    configure_logging()
    init_app(app, settings, redis=redis, docs=True, metrics=True, health=True)
    presence = app.extensions[EXTENSION_NAME]
    app.session_interface = CachedSessionInterface(app, SignedOutSessions(presence.redis, presence.scripts))
    if settings.has_demo:
        app.register_blueprint(_demo_blueprint())
    app.after_request(_add_security_headers)
    app.wsgi_app = PacedPaths(app.wsgi_app)  # type: ignore[method-assign]
    return app


def init_app(
    app: Flask,
    settings: Settings | None = None,
    *,
    redis: Any = None,
    identity_loader: IdentityLoader | None = None,
    docs: bool = False,
    metrics: bool = False,
    health: bool = False,
) -> None:
    """Put the presence calls into a Flask application, and its commands `token` and `presence`.

    `identity_loader(request)` returns the Caller that the host knows, or None; it
    takes precedence over PRESENCE_IDENTITY_LOADER. Bearer tokens work beside it.
    `docs` adds /api/docs, `metrics` /metrics, `health` /health/live and /health/ready: anybody may call them.
    Names of ours in the application begin with `record_presence`; its own routes, errors and commands
    stay as they are. Without `settings` its `secret_key` counts, where SECRET_KEY is not set.
    Raises SettingError, and ScriptInvalid for a Lua file that breaks the rules.
    """
    settings = settings or read_host_settings(app.secret_key)
    extension = make_extension(settings, redis, is_debugging=app.debug)
    extension.load_identity = identity_loader or _import_identity_loader(settings.identity_loader)
    app.extensions[EXTENSION_NAME] = extension
    app.extensions.setdefault("presence", extension)  # its name in release 0.1
    asked_for = [part for part, is_on in ((_DOCS, docs), (_METRICS, metrics), (_HEALTH, health)) if is_on]
    for blueprint in (*_CALLS, *(blueprint for blueprint, _ in asked_for)):
        app.register_blueprint(blueprint)
    for command in (token_command, presence_commands):
        if command.name not in app.cli.commands:  # of the host's
            app.cli.add_command(command)
    paths = (API_PREFIX, *(path for _, paths in asked_for for path in paths))
    register_error_handlers(app, partial(_is_ours, paths), answer_to_refused_call)
    is_in_memory = settings.is_embedded and redis is None
    app.wsgi_app = _RequestTimer(app, is_in_memory)  # type: ignore[method-assign]
    if app.debug:
        app.after_request(partial(_show_invalid_scripts, extension.scripts))
    if settings.cors_origins:
        enable_cors(app, settings.cors_origins, _CORS_PATHS)


def make_extension(settings: Settings, redis: Any, *, is_debugging: bool) -> PresenceExtension:
    """What the calls need, for an application in which it stands at EXTENSION_NAME.

    Raises SettingError, and ScriptInvalid for a Lua file that breaks the rules."""
    redis = connect(settings.redis_url) if redis is None else redis
    scripts = Scripts(
        reload=is_debugging,
        observe=observe_script,
        may_publish_sharded=settings.sharded_pubsub == "auto",
    )
    one_slot = not isinstance(redis, LazyCluster)
    return PresenceExtension(
        settings=settings,
        redis=redis,
        scripts=scripts,
        broadcast=Broadcast(
            redis,
            scripts,
            round(settings.ttl_seconds * 1000),
            max_streams=settings.max_streams,
            max_streams_per_user=settings.max_streams_per_user,
            timeline_ms=round(settings.timeline_seconds * 1000),
            recovery_grace_seconds=settings.recovery_grace_seconds,
            observe=count_broadcast_event,
            has_sharded_pubsub=settings.sharded_pubsub != "no",
        ),
        throttle=Throttle(redis, scripts, settings.rate_limit, one_slot=one_slot),
        signal_throttle=Throttle(
            redis, scripts, settings.signal_rate_limit, one_slot=one_slot, counts="signals"
        ),
        bearer_tokens=BearerTokens(settings),
        failed_authentications=FailedAuthenticationLimit(settings.failed_authentication_limit),
        kept_bytes=KeptBytesLimit(),
        tenant_memory=TenantMemory(settings.tenant_memory, settings.ttl_seconds, settings.timeline_seconds),
    )


def _demo_blueprint() -> Blueprint:
    """Raises SettingError where SQLAlchemy is missing."""
    try:
        from .demo import blueprint  # late: its database library is a fifth of a process's memory
    except ModuleNotFoundError as error:
        if error.name != "sqlalchemy":
            raise
        needs = "the demo needs SQLAlchemy: pip install 'record-presence[versioned]', or set no"
        raise SettingError(f"PRESENCE_DEMO: {needs}") from None
    return blueprint


def _import_identity_loader(dotted_path: str | None) -> IdentityLoader | None:
    if not dotted_path:
        return None
    module, _, name = dotted_path.partition(":")
    try:
        loader: IdentityLoader = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingError(f"PRESENCE_IDENTITY_LOADER: {error}") from None
    if not callable(loader):
        raise SettingError(f"PRESENCE_IDENTITY_LOADER: {dotted_path} is not a function")
    return loader


def _is_ours(paths: tuple[str, ...], request: Request) -> bool:
    """Whether an error of this request is ours to answer: a route of the host's is not, wherever it lies."""
    if request.endpoint is not None:
        return request.endpoint.partition(".")[0] in PRESENCE_BLUEPRINTS
    return any(request.path == path or request.path.startswith(f"{path}/") for path in paths)


class _RequestTimer:
    """WSGI middleware: records when a request arrives. A before_request hook would cost ten times as much.

    At the first request, when the host has initialised all its extensions, it also exempts our
    blueprints from the check of Flask-WTF, and looks at how the application is served.
    """

    def __init__(self, app: Flask, is_in_memory: bool) -> None:
        self._app = app
        self._wsgi_app = app.wsgi_app
        self._is_in_memory = is_in_memory
        self._is_ready = False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if not self._is_ready:
            self._is_ready = True
            self._prepare(environ)
        environ["presence.started"] = time.perf_counter()
        environ[ARRIVED_US] = now_us()
        return self._wsgi_app(environ, start_response)

    def _prepare(self, environ: dict[str, Any]) -> None:
        exempt_from_flask_wtf(self._app, _BLUEPRINTS)
        # By the standard (PEP 3333) every server says here whether it has more than one process.
        has_siblings = self._is_in_memory and environ.get("wsgi.multiprocess")
        if has_siblings and is_first_of_its_siblings(self._app.root_path):
            log.warning(
                "REDIS_URL is not set, so each process of this server has a presence of its own, and users"
                " see only those whose calls reach the same process"
            )


def _record_request(response: Response) -> Response:
    """An after_request function: count the request in the metrics."""
    if request.method == "OPTIONS":  # Flask itself answers these
        response.headers.extend(NO_STORE)
        response.headers["X-Content-Type-Options"] = "nosniff"
    seconds = time.perf_counter() - request.environ["presence.started"]
    observe_request(request.endpoint or "", response.status_code, seconds)
    return response


def _show_invalid_scripts(scripts: Scripts, response: Response) -> Response:
    """An after_request function, for development: the answer says that an older text of a script was run."""
    if scripts.invalid and request.endpoint and request.endpoint.partition(".")[0] in PRESENCE_BLUEPRINTS:
        texts = dict.fromkeys(str(error) for error in scripts.invalid.values())
        response.headers["X-Presence-Script-Error"] = _header_text(" | ".join(texts))
    return response


def _header_text(text: str) -> str:
    """On one line, and in ASCII."""
    return " ".join(text.split()).encode("ascii", "replace").decode()


for _blueprint in _BLUEPRINTS:  # and not of the application, whose own calls are no business of ours
    _blueprint.after_request(_record_request)


def _add_security_headers(response: Response) -> Response:
    # Responses of the presence blueprint already have these headers, and every microsecond counts there.
    return response if request.blueprint == presence_blueprint.name else add_security_headers(response)

"""The command `doctor`: what is set, what can be reached, and what is wrong."""

import os
import resource
import socket
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..api.extension import EXTENSION_NAME
from ..identity.jwks_client import fetch_signing_keys
from ..presence.errors import PresenceError, ScriptInvalid
from ..presence.scripts.redis_errors import FAILURES
from ..presence.scripts.sharded_publishing import find_refusing_node
from ..presence.scripts.transport import is_cluster
from ..redis_client.urls import split_redis_url
from ..server.cpus import available_cpus
from ..settings import INSTANCE_DIRECTORY, SettingError, Settings, documented, read_settings, variable

if TYPE_CHECKING:
    from ..api.extension import PresenceExtension

OK, NOTE, WRONG = "ok", "note", "WRONG"
MIN_REDIS_VERSION = (6, 2)

# extra -> {module: the package that contains it}
EXTRAS = {
    "server": {"gunicorn": "gunicorn", "gevent": "gevent", "hiredis": "hiredis", "orjson": "orjson"},
    "embedded": {"fakeredis": "fakeredis", "lupa": "lupa"},
    "versioned": {"sqlalchemy": "SQLAlchemy"},
    "cli": {"rich": "rich"},
    "jwks": {"cryptography": "cryptography"},
}


class Finding(NamedTuple):
    """One line of the report."""

    status: str
    subject: str
    text: str


@click.command("doctor")
def doctor() -> None:
    """Check the setup: one line for each finding, and exit status 1 if anything is wrong."""
    is_wrong = False
    for status, subject, text in findings():
        color = {OK: "green", NOTE: "yellow", WRONG: "red"}[status]
        line = " ".join(text.split())  # an error of a library may have several
        click.echo(f"{click.style(f'{status:5}', fg=color)}  {subject}: {line}")
        is_wrong = is_wrong or status == WRONG
    if is_wrong:
        raise click.exceptions.Exit(1)


def findings() -> Iterator[Finding]:
    """Everything there is to report, in the order in which an operator would fix it."""
    yield from _variables()
    try:
        settings = read_settings()
    except SettingError as error:
        yield Finding(WRONG, "settings", str(error))
        yield from _extras(None)
        return
    yield Finding(OK, "settings", "valid")
    yield _secret(settings)
    yield from _extras(settings)
    yield _demo(settings)
    yield _processes(settings)
    yield _tenant_memory(settings)
    yield _file_limit(settings)
    yield _address(settings)
    if settings.jwt_jwks_url:
        yield _jwks(settings.jwt_jwks_url)
    yield from _application(settings)


def _variables() -> Iterator[Finding]:
    known = {name for name, _ in documented()}
    is_set = sorted(name for name in known if os.environ.get(name, "").strip())
    yield Finding(OK, "environment", f"sets {', '.join(is_set)}" if is_set else "sets nothing; all defaults")
    for name in sorted(os.environ):
        if name.startswith("PRESENCE_") and name not in known:
            yield Finding(NOTE, "environment", f"{name} is not a setting")


def _secret(settings: Settings) -> Finding:
    if os.environ.get("SECRET_KEY", "").strip():
        return Finding(OK, "secret", "SECRET_KEY is set")
    return Finding(OK, "secret", f"generated; saved in {INSTANCE_DIRECTORY / 'secret_key'}")


def _extras(settings: Settings | None) -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        versions = {package: _installed(module, package) for module, package in modules.items()}
        missing = [package for package, version in versions.items() if version is None]
        if not missing:
            found = ", ".join(f"{package} {version}" for package, version in versions.items())
            yield Finding(OK, f"extra {extra}", found)
            continue
        is_needed = settings is not None and (
            (extra == "embedded" and settings.is_embedded) or (extra == "versioned" and settings.has_demo)
        )
        hint = f"without {', '.join(missing)}: pip install 'record-presence[{extra}]'"
        yield Finding(WRONG if is_needed else NOTE, f"extra {extra}", hint)


def _installed(module: str, package: str) -> str | None:
    if find_spec(module) is None:
        return None
    try:
        return version_of(package)
    except PackageNotFoundError:
        return "of unknown version"


def _demo(settings: Settings) -> Finding:
    if not settings.has_demo:
        return Finding(OK, "demo", settings.demo_state.removeprefix("demo "))
    if settings.is_embedded and settings.demo is None:
        return Finding(OK, "demo", "on; PRESENCE_DEMO=no turns it off")
    return Finding(NOTE, "demo", "on, where everybody can sign in; PRESENCE_DEMO=no turns it off")


def _processes(settings: Settings) -> Finding:
    if settings.is_embedded:
        return Finding(OK, "processes", "1, since presence is kept in its memory; REDIS_URL allows more")
    return Finding(OK, "processes", str(settings.web_concurrency or available_cpus()))


def _file_limit(settings: Settings) -> Finding:
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.max_connections
    if limit == resource.RLIM_INFINITY:
        return Finding(OK, "open files", "no limit")
    text = f"a process may need {needed:,} and has {limit:,}"
    if limit >= needed:
        return Finding(OK, "open files", text)
    return Finding(WRONG, "open files", f"{text}: raise ulimit -n, or lower PRESENCE_MAX_STREAMS")


def _address(settings: Settings) -> Finding:
    where = f"{settings.host}, port {settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            text = f"can't listen on {where} ({error.strerror}); perhaps the service is running already"
            return Finding(NOTE, "address", text)
    return Finding(OK, "address", f"can listen on {where}")


def _tenant_memory(settings: Settings) -> Finding:
    mebibytes = settings.tenant_memory / 2**20
    return Finding(OK, "tenant memory", f"up to {mebibytes:,.0f} MiB of Redis for a tenant, in each process")


def _jwks(url: str) -> Finding:
    try:
        return Finding(OK, "JWKS", f"{len(fetch_signing_keys(url))} signing keys")
    except Exception as error:  # the answer may be anything
        return Finding(WRONG, "JWKS", f"PRESENCE_JWT_JWKS_URL: {type(error).__name__}: {error}"[:300])


def _application(settings: Settings) -> Iterator[Finding]:
    """Whether the service would start: its keys, scripts and identity loader; then its Redis."""
    from ..factory import create_app  # late: it is slow to import, and a wrong setting is found without it

    try:
        app = create_app(settings)
    except (SettingError, ScriptInvalid) as error:
        yield Finding(WRONG, "application", str(error))
        return
    yield Finding(OK, "application", "starts")
    extension: PresenceExtension = app.extensions[EXTENSION_NAME]
    if settings.is_embedded:
        yield Finding(OK, "Redis", "embedded: in the memory of one process, and lost when it ends")
    else:
        yield from _redis(settings, extension)


def _redis(settings: Settings, extension: "PresenceExtension") -> Iterator[Finding]:
    parts, hosts = split_redis_url(settings.redis_url or "")
    where = parts.path if parts.scheme == "unix" else ", ".join(hosts)
    try:
        server = _first_node(extension.redis.info("server"))
    except Exception as error:  # redis-py's, or those of the socket and of TLS
        yield Finding(WRONG, "Redis", f"{where} does not answer: {error}")
        return
    name, version = _server_version(server)
    is_supported = tuple(map(int, version.split(".")[:2])) >= MIN_REDIS_VERSION
    needs = "" if is_supported else f"; needs {'.'.join(map(str, MIN_REDIS_VERSION))} or newer"
    yield Finding(OK if is_supported else WRONG, "Redis", f"{where}: {name} {version}{needs}")
    yield _try("Redis scripts", "a script that writes has run", extension.check_redis)
    yield _eviction(extension)
    if is_cluster(extension.redis):
        yield _pubsub(settings, extension)


def _server_version(server: dict[str, Any]) -> tuple[str, str]:
    if "valkey_version" in server:
        return "Valkey", str(server["valkey_version"])
    return "Redis", str(server.get("redis_version", "0.0"))


def _eviction(extension: "PresenceExtension") -> Finding:
    try:
        policy = _first_node(extension.redis.info("memory")).get("maxmemory_policy", "unknown")
    except Exception as error:  # an ACL may forbid it
        return Finding(NOTE, "Redis eviction", f"can't be read ({error})")
    if policy == "noeviction":
        return Finding(OK, "Redis eviction", "noeviction")
    text = f"maxmemory-policy is {policy}: a full Redis makes users disappear from lists; set noeviction"
    return Finding(NOTE, "Redis eviction", text)


def _pubsub(settings: Settings, extension: "PresenceExtension") -> Finding:
    """How changes are published on a Cluster."""
    if settings.sharded_pubsub != "auto":
        text = f"PUBLISH, which goes to every node: {variable('sharded_pubsub')} is {settings.sharded_pubsub}"
        return Finding(NOTE, "Redis pub/sub", text)
    try:
        refusing = find_refusing_node(extension.redis)
    except FAILURES as error:
        return Finding(NOTE, "Redis pub/sub", f"can't find out how changes are published: {error}")
    if refusing is None:
        return Finding(OK, "Redis pub/sub", "sharded: a change stays with the nodes of its record")
    text = (
        f"PUBLISH, which goes to every node: {refusing} refuses SSUBSCRIBE or SPUBLISH (before Redis 7,"
        " behind some proxies, or without the rights)"
    )
    return Finding(NOTE, "Redis pub/sub", text)


def _try(subject: str, text_if_ok: str, attempt: Callable[[], None]) -> Finding:
    try:
        attempt()
    except PresenceError as error:
        return Finding(WRONG, subject, str(error))
    return Finding(OK, subject, text_if_ok)


def _first_node(info: dict[str, Any]) -> dict[str, Any]:
    """INFO of one server. A Cluster's client returns a dict of them, by node."""
    first = next(iter(info.values()), None)
    return first if isinstance(first, dict) else info

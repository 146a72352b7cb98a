"""Every setting: its name in the environment, how it is read, its default and what it is for.

A wrong value raises SettingError, whose message is one line that names the setting.
"""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from limits import RateLimitItem, parse, parse_many
from marshmallow import ValidationError, fields, validate

from .redis_client.urls import split_redis_url
from .tokens import MIN_KEY_BYTES, secret_text

REDIS_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
JWT_FAMILIES = (
    {"HS256", "HS384", "HS512"},
    {"RS256", "RS384", "RS512"},
    {"PS256", "PS384", "PS512"},
    {"ES256", "ES256K", "ES384", "ES512"},
    {"EdDSA"},
)
SHARDED_PUBSUB = ("auto", "listen", "no")
MAX_RATE_LIMIT_CALLS = 1_000_000_000
MAX_RATE_LIMIT_WINDOW_SECONDS = 31 * 86_400
SPARE_CONNECTIONS = 2_000  # of a process, besides its streams
MIN_TENANT_MEMORY_BYTES = 1_048_576
MAX_TENANT_MEMORY_BYTES = 2**50
MIN_SECRET_LENGTH = 16  # characters
MIN_PRODUCTION_SECRET_LENGTH = 32  # characters

_DAY_SECONDS = 86_400
_MIN_DISTINCT_CHARACTERS = 6  # in a secret
# What examples have until somebody puts a secret there. Each has six characters or more:
# of ten million random keys not one has any of them by chance.
_PLACEHOLDER = re.compile(
    r"(?i)(change|replace).?(me|this|it(?![a-z]))|placeholder|insecure|password|passphrase|x{6}"
    r"|(your|my|super|top|dev|test|jwt|app)[-_ .]?secret|secret.{0,5}(key|here)"
    r"|(default|develop\w{0,6}|example|sample|production)[-_ .]?(secret|key|jwt|token)"
    r"|01234567|12345678|abcdefgh|qwertyui"
)
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:(?P<port>[1-9]\d{0,4}))?\Z",
    re.ASCII,
)
_ROLE_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_LOCAL_ADDRESS = re.compile(r"(localhost|127(\.\d+){3}|::1|)\Z")  # that no other machine reaches
_UNREADABLE_HOST = "A host must read like name:6379."
_GENERATE_ONE = "Generate one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
_HOW_TO_ENCODE = "In a password, percent-encode everything but letters and digits."

# After a loss of all data, every tab has come back after one heartbeat: with its jitter, the time that
# the request takes, and the wait of Retry-After.
_MAX_HEARTBEAT_JITTER = 1.1
_MAX_RETRY_SECONDS = 2.0


def _find_instance_directory() -> Path:
    """Where a process keeps what it made itself: in the checkout, or in the user's state directory."""
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "setup.cfg").is_file():
        return checkout / "instance"
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:  # a user without a home
        return Path.cwd() / "instance"
    return Path(state) / "record-presence"


INSTANCE_DIRECTORY = _find_instance_directory()


class SettingError(Exception):
    """A setting has a value that can't be used; the message names it in one line."""


def _check_redis_url(url: str) -> None:
    # No message quotes the URL: if a password is not percent-encoded, any part may belong to it.
    try:
        parts, hosts = split_redis_url(url)
    except ValueError:
        raise ValidationError(f"{_UNREADABLE_HOST} {_HOW_TO_ENCODE}") from None
    if parts.scheme not in REDIS_SCHEMES:
        raise ValidationError(
            f"Must start with one of {', '.join(f'{scheme}://' for scheme in REDIS_SCHEMES)}."
        )
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise ValidationError("Must name the socket: unix:///run/redis/redis.sock.")
        return
    transport, _, kind = parts.scheme.partition("+")
    if len(hosts) > 1 and not kind:
        raise ValidationError(f"Several hosts need {transport}+sentinel:// or {transport}+cluster://.")
    for host in hosts:
        try:
            _ = urlsplit(f"//{host}").port
        except ValueError:
            raise ValidationError(f"{_UNREADABLE_HOST} {_HOW_TO_ENCODE}") from None
    path = parts.path.strip("/")
    master, _, database = path.partition("/") if kind == "sentinel" else ("", "", path)
    if kind == "sentinel" and not master:
        raise ValidationError("Must name the master: redis+sentinel://host:26379,host:26379/mymaster/0.")
    if database and not (database.isascii() and database.isdigit()):
        raise ValidationError(f"The path must be the number of a database. {_HOW_TO_ENCODE}")


def _check_rate_limit(text: str) -> None:
    try:
        [limit] = parse_many(text)
    except ValueError:
        raise ValidationError("Must read like 200/minute.") from None
    if limit.amount < 1:
        raise ValidationError("Must be at least 1.")
    if limit.amount > MAX_RATE_LIMIT_CALLS or limit.get_expiry() > MAX_RATE_LIMIT_WINDOW_SECONDS:
        raise ValidationError(
            f"Must be at most {MAX_RATE_LIMIT_CALLS:,} calls in at most {MAX_RATE_LIMIT_WINDOW_SECONDS:,} s."
        )


def _check_algorithms(names: tuple[str, ...]) -> None:
    if not any(set(names) <= family for family in JWT_FAMILIES):
        raise ValidationError("Must be algorithms of one family, such as HS256 or RS256,RS512.")


def _check_role_names(names: tuple[str, ...]) -> None:
    if not all(_ROLE_NAME.match(name) for name in names):
        raise ValidationError("Must be names of roles: operator, or support,auditor.")


def _check_origins(names: tuple[str, ...]) -> None:
    for origin in names:
        if origin in {"*", "null"}:
            raise ValidationError("Must name each origin: * and null would allow every page.")
        parts = _ORIGIN.match(origin)
        # Browsers send an origin in this form only.
        if not parts or int(parts["port"] or 1) > 65_535 or parts["port"] == _DEFAULT_PORTS[parts["scheme"]]:
            raise ValidationError(
                "Must be origins such as https://app.example.com or https://app.example.com:8443:"
                " lower case, without a path and without the default port."
            )


def _check_secret(text: str) -> None:
    if len(text) < MIN_SECRET_LENGTH:
        raise ValidationError(f"Must be at least {MIN_SECRET_LENGTH} characters.")
    if len(set(text)) < _MIN_DISTINCT_CHARACTERS or ("-----BEGIN" not in text and _PLACEHOLDER.search(text)):
        raise ValidationError(f"Is a placeholder. {_GENERATE_ONE}")


# How a setting is read: each of these turns the text of a variable into a value, or raises ValidationError.


class _Seconds(fields.Float):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> float:
        seconds: float = super()._deserialize(value, attr, data, **options)
        return int(seconds) if seconds.is_integer() else seconds  # clients read 30, not 30.0


class _RateLimit(fields.String):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> Any:
        _check_rate_limit(value)
        return parse(value)


class _Names(fields.String):
    """A list with commas; `check` raises ValidationError for the names."""

    def __init__(self, check: Any) -> None:
        super().__init__()
        self._check = check

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> Any:
        names = tuple(name.strip() for name in value.split(","))
        self._check(names)
        return names


def _secret() -> fields.String:
    return fields.String(validate=_check_secret)


def _setting(
    default: Any,
    parser: "fields.Field[Any]",
    help_text: str,
    *,
    variable: str | None = None,
    is_secret: bool = False,
) -> Any:
    """A field of Settings. `variable` is its name in the environment where it has no prefix."""
    return field(
        **({"default_factory": default} if callable(default) else {"default": default}),
        repr=not is_secret,
        metadata={"parser": parser, "help": help_text, "variable": variable},
    )


_POSITIVE_SECONDS = validate.Range(min=0, min_inclusive=False, max=_DAY_SECONDS)
_IDENTITY_LOADER = validate.Regexp(
    r"[^\W\d]\w*(\.[^\W\d]\w*)*:\w+\Z", error="Must read like package.module:function."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one process. The field `ttl_seconds` is read from `PRESENCE_TTL_SECONDS`.

    Settings that are shared with other programs have no prefix.
    """

    redis_url: str | None = _setting(
        None,
        fields.String(validate=_check_redis_url),
        "Where Redis is; unset: the embedded default (one process, nothing to install).",
        variable="REDIS_URL",
    )
    secret_key: str = _setting(
        lambda: secrets.token_urlsafe(32),
        _secret(),
        "Signs sessions; unset: made once and kept in instance/secret_key.",
        variable="SECRET_KEY",
        is_secret=True,
    )
    ttl_seconds: float = _setting(
        90, _Seconds(validate=_POSITIVE_SECONDS), "Lease: how long a tab lives after its last heartbeat."
    )
    agent_ttl_seconds: float = _setting(
        75,
        _Seconds(validate=_POSITIVE_SECONDS),
        "Lease of an agent's tabs; never longer than that of all others.",
    )
    claim_idle_seconds: float = _setting(
        120,
        _Seconds(validate=_POSITIVE_SECONDS),
        "How long a user may be away who has claimed a field that others wait for.",
    )
    heartbeat_seconds: float = _setting(
        30,
        _Seconds(validate=_POSITIVE_SECONDS),
        "When clients should send their next heartbeat; less than the lease.",
    )
    rate_limit: RateLimitItem = _setting(
        parse("200/minute"), _RateLimit(), "Calls a user may make, over all processes."
    )
    signal_rate_limit: RateLimitItem = _setting(
        parse("600/minute"),
        _RateLimit(),
        "Typing and cursor signals a user may send, besides other calls.",
    )
    failed_authentication_limit: RateLimitItem = _setting(
        parse("600/minute"),
        _RateLimit(),
        "Invalid tokens that an address may send to one process; then new ones are not looked at.",
    )
    trust_forwarded_for: bool = _setting(
        False,
        fields.Boolean(),
        "Whether X-Forwarded-For is set by your proxy, and its last address is the client's.",
    )
    streams: bool | None = _setting(
        None,
        fields.Boolean(),
        "Whether event streams are opened; unset: where gevent is, since each would block a thread.",
    )
    hidden_roles: tuple[str, ...] = _setting(
        (),
        _Names(_check_role_names),
        "Roles of tokens whose users see others and are seen by nobody.",
    )
    max_streams: int = _setting(
        8000,
        fields.Integer(validate=validate.Range(1, 50_000)),
        "Event streams that one process holds; further clients are told to come back later.",
    )
    max_streams_per_user: int = _setting(
        20,
        fields.Integer(validate=validate.Range(1, 50_000)),
        "Event streams that one process holds for one user.",
    )
    tenant_memory: int = _setting(
        1_073_741_824,
        fields.Integer(validate=validate.Range(MIN_TENANT_MEMORY_BYTES, MAX_TENANT_MEMORY_BYTES)),
        "Bytes of Redis that a tenant may take up by what one process serves; then new tabs are refused.",
    )
    timeline_seconds: float = _setting(
        _DAY_SECONDS,
        fields.Float(validate=validate.Range(min=0, max=31 * _DAY_SECONDS)),
        "How long the timeline of a record is kept; 0 keeps none.",
    )
    open_index: bool = _setting(
        True,
        fields.Boolean(),
        "Whether it is noted which records are open, for operators; one more command when a user comes.",
    )
    sharded_pubsub: str = _setting(
        "auto",
        fields.String(validate=validate.OneOf(SHARDED_PUBSUB)),
        "On a Cluster: auto publishes by SPUBLISH where it can, listen only listens for it, no does neither.",
    )
    jwt_key: str = _setting(
        "",
        _secret(),
        "Key that bearer tokens are verified with; unset: derived from SECRET_KEY.",
        is_secret=True,
    )
    jwt_algorithms: tuple[str, ...] = _setting(
        ("HS256",), _Names(_check_algorithms), "Allowed algorithms, of one family."
    )
    jwt_jwks_url: str | None = _setting(
        None,
        fields.Url(schemes={"http", "https"}, require_tld=False),
        "Where to fetch public keys, instead of the key.",
    )
    jwt_audience: str | None = _setting(None, fields.String(), "The `aud` that a token must name.")
    jwt_issuer: str | None = _setting(None, fields.String(), "The `iss` that a token must name.")
    cors_origins: tuple[str, ...] = _setting(
        (), _Names(_check_origins), "Origins whose pages may call; unset: only its own."
    )
    identity_loader: str | None = _setting(
        None,
        fields.String(validate=_IDENTITY_LOADER),
        "Dotted path `package.module:function` of a host's own identity loader.",
    )
    host: str = _setting("127.0.0.1", fields.String(), "Address to listen on.", variable="HOST")
    port: int = _setting(
        8000, fields.Integer(validate=validate.Range(0, 65_535)), "Port to listen on.", variable="PORT"
    )
    web_concurrency: int | None = _setting(
        None,
        fields.Integer(validate=validate.Range(1, 256)),
        "Processes; unset: one for each core that may be used, and one when embedded.",
        variable="WEB_CONCURRENCY",
    )
    drain_seconds: float = _setting(
        0,
        _Seconds(validate=validate.Range(min=0, max=3600)),
        "After SIGTERM, how long calls are still served while /health/ready says no.",
    )
    access_log: bool | None = _setting(
        None, fields.Boolean(), "Whether requests are logged; unset: yes, but not when embedded."
    )
    demo: bool | None = _setting(
        None,
        fields.Boolean(),
        "Whether the demo is there; unset: not with a REDIS_URL or a HOST beyond this machine.",
    )
    database_url: str | None = _setting(
        None, fields.String(), "The demo's records; unset: SQLite.", variable="DATABASE_URL"
    )

    @property
    def is_embedded(self) -> bool:
        """Whether presence lives in this process, with no Redis server."""
        return self.redis_url is None

    @property
    def has_demo(self) -> bool:
        """Whether the demo is served. Anybody may sign in there: where others come, it must be asked for."""
        return self._no_demo_because is None if self.demo is None else self.demo

    @property
    def demo_state(self) -> str:
        """Whether the demo is served, and why not, in a few words."""
        if self.has_demo:
            return "demo on"
        if self.demo is None:
            return f"demo off, because {self._no_demo_because}; {variable('demo')}=yes turns it on"
        return "demo off"

    @property
    def _no_demo_because(self) -> str | None:
        if self.redis_url is not None:
            return f"{variable('redis_url')} is set"
        if not _LOCAL_ADDRESS.match(self.host):
            return f"{variable('host')} is beyond this machine"
        if find_spec("sqlalchemy") is None:
            return "the extra 'versioned' is missing"
        return None

    @property
    def max_connections(self) -> int:
        """Of one process: all its streams, and room for heartbeats."""
        return self.max_streams + SPARE_CONNECTIONS

    @property
    def recovery_grace_seconds(self) -> float:
        """After a loss of all data, how long it takes until every tab has had time for one heartbeat."""
        return min(self.ttl_seconds, self.heartbeat_seconds * _MAX_HEARTBEAT_JITTER + _MAX_RETRY_SECONDS)


_FIELDS = {item.name: item for item in fields_of(Settings)}
# What only a server of our own reads: a host has its own, and often the same variables.
SERVER_FIELDS = frozenset(
    {"host", "port", "web_concurrency", "drain_seconds", "access_log", "demo", "database_url"}
)


def variable(name: str) -> str:
    """The environment variable that a field of Settings is read from."""
    return _FIELDS[name].metadata["variable"] or f"PRESENCE_{name.upper()}"


def documented() -> list[tuple[str, str]]:
    """Every environment variable with its help text."""
    return [(variable(name), item.metadata["help"]) for name, item in _FIELDS.items()]


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment. An empty variable counts as unset. Raises SettingError."""
    values = _read_values(os.environ if environ is None else environ, frozenset())
    _check_secret_is_strong(values.get("secret_key"), values.get("redis_url"), values.get("host", ""))
    if "secret_key" not in values:
        values["secret_key"] = _saved_secret()
    settings = Settings(**values)
    _check_together(settings)
    return settings


def read_host_settings(secret_key: str | bytes | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment for an application that has a `secret_key` of its own, and a server.

    SECRET_KEY comes before it, since other processes read that as well. What is about our own server is
    not read: PORT and WEB_CONCURRENCY are the application's. Raises SettingError.
    """
    values = _read_values(os.environ if environ is None else environ, SERVER_FIELDS)
    if "secret_key" not in values and secret_key:
        values["secret_key"] = secret_text(secret_key)
    # Without one of these, tokens are verified with a key that is derived from the secret.
    if not ("jwt_key" in values or "jwt_jwks_url" in values):
        _check_secret_is_strong(values.get("secret_key"), values.get("redis_url"), "")
        if "secret_key" not in values:
            values["secret_key"] = _saved_secret()
    settings = Settings(**values)
    _check_together(settings)
    return settings


def _read_values(environ: Mapping[str, str], left_out: frozenset[str]) -> dict[str, Any]:
    """The fields that are set, but for those left out."""
    values: dict[str, Any] = {}
    for name, item in _FIELDS.items():
        text = environ.get(variable(name), "")
        if name in left_out or not text.strip():
            continue
        try:
            values[name] = item.metadata["parser"].deserialize(text)
        except ValidationError as error:
            raise SettingError(f"{variable(name)}: {' '.join(error.messages)}") from None
    return values


def _check_together(settings: Settings) -> None:
    if settings.heartbeat_seconds >= settings.ttl_seconds:
        raise SettingError(
            f"{variable('heartbeat_seconds')}: must be less than {variable('ttl_seconds')} "
            f"({settings.ttl_seconds:g})"
        )
    if settings.is_embedded and (settings.web_concurrency or 1) > 1:
        raise SettingError(f"{variable('web_concurrency')}: more than one process needs REDIS_URL")
    is_symmetric = settings.jwt_algorithms[0].startswith("HS")
    if settings.jwt_jwks_url and is_symmetric:
        raise SettingError(
            f"{variable('jwt_algorithms')}: a JWKS holds public keys; use RS256, ES256 or similar"
        )
    if is_symmetric and settings.jwt_key and len(settings.jwt_key.encode()) < MIN_KEY_BYTES:
        raise SettingError(
            f"{variable('jwt_key')}: {settings.jwt_algorithms[0]} needs at least {MIN_KEY_BYTES} bytes"
        )
    if not is_symmetric and not settings.jwt_jwks_url and not settings.jwt_key:
        raise SettingError(
            f"{variable('jwt_key')}: {settings.jwt_algorithms[0]} needs a public key or a JWKS URL"
        )


def _check_secret_is_strong(secret: str | None, redis_url: str | None, host: str) -> None:
    """A key that others can attack must be set, and long.

    Others share a Redis on another machine, or can call a service that listens beyond this one. A
    service that nobody else reaches may make its own key.
    """
    if redis_url is None or (
        _LOCAL_ADDRESS.match(host) and all(map(_LOCAL_ADDRESS.match, _hosts_of(redis_url)))
    ):
        return
    where = f"with a {variable('redis_url')} or a {variable('host')} beyond this machine"
    if secret is None:
        raise SettingError(f"{variable('secret_key')}: must be set {where}. {_GENERATE_ONE}")
    if len(secret) < MIN_PRODUCTION_SECRET_LENGTH:
        too_short = f"must be at least {MIN_PRODUCTION_SECRET_LENGTH} characters"
        raise SettingError(f"{variable('secret_key')}: {too_short} {where}. {_GENERATE_ONE}")


def _hosts_of(redis_url: str) -> list[str]:
    parts, hosts = split_redis_url(redis_url)
    return [] if parts.scheme == "unix" else [urlsplit(f"//{host}").hostname or "" for host in hosts]


def _saved_secret() -> str:
    """A key that is made once and saved, so that every process of this installation signs with the same."""
    path = INSTANCE_DIRECTORY / "secret_key"
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SettingError(f"SECRET_KEY: is not set, and {path} can't be read ({error.strerror})") from None
    secret = secrets.token_urlsafe(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A hard link can't be half written: of two processes that start together, one wins whole.
        draft = path.with_name(f"secret_key.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secret, "utf-8")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return path.read_text("utf-8")
    except OSError as error:
        raise SettingError(
            f"SECRET_KEY: is not set, and {path} can't be written ({error.strerror}). {_GENERATE_ONE}"
        ) from None

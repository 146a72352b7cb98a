"""Every setting: its name in the environment, its type and its default.

A wrong value raises SettingError, whose message is one line that names the setting.
"""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from limits import RateLimitItem, parse, parse_many
from marshmallow import ValidationError, fields, validate

INSTANCE_DIRECTORY = Path(__file__).resolve().parents[1] / "instance"
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
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:(?P<port>[1-9]\d{0,4}))?\Z",
    re.ASCII,
)
_USUAL_PORTS = {"http": "80", "https": "443"}
MOST_CALLS, LONGEST_WINDOW_SECONDS = 1_000_000_000, 31 * 86_400  # of a rate limit
MIN_SECRET_LENGTH = 16  # characters
LEAST_PRODUCTION_SECRET = 32  # characters
MIN_JWT_KEY_BYTES = 32  # for HS algorithms (RFC 7518, 3.2)
_MIN_LETTERS = 6  # different ones in a secret
# What stands in examples until somebody puts a secret there.
# Six letters and more: of ten million random keys not one has them by chance.
_PLACEHOLDER = re.compile(
    r"(?i)(change|replace).?(me|this|it(?![a-z]))|placeholder|insecure|password|passphrase|x{6}"
    r"|(your|my|super|top|dev|test|jwt|app)[-_ .]?secret|secret.{0,5}(key|here)"
    r"|(default|develop\w{0,6}|example|sample|production)[-_ .]?(secret|key|jwt|token)"
    r"|01234567|12345678|abcdefgh|qwertyui"
)
_HERE = re.compile(r"(localhost|127(\.\d+){3}|::1|)\Z")  # addresses that no other machine reaches
_UNREADABLE_HOST = "A host must read like name:6379."
_HOW_TO_MAKE_ONE = "Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
_ENCODING = "In a password, percent-encode all but letters and digits."


class SettingError(Exception):
    """A setting has a value that can't be used; the message names it in one line."""


def _setting(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one process. The field `ttl_seconds` is read from `PRESENCE_TTL_SECONDS`."""

    redis_url: str | None = _setting(
        None, "Where Redis is; unset: the embedded default (one process, nothing to install)."
    )
    secret_key: str = field(
        default_factory=lambda: secrets.token_urlsafe(32),
        repr=False,
        metadata={"help": "Signs sessions; unset: made once and kept in instance/secret_key."},
    )
    ttl_seconds: float = _setting(90, "Lease: how long a tab lives after its last heartbeat.")
    heartbeat_seconds: float = _setting(30, "When clients are told to beat next; less than the lease.")
    rate_limit: RateLimitItem = _setting(parse("200/minute"), "Calls a user may make, over all processes.")
    signal_rate_limit: RateLimitItem = _setting(
        parse("600/minute"), "Typing and cursor signals a user may send, apart from her calls."
    )
    max_streams: int = _setting(
        8000, "Event streams that one process holds; more are told to come back later."
    )
    timeline_seconds: float = _setting(86_400, "How long the timeline of a record is kept; 0 keeps none.")
    jwt_key: str = field(
        default="",
        repr=False,
        metadata={"help": "Key that bearer tokens are verified with; unset: derived from SECRET_KEY."},
    )
    jwt_algorithms: tuple[str, ...] = _setting(("HS256",), "Allowed algorithms, of one family.")
    jwt_jwks_url: str | None = _setting(None, "Where to fetch public keys, in the place of the key.")
    jwt_audience: str | None = _setting(None, "The `aud` that a token must name.")
    jwt_issuer: str | None = _setting(None, "The `iss` that a token must name.")
    cors_origins: tuple[str, ...] = _setting((), "Origins whose pages may call; unset: its own only.")
    identity_loader: str | None = _setting(
        None, "Dotted path `package.module:function` of a host's own identity loader."
    )
    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(8000, "Port to listen on.")
    web_concurrency: int | None = _setting(None, "Processes; unset: one a core, and one when embedded.")
    access_log: bool | None = _setting(
        None, "Whether requests are logged; unset: yes, but not when embedded."
    )
    demo: bool = _setting(True, "Whether the demo is there; without it a process is 20 MB smaller.")
    database_url: str | None = _setting(None, "The demo's records; unset: SQLite.")

    @property
    def is_embedded(self) -> bool:
        """Whether presence lives in this process, with no Redis server."""
        return self.redis_url is None

    @property
    def settle_seconds(self) -> float:
        """After a loss of all data, how long it takes until every tab has had the time to beat once."""
        return min(self.ttl_seconds, self.heartbeat_seconds * LATEST_BEAT + BACK_SECONDS)


# Of a heartbeat, with its jitter; and what is under way, and Retry-After.
LATEST_BEAT, BACK_SECONDS = 1.1, 2.0

# What is shared with other programs carries no prefix.
_UNPREFIXED = {"redis_url", "secret_key", "host", "port", "web_concurrency", "database_url"}


def variable(name: str) -> str:
    """The environment variable that a field of Settings is read from."""
    return name.upper() if name in _UNPREFIXED else f"PRESENCE_{name.upper()}"


def documented() -> list[tuple[str, str]]:
    """Every environment variable with its help text."""
    return [(variable(item.name), item.metadata["help"]) for item in fields_of(Settings)]


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment. An empty variable counts as unset. Raises SettingError."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}

    def read(name: str, kind: fields.Field) -> None:
        text = environ.get(variable(name), "")
        if not text.strip():
            return
        try:
            values[name] = kind.deserialize(text)
        except ValidationError as error:
            raise SettingError(f"{variable(name)}: {' '.join(error.messages)}") from None

    positive = validate.Range(min=0, min_inclusive=False, max=86_400)
    read("redis_url", fields.String(validate=_redis_url))
    read("secret_key", fields.String(validate=_secret))
    read("ttl_seconds", fields.Float(validate=positive))
    read("heartbeat_seconds", fields.Float(validate=positive))
    read("timeline_seconds", fields.Float(validate=validate.Range(min=0, max=31 * 86_400)))
    for name in ("rate_limit", "signal_rate_limit"):
        read(name, fields.String(validate=_rate_limit))
    read("max_streams", fields.Integer(validate=validate.Range(1, 50_000)))
    read("jwt_key", fields.String(validate=_secret))
    read("jwt_algorithms", fields.String(validate=_algorithms))
    read("jwt_jwks_url", fields.Url(schemes={"http", "https"}, require_tld=False))
    for name in ("jwt_audience", "jwt_issuer", "host", "database_url"):
        read(name, fields.String())
    read("cors_origins", fields.String(validate=_origins))
    loader = validate.Regexp(r"[^\W\d]\w*(\.[^\W\d]\w*)*:\w+\Z", error="Not package.module:function.")
    read("identity_loader", fields.String(validate=loader))
    for name in ("access_log", "demo"):
        read(name, fields.Boolean())
    read("port", fields.Integer(validate=validate.Range(0, 65535)))
    read("web_concurrency", fields.Integer(validate=validate.Range(1, 256)))

    for name in ("rate_limit", "signal_rate_limit"):
        if name in values:
            values[name] = parse(values[name])
    for name in ("jwt_algorithms", "cors_origins"):
        if name in values:
            values[name] = _names(values[name])
    for name in ("ttl_seconds", "heartbeat_seconds"):
        if values.get(name, 0.5).is_integer():
            values[name] = int(values[name])  # clients read 30, not 30.0
    _check_whether_the_secret_will_do(
        values.get("secret_key"), values.get("redis_url"), values.get("host", "")
    )
    if "secret_key" not in values:
        values["secret_key"] = _kept_secret()
    settings = Settings(**values)
    _check_together(settings)
    return settings


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
            f"{variable('jwt_algorithms')}: a JWKS holds public keys; name RS256, ES256 or alike"
        )
    if is_symmetric and settings.jwt_key and len(settings.jwt_key.encode()) < MIN_JWT_KEY_BYTES:
        raise SettingError(
            f"{variable('jwt_key')}: {settings.jwt_algorithms[0]} needs at least {MIN_JWT_KEY_BYTES} bytes"
        )
    if not is_symmetric and not settings.jwt_jwks_url and not settings.jwt_key:
        raise SettingError(
            f"{variable('jwt_key')}: {settings.jwt_algorithms[0]} needs a public key or a JWKS URL"
        )


def split_redis_url(url: str) -> tuple[SplitResult, list[str]]:
    """A REDIS_URL without its hosts, and these. Raises ValueError.

    Since CVE-2025-0938, in Debian too, urlsplit refuses a list of hosts with an IPv6 address in it.
    """
    start, slashes, rest = url.partition("://")
    netloc, rest = re.fullmatch(r"([^/?#]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    proof, at, hosts = netloc.rpartition("@")
    return urlsplit(f"{start}{slashes}{proof}{at}{rest}"), hosts.split(",")


def _redis_url(url: str) -> None:
    # Nothing of the URL is quoted: where a password is not percent-encoded, any part may be of it.
    try:
        parts, hosts = split_redis_url(url)
    except ValueError:
        raise ValidationError(f"{_UNREADABLE_HOST} {_ENCODING}") from None
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
        raise ValidationError(f"Many hosts need {transport}+sentinel:// or {transport}+cluster://.")
    for host in hosts:
        try:
            _ = urlsplit(f"//{host}").port
        except ValueError:
            raise ValidationError(f"{_UNREADABLE_HOST} {_ENCODING}") from None
    path = parts.path.strip("/")
    master, _, database = path.partition("/") if kind == "sentinel" else ("", "", path)
    if kind == "sentinel" and not master:
        raise ValidationError("Must name the master: redis+sentinel://host:26379,host:26379/mymaster/0.")
    if database and not (database.isascii() and database.isdigit()):
        raise ValidationError(f"The path must be the number of a database. {_ENCODING}")


def _rate_limit(text: str) -> None:
    try:
        [limit] = parse_many(text)
    except ValueError:
        raise ValidationError("Must read like 200/minute.") from None
    if limit.amount < 1:
        raise ValidationError("Must let somebody call.")
    if limit.amount > MOST_CALLS or limit.get_expiry() > LONGEST_WINDOW_SECONDS:
        raise ValidationError(
            f"Must be at most {MOST_CALLS:,} calls in at most {LONGEST_WINDOW_SECONDS:,} s."
        )


def _algorithms(text: str) -> None:
    if not any(set(_names(text)) <= family for family in JWT_FAMILIES):
        raise ValidationError("Must be algorithms of one family, such as HS256 or RS256,RS512.")


def _origins(text: str) -> None:
    for origin in _names(text):
        if origin in {"*", "null"}:
            raise ValidationError("Must name each origin: * and null would let any page in.")
        parts = _ORIGIN.match(origin)
        # Browsers send an origin in this form and in no other.
        if not parts or int(parts["port"] or 1) > 65_535 or parts["port"] == _USUAL_PORTS[parts["scheme"]]:
            raise ValidationError(
                "Must be origins such as https://app.example.com or https://app.example.com:8443:"
                " lower case, without a path, without the usual port."
            )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _secret(text: str) -> None:
    if len(text) < MIN_SECRET_LENGTH:
        raise ValidationError(f"Must be at least {MIN_SECRET_LENGTH} characters.")
    if len(set(text)) < _MIN_LETTERS or ("-----BEGIN" not in text and _PLACEHOLDER.search(text)):
        raise ValidationError(f"Is a placeholder. {_HOW_TO_MAKE_ONE}")


def _check_whether_the_secret_will_do(secret: str | None, redis_url: str | None, host: str) -> None:
    """One machine may make its own; where others share its Redis, or call it, its operator knows the key.

    Nor may others have the time to guess it.
    """
    if redis_url is None or (_HERE.match(host) and all(map(_HERE.match, _hosts_of(redis_url)))):
        return
    where = f"with a {variable('redis_url')} or a {variable('host')} beyond this machine"
    if secret is None:
        raise SettingError(f"{variable('secret_key')}: must be set {where}. {_HOW_TO_MAKE_ONE}")
    if len(secret) < LEAST_PRODUCTION_SECRET:
        least = f"must be at least {LEAST_PRODUCTION_SECRET} characters"
        raise SettingError(f"{variable('secret_key')}: {least} {where}. {_HOW_TO_MAKE_ONE}")


def _hosts_of(redis_url: str) -> list[str]:
    parts, hosts = split_redis_url(redis_url)
    return [] if parts.scheme == "unix" else [urlsplit(f"//{host}").hostname or "" for host in hosts]


def _kept_secret() -> str:
    """A key made once for this checkout, so that every process of it signs alike."""
    path = INSTANCE_DIRECTORY / "secret_key"
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SettingError(f"SECRET_KEY: is unset and {path.name} can't be read ({error.strerror})") from None
    secret = secrets.token_urlsafe(32)
    try:
        path.parent.mkdir(exist_ok=True)
        # Link, not write: of two processes that start together, one wins whole.
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
        raise SettingError(f"SECRET_KEY: is unset and none could be kept ({error.strerror})") from None

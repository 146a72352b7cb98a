"""The options of each connection: our timeouts, what the URL says, and whether a connection can have it.

redis-py's own defaults can hang a call for a minute. Here a call without an
answer ends within two seconds, retry included.
"""

import ssl
from inspect import signature
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.connection import AbstractConnection, parse_url
from redis.retry import Retry

from .urls import split_redis_url

CONNECT_TIMEOUT_SECONDS = 0.3
ANSWER_TIMEOUT_SECONDS = 0.45  # four fit into two seconds: a call may ask twice, and each is retried once
MAX_RETRIES = 1  # scripts may be replayed
RETRY_DELAY_SECONDS = 0.04
# redis-py tells its own name where CLIENT SETINFO is known (Redis 7.2). Our ACL file can't grant that, since
# Redis 7.0 would not start with it, and each connection would show in the ACL LOG.
_HAS_DRIVER_INFO = "driver_info" in signature(AbstractConnection.__init__).parameters
_WITHOUT_NAME = {"driver_info": None} if _HAS_DRIVER_INFO else {"lib_name": None, "lib_version": None}
_RETRY_BASE_SECONDS, _MAX_RETRY_SECONDS = 0.02, 0.1


def default_options() -> dict[str, Any]:
    """The options of a connection where the URL says nothing else."""
    return {
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": ANSWER_TIMEOUT_SECONDS,
        "retry": Retry(ExponentialBackoff(cap=_MAX_RETRY_SECONDS, base=_RETRY_BASE_SECONDS), MAX_RETRIES),
        **_WITHOUT_NAME,
        "protocol": 2,  # no handshake beyond what Redis 6.2 knows; a third less work per call
    }


def options_of_hosts(url: str) -> dict[str, Any]:
    """The options of each connection to a URL of many hosts. Raises as `check_options` does."""
    parts, _ = split_redis_url(url)
    transport, credentials = parts.scheme.partition("+")[0], parts.netloc.rpartition("@")[0]
    parsed: dict[str, Any] = parse_url(f"{transport}://{credentials}@localhost?{parts.query}")  # type: ignore[no-untyped-call]
    connection_class = parsed.pop("connection_class", redis.Connection)
    options = {**default_options(), **parsed}
    check_options(connection_class, options)
    del options["host"]
    return {**options, "ssl": True} if connection_class is redis.SSLConnection else options


def check_options(connection_class: type, options: dict[str, Any]) -> None:
    """Make a connection that connects to nothing, and read its certificates.

    Raises TypeError, ValueError and redis-py's own errors, whose messages name what is wrong.
    """
    connection_class(**options)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authorities = options.get("ssl_ca_certs"), options.get("ssl_ca_path"), options.get("ssl_ca_data")
        if any(authorities):
            context.load_verify_locations(*authorities)
        if certificate := options.get("ssl_certfile"):
            # Never without a password: OpenSSL would ask for it on the terminal.
            password = options.get("ssl_password") or ""
            context.load_cert_chain(certificate, options.get("ssl_keyfile"), password)
    except OSError as error:
        raise ValueError(f"can't read the certificates ({error.strerror or error})") from None

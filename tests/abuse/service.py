"""The service that is attacked, on a Redis of its own, and what the attack does to both."""

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.api.client import token
from tests.gunicorn_server import GunicornServer
from tests.redis_server import RedisServer

KEY_ID = "the-issuer's"
SLOW_SCRIPT_US = 1000  # from here on Redis notes a command in its slow log
CLIENTS_GONE_SECONDS = 1.0  # that Redis may take to free the buffers of closed connections
_BYTES_A_KIB = 1024


@dataclass(frozen=True)
class Signer:
    """Signs the tokens that the attacked service accepts; with `private_key` (PEM) as a JWKS issuer."""

    private_key: str | None = None

    def token(self, user: Any, tenant: str, name: str | None = None, **claims: Any) -> str:
        name = f"User {user}" if name is None else name
        if self.private_key is None:
            return token(user, name, tenant, **claims)
        claims = {"sub": user, "name": name, "tenant": tenant, "exp": int(time.time()) + 600, **claims}
        return jwt.encode(claims, _load_key(self.private_key), algorithm="RS256", headers={"kid": KEY_ID})


@cache
def _load_key(pem: str) -> Any:
    """Checking a key takes longer than signing some hundred tokens with it."""
    return serialization.load_pem_private_key(pem.encode(), None)


class JwksIssuer:
    """An identity provider: a key, and a URL with its public half."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.private_key = pem.decode()
        document = {"keys": [{**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": KEY_ID}]}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class AttackedService:
    """One process of the service with default limits, and Redis beside it without a limit of memory."""

    def __init__(self, *, with_jwks: bool = False, with_demo: bool = False, **settings: str) -> None:
        self._closing = contextlib.ExitStack()
        try:
            self._start(with_jwks, with_demo, settings)
        except BaseException:
            self._closing.close()
            raise

    def _start(self, with_jwks: bool, with_demo: bool, settings: dict[str, str]) -> None:
        self.redis_server = RedisServer()
        self._closing.callback(self.redis_server.close)
        self._redis = self._closing.enter_context(self.redis_server.client())
        self._redis.config_set("slowlog-log-slower-than", SLOW_SCRIPT_US)
        self.signer = Signer()
        if with_jwks:
            issuer = JwksIssuer()
            self._closing.callback(issuer.close)
            self.signer = Signer(issuer.private_key)
            settings |= {"PRESENCE_JWT_JWKS_URL": issuer.url, "PRESENCE_JWT_ALGORITHMS": "RS256"}
        if with_demo:
            folder = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="abuse-"))
            settings |= {"PRESENCE_DEMO": "yes", "DATABASE_URL": f"sqlite:///{folder}/demo.sqlite"}
        self._gunicorn = GunicornServer(
            REDIS_URL=f"unix://{self.redis_server.socket}",
            WEB_CONCURRENCY="1",
            PRESENCE_ACCESS_LOG="no",
            **settings,
        )
        self._closing.callback(self._gunicorn.close)
        self.port = int(self._gunicorn.url.rpartition(":")[2])

    def close(self) -> None:
        self._closing.close()

    def errors(self) -> list[str]:
        """What the service has logged as an error."""
        return [line for line in self._gunicorn.logs() if '"level": "ERROR"' in line or "Traceback" in line]

    # What an attack costs

    @property
    def _worker(self) -> Path:
        return Path(f"/proc/{self._gunicorn.worker_pids()[0]}")

    def start_measuring(self) -> "Base":
        """What is there now; the slow log and the peak of memory begin here."""
        self._redis.slowlog_reset()
        worker = self._worker
        (worker / "clear_refs").write_text("5")  # the peak of its memory
        return Base(self._redis.info("memory")["used_memory"], _status_bytes(worker, "VmRSS"), worker.name)

    def cost_since(self, base: "Base", tenant: str) -> "Cost":
        """What is pinned and was used since then; `tenant`: the attacker's.

        Raises RuntimeError if the process was replaced meanwhile.
        """
        worker = self._worker
        if worker.name != base.worker:
            raise RuntimeError("the process of the service has ended")
        deadline = time.monotonic() + CLIENTS_GONE_SECONDS
        while (used := self._redis.info("memory"))["mem_clients_normal"] > _BYTES_A_KIB * 1024:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        key_count, keys_bytes = self.pinned_by(tenant)
        slow = self._redis.slowlog_get(128)
        return Cost(
            redis_bytes=max(0, used["used_memory"] - base.redis_bytes),
            keys=key_count,
            keys_bytes=keys_bytes,
            rss_bytes=max(0, _status_bytes(worker, "VmHWM") - base.rss_bytes),
            slowest_script_ms=max(
                (entry["duration"] / 1000 for entry in slow if _is_script(entry)), default=0
            ),
        )

    def pinned_by(self, tenant: str) -> tuple[int, int]:
        """How many keys a tenant has, and the bytes that they take."""
        keys = list(self._keys_of(tenant))
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.memory_usage(key, samples=0)
        return len(keys), sum(found or 0 for found in pipeline.execute())

    def _keys_of(self, tenant: str) -> Iterator[str]:
        for pattern in (f"tenant_{tenant}_*", f"{{tenant_{tenant}_*"):
            yield from self._redis.scan_iter(pattern, count=1000)


@dataclass(frozen=True)
class Base:
    """Before an attack."""

    redis_bytes: int
    rss_bytes: int
    worker: str


@dataclass(frozen=True)
class Cost:
    """What an attack pins in Redis and has used at its peak. `slowest_script_ms`: 0 below a millisecond."""

    redis_bytes: int
    keys: int
    keys_bytes: int
    rss_bytes: int
    slowest_script_ms: float


def _is_script(entry: dict[str, Any]) -> bool:
    command = entry["command"]
    text = command if isinstance(command, str) else command.decode("utf-8", "replace")
    return text.upper().startswith(("EVAL", "FCALL"))


def _status_bytes(process: Path, name: str) -> int:
    lines = (process / "status").read_text("utf-8").splitlines()
    line = next(line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * _BYTES_A_KIB

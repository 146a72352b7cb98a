"""The service as an operator runs it: gunicorn on a port, a real redis-server, a database file."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from record_presence.demo.people import TENANT
from record_presence.settings import Settings
from tests.api.client import token
from tests.gunicorn_server import CONFIG
from tests.redis_server import RedisServer
from tests.waiting import START_SECONDS

ROOT = Path(__file__).parents[2]
SECRET = "a secret of the end-to-end tests"


class Server:
    """One gunicorn with two workers; `environment` are settings by their names outside."""

    def __init__(self, redis: RedisServer, *, wsgi: str = "wsgi:app", **environment: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="presence-e2e-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = Path(self._directory.name, "gunicorn.log")
        self.database_url = f"sqlite:///{self._directory.name}/flows.sqlite3"
        self._wsgi = wsgi
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PRESENCE_")},
            "REDIS_URL": f"unix://{redis.socket}",
            "SECRET_KEY": SECRET,
            "DATABASE_URL": self.database_url,
            "PORT": str(self.port),
            "PRESENCE_DEMO": "yes",
            "WEB_CONCURRENCY": "2",
            "PRESENCE_HEARTBEAT_SECONDS": "1",
            "PRESENCE_TTL_SECONDS": "5",
            "PRESENCE_RATE_LIMIT": "100000/minute",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start, or start again on the same port; returns when it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gunicorn",
                    "-c",
                    f"python:{CONFIG}",
                    self._wsgi,
                ],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that kill() reaches the workers too
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                # 404: a host's application, which serves no health checks unless it asks for them.
                if requests.get(f"{self.url}/health/ready", timeout=2).status_code in (200, 404):
                    return
            except (requests.ConnectionError, requests.Timeout):
                pass
            if time.monotonic() > deadline or self._process.poll() is not None:
                said = self.log.read_text()[-2000:]
                self.close()
                raise RuntimeError(f"gunicorn did not start: {said}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End every process of it as a crash would."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        self._directory.cleanup()

    def as_user(self, user_id: int, name: str, **claims: object) -> "ApiUser":
        """Somebody of the demo's tenant without a browser."""
        return ApiUser(self, user_id, name, **claims)


class ApiUser:
    """Calls the API with a bearer token."""

    def __init__(self, server: Server, user_id: int, name: str, **claims: object) -> None:
        self._url = f"{server.url}/api/v1/presence"
        self._flows_url = f"{server.url}/api/v1/flows"
        self._session = requests.Session()
        settings = Settings(secret_key=SECRET)
        proof = token(user_id, name, TENANT, seconds=3600, settings=settings, **claims)
        self._session.headers["Authorization"] = f"Bearer {proof}"

    def __enter__(self) -> "ApiUser":
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def beat(self, flow_id: int, tab_id: str = "api-tab", **body: object) -> None:
        """Be in the record for a lease."""
        body = {"tab_id": tab_id, "mode": "view", "dirty": False, **body}
        self._session.post(
            f"{self._url}/flow/{flow_id}/heartbeat", json=body, timeout=START_SECONDS
        ).raise_for_status()

    def tell(self, flow_id: int, what: str, tab_id: str = "api-tab", **body: object) -> None:
        """A call of a tab that is there: `claim`, `saved` or `signal`."""
        url = f"{self._url}/flow/{flow_id}/{what}"
        self._session.post(url, json={"tab_id": tab_id, **body}, timeout=START_SECONDS).raise_for_status()

    def names(self, flow_id: int) -> list[str]:
        """Everybody who has the record open, first arrival first."""
        viewers = self._get(f"flow/{flow_id}/viewers?include_self=true")["viewers"]
        return [viewer["name"] for viewer in viewers]

    def tabs(self, flow_id: int) -> dict[str, dict[str, object]]:
        """Every tab of the record, by id."""
        return self._get(f"flow/{flow_id}/tabs")["tabs"]

    def claims(self, flow_id: int, tab_id: str = "api-tab") -> dict[str, dict[str, object]]:
        """The claims on the record, by field, as a tab that is there hears of them."""
        body = {"tab_id": tab_id, "mode": "view", "dirty": False, "version": None}
        url = f"{self._url}/flow/{flow_id}/heartbeat"
        response = self._session.post(url, json=body, timeout=START_SECONDS)
        response.raise_for_status()
        return response.json()["data"].get("claims", {})

    def evict_all(self, flow_id: int) -> None:
        """As an operator: nobody has the record open afterwards."""
        for tab_id in self.tabs(flow_id):
            self._session.post(
                f"{self._url}/flow/{flow_id}/evict", json={"tab_id": tab_id}, timeout=10
            ).raise_for_status()

    def save(self, flow_id: int, **values: str) -> None:
        """Change some fields of the flow."""
        url = f"{self._flows_url}/{flow_id}"
        flow = self._session.get(url, timeout=START_SECONDS).json()["data"]["flow"]
        names = ("lock_version", "name", "status", "owner", "description", "steps")
        body = {name: flow[name] for name in names}
        self._session.put(url, json={**body, **values}, timeout=START_SECONDS).raise_for_status()

    def _get(self, path: str) -> dict:
        response = self._session.get(f"{self._url}/{path}", timeout=START_SECONDS)
        response.raise_for_status()
        return response.json()["data"]

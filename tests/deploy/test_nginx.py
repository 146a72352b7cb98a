"""app/deploy/nginx.conf as operators use it: Debian's nginx in front of gunicorn; only ports differ."""

import contextlib
import datetime
import json
import shutil
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.api.client import PREFIX, token
from tests.gunicorn_server import ROOT, GunicornServer
from tests.waiting import START_SECONDS, wait_until

CONFIGURATION = (ROOT / "app/deploy/nginx.conf").read_text("utf-8")
MISSING = "nginx is not installed, and these tests need it: apt-get install nginx-light"
HEARTBEAT = {"tab_id": "t1", "mode": "view", "dirty": False}


class Nginx:
    """nginx with the configuration of app/deploy in a directory of its own, in front of `upstream`."""

    def __init__(self, directory: Path, upstream: str, changes: dict[str, str] | None = None) -> None:
        binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if binary is None:
            raise RuntimeError(MISSING)
        self.port, self.tls_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        make_certificate(directory)
        configuration = CONFIGURATION
        for there, here in {
            "server 127.0.0.1:8000;": f"server {upstream};",
            "listen 8080;": f"listen 127.0.0.1:{self.port};",
            "listen 8443 ": f"listen 127.0.0.1:{self.tls_port} ",
            "#tls ": "",
            "access_log /dev/stdout": "access_log access.log",
            **(changes or {}),
        }.items():
            assert there in configuration
            configuration = configuration.replace(there, here)
        path = directory / "nginx.conf"
        path.write_text(configuration, "utf-8")
        self.access_log = directory / "access.log"
        self._process = subprocess.Popen(
            [binary, "-p", str(directory), "-c", str(path), "-g", "daemon off;"],
            stderr=subprocess.PIPE,
            text=True,
        )
        self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS).close()
                return
            except OSError:
                time.sleep(0.02)
        self._process.kill()
        raise RuntimeError(f"nginx did not start: {self._process.communicate()[1]}")

    def call(self, method, path, *, user=42, headers=None, **options):
        proof = {"Authorization": f"Bearer {token(user, f'User {user}')}"}
        return requests.request(
            method,
            f"{self.url}{path}",
            headers={**proof, **(headers or {})},
            timeout=START_SECONDS,
            **options,
        )

    def heartbeat(self, tab_id="t1", *, user=42, record="flow/12"):
        body = {**HEARTBEAT, "tab_id": tab_id}
        return self.call("POST", f"{PREFIX}/{record}/heartbeat", user=user, json=body)

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=START_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "fullchain.pem").write_bytes(certificate.public_bytes(pem))
    (directory / "privkey.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture(scope="module")
def server():
    server = GunicornServer()
    yield server
    server.close()


def upstream_of(server):
    return server.url.removeprefix("http://")


@pytest.fixture(scope="module")
def nginx(server, tmp_path_factory):
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), server.url.removeprefix("http://"))
    yield nginx
    nginx.close()


def failure_of(response, status):
    envelope = response.json()
    assert (response.status_code, envelope["success"]) == (status, False), response.text
    assert response.headers["Content-Type"] == "application/json"
    return envelope


def test_heartbeat_goes_through(nginx):
    assert nginx.heartbeat().json()["data"]["registered"] is True


def test_etag_goes_through(nginx):
    path = f"{PREFIX}/flow/etag/viewers"
    first = nginx.call("GET", path)

    assert nginx.call("GET", path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304


def test_goodbye_with_a_body_goes_through(nginx):
    nginx.heartbeat("bye", record="flow/bye")
    nginx.call("DELETE", f"{PREFIX}/flow/bye/unregister", json={"tab_id": "bye"})

    assert nginx.call("GET", f"{PREFIX}/flow/bye/tabs").json()["data"]["tabs"] == {}


def test_batch_of_a_hundred_uuids_goes_through(nginx):
    names = [f"flow:00000000-0000-4000-8000-{number:012}" for number in range(100)]

    assert nginx.call("GET", f"{PREFIX}/viewers", params={"record": names}).status_code == 200


@pytest.mark.measured
def test_event_comes_while_the_stream_is_open(nginx):
    stream = nginx.call("GET", f"{PREFIX}/events", params={"record": "flow:stream"}, stream=True)
    started = time.monotonic()
    lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
    with stream:
        assert event_in(lines)[0] == "snapshot"
        nginx.heartbeat("bobs", user=43, record="flow/stream")
        kind, data = event_in(lines)

    assert (kind, data["viewer"]["id"]) == ("join", 43)
    assert time.monotonic() - started < 3


def event_in(lines):
    """The next event's kind and data."""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            return kind, json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended")


def test_error_of_the_service_passes_as_it_is(nginx):
    bad = {"tab_id": "a b", "mode": "view", "dirty": False}
    response = nginx.call("POST", f"{PREFIX}/flow/12/heartbeat", json=bad)

    assert list(failure_of(response, 422)["errors"]) == ["tab_id"]
    failure_of(nginx.call("GET", f"{PREFIX}/flow/12/viewers", headers={"Authorization": "x"}), 401)
    failure_of(nginx.call("GET", f"{PREFIX}/nowhere"), 404)
    failure_of(nginx.call("GET", f"{PREFIX}/flow/12/heartbeat"), 405)


@pytest.mark.parametrize("size", [70_000, 10_000_000], ids=["the service's limit", "nginx's limit"])
def test_large_body_is_413_in_the_envelope(nginx, size):
    message = failure_of(nginx.heartbeat("x" * size), 413)["message"]

    assert message == "The body is larger than 65536 bytes."


def test_request_that_nginx_refuses_is_answered_in_the_envelope(nginx):
    for request, status in (
        (b"GET / HTTP/1.1\r\nHost: a\r\nBro ken: b\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 20_000 + b"\r\n\r\n", 400),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ):
        with socket.create_connection(("127.0.0.1", nginx.port), timeout=START_SECONDS) as connection:
            connection.sendall(request)
            answer = b""
            while received := connection.recv(65_536):
                answer += received
        head, _, body = answer.partition(b"\r\n\r\n")

        assert int(head.split()[1]) == status
        assert json.loads(body)["success"] is False


@pytest.mark.parametrize("path", ["/", "/metrics", "/sign-in", "/flows/1", "/static/demo/demo.css"])
def test_demo_and_metrics_stay_inside(nginx, path):
    failure_of(nginx.call("GET", path), 404)


def test_only_this_machine_asks_whether_it_is_ready(nginx, server, tmp_path):
    assert nginx.call("GET", "/health/live").status_code == 200
    assert nginx.call("GET", "/health/ready").status_code == 200
    elsewhere = Nginx(tmp_path, upstream_of(server), {"allow 127.0.0.1;": "allow 192.0.2.1;"})
    try:
        failure_of(elsewhere.call("GET", "/health/ready"), 403)
        assert elsewhere.call("GET", "/health/live").status_code == 200
    finally:
        elsewhere.close()


def test_address_that_calls_too_often_is_told_to_wait(server, tmp_path):
    changes = {"rate=300r/s": "rate=1r/m", "burst=600": "burst=5"}
    nginx = Nginx(tmp_path, upstream_of(server), changes)
    try:
        answers = [nginx.heartbeat() for _ in range(15)]
    finally:
        nginx.close()

    assert [answer.status_code for answer in answers[:6]] == [200] * 6
    refused = [answer for answer in answers if answer.status_code != 200]
    failure_of(refused[0], 429)
    assert refused[0].headers["Retry-After"] == "5"


def test_address_that_has_too_many_streams_open_is_told_to_wait(server, tmp_path):
    nginx = Nginx(tmp_path, upstream_of(server), {"connections 2000": "connections 2"})
    path = f"{PREFIX}/events?record=flow:12"
    try:
        with contextlib.ExitStack() as streams:
            for user in (42, 43):
                answer = streams.enter_context(nginx.call("GET", path, user=user, stream=True))
                assert answer.status_code == 200
            failure_of(nginx.call("GET", path, user=44), 429)
    finally:
        nginx.close()


def test_crowd_behind_one_address_is_served(nginx):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda user: nginx.heartbeat(f"t{user}", user=user), range(100, 250)))

    assert {answer.status_code for answer in answers} == {200}


def test_browser_client_is_served(nginx):
    assert "createPresence" in nginx.call("GET", "/static/presence/presence.js").text


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_service_learns_the_host_and_the_scheme_that_the_browser_used(tmp_path, scheme):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_server(("127.0.0.1", 0)) as service, contextlib.ExitStack() as stack:
        service.settimeout(START_SECONDS)
        nginx = Nginx(tmp_path, f"127.0.0.1:{service.getsockname()[1]}")
        stack.callback(nginx.close)
        port = nginx.tls_port if scheme == "https" else nginx.port
        browser = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS))
        if scheme == "https":
            browser = stack.enter_context(context.wrap_socket(browser))
        browser.sendall(f"GET {PREFIX}/viewers HTTP/1.1\r\nHost: a.example\r\n\r\n".encode())
        asked = stack.enter_context(service.accept()[0])
        asked.settimeout(START_SECONDS)
        head = asked.recv(65_536).decode()

    assert "\r\nHost: a.example\r\n" in head
    assert f"\r\nX-Forwarded-Proto: {scheme}\r\n" in head


def test_access_log_holds_no_query(nginx):
    nginx.call("GET", f"{PREFIX}/flow/logged/viewers?token=q-secret")
    nginx.call("GET", "/metrics")
    # Logged once it is answered.
    log = wait_until(nginx.access_log.read_text, lambda text: "/flow/logged/" in text and "/metrics" in text)

    assert "q-secret" not in log
    assert {json.loads(line)["status"] for line in log.splitlines()} >= {"200", "404"}


def test_browser_speaks_http_2_over_tls(nginx):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", nginx.tls_port), timeout=START_SECONDS) as plain,
        context.wrap_socket(plain) as connection,
    ):
        assert connection.selected_alpn_protocol() == "h2"


def test_service_that_is_away_is_503_with_retry_after(tmp_path):
    nginx = Nginx(tmp_path, f"127.0.0.1:{free_port()}")
    try:
        response = nginx.heartbeat()
    finally:
        nginx.close()

    failure_of(response, 503)
    assert response.headers["Retry-After"] == "2"

"""The service as it is run: gunicorn's own errors, Redis that goes and comes back, many processes."""

import contextlib
import json
import re
import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from record_presence.identity.bearer import MAX_TOKEN_LENGTH, issue_token
from tests.api.client import PREFIX, SETTINGS, token
from tests.gunicorn_server import ROOT, GunicornServer
from tests.redis_server import RedisServer
from tests.server import c_parser
from tests.waiting import wait_until

IN_TIME_SECONDS = 2.0
SECRET_TOKEN = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"


@pytest.fixture(scope="module")
def server():
    """Embedded, one process, with an access log."""
    server = GunicornServer(PRESENCE_ACCESS_LOG="true")
    yield server
    server.close()


@pytest.fixture(scope="module", params=["Python", "C"])
def parsing_server(request):
    """The same, with either of gunicorn's parsers."""
    settings = {"GUNICORN_CMD_ARGS": "--http-parser python"}
    if request.param == "C":
        folder = c_parser.folder()
        if folder is None:
            pytest.skip("gunicorn's parser in C can't be built: it needs a compiler")
        settings = {"GUNICORN_CMD_ARGS": "--http-parser fast", "PYTHONPATH": str(folder)}
    server = GunicornServer(**settings)
    yield server
    server.close()


def request(path, *headers, method="GET", version="HTTP/1.1", body=b""):
    lines = [f"{method} {path} {version}", "Host: localhost", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def in_envelope(answer, status):
    code, headers, body = answer
    envelope = json.loads(body)

    assert code == status, envelope
    assert headers["content-type"] == "application/json"
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert headers["content-length"] == str(len(body))
    assert envelope["success"] is False
    assert envelope["message"]
    assert b"Traceback" not in body


# What gunicorn answers by itself


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS where there is none
        (request("/", version="HTTP/9.9"), 400),
        (request("/", "Broken header"), 400),
        (request("/", "Bro ken: header"), 400),
        (request("/", "A: b\rc"), 400),
        (request("/", "Content-Length: many"), 400),
        (request("/", "Content-Length: -1"), 400),
        (request("/", "Content-Length: 1", "Transfer-Encoding: chunked"), 400),
        (request("/", "Transfer-Encoding: gzip"), 400),
        (request("/" + "x" * 9_000), 414),
        (request("/", "A: " + "x" * 9_000), 431),
        (request("/", *(f"A{number}: x" for number in range(50))), 431),  # and the host
        (request("/", *(f"A{number}: {'x' * 8_000}" for number in range(9))), 431),  # together too long
    ],
    ids=range(14),
)
def test_request_that_gunicorn_refuses_is_answered_in_the_envelope(parsing_server, data, status):
    in_envelope(parsing_server.send(data), status)


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n", b"2\r\n{}xx0\r\n\r\n", b"ffff\r\n{"]
)
def test_body_in_bad_chunks_is_400_in_the_envelope(parsing_server, chunks):
    headers = [f"Authorization: Bearer {token()}", "Content-Type: application/json", "Connection: close"]
    head = request(f"{PREFIX}/flow/12/heartbeat", *headers, "Transfer-Encoding: chunked", method="POST")

    in_envelope(parsing_server.send(head + chunks), 400)


def test_body_in_good_chunks_is_read(parsing_server):
    body = b'{"tab_id": "chunked", "mode": "view", "dirty": false}'
    response = parsing_server.call(
        "POST",
        "flow/1/heartbeat",
        data=iter([body[:9], body[9:]]),
        headers={"Content-Type": "application/json"},
    )

    assert response.json()["data"]["registered"] is True


def test_body_without_a_length_that_never_stops_is_413(parsing_server):
    response = parsing_server.call(
        "POST",
        "flow/1/heartbeat",
        data=(b"x" * 8_192 for _ in range(20)),
        headers={"Content-Type": "application/json"},
    )

    assert (response.status_code, response.json()["success"]) == (413, False)


def test_tab_id_of_ten_megabytes_is_413(parsing_server):
    response = parsing_server.heartbeat("x" * 10_000_000)

    assert (response.status_code, response.json()["success"]) == (413, False)


def test_body_shorter_than_it_says_is_400(parsing_server):
    headers = [f"Authorization: Bearer {token()}", "Content-Type: application/json", "Content-Length: 500"]
    head = request(f"{PREFIX}/flow/12/heartbeat", *headers, method="POST")

    in_envelope(parsing_server.send(head + b'{"tab_id"'), 400)


def test_batch_of_a_hundred_uuids_fits_into_a_request_line(parsing_server):
    names = [f"flow:00000000-0000-4000-8000-{number:012}" for number in range(100)]

    assert (
        len(parsing_server.call("GET", "viewers", params={"record": names}).json()["data"]["records"]) == 100
    )


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("OPTIONS", 200), ("TRACE", 405), ("BREW", 405)]
)
def test_every_method_is_answered(parsing_server, method, status):
    assert parsing_server.call(method, "flow/12/viewers").status_code == status


def test_connection_is_kept_for_the_next_heartbeat(parsing_server):
    with requests.Session() as session:
        answers = [session.get(f"{parsing_server.url}/health/live") for _ in range(2)]

    assert all("close" not in answer.headers.get("Connection", "") for answer in answers)


def test_error_does_not_end_the_connection_or_shift_its_answers(parsing_server):
    headers = {"Authorization": f"Bearer {token()}"}
    with requests.Session() as session:
        for path, status in (("nowhere", 404), ("Flow/1/viewers", 422), ("flow/1/tabs", 200)):
            answer = session.get(f"{parsing_server.url}{PREFIX}/{path}", headers=headers)
            assert answer.status_code == status


def test_headers_have_no_say_in_where_a_request_goes(parsing_server):
    for name in ("SCRIPT_NAME", "Script-Name", "PATH_INFO", "X-Script-Name", "X-Forwarded-Prefix"):
        status, _, body = parsing_server.send(
            request("/health/live", f"{name}: /health", "Connection: close")
        )

        assert (status, json.loads(body)["data"]) == (200, {"live": True})


def statuses(parsing_server, *requests):
    """Of all answers on one connection."""
    received = b""
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(
            ("127.0.0.1", int(parsing_server.url.rpartition(":")[2])), timeout=20
        ) as connection,
    ):
        for text in requests:
            connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65_536):
            received += data
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", received)]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "in chunks"])
def test_body_that_nobody_read_is_no_part_of_the_next_head(parsing_server, is_chunked):
    body = b"x" * 65_536
    if is_chunked:
        headers, body = ["Transfer-Encoding: chunked"], b"10000\r\n" + body + b"\r\n0\r\n\r\n"
    else:
        headers = [f"Content-Length: {len(body)}"]
    refused = request("/api/v1/presence/flow/1/heartbeat", *headers, method="POST", body=body)

    assert statuses(parsing_server, refused, refused, request("/health/live")) == [401, 401, 200]


def test_connection_ends_without_another_answer_after_a_body_that_is_far_too_large(parsing_server):
    huge = request("/health/live", "Content-Length: 3000000", body=b"x" * 3_000_000)

    assert statuses(parsing_server, huge, request("/health/live")) in ([200], [])  # reset while it was sent


def test_longest_token_goes_through_as_one_header(server):
    claims = {"sub": 42, "name": "Alice", "tenant": "1"}
    length = len(issue_token(SETTINGS, {**claims, "padding": ""}, 600))
    paddings = [(MAX_TOKEN_LENGTH - length) * 3 // 4 + more for more in range(-3, 4)]
    tokens = [issue_token(SETTINGS, {**claims, "padding": "x" * padding}, 600) for padding in paddings]
    answers = {
        len(text): requests.get(
            f"{server.url}{PREFIX}/flow/12/tabs", headers={"Authorization": f"Bearer {text}"}, timeout=20
        ).status_code
        for text in tokens
    }

    assert {status for length, status in answers.items() if length <= MAX_TOKEN_LENGTH} == {200}
    assert {status for length, status in answers.items() if length > MAX_TOKEN_LENGTH} == {401}
    assert max(length for length in answers if length <= MAX_TOKEN_LENGTH) > MAX_TOKEN_LENGTH - 3


# Logs


def test_every_line_of_the_log_is_json_and_tells_no_secret(server):
    secrets = {"authorization": SECRET_TOKEN, "query": "q-secret", "cookie": "c-secret", "csrf": "x-secret"}
    path = f"{PREFIX}/flow/12/viewers?token={secrets['query']}&access_token={SECRET_TOKEN}"
    everything = [
        f"Authorization: Bearer {SECRET_TOKEN}",
        f"Cookie: session={secrets['cookie']}",
        f"X-CSRF-TOKEN: {secrets['csrf']}",
    ]
    for data in (
        request(path, *everything),
        request(path, *everything, version="HTTP/9.9"),
        request(path, version="nonsense"),
        request(f"{path} more"),
        request("/", f"Authorization Bearer {SECRET_TOKEN}"),
        request("/", f"Authorization : Bearer {SECRET_TOKEN}"),
        request("/", f"Authorization: Bearer {SECRET_TOKEN}\x00"),
        request("/", f"Cookie session={secrets['cookie']}"),
        request("/", f"Cookie : session={secrets['cookie']}"),
        request("/", f"Cookie: session={secrets['cookie']}\x01"),
        request("/", "A: b", f" session={secrets['cookie']}"),
        request("/", f"X-CSRF-TOKEN {secrets['csrf']}"),
        request("/", f"Content-Length: {secrets['csrf']}"),
        request("/", f"Transfer-Encoding: {secrets['csrf']}"),
        request("/", f"Expect: {secrets['csrf']}"),
        f"{secrets['query']} {path}\r\n\r\n".encode(),
        request(path + "x" * 9_000),
    ):
        server.send(data)
    entries = server.entries()
    text = "\n".join(server.logs())

    assert all({"time", "level", "logger", "message"} <= set(entry) for entry in entries)
    for secret in secrets.values():
        assert secret not in text
    assert any(entry["level"] == "warning" and "Invalid request" in entry["message"] for entry in entries)


def test_request_is_logged_with_its_path_status_and_time(server):
    server.call("GET", "flow/logged/viewers", params={"limit": 5})
    [entry] = wait_until(
        # logged once it is answered
        lambda: [entry for entry in server.entries() if "logged" in (entry.get("path") or "")]
    )

    assert entry["path"] == f"{PREFIX}/flow/logged/viewers"
    assert (entry["method"], entry["status"]) == ("GET", 200)
    assert entry["ms"] > 0
    assert entry["bytes"] > 0
    assert entry["remote"] == "127.0.0.1"


# Redis goes and comes back


@pytest.mark.measured
def test_process_starts_without_redis_and_heals_by_itself():
    redis = RedisServer()
    redis.kill()
    server = GunicornServer(REDIS_URL=f"unix://{redis.socket}", WEB_CONCURRENCY="1")
    try:
        unavailable_in_time(server)
        assert requests.get(f"{server.url}/health/live", timeout=20).status_code == 200

        redis.start()
        assert server.heartbeat().status_code == 200
        wait_until(lambda: ready(server).status_code == 200, seconds=20)  # it is asked once a second

        redis.kill()
        unavailable_in_time(server)

        redis.start()
        assert server.heartbeat().status_code == 200

        redis.signal(signal.SIGSTOP)
        with ThreadPoolExecutor(20) as pool:  # callers do not queue behind each other
            answers = list(pool.map(lambda user: server.heartbeat(user=user), range(20)))
        assert {answer.status_code for answer in answers} == {503}
        assert max(answer.elapsed.total_seconds() for answer in answers) < IN_TIME_SECONDS

        redis.signal(signal.SIGCONT)
        assert server.heartbeat().status_code == 200
        assert any(entry["message"] == "store unavailable" for entry in server.entries())
    finally:
        redis.signal(signal.SIGCONT)
        server.close()
        redis.close()


def unavailable_in_time(server):
    beat, batch = server.heartbeat(), server.call("GET", "viewers?record=flow:1")
    unready = wait_until(lambda: ready(server), lambda answer: answer.status_code == 503, seconds=20)
    for answer in (beat, batch, unready):
        assert (answer.status_code, answer.json()["success"]) == (503, False)
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.elapsed.total_seconds() < IN_TIME_SECONDS


def ready(server):
    return requests.get(f"{server.url}/health/ready", timeout=20)


# Many processes


@pytest.fixture(scope="module")
def pair():
    """Two workers on one Redis, ten calls a minute for a user."""
    redis = RedisServer()
    server = GunicornServer(
        REDIS_URL=f"unix://{redis.socket}", WEB_CONCURRENCY="2", PRESENCE_RATE_LIMIT="10/minute"
    )
    yield server
    server.close()
    redis.close()


def test_workers_share_the_throttle_and_the_metrics(pair):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: pair.heartbeat(f"t{number}"), range(30)))
    statuses = [answer.status_code for answer in answers]
    scrapes = [requests.get(f"{pair.url}/metrics", timeout=20).text for _ in range(4)]

    assert (statuses.count(200), statuses.count(429)) == (10, 20)
    for text in scrapes:
        assert counted(text, 'presence_script_seconds_count{outcome="OK",script="heartbeat"}') == 10
        # A process that knows that a user is over the limit does not ask Redis again.
        throttled = counted(text, 'presence_script_seconds_count{outcome="THROTTLED",script="heartbeat"}')
        assert 1 <= throttled <= 20
        assert (
            counted(text, 'presence_request_seconds_count{endpoint="presence.heartbeat",status="429"}') == 20
        )


def counted(text, sample):
    [value] = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(sample)]
    return float(value)


def test_terminated_server_ends_cleanly_though_tabs_keep_their_connections(pair):
    address = pair.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=20) as idle:
        idle.sendall(request("/health/live"))
        assert idle.recv(12) == b"HTTP/1.1 200"
        code, seconds = pair.stop()

    assert code == 0
    assert seconds < 25  # gunicorn alone would wait for half a minute
    assert not [entry for entry in pair.entries() if entry["level"] in {"error", "critical"}]


# Editing a script


def test_edited_script_is_used_on_the_next_request_and_an_error_names_its_line(tmp_path):
    for name in ("app", "lua"):
        ignored = shutil.ignore_patterns("node_modules", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "wsgi.py", tmp_path)
    (tmp_path / "record_presence").symlink_to("app")  # what an editable install has in the environment
    server = GunicornServer(tmp_path, FLASK_DEBUG="1")
    tabs, roster = tmp_path / "lua/tabs.lua", tmp_path / "lua/lib/roster.lua"
    original = tabs.read_text()
    try:
        server.heartbeat()
        assert list(server.call("GET", "flow/12/tabs").json()["data"]["tabs"]) == ["t1"]

        tabs.write_text(
            original.replace('local reply = { "OK", 0 }', 'local reply = { "OK", 0 }\nerror("broken")')
        )
        line = tabs.read_text().splitlines().index('error("broken")') + 1
        broken = server.call("GET", "flow/12/tabs")
        assert (broken.status_code, broken.json()["success"]) == (500, False)
        assert f"lua/tabs.lua:{line}" in broken.json()["message"]
        told = [entry["exception"] for entry in server.entries() if "exception" in entry]
        assert f"lua/tabs.lua:{line}" in told[-1]

        def last_good_one_is_served(place):
            for _ in range(2):
                answer = server.call("GET", "flow/12/tabs")
                assert (answer.status_code, list(answer.json()["data"]["tabs"])) == (200, ["t1"])
                assert place in answer.headers["X-Presence-Script-Error"]
            assert len([line for line in server.logs() if place in line and "last good" in line]) == 1

        tabs.write_text(original)
        assert server.call("GET", "flow/12/tabs").status_code == 200

        tabs.write_text(original + "\nthis is no Lua")
        last_good_one_is_served(f"lua/tabs.lua:{len(original.splitlines()) + 2}: ")

        tabs.write_text(original.replace("-- tabs -", "-- taps -"))
        last_good_one_is_served("lua/tabs.lua:1: ")

        tabs.write_text(original)
        library = roster.read_text()
        roster.write_text(library + "\n)")
        last_good_one_is_served(f"lua/lib/roster.lua:{len(library.splitlines()) + 2}: ")

        roster.write_text(library)
        assert "X-Presence-Script-Error" not in server.call("GET", "flow/12/tabs").headers
    finally:
        server.close()


def test_idle_connection_of_a_process_that_stops_is_closed_and_told_nothing():
    redis = RedisServer()
    server = GunicornServer(REDIS_URL=f"unix://{redis.socket}", WEB_CONCURRENCY="1", PRESENCE_ACCESS_LOG="no")
    try:
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=20) as idle:
            idle.sendall(request("/health/live"))
            answer = b""
            while not answer.endswith(b"}}"):
                answer += idle.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200")
            server.signal(signal.SIGHUP)

            # An answer without a question would be taken for that to the next one.
            assert idle.recv(65_536) == b""
        assert server.heartbeat().status_code == 200
        wait_until(lambda: len(server.worker_pids()) == 1)
        assert not [line for line in server.logs() if "Error handling request" in line]
    finally:
        server.close()
        redis.close()

"""The documents' examples are run, so that they stay true."""

import doctest
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import fakeredis
import pytest

from record_presence import factory
from record_presence.identity.bearer import BearerTokens
from tests.api.client import PREFIX, SETTINGS
from tests.gunicorn_server import ROOT, GunicornServer

WALKS = ("README.md", "app/api/README.md")  # with a console session of their own
TEXTS = {
    path: (ROOT / path).read_text("utf-8")
    for path in (*WALKS, "app/README.md", "app/presence/README.md", "app/versioned/README.md")
}
MARK = "--- end of a command ---"
STREAM = "curl -N"  # goes on while the commands after it are carried out
CHANGING = [
    (re.compile(r"\b\d{16}-[0-9a-f]{8}\b"), "VERSION"),
    (re.compile(r"^retry: \d+$", re.MULTILINE), "retry: MS"),
    (re.compile(r'"(last_seen_at|saved_at|remembered_since|since|at)":"[^"]+"'), r'"\1":"TIME"'),
    (re.compile(r'"id":"\d{13}-\d+"'), '"id":"ENTRY"'),
    (re.compile(r"\n\n:(?=\n|\Z)"), ""),  # a comment of a stream, after 15 s without an event
]


def blocks(language, paths=tuple(TEXTS)):
    """The fenced blocks of a language, in the order of the texts."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [block for path in paths for block in pattern.findall(TEXTS[path])]


def commands_and_outputs(path):
    """Every `$ command` of a text's console blocks, with the lines that follow it."""
    text = "".join(blocks("console", [path]))
    for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        source, output = re.match(r"((?:[^\n]*\\\n)*[^\n]*\n)(.*)", command, re.DOTALL).groups()
        yield source, output.strip()


def steady(text):
    for pattern, word in CHANGING:
        text = pattern.sub(word, text)
    return text


@pytest.mark.parametrize(("path", "least"), [("README.md", 7), ("app/api/README.md", 17)])
def test_curl_walk_answers_as_it_says(path, least, tmp_path):
    walk = list(commands_and_outputs(path))
    script = "".join(steps(source) for source, _ in walk)
    run = carry_out(f"{script}if [ -e stream ]; then kill $!; cat stream; fi", tmp_path)
    *answers, streamed = [answer.strip() for answer in run.stdout.split(MARK)]
    expected = [output for source, output in walk if STREAM not in source]
    expected_stream = "".join(output for source, output in walk if STREAM in source)

    assert len(walk) >= least
    assert [steady(answer) for answer in answers] == [steady(output) for output in expected], run.stderr
    assert steady(streamed) == steady(expected_stream)


def steps(source):
    """What a shell does for one command of the walk."""
    if STREAM not in source:
        # Events are gathered that come faster than people type.
        return f"{source}[ -e stream ] && sleep 0.3; echo; echo '{MARK}'\n"
    listen = source.replace(STREAM, f"{STREAM} -s").rstrip("\n")
    return f"{listen} > stream &\nuntil grep -q ^data stream; do sleep 0.05; done\n"


def carry_out(script, directory):
    server = GunicornServer()
    flask = f"{shlex.quote(sys.executable)} -m flask --app {shlex.quote(str(ROOT / 'wsgi.py'))}"
    script = script.replace("http://127.0.0.1:8000", server.url).replace(".venv/bin/flask", flask)
    try:
        return subprocess.run(
            ["bash", "-c", script],
            cwd=directory,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "SECRET_KEY": SETTINGS.secret_key},
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        server.close()


@pytest.mark.parametrize("example", blocks("pycon"))
def test_python_session_answers_as_it_says(example):
    parsed = doctest.DocTestParser().get_doctest(example, {}, "README.md", "README.md", 0)
    report = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(parsed, out=report.append)

    assert report == []
    assert len(parsed.examples) > 5


@pytest.fixture
def run_example(monkeypatch, tmp_path):
    """`run_example("host")`: the module whose docstring begins with `host.py`, as it stands in the README."""
    redis = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    monkeypatch.setattr(factory, "read_settings", lambda: SETTINGS)
    monkeypatch.setattr(factory, "connect", lambda url: redis)
    monkeypatch.chdir(tmp_path)

    def run(name):
        [source] = [block for block in blocks("python") if block.startswith(f'"""{name}.py')]
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)  # for the examples beside it
        exec(compile(source, "README.md", "exec"), module.__dict__)
        return module

    return run


def sign_in(client, name):
    """Returns the page, and what its calls must have in their headers."""
    page = client.get(f"/sign-in/{name}", follow_redirects=True).text
    return page, {"X-CSRF-TOKEN": re.search(r'name="csrf-token" content="([^"]+)"', page).group(1)}


def test_host_application_shows_who_has_an_order_open(run_example):
    host = run_example("host").host
    alice, bob = host.test_client(), host.test_client()

    for client, name in ((alice, "Alice"), (bob, "Bob")):
        page, csrf = sign_in(client, name)
        answer = client.post(
            f"{PREFIX}/order/7/heartbeat",
            json={"tab_id": name, "mode": "edit", "dirty": False},
            headers=csrf,
        )
        assert answer.status_code == 200, answer.text
    viewers = bob.get(f"{PREFIX}/order/7/viewers").get_json()["data"]["viewers"]
    assets = re.findall(r"'(/static/presence/\w+\.js)'|href=\"(/static/presence/\w+\.css)\"", page)

    assert [viewer["name"] for viewer in viewers] == ["Alice"]
    assert len(assets) == 3
    for script, style in assets:
        with bob.get(script or style) as file:
            assert file.status_code == 200


def test_host_application_refuses_to_save_an_old_version_as_it_says(run_example):
    host = run_example("host").host
    orders = run_example("orders")
    alice, bob = host.test_client(), host.test_client()
    _, by_alice = sign_in(alice, "Alice")
    _, by_bob = sign_in(bob, "Bob")
    beat = {"tab_id": "a1", "mode": "edit", "dirty": True, "version": None}
    alice.post(f"{PREFIX}/order/7/heartbeat", json=beat, headers=by_alice)

    sent = {"lock_version": 1, "customer": "Acme", "note": "by Friday", "tab_id": "b1"}
    saved = bob.put("/orders/7", json=sent, headers=by_bob)
    refused = alice.put("/orders/7", json={**sent, "note": "by Monday", "tab_id": "a1"}, headers=by_alice)
    told = alice.post(f"{PREFIX}/order/7/heartbeat", json=beat, headers=by_alice).json["data"]["saved"]

    assert (saved.status_code, saved.json["data"]["lock_version"]) == (200, 2)
    expected, _ = blocks("json")  # the other: tests/versioned/test_http.py
    assert refused.status_code == 409
    assert steady(dumped(refused.json)) == steady(dumped(json.loads(expected)))
    assert [(save["lock_version"], save["fields"], save["tab_id"]) for save in told] == [(2, ["note"], "b1")]
    assert bob.put("/orders/7", json=sent).status_code == 403  # no CSRF token
    assert host.test_client().put("/orders/7", json=sent).status_code == 401
    assert bob.put("/orders/7", json={**sent, "note": None}, headers=by_bob).status_code == 422
    orders.engine.dispose()


def test_tests_of_a_host_pass_as_they_stand_there(tmp_path):
    for name in ("host", "test_orders"):
        [source] = [block for block in blocks("python") if block.startswith(f'"""{name}.py')]
        (tmp_path / f"{name}.py").write_text(source, "utf-8")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:schemathesis",
            "test_orders.py",
        ],
        cwd=tmp_path,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "2 passed" in run.stdout, run.stdout + run.stderr


def test_token_that_a_server_signs_as_it_says_is_accepted(run_example, monkeypatch):
    key = "a key of the tests, and long enough"
    monkeypatch.setenv("PRESENCE_JWT_KEY", key)
    token = run_example("tokens").presence_token(SimpleNamespace(id=42, name="Alice"))
    caller = BearerTokens(replace(SETTINGS, jwt_key=key)).identify(token)

    assert (caller.user_id, caller.user_name, caller.records) == (42, "Alice", ("order:*",))


def dumped(document):
    return json.dumps(document, separators=(",", ":"))


@pytest.mark.parametrize("path", WALKS)
def test_answers_of_a_walk_are_json(path):
    for source, output in commands_and_outputs(path):
        if STREAM in source:
            for data in re.findall(r"^data: (.*)$", output, re.MULTILINE):
                assert json.loads(data)["record"] == "flow:12"
        elif output:
            assert json.loads(output)["success"] in (True, False)

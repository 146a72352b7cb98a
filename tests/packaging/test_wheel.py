"""A wheel of the package, in an empty environment, without the checkout."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
import requests

from tests.deploy.containers import (
    container,
    container_environment,
    image_command,
    image_environment,
    instruction,
)
from tests.packaging.requirements import ROOT, required_distributions
from tests.waiting import START_SECONDS

SECRET = "a secret of the tests, and long enough for production"
LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info"),
    *("node_modules", "build", "instance"),
)
LEFTOVER = "app/static/presence/node_modules/vitest/index.js"

HOST = """
from flask import Flask
from record_presence import init_app

def create_app():
    app = Flask(__name__)
    init_app(app)
    return app
"""
# Alice opens a record, and Bob asks who has it open: prints the answers, and where the packages are.
VISIT = """
import json, sys
import app, record_presence

alice, bob = ({"Authorization": f"Bearer {token}"} for token in sys.argv[1:])
client = app.create_app().test_client()
beat = client.post(
    "/api/v1/presence/order/7/heartbeat",
    json={"tab_id": "t1", "mode": "edit", "dirty": False},
    headers=alice,
)
viewers = client.get("/api/v1/presence/order/7/viewers", headers=bob)
print(json.dumps({
    "heartbeat": beat.status_code,
    "viewers": [viewer["name"] for viewer in viewers.json["data"]["viewers"]],
    "app": app.__file__,
    "record_presence": record_presence.__file__,
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of the checkout in which an older version has left npm packages."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout = Path(shutil.copytree(ROOT, folder / "checkout", ignore=LEFT_OUT))
    (checkout / LEFTOVER).parent.mkdir(parents=True)
    (checkout / LEFTOVER).touch()
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, checkout)
    shutil.rmtree(checkout)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


class Environment:
    """A virtual environment with the wheel, what it requires with these extras, and nothing else.

    `install(python)` puts the wheel into it.
    """

    def __init__(self, folder, wheel, extras, install=None):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
        self.folder = folder
        self.site_packages = next(folder.glob("lib/python*/site-packages"))
        if install:
            install(folder / "bin/python")
        else:
            pip("--python", folder / "bin/python", "install", "--no-deps", "--no-index", wheel)
        metadata = next(self.site_packages.glob("record_presence-*.dist-info"))
        # Linked from the environment of the tests, which needs no internet; `record_presence` is not in it.
        for found in required_distributions(PathDistribution(metadata), extras).values():
            for name in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
                if not (self.site_packages / name).exists():
                    (self.site_packages / name).symlink_to(found.locate_file(name))
        self.installed = self.files()

    def files(self):
        """What is in site-packages: ours file by file, of others only their names."""
        ours = self.site_packages.glob("record_presence*/**/*")
        return {str(path) for path in (*self.site_packages.iterdir(), *ours)}

    def command(self, *arguments):
        return [str(self.folder / "bin" / arguments[0]), *map(str, arguments[1:])]

    def variables(self, directory, **settings):
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SECRET_KEY": SECRET,
            **settings,
        }

    def run(self, directory, *arguments, **settings):
        return subprocess.run(
            self.command(*arguments),
            cwd=directory,
            env=self.variables(directory, **settings),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def token(self, directory, user_id=42, name="Alice", **settings):
        arguments = ["token", "--sub", user_id, "--name", name]
        run = self.run(directory, "record-presence", *arguments, PRESENCE_DEMO="no", **settings)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    def visit(self, host, **settings):
        """Run visit.py in the host's folder."""
        tokens = self.token(host, **settings), self.token(host, 43, "Bob", **settings)
        run = self.run(host, "python", "visit.py", *tokens, **settings)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """As somebody has it who runs the service without a Redis."""
    extras = ["server", "embedded", "versioned", "cli"]
    return Environment(tmp_path_factory.mktemp("service"), wheel, extras)


@pytest.fixture(scope="module")
def bare_environment(wheel, tmp_path_factory):
    """As a host has it that has a Redis and uses no extra."""
    return Environment(tmp_path_factory.mktemp("bare"), wheel, [])


@pytest.fixture(scope="module")
def image(wheel, tmp_path_factory):
    """As the Containerfile makes it: by its own RUN, with nothing but what the extra `server` brings."""
    folder = tmp_path_factory.mktemp("image")

    def install(python):
        command = instruction("RUN").replace("/tmp/", f"{shlex.quote(str(folder))}/")
        shutil.copy(wheel, folder)
        tool = folder / "pip"
        tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip --python {python} "$@"\n', "utf-8")
        tool.chmod(0o755)
        # What it requires is linked afterwards.
        environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PIP_NO_DEPS": "1"}
        run = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
        assert list(folder.glob("*.whl")) == []

    return Environment(folder / "venv", wheel, ["server"], install)


@pytest.fixture
def host(tmp_path):
    """The folder of an application whose own package is called `app`."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__init__.py").write_text(HOST, "utf-8")
    (tmp_path / "visit.py").write_text(VISIT, "utf-8")
    return tmp_path


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def files_of(folder, pattern="**/*"):
    """Those that the wheel should hold of a folder, by their names in there."""
    return {
        f"record_presence/{path.relative_to(ROOT).as_posix().removeprefix('app/')}"
        for path in (ROOT / folder).glob(pattern)
        if path.is_file() and not {"node_modules", "__pycache__"} & set(path.parts)
    }


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ("app", "**/*.py"),
        ("app", "py.typed"),
        ("lua", "**/*.lua"),
        ("app/static", "**/*"),
        ("app/demo/templates", "**/*"),
        ("app/api/templates", "**/*"),
        ("app/api/static", "**/*"),
        ("app/deploy", "*"),
        ("app/recipes", "**/*"),
    ],
)
def test_wheel_holds_every_file_of(contents, folder, pattern):
    expected = files_of(folder, pattern)

    assert expected
    assert expected - contents == set()


def test_wheel_brings_one_package_and_its_metadata(contents):
    (metadata,) = {name.split("/")[0] for name in contents} - {"record_presence"}

    assert metadata.startswith("record_presence-")
    assert metadata.endswith(".dist-info")


def test_wheel_holds_nothing_that_only_builds_or_tests(contents):
    tools = {"node_modules", "tests", "src", "tools", "package-lock.json", "vitest.config.js", "build.js"}

    assert {name for name in contents if tools & set(name.split("/"))} == set()
    assert {name for name in contents if name.startswith("record_presence/demo/client/")} == set()


def test_application_with_a_package_called_app_serves_presence(environment, host):
    assert environment.visit(host) == {
        "heartbeat": 200,
        "viewers": ["Alice"],
        "app": str(host / "app/__init__.py"),
        "record_presence": str(environment.site_packages / "record_presence/__init__.py"),
    }


def test_application_with_a_redis_needs_no_extra(bare_environment, host, redis_server, real_redis):
    answers = bare_environment.visit(host, REDIS_URL=f"unix://{redis_server.socket}")

    assert (answers["heartbeat"], answers["viewers"]) == (200, ["Alice"])


def test_application_without_a_redis_is_told_which_extra_it_needs(bare_environment, host):
    run = bare_environment.run(host, "python", "-c", "import app; app.create_app()")

    assert run.returncode == 1
    assert "pip install 'record-presence[embedded]'" in run.stderr.splitlines()[-1]


def test_console_script_explains_itself(environment, tmp_path):
    run = environment.run(tmp_path, "record-presence", "--help")

    assert run.returncode == 0, run.stderr
    for command in ("serve", "token", "presence", "doctor"):
        assert f"\n  {command} " in run.stdout


def test_doctor_finds_nothing_wrong_with_a_new_installation(environment, tmp_path):
    run = environment.run(tmp_path, "record-presence", "doctor", PORT="0")

    assert run.returncode == 0, run.stdout + run.stderr


def test_serve_serves_presence_and_the_files_of_the_browser_client(environment, tmp_path):
    token = environment.token(tmp_path)
    log = tmp_path / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            environment.command("record-presence", "serve", "--port", "0"),
            cwd=tmp_path,
            env=environment.variables(tmp_path),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = wait_for_address(process, log)
        beat = requests.post(
            f"{url}/api/v1/presence/order/7/heartbeat",
            json={"tab_id": "t1", "mode": "view", "dirty": False},
            headers={"Authorization": f"Bearer {token}"},
            timeout=START_SECONDS,
        )
        paths = ["/", "/static/presence/presence.js", "/api/docs", "/health/ready"]
        statuses = {path: requests.get(f"{url}{path}", timeout=START_SECONDS).status_code for path in paths}
    finally:
        process.terminate()
        process.wait(START_SECONDS)

    assert (beat.status_code, statuses) == (200, dict.fromkeys(paths, 200)), log.read_text()


def test_image_serves_until_it_is_drained_and_writes_to_its_temporary_folder_only(
    image, tmp_path, redis_server, real_redis
):
    root, temporary = tmp_path / "root", tmp_path / "temporary"
    root.mkdir()
    temporary.mkdir()
    settings = {
        **image_environment(),
        **container_environment(),
        "REDIS_URL": f"unix://{redis_server.socket}",
        "WEB_CONCURRENCY": "2",
        "TMPDIR": str(temporary),
        "PORT": "0",
        "PRESENCE_DRAIN_SECONDS": "0.1",
    }
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            image.command(*image_command()),
            cwd=root,
            env=image.variables(root, **settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = wait_for_address(process, log).replace("0.0.0.0", "127.0.0.1")
        probes = [container()[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe")]
        statuses = [requests.get(f"{url}{path}", timeout=START_SECONDS).status_code for path in probes]
    finally:
        process.terminate()
        code = process.wait(START_SECONDS)

    assert (statuses, code) == ([200, 200], 0), log.read_text()
    assert list(root.iterdir()) == []
    assert list(temporary.glob("presence-metrics-*")) == []


def wait_for_address(process, log):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text("utf-8").splitlines():
            if line.startswith("Record Presence is on "):
                return line.split()[4]
        time.sleep(0.02)
    pytest.fail(f"serve did not start: {log.read_text('utf-8')}")


# Last: after all that the others have run.
@pytest.mark.parametrize("name", ["environment", "bare_environment", "image"])
def test_nothing_is_written_into_site_packages(request, name):
    used = request.getfixturevalue(name)

    assert used.files() - used.installed == set()

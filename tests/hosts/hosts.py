"""Applications that have an editor with presence in it: where they are, and how they are started.

Each is put together in an empty folder, as its developer does it: the application's own files
(`applications/`), and beside them copies of the recipes (`app/recipes/`), in which the address of the
service is set.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import requests

from tests.client.node import CLIENT, Node, find_node, has_packages
from tests.waiting import START_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "app/recipes"
APPLICATIONS = Path(__file__).parent / "applications"
JAVASCRIPT = APPLICATIONS / "javascript"
NEXT = APPLICATIONS / "next"
PHP_AUTOLOAD = "/usr/share/php/Illuminate/autoload.php"
WRITERS = ("job/close_orders.py", "import/import_orders.py", "agent/write_note.py")  # programs
ADDRESS = "https://presence.example.com"  # of the service, in the recipes
TOKEN_LIFETIME = "300"  # seconds, in the recipes that sign
QUIET = {"NEXT_TELEMETRY_DISABLED": "1"}


def node_command() -> list[str]:
    node = find_node()
    assert node, "node is missing"
    return list(node.node)


@cache
def _has_gems(*features: str) -> bool:
    ruby = shutil.which("ruby")
    options = [f"-r{feature}" for feature in features]
    return bool(ruby) and not subprocess.run([ruby, *options, "-e", ""], capture_output=True).returncode


@dataclass(frozen=True)
class Application:
    """One process that serves pages.

    `recipes` are copied from `app/recipes`, to the place in the folder that each names. `command` is what
    starts it, in that folder, with the environment's PORT.
    """

    name: str
    recipes: Mapping[str, str]
    command: Callable[[int], list[str]]
    is_there: Callable[[], bool]
    missing: str  # what to do where it isn't there
    files: str = ""  # the folder below `applications`, if it is not the name
    only: tuple[str, ...] = ("*",)  # which files of that folder
    prepare: Callable[[Path], None] = lambda folder: None


@dataclass(frozen=True)
class Host:
    """A page of an application: what the table has a line for."""

    name: str
    application: str
    path: str  # of the page, with `{id}` for the order's
    has_tokens: bool = True  # else the application's own session is the proof

    def __str__(self) -> str:
        return self.name


def _link_or_copy(source: str, copy: str) -> None:
    try:
        os.link(source, copy)
    except OSError:  # on another file system
        shutil.copy(source, copy)


def _install_client(folder: Path, packages: Path) -> Node:
    """`npm install` of these packages, and of ours as it would be published.

    By links to files, since Next follows none that leads out of its folder.
    """
    node, modules = find_node(), folder / "node_modules"
    assert node, "node is missing"
    shutil.copytree(packages, modules, symlinks=True, copy_function=_link_or_copy)
    pack = [*node.npm, "pack", "--silent", "--pack-destination", str(folder)]
    packed = subprocess.run(pack, cwd=CLIENT, check=True, text=True, capture_output=True).stdout
    with tarfile.open(folder / packed.split()[-1]) as archive:
        # Not `filter="data"`: before Python 3.11.4 there is none.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)
    (folder / "package").rename(modules / "record-presence")
    return node


def _build_with_vite(folder: Path) -> None:
    node = _install_client(folder, JAVASCRIPT / "node_modules")
    built = node.run("node_modules/vite/bin/vite.js", "build", "--logLevel", "warn", folder=folder)
    assert built.returncode == 0, built.stdout


def _build_with_next(folder: Path) -> None:
    editor = next(folder.rglob("OrderEditor.jsx"))
    editor.write_text(f"'use client';\n{editor.read_text('utf-8')}", "utf-8")  # as the README says
    node = _install_client(folder, NEXT / "node_modules")
    build = [*node.node, "node_modules/next/dist/bin/next", "build"]
    built = subprocess.run(
        build, cwd=folder, env={**os.environ, **QUIET}, text=True, capture_output=True, timeout=300
    )
    assert built.returncode == 0, built.stdout + built.stderr


def _make_storage(folder: Path) -> None:
    """The folders that `laravel new` makes, and Git does not keep."""
    for name in ("storage/framework/sessions", "storage/framework/views", "storage/logs", "bootstrap/cache"):
        (folder / name).mkdir(parents=True)


def _rackup(port: int) -> list[str]:
    return ["rackup", "--server", "webrick", "--port", str(port), "--host", "127.0.0.1"]


_PAGE = {"page/order.html": "order.html"}

APPLICATIONS_BY_NAME = {
    application.name: application
    for application in (
        Application(
            "flask",
            {"flask-admin/order_edit.html": "templates/order_edit.html"},
            lambda port: [
                *(sys.executable, "-m", "gunicorn", "--worker-class", "gevent", "--no-control-socket"),
                *("--bind", f"127.0.0.1:{port}", "host:host"),
            ],
            lambda: find_spec("flask_admin") is not None,
            "pip install Flask-Admin",
        ),
        Application(
            "django",
            {
                "django/presence_token.py": "presence_token.py",
                "django/templates/admin/change_form.html": "templates/admin/change_form.html",
            },
            lambda port: [sys.executable, "manage.py", "runserver", "--noreload", str(port)],
            lambda: find_spec("django") is not None,
            "pip install django",
        ),
        Application(
            "php",
            {
                "php/presence_token.php": "presence_token.php",
                "php/presence-token.php": "presence-token.php",
                **_PAGE,
            },
            lambda port: ["php", "-S", f"127.0.0.1:{port}", "router.php"],
            lambda: shutil.which("php") is not None,
            "apt-get install php-cli",
        ),
        Application(
            "laravel",
            {
                "php/presence_token.php": "routes/presence_token.php",
                "laravel/presence.php": "routes/presence.php",
                **_PAGE,
            },
            lambda port: ["php", "-S", f"127.0.0.1:{port}", "-t", "public", "public/index.php"],
            lambda: shutil.which("php") is not None and Path(PHP_AUTOLOAD).exists(),
            "apt-get install php-cli php-laravel-framework",
            prepare=_make_storage,
        ),
        Application(
            "ruby",
            {
                "ruby/presence_token.rb": "presence_token.rb",
                "ruby/presence_route.rb": "presence_route.rb",
                **_PAGE,
            },
            _rackup,
            lambda: _has_gems("webrick", "rack"),
            "apt-get install ruby ruby-webrick ruby-rack",
        ),
        Application(
            "rails",
            {
                "ruby/presence_token.rb": "lib/presence_token.rb",
                "rails/presence_tokens_controller.rb": "app/controllers/presence_tokens_controller.rb",
                **_PAGE,
            },
            _rackup,
            lambda: _has_gems("webrick", "rails"),
            "apt-get install ruby ruby-webrick ruby-railties",
        ),
        Application(
            "node",
            {
                "node/presence-token.js": "presence-token.js",
                "node/presence-route.js": "presence-route.js",
                **_PAGE,
            },
            lambda port: [*node_command(), "node.js"],
            lambda: find_node() is not None,
            "make node",
            files="javascript",
            only=("node.js", "package.json"),
        ),
        Application(
            "express",
            {
                "node/presence-token.js": "presence-token.js",
                "express/presence-route.js": "presence-route.js",
                "vite-react/OrderEditor.jsx": "react/OrderEditor.jsx",
                "vite-react/presence.js": "react/presence.js",
                "vite-vue/OrderEditor.vue": "vue/OrderEditor.vue",
                "vite-vue/presence.js": "vue/presence.js",
                **_PAGE,
            },
            lambda port: [*node_command(), "express.js"],
            lambda: find_node() is not None and has_packages(JAVASCRIPT),
            "make test-hosts",
            files="javascript",
            only=("express.js", "package.json", "vite.config.js", "react", "vue"),
            prepare=_build_with_vite,
        ),
        Application(
            "next",
            {
                "node/presence-token.js": "app/presence-token/presence-token.js",
                "next/route.js": "app/presence-token/route.js",
                "vite-react/presence.js": "app/orders/[id]/presence.js",
                "vite-react/OrderEditor.jsx": "app/orders/[id]/OrderEditor.jsx",
            },
            lambda port: [
                *(*node_command(), "node_modules/next/dist/bin/next"),
                *("start", "--hostname", "127.0.0.1", "--port", str(port)),
            ],
            lambda: find_node() is not None and has_packages(NEXT),
            "make test-hosts",
            only=("app", "package.json", "next.config.js"),
            prepare=_build_with_next,
        ),
    )
}

HOSTS = (
    Host("Flask", "flask", "/orders/{id}", has_tokens=False),
    Host("Flask-Admin", "flask", "/admin/order/edit/?id={id}", has_tokens=False),
    Host("Django", "django", "/orders/{id}"),
    Host("Django admin", "django", "/admin/shop/order/{id}/change/"),
    Host("PHP", "php", "/orders/{id}"),
    Host("Laravel", "laravel", "/orders/{id}"),
    Host("Ruby", "ruby", "/orders/{id}"),
    Host("Rails", "rails", "/orders/{id}"),
    Host("Node", "node", "/orders/{id}"),
    Host("Express", "express", "/orders/{id}"),
    Host("Next", "next", "/orders/{id}"),
    Host("Vite + React", "express", "/react/?id={id}"),
    Host("Vite + Vue", "express", "/vue/?id={id}"),
)


def application_of(host: Host) -> Application:
    return APPLICATIONS_BY_NAME[host.application]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def put_together(application: Application, folder: Path, service_url: str, token_seconds: int) -> None:
    """Fill an empty folder with the application and the recipes that it follows."""
    for pattern in application.only:
        for source in (APPLICATIONS / (application.files or application.name)).glob(pattern):
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / source.name)
    for recipe, place in application.recipes.items():
        text = (RECIPES / recipe).read_text("utf-8").replace(ADDRESS, service_url)
        if "exp" in text and TOKEN_LIFETIME in text:
            text = text.replace(TOKEN_LIFETIME, str(token_seconds))
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, "utf-8")
    for page in folder.rglob("*.html"):  # the application's own, which load the client as well
        page.write_text(page.read_text("utf-8").replace(ADDRESS, service_url), "utf-8")
    application.prepare(folder)


class RunningApplication:
    """An application in a folder of its own, with a port."""

    def __init__(
        self,
        application: Application,
        folder: Path,
        port: int,
        service_url: str,
        token_seconds: int,
        environment: Mapping[str, str],
    ) -> None:
        put_together(application, folder, service_url, token_seconds)
        self.url = f"http://127.0.0.1:{port}"
        self._name = application.name
        self._log = folder / "host.log"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PRESENCE_")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                application.command(port),
                cwd=folder,
                env={**ours, **QUIET, **environment, "PORT": str(port), "PHP_CLI_SERVER_WORKERS": "3"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that close() reaches its workers too
            )

    def wait(self) -> None:
        """Returns when it answers. Raises AssertionError where it doesn't."""

        def answers() -> bool:
            assert self._process.poll() is None, f"{self._name} did not start: {self.log()}"
            try:
                return requests.get(f"{self.url}/sign-out", timeout=START_SECONDS).ok
            except requests.RequestException:
                return False

        wait_until(answers, seconds=START_SECONDS)

    def log(self) -> str:
        """The end of what it has written."""
        return self._log.read_text("utf-8", "replace")[-3000:]

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

"""Which scenario passes on which host, as a table.

`python -m tests.hosts.table` tries all and prints it; with `--write` it also writes RESULTS.md.
Exits with 1 if one failed.
"""

import argparse
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.e2e.chromium import ARGUMENTS, CHROMIUM, MISSING
from tests.hosts.hosts import HOSTS, JAVASCRIPT, NEXT, Host, node_command
from tests.hosts.scenarios import SCENARIOS, People, begun
from tests.hosts.service import Stage
from tests.redis_server import RedisServer

RESULTS = Path(__file__).with_name("RESULTS.md")
SCENARIO_NAMES = tuple(SCENARIOS)
PASSED, FAILED, NOT_APPLICABLE = "passes", "**fails**", "–"
_INTRODUCTION = (
    "# Presence in other applications\n\n"
    "Written by `make test-hosts WRITE=1`. Each line is a page of an application that follows "
    "[the recipes](../../app/recipes/README.md), in {browser}. The scenarios are the same for all, in "
    '[scenarios.py](scenarios.py); in "across hosts" the same record is also open in the host of the next '
    "line.\n\n"
)
NOTES = (
    "–: Flask's own session is the proof there, and no token is renewed.",
    "Laravel and Rails are Debian's packages; newer versions were not tried.",
    "Livewire itself was not tried: what it does to a page is, with Alpine's morph plugin, in "
    "[test_changing_pages.py](../e2e/test_changing_pages.py).",
)
LARAVEL_VERSION = (
    "require '/usr/share/php/Illuminate/autoload.php'; echo Illuminate\\Foundation\\Application::VERSION;"
)


def try_all(people: People, hosts: tuple[Host, ...]) -> dict[Host, dict[str, str]]:
    """The outcome of each scenario on each host; says on stderr why one failed."""
    outcomes: dict[Host, dict[str, str]] = {host: {} for host in hosts}
    for name in SCENARIOS:
        with begun(name, people, hosts) as attempts:
            for host, attempt in attempts.items():
                try:
                    attempt.finish()
                    outcomes[host][name] = PASSED
                except Exception as error:
                    print(f"{name}, {host}: {error!r}", file=sys.stderr)
                    outcomes[host][name] = FAILED
    return outcomes


def _said(*command: str) -> str:
    """The first version number in what a command prints."""
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)+", printed)
    assert found, printed
    return found[0]


def _package(name: str, folder: Path = JAVASCRIPT) -> str:
    return _said(*node_command(), "-p", f"require('{folder}/node_modules/{name}/package.json').version")


def versions() -> dict[str, str]:
    """What was run, by host."""
    python, php, ruby = platform.python_version(), _said("php", "--version"), _said("ruby", "--version")
    laravel = _said("php", "-r", LARAVEL_VERSION)
    node, vite = _said(*node_command(), "--version"), f"Vite {_package('vite')}"
    return {
        "Flask": f"Flask {version('flask')}, Python {python}",
        "Flask-Admin": f"Flask-Admin {version('flask-admin')}, Python {python}",
        "Django": f"Django {version('django')}, Python {python}",
        "Django admin": f"Django {version('django')}, Python {python}",
        "PHP": f"PHP {php}",
        "Laravel": f"Laravel {laravel}, PHP {php}",
        "Ruby": f"Ruby {ruby}, Rack {_said('ruby', '-rrack', '-e', 'puts Rack.release')}",
        "Rails": f"Rails {_said('rails', '--version')}, Ruby {ruby}",
        "Node": f"Node {node}",
        "Express": f"Express {_package('express')}, Node {node}",
        "Next": f"Next {_package('next', NEXT)}, React {_package('react', NEXT)}",
        "Vite + React": f"{vite}, React {_package('react')}",
        "Vite + Vue": f"{vite}, Vue {_package('vue')}",
    }


def table(outcomes: dict[Host, dict[str, str]], versions: dict[str, str]) -> str:
    """In Markdown, a line for each host."""
    header = ["", *SCENARIO_NAMES, "tried in"]
    lines = [
        [str(host), *(found.get(name, NOT_APPLICABLE) for name in SCENARIO_NAMES), versions[host.name]]
        for host, found in outcomes.items()
    ]
    rows = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    from playwright.sync_api import sync_playwright  # late: other tests run where it isn't installed

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write RESULTS.md as well")
    write = parser.parse_args(arguments).write
    if CHROMIUM is None:
        sys.exit(MISSING)
    redis = RedisServer()
    try:
        with Stage(redis, HOSTS) as stage, sync_playwright() as playwright:
            browser: Any = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            outcomes = try_all(People(stage, browser), HOSTS)
            name = f"Chromium {browser.version}"
            browser.close()
    finally:
        redis.close()
    result = table(outcomes, versions())
    print(result, end="")
    if write:
        notes = "".join(f"\n{note}\n" for note in NOTES)
        RESULTS.write_text(_INTRODUCTION.format(browser=name) + result + notes, "utf-8")
    return int(any(FAILED in found.values() for found in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

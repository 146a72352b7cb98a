"""What Node checks: the client's unit tests, its types, its npm package, and the demo's built files."""

import json
import subprocess

import pytest

from tests.client import node_diff3
from tests.client.node import CLIENT, DEMO, MISSING, TOOLS, Node, find_node, is_ready

PACKAGE = [
    "README.md",
    "afterAnswer.js",
    "alpine.d.ts",
    "alpine.js",
    "attention.js",
    "avatarNodes.js",
    "avatarWords.js",
    "avatars.css",
    "avatars.d.ts",
    "avatars.js",
    "browser.d.ts",
    "browser.js",
    "browserAttention.js",
    "browserSharing.js",
    "browserWorker.js",
    "conflictLoader.js",
    "conflictView.js",
    "conflicts.js",
    "departures.js",
    "diagnose.js",
    "dirty.d.ts",
    "dirty.js",
    "element.d.ts",
    "element.js",
    "eventStream.js",
    "failures.js",
    "fieldLock.js",
    "followers.js",
    "formValues.js",
    "freshness.js",
    "handOver.js",
    "heartbeat.js",
    "hub.js",
    "hubs.js",
    "identity.js",
    "initials.d.ts",
    "initials.js",
    "leaderElection.js",
    "lifecycle.js",
    "merge.d.ts",
    "merge.js",
    "package.json",
    "presence-timer.js",
    "presence.d.ts",
    "presence.js",
    "presencePool.js",
    "presenceStream.js",
    "react.d.ts",
    "react.js",
    "record-conflict.css",
    "record-conflict.d.ts",
    "record-conflict.js",
    "recovery.js",
    "roster.js",
    "schedule.js",
    "signals.js",
    "sse.js",
    "store.js",
    "stream.d.ts",
    "stream.js",
    "testing.d.ts",
    "testing.js",
    "times.js",
    "tokens.js",
    "transport.js",
    "unseen.js",
    "vendor/README.md",
    "vendor/node-diff3.LICENSE.md",
    "vendor/node-diff3.js",
    "vue.d.ts",
    "vue.js",
    "watchers.js",
    "who.d.ts",
    "who.js",
]

pytestmark = [
    pytest.mark.skipif(not is_ready(), reason=MISSING),
    pytest.mark.timeout(900),  # all unit tests of the client are one test here
]


@pytest.fixture
def node() -> Node:
    found = find_node()
    assert found
    return found


def test_unit_tests_of_the_client_pass(node):
    run = node.run("node_modules/vitest/vitest.mjs", "run", "--reporter=dot", folder=TOOLS)

    assert run.returncode == 0, run.stdout
    assert "no tests" not in run.stdout


def test_types_fit_a_host_that_uses_them(node):
    run = node.run("node_modules/typescript/bin/tsc", "--project", "tools/tsconfig.json", folder=TOOLS)

    assert run.returncode == 0, run.stdout


def test_npm_package_holds_the_client_and_nothing_of_its_tools(node):
    run = subprocess.run(
        [*node.npm, "pack", "--dry-run", "--json", "--offline"],
        cwd=CLIENT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert sorted(file["path"] for file in json.loads(run.stdout)[0]["files"]) == PACKAGE


def test_folder_that_is_served_holds_the_npm_package_and_nothing_else():
    files = (path for path in CLIENT.rglob("*") if not path.is_dir())
    assert sorted(str(path.relative_to(CLIENT)) for path in files) == PACKAGE


def test_built_files_of_the_demo_are_what_its_sources_give(node):
    run = node.run("build.js", "--check", folder=DEMO)

    assert run.returncode == 0, run.stdout


def test_file_of_node_diff3_is_that_of_the_pinned_version_and_has_its_licence():
    folder = node_diff3.FOLDER
    assert {path.name for path in folder.iterdir()} == {*node_diff3.FILES.values(), "README.md"}
    assert (folder / "README.md").read_text("utf-8") == node_diff3.README
    assert "The MIT License" in (folder / "node-diff3.LICENSE.md").read_text("utf-8")
    assert "export" in (folder / "node-diff3.js").read_text("utf-8")

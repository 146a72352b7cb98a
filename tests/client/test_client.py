"""What Node checks: the client's unit tests, its types, and the demo's built files."""

import pytest

from tests.client.node import CLIENT, DEMO, MISSING, Node, find_node, is_ready

pytestmark = pytest.mark.skipif(not is_ready(), reason=MISSING)


@pytest.fixture
def node() -> Node:
    found = find_node()
    assert found
    return found


def test_unit_tests_of_the_client_pass(node):
    run = node.run("node_modules/vitest/vitest.mjs", "run", "--reporter=dot", folder=CLIENT)

    assert run.returncode == 0, run.stdout
    assert "no tests" not in run.stdout


def test_types_fit_a_host_that_uses_them(node):
    run = node.run("node_modules/typescript/bin/tsc", "--project", "tools/tsconfig.json", folder=CLIENT)

    assert run.returncode == 0, run.stdout


def test_built_files_of_the_demo_are_what_its_sources_give(node):
    run = node.run("build.js", "--check", folder=DEMO)

    assert run.returncode == 0, run.stdout

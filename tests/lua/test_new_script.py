"""`make new-script NAME=count` on a copy: what it writes passes all checks, and its own test."""

import importlib.util
import inspect
import shutil
import subprocess
import sys

import pytest

from record_presence.presence.scripts import Scripts
from tests.lua import commands
from tests.lua.new_script import ROOT, NameRefused, write_script


@pytest.fixture
def checkout(tmp_path):
    shutil.copytree(ROOT / "lua", tmp_path / "lua")
    (tmp_path / "tests/lua").mkdir(parents=True)
    return tmp_path


def test_new_script_is_listed_loaded_and_tested(checkout):
    _, test, handbook = write_script("count", checkout)

    assert Scripts(checkout / "lua")["count"].keys == ("seen",)
    assert "| `count.lua` | counts the live tabs of a record |\n\n| Library" in handbook.read_text()
    lint = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--check"]):
        subprocess.run([*lint, *command, "--config", ROOT / "pyproject.toml", test], check=True, cwd=ROOT)


def test_its_own_tests_pass(checkout, redis, strict_user, monkeypatch):
    _, test, _ = write_script("count", checkout)
    monkeypatch.setattr(commands, "scripts", Scripts(checkout / "lua"))
    spec = importlib.util.spec_from_file_location("test_count", test)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fixtures = {"redis": redis, "strict_user": strict_user}

    tests = [function for name, function in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 3
    for function in tests:
        redis.flushall()
        function(**{name: fixtures[name] for name in inspect.signature(function).parameters})


@pytest.mark.parametrize("name", ["", "Count", "a-b", "../evil", "heartbeat", "1st"])
def test_name_that_can_not_be_writes_nothing(checkout, name):
    before = sorted(checkout.rglob("*"))

    with pytest.raises(NameRefused):
        write_script(name, checkout)
    assert sorted(checkout.rglob("*")) == before

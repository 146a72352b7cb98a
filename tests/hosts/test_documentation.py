"""What the documents say of the recipes is what the tests run."""

import re

import pytest

from tests.hosts.documentation import README, shown
from tests.hosts.hosts import APPLICATIONS_BY_NAME, HOSTS, RECIPES, WRITERS
from tests.hosts.table import RESULTS, SCENARIO_NAMES
from tests.test_docs import ROOT

USED = sorted(
    {recipe for application in APPLICATIONS_BY_NAME.values() for recipe in application.recipes} | {*WRITERS}
)
CLIENT_README = ROOT / "app/static/presence/README.md"


def test_every_recipe_is_used_by_the_tests():
    files = {path.relative_to(RECIPES).as_posix() for path in RECIPES.rglob("*") if path.is_file()}

    assert {name for name in files if "__pycache__" not in name} == {*USED, "README.md"}


@pytest.mark.parametrize("recipe", USED)
def test_readme_shows_the_very_file(recipe):
    if recipe == "vite-vue/presence.js":  # "of React"
        recipe = "vite-react/presence.js"
        assert (RECIPES / "vite-vue/presence.js").read_bytes() == (RECIPES / recipe).read_bytes()

    assert shown()[recipe] == (RECIPES / recipe).read_text("utf-8")


@pytest.mark.parametrize("host", HOSTS, ids=str)
def test_results_have_a_line_for(host):
    [line] = re.findall(rf"^\| {re.escape(host.name)} \|.*$", RESULTS.read_text("utf-8"), re.MULTILINE)

    assert line.count("|") == len(SCENARIO_NAMES) + 3  # the host and the versions beside them


@pytest.mark.parametrize("host", HOSTS, ids=str)
def test_first_page_of_the_client_leads_to(host):
    word = {"Django admin": "Django's admin", "Vite + React": "Vite and React", "Vite + Vue": "Vite and Vue"}
    heading = word.get(host.name, host.name)

    assert re.search(rf"^##+ {heading}$", README.read_text("utf-8"), re.MULTILINE)
    assert f"[{heading}](" in CLIENT_README.read_text("utf-8").partition("\n## Options\n")[0]

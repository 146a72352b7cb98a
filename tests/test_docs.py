"""Every setting, route, status, script and metric is told of in a text beside the code."""

import inspect
import re
from pathlib import Path

import fakeredis
import pytest
from prometheus_client.metrics import MetricWrapperBase

from record_presence import create_app, metrics
from record_presence.api import responses
from record_presence.factory import PRESENCE_BLUEPRINTS
from record_presence.presence import errors, service
from record_presence.presence.scripts import Scripts
from record_presence.presence.streaming import replica, topic
from record_presence.settings import documented
from tests.api.client import PREFIX, SETTINGS
from tests.faults.faults import FAULTS
from tests.load.bench import PARTS

ROOT = Path(__file__).parents[1]
NOT_OURS = {"node_modules", "build", ".venv", ".pytest_cache", ".git", "instance"}
TEXTS = {
    path: path.read_text("utf-8")
    for path in sorted(ROOT.rglob("*.md"))
    if not NOT_OURS & set(path.relative_to(ROOT).parts)
}


def text_under(path, heading):
    """What a document says under a heading, up to the next one of its level."""
    text = TEXTS[ROOT / path].partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert text, f"{path} has no heading {heading}"
    return text


def table_under(path, heading):
    return "\n".join(line for line in text_under(path, heading).splitlines() if line.startswith("|"))


# The demo's pages explain themselves.
ROUTES = sorted(
    {
        re.sub(r"<(?:record_)?(\w+)>", r"{\1}", rule.rule).removeprefix(f"{PREFIX}/")
        for rule in create_app(
            SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer())
        ).url_map.iter_rules()
        if rule.endpoint.partition(".")[0] in PRESENCE_BLUEPRINTS and not rule.endpoint.endswith(".static")
    }
)
STATUSES = sorted(set(map(int, re.findall(r"\b[45]\d\d\b", inspect.getsource(responses)))) | {304, 404, 405})
ERRORS = [
    name
    for name, item in vars(errors).items()
    if inspect.isclass(item) and item.__module__ == errors.__name__
]
EVENTS = sorted(
    set(re.findall(r'Event\("(\w+)"', inspect.getsource(topic) + inspect.getsource(replica)))
    | set(re.findall(r'"announce": "(\w+)"', inspect.getsource(service)))
)
METRICS = sorted(item._name for item in vars(metrics).values() if isinstance(item, MetricWrapperBase))


@pytest.mark.parametrize(("name", "help_text"), documented())
def test_setting_is_documented(name, help_text):
    assert f"`{name}`" in table_under("app/README.md", "Settings")


@pytest.mark.parametrize("route", ROUTES)
def test_route_is_documented(route):
    assert f"{route}`" in table_under("app/api/README.md", "Routes")


@pytest.mark.parametrize("status", STATUSES)
def test_status_is_documented(status):
    tables = table_under("app/api/README.md", "Errors") + table_under("app/api/README.md", "Routes")

    assert re.search(rf"\b{status}\b", tables)


@pytest.mark.parametrize("name", ERRORS)
def test_error_of_the_python_contract_is_documented(name):
    assert f"`{name}`" in text_under("app/api/README.md", "Errors")


@pytest.mark.parametrize("script", [script.name for script in Scripts()])
def test_script_is_documented_beside_the_scripts(script):
    assert re.search(rf"`{script}(\.lua)?`", (ROOT / "lua/README.md").read_text("utf-8"))


@pytest.mark.parametrize("name", METRICS)
def test_metric_is_documented(name):
    assert re.search(rf"`{name}(_total)?`", table_under("app/deploy/README.md", "Metrics and logs"))


@pytest.mark.parametrize("kind", EVENTS)
def test_event_is_documented(kind):
    assert f"\n| `{kind}` |" in text_under("app/api/README.md", "Events")


@pytest.mark.parametrize("part", PARTS)
def test_part_of_the_bench_is_documented_beside_it(part):
    assert f"\n| `{part}` |" in (ROOT / "tests/load/README.md").read_text("utf-8")


@pytest.mark.parametrize("fault", [fault.name for fault in FAULTS])
def test_fault_is_documented_beside_the_matrix(fault):
    assert f"\n| `{fault}` |" in (ROOT / "tests/faults/README.md").read_text("utf-8")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target, heading in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)#?([^)\s]*)\)", TEXTS[path]):
        page = (path.parent / target).resolve() if target else path
        assert page.exists(), target
        assert not heading or heading in headings(page), f"{target}#{heading}"


def headings(page):
    """The names that links to a page's headings use."""
    return {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", TEXTS[page], re.MULTILINE)
    }

"""What axe finds on a page: barriers for people with disabilities."""

from tests.client.node import DEMO
from tests.e2e.people import Page

AXE = DEMO / "node_modules/axe-core/axe.min.js"


def violations(page: Page) -> list[str]:
    """Each rule that is broken, and where."""
    page.come_to_rest()  # what fades in has too little contrast yet
    page.tab.evaluate(AXE.read_text("utf-8"))
    result = page.tab.evaluate("axe.run()")
    return [f"{found['id']}: {[node['html'] for node in found['nodes']]}" for found in result["violations"]]

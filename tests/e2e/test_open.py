"""The demo's list of open flows, for operators."""

from playwright.sync_api import expect

from tests.e2e.axe import violations


def row_of(page, flow_id):
    return page.tab.locator(".open-record", has=page.tab.locator(f"a[href*='/flows/{flow_id}?']").first)


def test_open_flow_says_who_edits_it_and_is_gone_with_the_last_page(person, flow_id):
    alice = person("alice").edit(flow_id)
    alice.tab.fill("#description", "Not saved yet.")
    operator = person("chiara").go("/open")
    row = row_of(operator, flow_id)
    facts = row.locator(".why-facts span")

    expect(facts.nth(2)).to_have_text("unsaved changes of \u2068Alice Moreau\u2069")
    expect(facts.nth(0)).to_have_text("1 person")
    expect(facts.nth(1)).to_have_text("edited by \u2068Alice Moreau\u2069")
    assert violations(operator) == []

    person("bob").edit(flow_id)
    expect(facts.nth(0)).to_have_text("2 people")
    alice.tab.close()
    expect(facts.nth(0)).to_have_text("1 person")
    expect(facts).to_have_count(2)


def test_row_leads_to_the_flow_and_to_why_somebody_is_shown(person, flow_id):
    person("alice").edit(flow_id)
    operator = person("chiara").go("/open")
    row = row_of(operator, flow_id)

    row.get_by_role("link", name="Why are they shown?").click()
    expect(operator.tab.locator(".why-list")).to_contain_text("Alice Moreau")

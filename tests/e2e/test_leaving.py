"""Unsaved work: leaving the page asks first, and leaving it without any does not."""

from functools import partial

import pytest
from playwright.sync_api import expect

from tests.e2e.people import EDITORS
from tests.waiting import wait_until

both_editors = pytest.mark.parametrize("editor", EDITORS)


@both_editors
def test_page_with_unsaved_changes_asks_before_it_is_left(person, flow_id, editor):
    page = person("alice").edit(flow_id, editor=editor)
    tab = page.tab
    address, asked = tab.url, []

    def stay(dialog):
        asked.append(dialog.type)
        dialog.dismiss()

    tab.on("dialog", stay)
    before = tab.input_value("#name")
    tab.fill("#name", "Half a name")
    tab.get_by_role("link", name="Flows").click(no_wait_after=True)
    wait_until(lambda: tab.title() and asked, lambda types: types == ["beforeunload"])
    expect(tab.locator("#name")).to_have_value("Half a name")
    assert tab.url == address

    # Taken back, or saved, it is nothing to ask for; and a page that listens isn't kept by every browser.
    is_free = partial(tab.evaluate, "dispatchEvent(new Event('beforeunload', { cancelable: true }))")
    wait_until(is_free, lambda free: not free)
    tab.fill("#name", before)
    wait_until(is_free)
    tab.fill("#name", "A whole name")
    wait_until(is_free, lambda free: not free)
    tab.get_by_role("button", name="Save", exact=True).click()
    wait_until(is_free)
    tab.get_by_role("link", name="Flows").click()
    tab.locator(".flows").wait_for()
    assert asked == ["beforeunload"]


@both_editors
def test_who_is_somebody_else_by_now_is_told_to_copy_and_reloads_without_a_question(person, flow_id, editor):
    alice = person("alice")
    tab = alice.go_by_cookie(f"{EDITORS[editor]}/{flow_id}").tab
    tab.locator(".here-list").wait_for(state="attached")
    tab.fill("#steps", "Not saved yet")
    other = alice.go_by_cookie("/").tab
    other.click("summary")
    with other.expect_navigation():
        other.locator(".menu-sheet button[name=person]").first.click()

    tab.get_by_text("Copy what you have not saved, then reload.").wait_for()
    expect(tab.locator("#steps")).to_have_value("Not saved yet")
    asked = []
    tab.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    with tab.expect_navigation():
        tab.get_by_role("button", name="Reload").click()
    tab.locator(".here-state").wait_for(state="attached")
    expect(tab.locator("#steps")).not_to_have_value("Not saved yet")
    assert asked == []

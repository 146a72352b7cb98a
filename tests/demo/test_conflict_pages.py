"""The pages that replay a flow and that tell why somebody is shown."""

import re

import pytest

from record_presence.demo.people import TENANT
from tests.api.client import SETTINGS
from tests.demo.visitor import Visitor

PAGES = ["/flows/1/timeline", "/flows/1/why"]


@pytest.mark.parametrize("path", PAGES)
def test_page_is_for_everybody_and_holds_no_script_of_its_own(alice, path):
    page = alice.open(path)

    assert page.status == 200
    assert page.data["record"] == "flow:1"
    assert SETTINGS.secret_key not in page.text
    assert not re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page.text)
    assert "unsafe" not in page.response.headers["Content-Security-Policy"]
    assert "private" in page.response.headers["Cache-Control"]


@pytest.mark.parametrize("path", PAGES)
def test_everything_that_a_page_loads_is_there(alice, path):
    for name in set(re.findall(r'(?:src|href)="(/static/[^"#]+)', alice.open(path).text)):
        with alice.client.get(name) as answer:
            assert answer.status_code == 200, name


@pytest.mark.parametrize("path", ["/flows/99/timeline", "/flows/99/why", "/flows/x/why"])
def test_unknown_flow_is_a_page_for_people(alice, path):
    assert alice.open(path).status == 404


@pytest.mark.parametrize("path", PAGES)
def test_sign_in_leads_back_to_it(visitor, path):
    assert visitor.sign_in("bob", next=path).location == path


@pytest.mark.parametrize("path", ["/flows/1", "/react/flows/1"])
def test_editor_leads_there_as_the_same_person(alice, path):
    page = alice.open(f"{path}?as=bob")

    if path == "/flows/1":
        assert all(f'href="{link}?as=bob"' in page.text for link in PAGES)
    assert page.data["links"] == {"timeline": f"{PAGES[0]}?as=bob", "why": f"{PAGES[1]}?as=bob"}


@pytest.mark.parametrize("query", ["", "?as=bob"])
def test_operators_token_is_of_the_demos_tenant_and_of_flows_alone(app, alice, query):
    page = alice.open(f"{PAGES[1]}{query}")
    next_token = alice.client.get(page.data["token_url"]).get_json()["data"]["token"]

    for token in (page.data["token"], next_token):
        caller = app.extensions["presence"].bearer_tokens.identify(token)
        assert caller.user_name == page.data["me"]["name"]
        assert (caller.role, caller.tenant, caller.records) == ("operator", TENANT, ("flow:*",))


def test_page_of_open_flows_has_the_flows_and_an_operators_token(app, alice):
    page = alice.open("/open?as=bob")

    assert page.status == 200
    assert page.data["flows"]["flow:1"]["editor"] == "/flows/1?as=bob"
    assert page.data["flows"]["flow:1"]["why"] == "/flows/1/why?as=bob"
    assert app.extensions["presence"].bearer_tokens.identify(page.data["token"]).role == "operator"
    assert all('href="/open?as=bob"' in alice.open(f"{path}?as=bob").text for path in ("/", PAGES[1]))
    assert not re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page.text)


def test_no_other_page_gets_an_operators_token(app, alice):
    for path in ("/", "/flows/1", "/react/flows/1", PAGES[0]):
        token = alice.open(f"{path}?as=bob").data["token"]
        assert app.extensions["presence"].bearer_tokens.identify(token).role != "operator"


def test_there_is_no_operator_of_nobody(alice):
    assert alice.client.get("/demo/people/mallory/operator-token").status_code == 404


def test_newcomer_may_look_at_once(app):
    assert Visitor(app).open(PAGES[0]).data["me"]["name"]

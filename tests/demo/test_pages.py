"""What a visitor gets: pages, a sign-in with one click, windows of several people."""

import re
import time
from dataclasses import asdict, replace
from html import escape
from pathlib import Path

import fakeredis
import pytest
from limits import parse

from record_presence import create_app
from record_presence.demo import __file__ as demo_file
from record_presence.demo.people import PEOPLE, TENANT
from record_presence.demo.seeds import SEEDS
from tests.api.client import SETTINGS, data_of, token
from tests.demo.visitor import Visitor, values_of

EDITORS = ["/flows/1", "/react/flows/1"]
PAGES = ["/", *EDITORS]
SOURCES = Path(demo_file).parent / "client/src"
ICONS_OF_SCRIPTS = {
    name
    for source in SOURCES.iterdir()
    for call in re.findall(r"(?:icon|use)\(([^)]*'[^)]*)\)", source.read_text("utf-8"))
    for name in re.findall(r"'([a-z]+)'", call)
}


@pytest.mark.parametrize("path", PAGES)
def test_newcomer_is_somebody_at_once_and_stays_so(visitor, path):
    first = visitor.open(path).data["me"]

    assert first["name"] in {person.name for person in PEOPLE}
    assert all(visitor.open(path).data["me"] == first for _ in range(5))


def test_two_newcomers_mostly_are_two_people(app):
    names = {Visitor(app).open("/").data["me"]["name"] for _ in range(40)}

    assert len(names) > 2


@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.handle)
def test_one_click_signs_in(visitor, person):
    answer = visitor.sign_in(person.handle)

    assert (answer.status_code, answer.location) == (303, "/")
    assert visitor.open("/").data["me"] == asdict(person)


@pytest.mark.parametrize("path", PAGES)
def test_sign_in_leads_back_to_the_page(visitor, path):
    assert visitor.sign_in("bob", next=path).location == path


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "javascript:alert(1)",
        "/metrics",
        "/flows/1\n",
        "",
    ],
)
def test_sign_in_leads_to_no_place_but_ours(visitor, path):
    assert visitor.sign_in("bob", next=path).location == "/"


def test_nobody_else_can_be_signed_in(alice):
    answer = alice.sign_in("mallory")

    assert answer.status_code == 422
    assert "no such person" in answer.text
    assert alice.open("/").data["me"]["handle"] == "alice"


@pytest.mark.parametrize("sent", ["", "wrong", "é"])
@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
def test_form_of_another_site_changes_nobody(alice, path, sent):
    answer = alice.client.post(path, data={"person": "bob", "csrf_token": sent})

    assert answer.status_code == 403
    assert alice.open("/").data["me"]["handle"] == "alice"


def test_sign_out_ends_the_session(alice):
    answer = alice.client.post("/sign-out", data={"csrf_token": alice.open("/").csrf_token})

    assert (answer.status_code, answer.location) == (303, "/sign-in")
    assert "Alice" not in alice.open("/sign-in").text.partition("<form")[0]
    assert alice.client.get("/api/v1/flows/1").status_code == 401


def test_cookie_that_was_copied_before_the_sign_out_is_of_no_use_after_it(app, alice):
    thief = app.test_client()
    thief.set_cookie("session", alice.client.get_cookie("session").value)
    assert thief.get("/api/v1/flows/1").status_code == 200
    alice.client.post("/sign-out", data={"csrf_token": alice.open("/").csrf_token})

    assert thief.get("/api/v1/flows/1").status_code == 401


def test_signing_out_again_and_again_is_too_much(settings):
    app = create_app(
        replace(settings, rate_limit=parse("10/minute")),
        redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()),
    )
    visitor = Visitor(app)
    statuses = []
    for _ in range(2):
        visitor.sign_in("alice")
        token = visitor.open("/").csrf_token
        statuses.append(visitor.client.post("/sign-out", data={"csrf_token": token}).status_code)

    assert statuses == [303, 429]


def test_csrf_token_is_another_after_a_sign_in(alice):
    before = alice.open("/").csrf_token
    alice.sign_in("bob")

    assert alice.open("/").csrf_token != before


def test_window_of_another_person_leaves_the_cookie_alone(alice):
    window = alice.open("/flows/1?as=bob")

    assert window.data["me"]["handle"] == "bob"
    assert alice.open("/flows/1").data["me"]["handle"] == "alice"


def test_links_of_a_window_keep_its_person(alice):
    links = re.findall(
        r'href="(/(?:flows[^"]*|react[^"]*|(?=\?)[^"]*|\?as[^"]*))"', alice.open("/?as=bob").text
    )
    flows = [link for link in links if link.startswith("/flows/")]

    assert len([link for link in flows if link.endswith("?as=bob")]) == len(SEEDS)


def test_token_of_a_window_is_its_persons_and_reaches_flows_alone(app, alice):
    caller = app.extensions["presence"].bearer_tokens.identify(alice.open("/?as=bob").data["token"])

    assert (caller.user_id, caller.user_name, caller.tenant) == (2, "Bob Tanaka", TENANT)
    assert caller.records == ("flow:*",)
    assert caller.expires_at == pytest.approx(time.time() + 600, abs=5)


def test_window_fetches_its_next_token(app, alice):
    answer = alice.client.get(alice.open("/?as=bob").data["token_url"]).get_json()["data"]

    assert app.extensions["presence"].bearer_tokens.identify(answer["token"]).user_id == 2
    assert answer["token_seconds"] == 600


@pytest.mark.parametrize("path", ["/?as=mallory", "/?as=", "/demo/people/mallory/token"])
def test_there_is_no_window_of_nobody(alice, path):
    assert alice.client.get(path).status_code == 404


@pytest.mark.parametrize(
    "path", ["/flows/99", "/react/flows/99", "/flows/0", "/flows/99999999999", "/flows/x", "/nowhere"]
)
def test_unknown_address_is_a_page_for_people(alice, path):
    page = alice.open(path)

    assert page.status == 404
    assert page.heading == "There is nothing here"
    assert 'href="/"' in page.text


def test_list_shows_every_flow(alice):
    text = alice.open("/").text

    assert all(escape(seed.name, quote=False).replace("'", "&#39;") in text for seed in SEEDS)
    assert [f'data-record="flow:{number}"' in text for number, _ in enumerate(SEEDS, 1)] == [True] * len(
        SEEDS
    )


@pytest.mark.parametrize("path", EDITORS)
def test_what_a_flow_holds_is_shown_as_text(alice, path):
    hostile = "<script>alert(1)</script>\"'{{7*7}}"
    data_of(alice.save(1, values_of(alice.flow(), name=hostile, description=f"</textarea>{hostile}")))
    page = alice.open(path)

    assert "<script>alert" not in page.text
    assert page.heading == hostile
    assert page.data["flow"]["name"] == hostile
    assert "<script>alert" not in alice.open("/").text


@pytest.mark.parametrize("path", [*PAGES, "/sign-in", "/?as=bob", "/flows/99"])
def test_page_tells_no_secret_and_holds_no_script_of_its_own(alice, path):
    page = alice.open(path)

    assert SETTINGS.secret_key not in page.text
    assert not re.findall(r"<script(?![^>]*\ssrc=)", page.text)
    assert not re.findall(r"<style|\sstyle=|\son\w+=", page.text)
    assert "unsafe" not in page.response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", [*PAGES, "/sign-in"])
def test_page_is_kept_by_nobody_but_its_browser(alice, path):
    cache = alice.open(path).response.headers["Cache-Control"]

    assert "private" in cache
    assert "no-store" not in cache  # would keep it out of the back/forward cache


@pytest.mark.parametrize("path", [*PAGES, "/sign-in"])
def test_everything_that_a_page_loads_is_there(alice, path):
    files = re.findall(r'(?:src|href)="((?:/[\w/]+)?/static/[^"#]+)', alice.open(path).text)

    assert len(files) > 3
    for name in set(files):
        with alice.client.get(name) as answer:
            assert answer.status_code == 200, name


@pytest.mark.parametrize(
    "path", [*PAGES, "/sign-in", "/flows/99", "/flows/1/timeline", "/flows/1/why", "/api/docs"]
)
def test_page_names_its_icon(alice, path):
    icon = re.search(r'<link rel="icon" type="image/svg\+xml" href="([^"]+)"', alice.open(path).text).group(1)

    with alice.client.get(icon) as answer:
        assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")


@pytest.mark.parametrize("path", [*PAGES, "/sign-in", "/flows/1/timeline", "/flows/1/why"])
def test_page_holds_every_icon_that_it_and_its_scripts_show(alice, path):
    text = alice.open(path).text
    held = set(re.findall(r'<symbol id="([^"]+)"', text))
    ids = re.findall(r'\sid="([^"]+)"', text)

    assert set(re.findall(r'<use href="#?([^"]+)"', text)) <= held
    assert {f"icon-{name}" for name in ICONS_OF_SCRIPTS} <= held
    assert len(ids) == len(set(ids))


def test_person_of_another_tenant_is_nobody_here(app):
    stranger = {"Authorization": f"Bearer {token(1, 'Alice', 'another')}"}

    assert app.test_client().get("/api/v1/flows/1", headers=stranger).status_code == 403

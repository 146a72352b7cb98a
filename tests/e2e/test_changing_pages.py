"""Libraries that replace or morph parts of a page: the tab, its claims, avatars and form survive them."""

import pytest

from record_presence.demo.people import TENANT
from record_presence.settings import Settings
from tests.api.client import token
from tests.client.node import MISSING, TOOLS, find_node, is_ready
from tests.e2e.changing_pages import ELEMENT_SCRIPT, FOLDER, WITH_ALPINE, WITH_ELEMENT, HostPage
from tests.e2e.server import SECRET
from tests.waiting import becomes

pytestmark = pytest.mark.skipif(not is_ready(), reason=MISSING)

GET = "const get = async () => (await fetch(url)).text(); const main = document.getElementById('main');"
ALPINE = f"""<script type="module">
  import Alpine from '{FOLDER}modules/alpinejs/dist/module.esm.js';
  import morph from '{FOLDER}modules/@alpinejs/morph/dist/module.esm.js';
  import presence from '/static/presence/alpine.js';
  window.Alpine = Alpine;
  Alpine.plugin([morph, presence]);
  Alpine.start();
</script>"""


def script(path: str) -> str:
    return f'<script src="{FOLDER}modules/{path}"></script>'


@pytest.fixture
def open_page(browser, server):
    """`open_page(1, head=…)` is Alice's page with the record 1, once she sees Bob in it."""
    context = browser.new_context()
    proof = token(1, "Alice Moreau", TENANT, seconds=3600, settings=Settings(secret_key=SECRET))
    pages = []
    with server.as_user(2, "Bob Tanaka") as bob:

        def open_page(record, *, head, body=WITH_ELEMENT, scripts=None):
            page = HostPage(
                context.new_page(), server, bob, proof, head=head, body=body, scripts=scripts or {}
            )
            pages.append(page)
            page.open(record)
            return page

        yield open_page
        context.close()
    assert [error for page in pages for error in page.errors] == []


def build(page):
    """One of tests/client/pages, as a bundler makes it."""
    script = """
      import { build } from 'esbuild';
      const { outputFiles } = await build({
        entryPoints: [process.argv.at(-1)], nodePaths: ['node_modules'], bundle: true, format: 'esm',
        write: false, outdir: 'out', define: { 'process.env.NODE_ENV': '"development"' },
      });
      process.stdout.write(outputFiles[0].text);"""
    run = find_node().run("--input-type=module", "--eval", script, "--", f"pages/{page}", folder=TOOLS)
    assert run.returncode == 0, run.stdout
    return run.stdout


def check_replacement(page, change, *, keeps_typed=False):
    """Replaced as a whole: by the next version, by another record, by nothing. `change` is the
    library's script; some leave alone what was typed."""
    [tab] = page.tabs()
    page.claim_title()
    page.type("Typed")
    page.wait_for_dirty("title")

    page.change(change, "part", version=2)
    page.wait_for_note(2)
    page.wait_to_see_bob()
    page.wait_to_have_kept(tab)
    becomes(lambda: page.tab.input_value("#editor [name=title]"), "Typed" if keeps_typed else "Title 2")
    page.wait_for_dirty(*["title"] * keeps_typed)
    page.type("Title 2")
    page.wait_for_dirty()
    page.type("Typed again")
    page.wait_for_dirty("title")

    other = page.record + 1
    page.change(change, "part", version=1, record=other)
    page.wait_for_note(1)
    page.wait_to_see_bob(other)
    page.wait_for_tabs(0)
    page.wait_for_tabs(1, other)

    page.change(change, "nothing", version=1)
    page.wait_for_tabs(0, other)


@pytest.mark.parametrize(
    ("record", "head", "change", "keeps_typed"),
    [
        pytest.param(
            2010,
            script("idiomorph/dist/idiomorph.js"),
            "get().then((html) => Idiomorph.morph(main, html))",
            False,
            id="idiomorph",
        ),
        pytest.param(
            2020,
            script("htmx2/dist/htmx.js"),
            "htmx.ajax('GET', url, { target: '#main', swap: 'outerHTML' })",
            False,
            id="htmx-2",
        ),
        pytest.param(
            2030,
            script("htmx4/dist/htmx.js"),
            "htmx.ajax('GET', url, { target: '#main', swap: 'outerHTML' })",
            False,
            id="htmx-4",
        ),
        pytest.param(
            2040,
            script("htmx4/dist/htmx.js"),
            "htmx.ajax('GET', url, { target: '#main', swap: 'outerMorph' })",
            True,
            id="htmx-4-morph",
        ),
        pytest.param(2050, ALPINE, "get().then((html) => Alpine.morph(main, html))", True, id="alpine-morph"),
    ],
)
def test_element_survives_a_library_that_replaces_it(open_page, record, head, change, keeps_typed):
    page = open_page(record, head=head + ELEMENT_SCRIPT)
    check_replacement(page, GET + change, keeps_typed=keeps_typed)


def test_alpine_component_survives_a_morph(open_page):
    page = open_page(2060, head=ALPINE, body=WITH_ALPINE)
    check_replacement(page, GET + "get().then((html) => Alpine.morph(main, html))", keeps_typed=True)


@pytest.mark.parametrize(("record", "version"), [(2110, 2), (2120, 4)])
def test_htmx_swaps_the_form_the_element_and_the_page(open_page, record, version):
    page = open_page(record, head=script(f"htmx{version}/dist/htmx.js") + ELEMENT_SCRIPT)
    [tab] = page.tabs()
    page.claim_title()
    page.type("Typed")
    page.wait_for_dirty("title")

    page.change("htmx.ajax('GET', url, { target: '#editor', swap: 'outerHTML' })", "form", version=2)
    page.wait_for_dirty()
    page.type("Typed again")
    page.wait_for_dirty("title")

    page.change(
        "htmx.ajax('GET', url, { target: 'record-presence', swap: 'outerHTML' })", "element", version=2
    )
    page.tab.locator("record-presence[base-version='2']").wait_for(state="attached")
    page.wait_to_see_bob()
    page.wait_for_dirty("title")

    follow_link = """
      const link = Object.assign(document.createElement('a'), { href: url, textContent: 'Next' });
      link.setAttribute('hx-boost', 'true');
      document.body.append(link);
      htmx.process(link);
      link.click();"""
    page.change(follow_link, "page", version=3)
    page.wait_for_note(3)
    page.wait_to_see_bob()
    page.wait_for_dirty()
    page.wait_to_have_kept(tab)

    page.tab.go_back()
    page.wait_to_see_bob()
    becomes(lambda: list(page.tabs()), [tab])


@pytest.mark.parametrize(
    ("record", "head", "body"),
    [
        pytest.param(2210, ELEMENT_SCRIPT, WITH_ELEMENT, id="element"),
        pytest.param(2220, ALPINE, WITH_ALPINE, id="alpine"),
    ],
)
def test_turbo_visits_caches_previews_and_morphs(open_page, record, head, body):
    turbo = '<meta name="turbo-refresh-method" content="morph">' + script(
        "@hotwired/turbo/dist/turbo.es2017-umd.js"
    )
    page = open_page(record, head=turbo + head, body=body)
    [tab] = page.tabs()
    page.claim_title()
    page.type("Typed")
    page.wait_for_dirty("title")

    page.change("Turbo.visit(url)", "page", version=2)
    page.wait_for_note(2)
    page.wait_to_see_bob()
    page.wait_for_dirty()
    page.wait_to_have_kept(tab)

    # The same page anew: it is morphed.
    page.tab.evaluate(
        "window.main = document.getElementById('main'); main.querySelector('#note').textContent = ''"
    )
    page.type("Typed")
    page.change("Turbo.visit(url, { action: 'replace' })", "page", version=2)
    page.wait_for_note(2)
    page.wait_to_see_bob()
    page.wait_for_dirty()
    assert page.tab.evaluate("main === document.getElementById('main')")  # else this is about nothing
    page.wait_to_have_kept(tab)

    # From its cache, first as a preview and then as it is now.
    other = record + 1
    page.change("Turbo.visit(url)", "page", version=1, record=other)
    page.wait_to_see_bob(other)
    page.wait_for_tabs(0)
    page.change("Turbo.visit(url)", "page", version=2)
    page.wait_to_see_bob()
    page.wait_for_tabs(1)
    page.wait_for_tabs(0, other)
    page.tab.go_back()
    page.wait_to_see_bob(other)
    page.wait_for_tabs(0)
    page.wait_for_tabs(1, other)


@pytest.mark.parametrize(
    ("record", "script"),
    [
        pytest.param(2310, "react.js", id="react-strict-mode-suspense-activity"),
        pytest.param(2320, "vue.js", id="vue-keep-alive"),
    ],
)
def test_component_suspends_is_hidden_and_comes_back(open_page, record, script):
    body = '<div id="app" data-record="{record}" data-token="{token}"></div>'
    head = f'<script type="module" src="{FOLDER}app.js"></script>'
    page = open_page(record, head=head, body=body, scripts={"app.js": build(script)})
    [tab] = page.tabs()
    page.claim_title()
    page.type("Typed")
    page.wait_for_dirty("title")

    page.tab.evaluate("show({ later: new Promise((resolve) => (window.arrive = resolve)), version: 2 })")
    page.tab.evaluate("arrive()")
    page.wait_for_note(2)
    page.wait_to_see_bob()
    page.wait_to_have_kept(tab)

    page.tab.evaluate("show({ mode: 'hidden', later: null })")
    page.wait_for_tabs(0)
    page.tab.evaluate("show({ mode: 'visible' })")
    page.wait_for_tabs(1)
    page.wait_to_see_bob()
    page.wait_for_dirty("title")
    becomes(lambda: page.tab.input_value("#editor [name=title]"), "Typed")

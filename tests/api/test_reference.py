"""The page of the API reference and what it loads. tests/e2e/test_reference.py opens it in a browser."""

import gzip
import re

import fakeredis
import pytest
from flask import Flask

from record_presence import create_app, init_app
from record_presence.api.reference import MAX_PREPARED_DOCUMENTS
from tests.api.client import SETTINGS
from tests.client import swagger_ui

MAX_BYTES = 2_000_000  # of what an installation carries for this one page


def standalone():
    return create_app(SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()))


def host_without_static_files():
    host = Flask("host", static_folder=None)
    init_app(host, SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()), docs=True)
    return host


def host_with_static_files_of_its_own(folder):
    (folder / "reference.js").write_text("the host's")
    host = Flask("host", static_folder=folder, static_url_path="/api/static")
    init_app(host, SETTINGS, redis=fakeredis.FakeRedis(server=fakeredis.FakeServer()), docs=True)
    return host


@pytest.fixture(params=["standalone", "host", "host's static files"])
def app(request, tmp_path):
    if request.param == "standalone":
        return standalone()
    return (
        host_without_static_files()
        if request.param == "host"
        else host_with_static_files_of_its_own(tmp_path)
    )


@pytest.mark.parametrize("prefix", ["", "/tools"])
def test_everything_that_the_page_names_is_served_by_us(app, prefix):
    client = app.test_client()
    page = client.get("/api/docs", environ_overrides={"SCRIPT_NAME": prefix})
    links = set(re.findall(r'(?:href|src|data-document-url)="([^"#]+)"', page.text))

    assert len(links) == 6
    for link in links:
        assert link.startswith(f"{prefix}/api/docs/")
        with client.get(link.removeprefix(prefix)) as linked:
            assert linked.status_code == 200
            assert linked.text != "the host's"


def test_document_is_sent_compressed_to_those_who_can_read_it_and_not_again_while_it_is_the_same():
    client = standalone().test_client()
    plain = client.get("/api/docs/openapi.json")
    compressed = client.get("/api/docs/openapi.json", headers={"Accept-Encoding": "br, gzip"})

    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(compressed.data) == plain.data
    assert len(compressed.data) < len(plain.data) / 4
    for answer in (plain, compressed):
        assert "Accept-Encoding" in answer.vary
        again = client.get("/api/docs/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("count", [1, 30])
def test_document_is_that_of_its_prefix_whatever_prefixes_were_asked_for(count):
    app = standalone()
    for number in range(count):
        answer = app.test_client().get(
            "/api/docs/openapi.json", environ_overrides={"SCRIPT_NAME": f"/tools{number}"}
        )
        assert answer.get_json()["servers"] == [{"url": f"/tools{number}"}]
    assert len(app.extensions["presence"].openapi_documents) <= MAX_PREPARED_DOCUMENTS
    assert "servers" not in app.test_client().get("/api/docs/openapi.json").get_json()


def test_policy_of_the_page_is_wider_only_by_images_in_its_stylesheet():
    client = standalone().test_client()
    policy, usual = (client.get(path).headers["Content-Security-Policy"] for path in ("/api/docs", "/"))

    assert policy == usual.replace("img-src 'self';", "img-src 'self' data:;")
    assert policy != usual


def test_files_of_swagger_ui_are_those_of_the_pinned_version():
    names = {path.name for path in swagger_ui.FOLDER.iterdir()}
    script = (swagger_ui.FOLDER / "swagger-ui-bundle.js").read_text("utf-8")

    assert names == {*swagger_ui.FILES, "README.md"}
    assert f'PACKAGE_VERSION:"{swagger_ui.VERSION}"' in script
    assert (swagger_ui.FOLDER / "README.md").read_text("utf-8") == swagger_ui.README


def test_licences_of_swagger_ui_come_with_it():
    texts = {name: (swagger_ui.FOLDER / name).read_text("utf-8") for name in swagger_ui.FILES[1:]}

    assert "Apache License" in texts["LICENSE"]
    assert "SmartBear" in texts["NOTICE"]
    assert "React" in texts["swagger-ui-bundle.js.LICENSE.txt"]


def test_page_costs_an_installation_less_than_two_megabytes():
    static = swagger_ui.FOLDER.parent

    assert sum(path.stat().st_size for path in static.rglob("*") if path.is_file()) < MAX_BYTES

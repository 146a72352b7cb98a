"""The API reference: a page for people, and the OpenAPI document for programs."""

import gzip
import hashlib
import json
from typing import NamedTuple

from flask import Blueprint, Flask, Response, current_app, make_response, render_template, request

from .extension import EXTENSION_NAME
from .headers import DATA_IMAGES_POLICY, add_security_headers
from .openapi import build_document

MAX_PREPARED_DOCUMENTS = 10  # one a prefix; a WSGI server usually names one


class PreparedDocument(NamedTuple):
    """The OpenAPI document as it is sent: JSON, and the same compressed by gzip."""

    text: bytes
    compressed: bytes
    etag: str


# Static files and a template name of its own: a host application has its own of both, or none.
blueprint = Blueprint(
    "record_presence_openapi",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/api/docs/static",
)

# Here too, for a host application that gives its pages no policy.
blueprint.after_request(add_security_headers)


@blueprint.get("/api/docs")
def docs() -> Response:
    """The reference as a page: Swagger UI, served from here, so that it needs no internet."""
    page = make_response(render_template("record_presence/reference.html"))
    page.headers["Content-Security-Policy"] = DATA_IMAGES_POLICY
    return page


@blueprint.get("/api/docs/openapi.json")
def openapi_json() -> Response:
    """The document, which names the prefix that the application is served under. Has an ETag."""
    prepared = prepare_document(current_app, request.script_root)
    is_compressed = request.accept_encodings["gzip"] > 0
    response = Response(prepared.compressed if is_compressed else prepared.text, mimetype="application/json")
    if is_compressed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Cache-Control"] = "no-cache"
    response.vary.add("Accept-Encoding")
    response.set_etag(prepared.etag, weak=True)  # the same for either encoding
    return response.make_conditional(request)  # type: ignore[return-value]


def prepare_document(app: Flask, prefix: str = "") -> PreparedDocument:
    """The document for an application below this prefix; made once, which takes some 30 ms."""
    state = app.extensions[EXTENSION_NAME]
    prepared: PreparedDocument | None = state.openapi_documents.get(prefix)
    if prepared is None:
        document = build_document(app)
        if prefix:
            document = {**document, "servers": [{"url": prefix}]}
        # Not by Flask's `json`, which sorts the calls by path.
        text = json.dumps(document).encode()
        prepared = PreparedDocument(text, gzip.compress(text, mtime=0), hashlib.sha256(text).hexdigest()[:32])
        if len(state.openapi_documents) >= MAX_PREPARED_DOCUMENTS:
            state.openapi_documents.clear()
        state.openapi_documents[prefix] = prepared
    return prepared

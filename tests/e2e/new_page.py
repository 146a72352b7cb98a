"""A host application with pages that know nothing of presence but what its README says: see test_readme.py.

It serves the client where the host.py of app/README.md does, signs anybody in, and wraps a file of the
folder NEW_PAGES into a page.
"""

import os
import re
from pathlib import Path

from flask import Blueprint, Flask, redirect, render_template_string, send_from_directory, session

from record_presence import init_app
from record_presence.identity.bearer import issue_token
from record_presence.identity.caller import Caller
from record_presence.identity.session import caller_of, csrf_token, sign_in
from record_presence.settings import Settings
from tests.e2e.server import ROOT

FOLDER = Path(os.environ["NEW_PAGES"])
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="csrf-token" content="{{ csrf_token }}">
<title>A new page</title>
{{ body | safe }}
</html>
"""

[CLIENT_PATH] = re.findall(r'static_url_path="(.+?)"', (ROOT / "app/README.md").read_text("utf-8"))

app = Flask("new_page", static_folder=None)
app.register_blueprint(
    Blueprint("client", __name__, static_folder=ROOT / "app/static/presence", static_url_path=CLIENT_PATH)
)
app.secret_key = os.environ["SECRET_KEY"]
init_app(app)


@app.get("/be/<name>/<page>")
def be(name, page):
    sign_in(session, Caller(name.lower(), name, tenant="1"))
    return redirect(f"/pages/{page}")


@app.get("/pages/<page>")
def show(page):
    body = (FOLDER / page).read_text("utf-8")
    return render_template_string(PAGE, body=body, csrf_token=csrf_token(session))


@app.get("/presence-token")
def presence_token():
    """As the README's page on another host fetches it."""
    caller = caller_of(session)
    claims = {"sub": caller.user_id, "name": caller.user_name, "tenant": caller.tenant}
    return issue_token(Settings(secret_key=app.secret_key), claims, 600)


@app.get("/built/<path:name>")
def built(name):
    return send_from_directory(FOLDER, name)

"""An application that has a package `app` and names, errors, metrics and a CSRF check of its own."""

from pathlib import Path

SOURCE = """
import os
import time

from flask import Blueprint, Flask, abort, request
from record_presence import init_app

app = Flask(__name__)
app.secret_key = os.environ["SHOP_SECRET"]


@app.before_request
def check_csrf():
    is_presence = (request.endpoint or "").startswith("record_presence")
    if request.method == "POST" and not is_presence and request.form.get("csrf") != "the shop's":
        abort(403)


@app.errorhandler(403)
@app.errorhandler(404)
@app.errorhandler(405)
@app.errorhandler(500)
def error_page(error):
    return f"the shop's {error.code}", error.code


@app.get("/")
def page():
    return "the shop's page"


@app.get("/pid")
def pid():
    time.sleep(0.05)  # so that another process takes the next call
    return str(os.getpid())


@app.post("/orders")
def order():
    return "ordered"


@app.get("/broken")
def broken():
    return {}["missing"]


@app.get("/metrics")
def metrics():
    return "the shop's metrics"


for name in ("presence", "events", "operations", "openapi"):
    blueprint = Blueprint(name, __name__, url_prefix=f"/shop/{name}")
    blueprint.add_url_rule("/", "index", lambda name=name: f"the shop's {name}")
    app.register_blueprint(blueprint)

app.extensions["presence"] = "the shop's"
app.cli.command("token")(lambda: print("the shop's"))
init_app(app)
"""
PAGES = {
    "/": (200, "the shop's page"),
    "/metrics": (200, "the shop's metrics"),
    "/nowhere": (404, "the shop's 404"),
    "/broken": (500, "the shop's 500"),
    "/orders": (405, "the shop's 405"),
    "/api/docs": (404, "the shop's 404"),
    "/health/ready": (404, "the shop's 404"),
    **{f"/shop/{name}/": (200, f"the shop's {name}") for name in ("presence", "events", "operations")},
}


def write_host(folder: Path) -> Path:
    """Put it into a folder, from which a server loads `app:app`."""
    (folder / "app").mkdir()
    (folder / "app/__init__.py").write_text(SOURCE, "utf-8")
    return folder

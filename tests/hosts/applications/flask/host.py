"""A Flask application with an editor of its own at /orders/7, and Flask-Admin's at /admin."""

from pathlib import Path

from flask import Blueprint, Flask, redirect, render_template, session
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_sqlalchemy import SQLAlchemy

import record_presence
from record_presence import init_app
from record_presence.identity.caller import Caller
from record_presence.identity.session import csrf_token

host = Flask(__name__)
host.secret_key = "the host's own"
host.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///orders.sqlite3"
db = SQLAlchemy(host)


class Order(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    title = db.Column(db.String(100))
    note = db.Column(db.String(100))


with host.app_context():
    db.create_all()
    db.session.add_all(Order(title="Spring sale", note="Call first") for _ in range(100))
    db.session.commit()


def who_calls(request):
    """The user whom this application has signed in, or None."""
    user = session.get("user")
    return Caller(user_id=user["id"], user_name=user["name"], tenant="1") if user else None


init_app(host, identity_loader=who_calls)
client = Path(record_presence.__file__).parent / "static/presence"
host.register_blueprint(
    Blueprint("presence_client", __name__, static_folder=client, static_url_path="/static/presence")
)


class OrderView(ModelView):
    edit_template = "order_edit.html"


Admin(host).add_view(OrderView(Order, db, endpoint="order"))


@host.context_processor
def for_templates():
    return {"presence_csrf": lambda: csrf_token(session)}


@host.get("/sign-in/<int:user_id>/<name>")
def sign_in(user_id, name):
    session["user"] = {"id": user_id, "name": name}
    return redirect("/orders/1")


@host.get("/sign-out")
def sign_out():
    session.clear()
    return "Signed out."


@host.get("/orders/<int:order_id>")
def order(order_id):
    return render_template("order.html", order_id=order_id)

"""The pages of the demo, and the two forms with which a browser signs in and out.

A cookie makes the whole browser one person. `?as=bob` makes a single window Bob's:
it gets a bearer token of its own, and every link in it keeps the `as`.
"""

import random
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from flask import (
    Blueprint,
    Response,
    abort,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from ..api.extension import current_extension
from ..api.responses import RETRY_AFTER_SECONDS, failure, success
from ..identity.caller import Forbidden
from ..identity.session import caller_of, check_csrf_token, csrf_token, sign_in, sign_out
from ..presence.errors import StoreUnavailable, TooManyCalls
from .api import FLOW_ID, flows
from .flows import STATUSES, FlowNotFound, FlowsUnavailable
from .people import (
    NOBODY,
    PEOPLE,
    TOKEN_SECONDS,
    Person,
    operator_token,
    person_by_handle,
    person_of,
    window_token,
)

SIGN_OUT_COST = 10  # calls; it is remembered for as long as a session lasts
MAX_LIST_REFRESH_SECONDS = 5  # sooner if heartbeats are more frequent

_PAGE_PATH = re.compile(r"/((react/)?flows/\d{1,10}|flows/\d{1,10}/(timeline|why)|open)?\Z")

blueprint = Blueprint("pages", __name__)


@dataclass(frozen=True, slots=True)
class Window:
    """The person who looks at a page, and their proof: a token of this window, or the browser's cookie."""

    me: Person
    token: str | None = None

    @property
    def own_person(self) -> str | None:
        """The `as` in every link of this window."""
        return self.me.handle if self.token else None

    def url(self, endpoint: str, **values: Any) -> str:
        """The URL of a page, for the same person."""
        query: dict[str, Any] = {"as": self.own_person}  # a keyword of Python
        return url_for(f"demo.pages.{endpoint}", **values, **query)


@blueprint.get("/", strict_slashes=False)  # otherwise an empty path would be redirected
def index() -> Response:
    """The list of flows, and who has each of them open."""
    window = _window()
    return _page("demo/list.html", window, flows=flows().all(), data={"refresh_seconds": _refresh_seconds()})


@blueprint.get(f"/flows/{FLOW_ID}")
def editor(flow_id: int) -> Response:
    """The editor, in Alpine."""
    return _editor_page("demo/editor.html", flow_id)


@blueprint.get(f"/react/flows/{FLOW_ID}")
def react_editor(flow_id: int) -> Response:
    """The same editor, in React."""
    return _editor_page("demo/react_editor.html", flow_id)


@blueprint.get(f"/flows/{FLOW_ID}/timeline")
def timeline(flow_id: int) -> Response:
    """What happened to a flow, replayed."""
    kept = current_extension().settings.timeline_seconds
    return _record_page("demo/timeline.html", flow_id, _window(), timeline_seconds=kept)


@blueprint.get(f"/flows/{FLOW_ID}/why")
def why(flow_id: int) -> Response:
    """Why each user is listed. For operators, which everybody is in the demo's tenant."""
    window = _window()
    return _record_page("demo/why.html", flow_id, window, **_operator_proof(window))


@blueprint.get("/open")
def open_flows() -> Response:
    """Which flows are open now. For operators."""
    window = _window()
    named = {
        f"flow:{flow.id}": {
            "name": flow.name,
            "editor": window.url("editor", flow_id=flow.id),
            "why": window.url("why", flow_id=flow.id),
        }
        for flow in flows().all()
    }
    return _page("demo/open.html", window, data={"flows": named, **_operator_proof(window)})


def _operator_proof(window: Window) -> dict[str, str]:
    """The token of a page for operators, and where it gets the next one."""
    token = operator_token(current_extension().bearer_tokens, window.me)
    return {"token": token, "token_url": url_for(".next_operator_token", handle=window.me.handle)}


@blueprint.get("/demo/people/<handle>/operator-token")
def next_operator_token(handle: str) -> Response:
    """The next token for a page for operators, as `demo.api.next_token` for a window."""
    person = person_by_handle(handle)
    if person is None:
        return failure(404, NOBODY)
    token = operator_token(current_extension().bearer_tokens, person)
    return success({"token": token, "token_seconds": TOKEN_SECONDS})


@blueprint.get("/sign-in")
def choose_person() -> Response:
    """Offer the people to sign in as."""
    return _sign_in_page()


@blueprint.post("/sign-in")
def start_session() -> AnyResponse:
    """Sign in, with one click."""
    person = person_by_handle(request.form.get("person"))
    if person is None:
        return _sign_in_page(422, NOBODY)
    try:
        check_csrf_token(session, request.form.get("csrf_token"))
    except Forbidden:
        return _sign_in_page(403, "That page was from an earlier session. Please choose again.")
    sign_in(session, person.caller)
    next_page = request.form.get("next", "")
    return redirect(next_page if _PAGE_PATH.match(next_page) else url_for(".index"), 303)


@blueprint.post("/sign-out")
def end_session() -> AnyResponse:
    """Sign out."""
    try:
        check_csrf_token(session, request.form.get("csrf_token"))
    except Forbidden:
        return _sign_in_page(403, "That page was from an earlier session, so it did not sign you out.")
    caller = caller_of(session)
    try:
        if caller:
            current_extension().throttle.check(caller, SIGN_OUT_COST)
        sign_out(session)
    except TooManyCalls as error:
        return _sign_in_page(429, str(error))
    except StoreUnavailable:
        session.clear()  # this browser is signed out; a copy of its cookie is not
    return redirect(url_for(".choose_person"), 303)


@blueprint.errorhandler(NotFound)
@blueprint.errorhandler(FlowNotFound)
def not_found(error: Exception) -> tuple[str, int]:
    """The page for something that does not exist."""
    return render_template("demo/not_found.html"), 404


@blueprint.errorhandler(FlowsUnavailable)
def unavailable(error: Exception) -> tuple[str, int, dict[str, str]]:
    """The page while the database is unavailable."""
    return render_template("demo/unavailable.html"), 503, {"Retry-After": str(RETRY_AFTER_SECONDS)}


def _window() -> Window:
    """The person who looks. A new visitor is signed in as a random person: two are rarely the same."""
    if (handle := request.args.get("as")) is not None:
        named = person_by_handle(handle) or abort(404)
        return Window(named, window_token(current_extension().bearer_tokens, named))
    person = person_of(caller_of(session))
    if person is None:
        person = random.choice(PEOPLE)  # noqa: S311
        sign_in(session, person.caller)
    return Window(person)


def _editor_page(template: str, flow_id: int) -> Response:
    loaded_at = datetime.now(UTC).isoformat()
    flow = flows().get(flow_id)
    window = _window()
    data = {
        "flow": flow.as_data(),
        "loaded_at": loaded_at,  # saves after this moment are not in the page
        "statuses": STATUSES,
        "links": {name: window.url(name, flow_id=flow_id) for name in ("timeline", "why")},
        "claim_idle_seconds": current_extension().settings.claim_idle_seconds,
    }
    return _page(template, window, flow=flow, statuses=STATUSES, data=data)


def _record_page(template: str, flow_id: int, window: Window, **data: Any) -> Response:
    flow = flows().get(flow_id)
    labels = {"record": f"flow:{flow_id}", "flow": {"id": flow_id, "name": flow.name}}
    return _page(template, window, flow=flow, data={**labels, **data})


def _page(template: str, window: Window, *, data: dict[str, Any], **context: Any) -> Response:
    """A page; `data` is for its scripts, which read it from the body's data-page."""
    others = [person for person in PEOPLE if person != window.me]
    data = {
        "me": asdict(window.me),
        "people": [asdict(person) for person in PEOPLE],
        "others": [{**asdict(person), "url": f"{request.path}?as={person.handle}"} for person in others],
        "token": window.token,
        "token_seconds": TOKEN_SECONDS,
        "token_url": window.token and url_for("demo.api.next_token", handle=window.me.handle),
        **data,
    }
    return _private(
        render_template(
            template,
            window=window,
            me=window.me,
            people=PEOPLE,
            others=others,
            csrf_token=csrf_token(session),
            here=request.path,
            data=data,
            **context,
        )
    )


def _sign_in_page(status: int = 200, message: str = "") -> Response:
    page = render_template(
        "demo/sign_in.html",
        people=PEOPLE,
        current=person_of(caller_of(session)),
        csrf_token=csrf_token(session),
        message=message,
    )
    return _private(page, status)


def _private(page: str, status: int = 200) -> Response:
    response = make_response(page, status)
    # Not no-store, which would exclude the page from the back/forward cache.
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _refresh_seconds() -> float:
    return min(MAX_LIST_REFRESH_SECONDS, current_extension().settings.heartbeat_seconds)

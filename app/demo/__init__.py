"""The demo: a flow editor that shows presence at work."""

from typing import Any

from flask import Blueprint, request
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException

from app.api.responses import failure_of
from app.demo import api, pages
from app.demo.flows import Flows
from app.demo.people import TENANT

__all__ = ["blueprint"]

blueprint = Blueprint("demo", __name__, template_folder="templates")
blueprint.register_blueprint(pages.blueprint)
blueprint.register_blueprint(api.blueprint)


@blueprint.app_errorhandler(HTTPException)
def _answer_error(error: HTTPException) -> Any:
    """For paths that no route has taken; those of the presence API are answered before."""
    if request.path.startswith(f"{api.PREFIX}/"):
        return failure_of(error)
    return pages.not_found(error) if error.code == 404 else error


@blueprint.record_once
def _describe_calls(state: BlueprintSetupState) -> None:
    state.app.extensions["presence"].operations.update(api.OPERATIONS)


@blueprint.record_once
def _reserve_tenant(state: BlueprintSetupState) -> None:
    """Anybody may be one of its people, and so nobody else may be among them."""
    state.app.extensions["presence"].bearer_tokens.reserve(TENANT)


@blueprint.record_once
def _open_flows(state: BlueprintSetupState) -> None:
    """Raises SettingError when DATABASE_URL can't be used; connects later."""
    database_url = state.app.extensions["presence"].settings.database_url
    state.app.extensions["demo_flows"] = Flows(database_url)

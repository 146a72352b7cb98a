"""The demo: a flow editor that shows presence at work."""

from typing import Any

from flask import Blueprint, request
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException

from ..api.extension import EXTENSION_NAME
from ..api.responses import failure_of
from . import api, pages
from .flows import Flows
from .people import TENANT

__all__ = ["blueprint"]

blueprint = Blueprint("demo", __name__, template_folder="templates")
blueprint.register_blueprint(pages.blueprint)
blueprint.register_blueprint(api.blueprint)


@blueprint.app_errorhandler(HTTPException)
def _answer_error(error: HTTPException) -> Any:
    """For paths without a route. Errors of the presence API are answered before."""
    if request.path.startswith(f"{api.PREFIX}/"):
        return failure_of(error)
    return pages.not_found(error) if error.code == 404 else error


@blueprint.record_once
def _describe_calls(state: BlueprintSetupState) -> None:
    state.app.extensions[EXTENSION_NAME].operations.update(api.OPERATIONS)


@blueprint.record_once
def _reserve_tenant(state: BlueprintSetupState) -> None:
    """Anybody may sign in as one of the demo's people, so their tenant is closed to all other callers."""
    state.app.extensions[EXTENSION_NAME].bearer_tokens.reserve(TENANT)


@blueprint.record_once
def _open_flows(state: BlueprintSetupState) -> None:
    """Raises SettingError if DATABASE_URL can't be used. Connects later."""
    database_url = state.app.extensions[EXTENSION_NAME].settings.database_url
    state.app.extensions["demo_flows"] = Flows(database_url)

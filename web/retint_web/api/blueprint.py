"""The API's blueprint: the OpenAPI document, and what the operations of several subjects share."""

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from retint import __version__
from retint_web.api import document
from retint_web.api.openapi import Api
from retint_web.links import portal_url as portal_url
from retint_web.security import csrf, public

PREFIX: Final = "/api/v1"

blueprint = Blueprint("api", __name__, url_prefix=PREFIX)
api = Api(blueprint)
csrf.exempt(blueprint)  # a browser never sends a bearer token by itself


@blueprint.get("/openapi.json")
@public
def openapi() -> ResponseReturnValue:
    """The OpenAPI document, which anyone may read."""
    return jsonify(describe())


def describe() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return document.build(api.operations, "Retint", __version__, portal_url() + PREFIX)


def job_url(job_id: UUID) -> str:
    """Return the address of a photo's page."""
    return f"{portal_url()}/jobs/{job_id}"


def file_urls(job_id: UUID, names: Iterable[str]) -> dict[str, str]:
    """Return the API's addresses of a job's files, by name."""
    return {name: f"{portal_url()}{PREFIX}/jobs/{job_id}/files/{name}" for name in names}


def next_cursor(items: list[Any], limit: int) -> str | None:
    """Return the id after which the next page begins; None after a page that is not full."""
    return str(items[-1].id) if len(items) == limit else None

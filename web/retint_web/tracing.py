"""What the portal notes of every request: an id, bound to every line of the log and sent back with the answer."""

import re
import time
from typing import Final
from uuid import uuid4

import structlog
from flask import Flask, g, request
from flask.wrappers import Response
from structlog.contextvars import bind_contextvars, clear_contextvars

from retint.metrics import REQUEST_ERRORS, REQUEST_SECONDS, REQUESTS
from retint_web import services

HEADER: Final = "X-Request-ID"
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
"""What a client or a proxy may choose; anything else is replaced, because it goes into the log."""
SAFE: Final = {"GET", "HEAD", "OPTIONS"}
"""Methods that change nothing."""
METHODS: Final = SAFE | {"POST", "PUT", "PATCH", "DELETE"}
"""Methods that are named; a client may send any word."""

log = structlog.get_logger()


def configure(app: Flask) -> None:
    """Trace requests. Must come before everything else that looks at a request."""
    app.before_request(_begin)
    app.after_request(_end)


def name_person() -> None:
    """Name the person, if one is signed in, in every further line of this request."""
    if identity := g.get("identity"):
        bind_contextvars(tenant_id=str(identity.tenant_id), user_id=str(identity.actor_id))


def _begin() -> None:
    clear_contextvars()
    given = request.headers.get(HEADER, "")
    # A server that runs a request in several steps passes the same environ each time.
    g.request_id = request.environ.setdefault(
        "retint.request_id", given if REQUEST_ID.fullmatch(given) else uuid4().hex
    )
    request.environ.setdefault("retint.started_at", time.monotonic())
    bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    name_person()
    response.headers[HEADER] = g.request_id
    # The rule and not the address, which may contain a file's name or a secret.
    route = request.url_rule.rule if request.url_rule else "none"
    seconds = time.monotonic() - request.environ["retint.started_at"]
    method = request.method if request.method in METHODS else "other"
    services().counters.count(REQUESTS, method, route, str(response.status_code))
    if response.status_code >= 500:
        services().counters.count(REQUEST_ERRORS)
    services().counters.observe(REQUEST_SECONDS, seconds, route)
    if request.method not in SAFE or response.status_code >= 400:
        log.info(
            "request_answered",
            method=method,
            route=route,
            status=response.status_code,
            seconds=round(seconds, 3),
        )
    return response

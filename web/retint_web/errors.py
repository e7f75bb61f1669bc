"""Error responses: a page for people, a fragment for htmx, problem+json (RFC 9457) for every program.

Scripts of our own pages are programs, too. Who is asking is decided in one place, `_audience`.
"""

import http
import json
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

import structlog
from flask import Flask, Response, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from retint.accounts import LIMIT_WINDOW_S, MissingScope, TooManyFailures, Unauthorized
from retint.errors import RetintError, Transient
from retint.metrics import QUOTA_REFUSALS
from retint.quotas import QuotaExceeded
from retint_web import services
from retint_web.rates import TooManyRequests

RETRY_AFTER_S: Final = 5
PHRASES: Final = {460: "Checksum Mismatch"}
"""Phrases of the statuses that HTTP does not know, but a protocol above it."""

log = structlog.get_logger()

_SENTENCES = {
    400: "The request is not valid.",
    404: "There is nothing at this address.",
    408: "The rest of the request did not come. Send it again.",
    405: "This address does not allow that method.",
    413: "The request is larger than this portal accepts.",
    429: "Too many requests. Wait a moment, then try again.",
    500: "An error occurred in the portal and was logged. Please try again later.",
}


class Audience(Enum):
    """Who reads an answer."""

    PERSON = auto()
    HTMX = auto()
    PROGRAM = auto()


def configure(app: Flask) -> None:
    """Register the error handlers."""
    app.register_error_handler(RetintError, _on_retint_error)
    app.register_error_handler(HTTPException, _on_http_exception)
    app.register_error_handler(Exception, _on_bug)


def _audience() -> Audience:
    """Tell people, who open a page or send a form, from programs, such as a script that sends a file."""
    if request.path.startswith("/api/"):
        return Audience.PROGRAM
    if "HX-Request" in request.headers:
        return Audience.HTMX
    mode = request.headers.get("Sec-Fetch-Mode")  # an older browser does not say
    accepts_page = "text/html" in request.accept_mimetypes.values() and request.method in ("GET", "HEAD", "POST")
    return Audience.PERSON if mode == "navigate" or (mode is None and accepts_page) else Audience.PROGRAM


def _on_retint_error(error: RetintError) -> ResponseReturnValue:
    if isinstance(error, Transient):
        log.warning("request_failed", code=error.code, reason=error.message, route=str(request.url_rule))
    if isinstance(error, Unauthorized) and _audience() is Audience.PERSON:
        back = request.full_path.rstrip("?") if request.method == "GET" else None
        return redirect(url_for("accounts.sign_in", next=back), code=303)
    more = {"quota": error.numbers} if isinstance(error, QuotaExceeded) else {}
    response = _error_response(error.status, error.code, error.message, more)
    if isinstance(error, QuotaExceeded):
        services().counters.count(QUOTA_REFUSALS, error.shortage.kind)
    if isinstance(error, TooManyRequests):
        response.headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, TooManyFailures):
        response.headers["Retry-After"] = str(LIMIT_WINDOW_S)
    if isinstance(error, Transient):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, MissingScope):  # RFC 6750
        response.headers["WWW-Authenticate"] = (
            f'Bearer realm="Retint", error="insufficient_scope", scope="{error.scope}"'
        )
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = 'Bearer realm="Retint"'
        if _audience() is Audience.HTMX:
            response.headers["HX-Redirect"] = url_for("accounts.sign_in")
    return response


def _on_http_exception(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None or error.code is None or error.code < 400:
        return error
    if isinstance(error, CSRFError):
        return _error_response(
            400, "csrf", "This form has expired or was not sent by this portal. Reload the page, then send it again."
        )
    code = http.HTTPStatus(error.code).name.lower()
    response = _error_response(error.code, code, _SENTENCES.get(error.code, error.name + "."))
    for name, value in error.get_headers():
        if name in {"Allow", "Retry-After", "Content-Range"}:
            response.headers[name] = value
    return response


def _on_bug(error: Exception) -> ResponseReturnValue:
    # The route and not the address, because the address of a sign-in link is a secret.
    log.exception("request_crashed", route=str(request.url_rule), method=request.method, exc_info=error)
    return _error_response(500, "internal", _SENTENCES[500])


def _error_response(status: int, code: str, sentence: str, more: Mapping[str, object] | None = None) -> Response:
    title, audience = PHRASES.get(status) or http.HTTPStatus(status).phrase, _audience()
    if audience is Audience.PROGRAM:
        problem = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": sentence,
            "code": code,
            "request_id": g.request_id,
            **(more or {}),
        }
        return Response(json.dumps(problem), status, content_type="application/problem+json")
    template = "_error.html" if audience is Audience.HTMX else "error.html"
    page = render_template(template, status=status, title=title, code=code, sentence=sentence)
    return Response(page, status, content_type="text/html; charset=utf-8")

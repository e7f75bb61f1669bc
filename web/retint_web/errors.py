"""Error responses: a page for browsers, a fragment for htmx, problem+json (RFC 9457) for the API."""

import http
import json
from contextlib import suppress
from typing import Final

import structlog
from flask import Flask, Response, g, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from retint.errors import RetintError, Transient

RETRY_AFTER_S: Final = 5
CHUNK: Final = 1 << 20
DRAIN_LIMIT: Final = 64 << 20
"""Most bytes of a refused upload that are still read before the connection is closed."""

log = structlog.get_logger()

_SENTENCES = {
    400: "The request is not valid.",
    404: "There is nothing at this address.",
    405: "This address does not allow that method.",
    413: "The request is larger than this portal accepts.",
    429: "Too many requests. Wait a moment, then try again.",
    500: "An error occurred in the portal and was logged. Please try again later.",
}


def configure(app: Flask) -> None:
    """Register the error handlers."""
    app.register_error_handler(RetintError, _on_retint_error)
    app.register_error_handler(HTTPException, _on_http_exception)
    app.register_error_handler(Exception, _on_bug)


def _on_retint_error(error: RetintError) -> ResponseReturnValue:
    if isinstance(error, Transient):
        log.warning("request_failed", code=error.code, reason=error.message, route=str(request.url_rule))
    response = _error_response(error.status, error.code, error.message)
    if isinstance(error, Transient):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    if error.status == http.HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="Retint"'
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


def _error_response(status: int, code: str, sentence: str) -> Response:
    _drain()
    title = http.HTTPStatus(status).phrase
    if request.path.startswith("/api/"):
        problem = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": sentence,
            "code": code,
            "request_id": g.request_id,
        }
        return Response(json.dumps(problem), status, content_type="application/problem+json")
    template = "_error.html" if "HX-Request" in request.headers else "error.html"
    page = render_template(template, status=status, title=title, code=code, sentence=sentence)
    return Response(page, status, content_type="text/html; charset=utf-8")


def _drain() -> None:
    """Read the rest of a refused upload, because many clients read the response only after sending everything."""
    body = request.environ["wsgi.input"]
    # An OSError means that the client closed the connection: nobody waits for a response.
    with suppress(OSError):
        for _ in range(DRAIN_LIMIT // CHUNK):
            if not body.read(CHUNK):
                break

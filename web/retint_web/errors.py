"""Answers to what goes wrong: a page for browsers, a fragment for htmx, problem+json (RFC 9457) for the API."""

import http
import json
from contextlib import suppress
from typing import Final

import structlog
from flask import Flask, Response, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from retint.errors import RetintError, Transient

RETRY_AFTER_S: Final = 5
CHUNK: Final = 1 << 20
DRAINED: Final = 64 << 20
"""Bytes of a refused upload that are still taken in; after that the connection ends."""

log = structlog.get_logger()

_SENTENCES = {
    400: "The request makes no sense as it stands.",
    404: "There is nothing at this address.",
    405: "This address does not do that.",
    413: "That is larger than this portal accepts.",
    429: "Too many requests. Wait a little.",
    500: "Something is wrong on our side. It was noted; please try again later.",
}


def configure(app: Flask) -> None:
    """Answer every error in the form that the asker understands."""
    app.register_error_handler(RetintError, _on_retint_error)
    app.register_error_handler(HTTPException, _on_http_exception)
    app.register_error_handler(Exception, _on_bug)


def _on_retint_error(error: RetintError) -> ResponseReturnValue:
    if isinstance(error, Transient):
        log.warning("request_failed", code=error.code, reason=error.message, route=str(request.url_rule))
    response = _answer(error.status, error.code, error.message)
    if isinstance(error, Transient):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    if error.status == http.HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="Retint"'
    return response


def _on_http_exception(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None or error.code is None or error.code < 400:
        return error
    if isinstance(error, CSRFError):
        return _answer(400, "csrf", "The page was open too long, or is not from here. Load it again and repeat.")
    code = http.HTTPStatus(error.code).name.lower()
    response = _answer(error.code, code, _SENTENCES.get(error.code, error.name + "."))
    for name, value in error.get_headers():
        if name in {"Allow", "Retry-After", "Content-Range"}:
            response.headers[name] = value
    return response


def _on_bug(error: Exception) -> ResponseReturnValue:
    # The route and not the address: a sign-in link's address is a secret.
    log.exception("request_crashed", route=str(request.url_rule), method=request.method, exc_info=error)
    return _answer(500, "internal", _SENTENCES[500])


def _answer(status: int, code: str, sentence: str) -> Response:
    _drain()
    title = http.HTTPStatus(status).phrase
    if request.path.startswith("/api/"):
        problem = {"type": "about:blank", "title": title, "status": status, "detail": sentence, "code": code}
        return Response(json.dumps(problem), status, content_type="application/problem+json")
    template = "_error.html" if "HX-Request" in request.headers else "error.html"
    page = render_template(template, status=status, title=title, code=code, sentence=sentence)
    return Response(page, status, content_type="text/html; charset=utf-8")


def _drain() -> None:
    """Read what is left of an upload that was refused: many clients send all of it before they hear an answer."""
    body = request.environ["wsgi.input"]
    # An OSError says that the body broke off; then nobody waits for an answer either.
    with suppress(OSError):
        for _ in range(DRAINED // CHUNK):
            if not body.read(CHUNK):
                break

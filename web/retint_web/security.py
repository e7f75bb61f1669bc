"""Authentication by session or token, CSRF protection, security headers and limits of request sizes."""

import functools
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit
from uuid import UUID

from flask import Flask, after_this_request, current_app, g, request, session, url_for
from flask.typing import ResponseReturnValue
from flask.wrappers import Response
from flask_wtf import CSRFProtect
from sqlalchemy.orm import Session
from werkzeug.exceptions import RequestEntityTooLarge

from retint import accounts, audit
from retint.accounts import Identity, MissingScope, Unauthorized
from retint.audit import Origin
from retint.database import DatabaseUnavailable
from retint.errors import NotAllowed
from retint.roles import OPERATOR, Duty, Role, Scope
from retint.settings import Settings
from retint_web import browsers, house, rates

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]
Operation = TypeVar("Operation", bound=Callable[..., object])

BODY_LIMIT: Final = 1 << 20
"""Most bytes of a request that uploads no files."""
FORM_FILES: Final = 2000
"""Most files in one form that is sent without JavaScript."""
NOTE_S: Final = 60
"""How often a process notes the use of a session or a token, also where it does not succeed."""
YEAR_S: Final = 31_536_000

csrf: Final = CSRFProtect()


_noted_at: dict[UUID, float] = {}
"""When this process last noted the use of a session or a token."""


def configure(app: Flask, settings: Settings) -> None:
    """Set up sessions, CSRF protection, headers and limits.

    Raises:
        ValueError: `settings.secret` is not set.
    """
    if settings.secret is None:
        raise ValueError(
            "RETINT_SECRET is not set, so sessions cannot be signed. Set it to a long random text, or use `retint up`."
        )
    is_https = (settings.public_url or "").startswith("https:")
    app.config.update(
        SECRET_KEY=settings.secret.get_secret_value(),
        SECRET_KEY_FALLBACKS=settings.secrets_before,  # sessions outlive a change of the secret
        # With this prefix, browsers accept the cookie from this host only.
        SESSION_COOKIE_NAME="__Host-retint" if is_https else "retint",
        SESSION_COOKIE_SECURE=is_https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=7 * 24 * 3600,
        SESSION_REFRESH_EACH_REQUEST=False,
        WTF_CSRF_TIME_LIMIT=None,  # valid as long as the session: a page may stay open overnight
        MAX_CONTENT_LENGTH=BODY_LIMIT,
    )
    unlimited(public(cast(View[...], app.view_functions["static"])))
    headers = _security_headers(settings, is_https)
    rates.configure(app, settings)
    # Whoever may not come in is refused before a byte of the body is read; the CSRF check reads forms.
    app.before_request(_limit_anonymous)
    app.before_request(_identify)
    app.before_request(_require_identity)
    app.before_request(_limit_body)
    csrf.init_app(app)
    app.after_request(functools.partial(_add_headers, headers))


def start_session(identity: Identity, hours: float | None = None) -> None:
    """Sign this browser in: its session begins, for so many hours at most. The one that it had, if any, ends."""
    end_session()
    browser = browsers.describe(request.headers.get("User-Agent", ""))
    with house().begin() as transaction:
        begun = accounts.begin_session(transaction, identity, request.remote_addr or "unknown", browser, hours)
    # The version before knows a session by the user and the stamp.
    session["id"], session["user"], session["stamp"] = str(begun.session_id), str(begun.user_id), begun.stamp
    session.permanent = True
    g.identity = begun


def end_session() -> None:
    """Sign this browser out: its session ends here and on the server."""
    session.clear()
    found: Identity | None = g.identity
    if found is not None and found.user_id is not None and found.session_id is not None:
        with house().begin() as transaction:
            accounts.end_session(transaction, found.tenant_id, found.user_id, found.session_id)
    g.identity = None


def public(view: View[P]) -> View[P]:
    """Let anybody use a view; all others require a signed-in user, or a token in the API."""
    return mark(view, "is_public")


def accepts_uploads(view: View[P]) -> View[P]:
    """Allow a view's request body the size of an upload; all others allow 1 MiB."""
    return moves_bytes(mark(view, "accepts_uploads"))


def moves_bytes(view: View[P]) -> View[P]:
    """Run a view among the threads that read and write the store: where it is slow, pages are not."""
    return mark(view, "moves_bytes")


def takes_metrics_token(operation: Operation) -> Operation:
    """Let monitoring and autoscalers use an operation of the API, with the token for metrics."""
    setattr(operation, "takes_metrics_token", True)  # noqa: B010  a function has no such attribute to a type checker
    return operation


def mark(view: View[P], name: str) -> View[P]:
    """Mark a view, so that the request can be handled accordingly before the view is called."""
    setattr(view, name, True)
    return view


def has_mark(name: str) -> bool:
    """Whether the current request's view has this mark."""
    return getattr(current_app.view_functions.get(request.endpoint or ""), name, False)


def only(*duties: Duty) -> Callable[[View[P]], View[P]]:
    """Require one of some roles, or an operator, for a view. A role may all that the ones below it may."""

    def decorate(view: View[P]) -> View[P]:
        @functools.wraps(view)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            require(*duties)
            return view(*args, **kwargs)

        return wrapper

    return decorate


def require(*duties: Duty) -> None:
    """Check that the user has one of some roles, or is an operator where that is named.

    Raises:
        NotAllowed: they have none of them.
    """
    if g.is_monitor:  # nobody, who may see this view alone
        return
    if not any(g.identity.has(duty) for duty in duties):
        raise NotAllowed(f"Only {describe_duties(duties)} may do this.")


def describe_duties(duties: Sequence[Duty]) -> str:
    """Return who may, in words: `a reviewer or an administrator`."""
    words = [role.words for role in Role if any(duty != OPERATOR and role.may(Role(duty)) for duty in duties)]
    return " or ".join(words + ["an operator of this installation"] * (OPERATOR in duties))


def require_scope(scope: Scope) -> None:
    """Check that the token is for this; a browser's session is for everything.

    Raises:
        MissingScope: it is not.
    """
    if not g.is_monitor and scope not in g.identity.scopes:
        raise MissingScope(scope)


def safe_next_url(target: str | None) -> str:
    """Return the sign-in page's `next` if it is an address within this portal, and the start page otherwise."""
    # Browsers treat `\\` as `/`, and two or more at the beginning as the start of a host name.
    plain = (target or "").replace("\\", "/")
    is_ours = plain.startswith("/") and not plain.startswith("//") and plain.isprintable()
    return plain if is_ours else url_for("batches.index")


def unlimited(view: View[P]) -> View[P]:
    """Do not count a view's requests: those of a machine that watches the portal."""
    return mark(view, "is_unlimited")


def _limit_anonymous() -> None:
    """Count requests for what needs no sign-in, by address; files of the pages and probes are not counted."""
    if has_mark("is_public") and not has_mark("is_unlimited"):
        rates.count_anonymous_request()


def _identify() -> None:
    """Find out who asks: by the token in the API, by the session everywhere else."""
    g.identity = None
    audit.set_origin(Origin(request.remote_addr))
    g.is_monitor = has_mark("takes_metrics_token") and shows_metrics_token()
    if g.is_monitor:
        return
    if request.blueprint == "api" and not has_mark("is_public"):
        g.identity = _identify_by_token()
    elif "id" in session and request.endpoint != "static":
        g.identity = _identify_by_session()
    audit.set_origin(Origin(request.remote_addr, g.identity))


def bearer_token() -> str:
    """Return the token that the request shows; empty if there is none."""
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else ""


def shows_metrics_token() -> bool:
    """Whether the request shows the token for metrics; never where the operator has set none."""
    token = house().settings.metrics_token
    return token is not None and secrets.compare_digest(bearer_token().encode(), token.get_secret_value().encode())


def _identify_by_token() -> Identity:
    secret = bearer_token()
    if not secret:
        raise Unauthorized("A token is missing. Send it in the header `Authorization: Bearer retint_…`.")
    try:
        with house().read() as transaction:
            found = accounts.identify_token(transaction, secret)
    except Unauthorized:
        rates.count_anonymous_request()
        raise
    if not has_mark("accepts_uploads"):
        rates.count_api_request(found.tenant_id, secret)
    if found.token_id is not None and found.is_stale:
        _note_soon(found.token_id, accounts.note_token_use)
    return found


def _note_soon(id_: UUID, note: Callable[[Session, UUID], None]) -> None:
    """Note the use of a session or a token after the answer is sent: a request that only reads waits for no writer."""
    if (now := time.monotonic()) <= _noted_at.get(id_, 0) + NOTE_S:
        return
    _noted_at[id_] = now
    connected = house()

    def write() -> None:
        with suppress(DatabaseUnavailable), connected.begin() as transaction:
            note(transaction, id_)

    def follow(response: Response) -> Response:
        response.call_on_close(write)
        return response

    after_this_request(follow)


def _identify_by_session() -> Identity | None:
    try:
        session_id, stamp = UUID(session["id"]), str(session["stamp"])
    except (KeyError, ValueError, AttributeError):  # a valid signature, but the content of an older version
        session.clear()
        return None
    with house().read() as transaction:
        found = accounts.identify_session(transaction, session_id, stamp)
    if found is not None and found.is_stale:
        _note_soon(session_id, accounts.note_session_use)
    return found


def _require_identity() -> None:
    if g.is_monitor:
        return
    if request.endpoint is not None and g.identity is None and not has_mark("is_public"):
        raise Unauthorized("You are not signed in. Sign in, then try again.")


def _limit_body() -> None:
    if has_mark("accepts_uploads"):
        request.max_content_length = house().settings.upload_limit_mib << 20
        request.max_form_parts = FORM_FILES + 20
    if (request.content_length or 0) > (request.max_content_length or 0):
        raise RequestEntityTooLarge


def _security_headers(settings: Settings, is_https: bool) -> dict[str, str]:
    pictures = "'self' data: blob:"
    if settings.s3_public_endpoint:
        origin = urlsplit(settings.s3_public_endpoint)
        pictures += f" {origin.scheme}://{origin.netloc}"
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": pictures,
        "media-src": pictures,
        "font-src": "'self'",
        "connect-src": "'self'",
        "manifest-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    headers = {
        "Content-Security-Policy": "; ".join(f"{directive} {sources}" for directive, sources in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }
    return headers | ({"Strict-Transport-Security": f"max-age={YEAR_S}"} if is_https else {})


def _add_headers(headers: dict[str, str], response: Response) -> Response:
    for name, value in headers.items():
        response.headers.setdefault(name, value)
    if g.get("identity") is not None:
        # On a shared computer, the pages of someone who signed out must not be shown from the cache.
        response.headers.setdefault("Cache-Control", "no-store")
    return response

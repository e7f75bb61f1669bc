"""Who is asking, and what a browser is told to refuse: sign-in sessions, tokens, CSRF, headers, sizes of requests."""

import functools
from collections.abc import Callable
from typing import Final, ParamSpec
from urllib.parse import urlsplit
from uuid import UUID

from flask import Flask, current_app, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask.wrappers import Response
from flask_wtf import CSRFProtect

from retint import accounts
from retint.accounts import Identity, Unauthorized
from retint.errors import NotAllowed
from retint.settings import Settings
from retint_web import services

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]

SMALL_BODY: Final = 1 << 20
"""Bytes that a request may carry where no files are expected."""
FORM_FILES: Final = 2000
"""Files that one form without script may carry."""
YEAR_S: Final = 31_536_000

csrf: Final = CSRFProtect()


def configure(app: Flask, settings: Settings) -> None:
    """Set up sessions, CSRF, headers and limits."""
    if settings.secret is None:
        raise ValueError("RETINT_SECRET is not set: sessions cannot be signed. `retint up` makes one by itself.")
    is_https = (settings.public_url or "").startswith("https:")
    app.config.update(
        SECRET_KEY=settings.secret.get_secret_value(),
        # The prefix makes browsers refuse the cookie from anyone but this very host.
        SESSION_COOKIE_NAME="__Host-retint" if is_https else "retint",
        SESSION_COOKIE_SECURE=is_https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=7 * 24 * 3600,
        SESSION_REFRESH_EACH_REQUEST=False,
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session: a page may stay open over night
        MAX_CONTENT_LENGTH=SMALL_BODY,
    )
    headers = _headers(settings, is_https)
    app.before_request(_limit_body)  # first: reading a form token reads the body
    app.before_request(_identify)
    csrf.init_app(app)
    app.after_request(functools.partial(_add_headers, headers))


def remember(identity: Identity) -> None:
    """Sign this browser in."""
    session.clear()
    session["user"], session["stamp"] = str(identity.user_id), identity.stamp
    session.permanent = True
    g.identity = identity


def forget() -> None:
    """Sign this browser out."""
    session.clear()
    g.identity = None


def login_required(view: View[P]) -> View[P]:
    """Let only signed-in people see a page; others are sent to the sign-in page, and from there back."""

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        return _to_sign_in() if g.identity is None else view(*args, **kwargs)

    return guarded


def admin_required(view: View[P]) -> View[P]:
    """Let only administrators see a page."""

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        require_admin()
        return view(*args, **kwargs)

    return login_required(guarded)


def require_admin() -> None:
    """Stop a request that is not an administrator's.

    Raises:
        NotAllowed: it is somebody else's.
    """
    if not g.identity.is_admin:
        raise NotAllowed("Only an administrator may do this.")


def require_token() -> None:
    """Identify an API request by its bearer token.

    Raises:
        Unauthorized: there is none, or it is not valid.
    """
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not secret.strip():
        raise Unauthorized("Send a token: `Authorization: Bearer retint_…`.")
    with services().begin() as transaction:
        g.identity = accounts.bearer(transaction, secret.strip())


def takes_files(view: View[P]) -> View[P]:
    """Let a view take a body of the size of an upload; all others take at most 1 MiB. The outermost decorator."""

    @functools.wraps(view)
    def marked(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        return view(*args, **kwargs)

    marked.takes_files = True  # type: ignore[attr-defined]
    return marked


def way_back(target: str | None) -> str:
    """Turn the sign-in page's `next` into an address of this portal, whatever it said."""
    # Browsers take `\\` for `/`, and any number of them at the beginning for the start of a host.
    plain = (target or "").replace("\\", "/")
    is_ours = plain.startswith("/") and not plain.startswith("//") and plain.isprintable()
    return plain if is_ours else url_for("batches.index")


def _to_sign_in() -> ResponseReturnValue:
    back = request.full_path.rstrip("?") if request.method == "GET" else None
    if "HX-Request" in request.headers:
        response = Response(status=401)
        response.headers["HX-Redirect"] = url_for("accounts.sign_in")
        return response
    return redirect(url_for("accounts.sign_in", next=back), code=303)


def _limit_body() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    if getattr(view, "takes_files", False):
        request.max_content_length = services().settings.upload_limit_mib << 20
        request.max_form_parts = FORM_FILES + 20


def _identify() -> None:
    g.identity = None
    if "user" not in session or request.endpoint == "static":
        return
    try:
        user_id, stamp = UUID(session["user"]), str(session["stamp"])
    except (KeyError, ValueError, AttributeError):  # signed by us, but by an older Retint
        return session.clear()
    with services().begin() as transaction:
        g.identity = accounts.recall(transaction, user_id, stamp)


def _headers(settings: Settings, is_https: bool) -> dict[str, str]:
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
        "Content-Security-Policy": "; ".join(f"{what} {whence}" for what, whence in policy.items()),
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
        # A shared computer must not show the pages of someone who signed out.
        response.headers.setdefault("Cache-Control", "no-store")
    return response

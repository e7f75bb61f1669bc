"""Authentication by session or token, CSRF protection, security headers and limits of request sizes."""

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
from retint_web import services, tracing

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]

BODY_LIMIT: Final = 1 << 20
"""Most bytes of a request that uploads no files."""
FORM_FILES: Final = 2000
"""Most files in one form that is sent without JavaScript."""
YEAR_S: Final = 31_536_000

csrf: Final = CSRFProtect()


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
    headers = _security_headers(settings, is_https)
    app.before_request(_limit_body)  # first, because the CSRF check reads the body
    app.before_request(_identify)
    csrf.init_app(app)
    app.after_request(functools.partial(_add_headers, headers))


def start_session(identity: Identity) -> None:
    """Sign this browser in."""
    session.clear()
    session["user"], session["stamp"] = str(identity.user_id), identity.stamp
    session.permanent = True
    g.identity = identity


def end_session() -> None:
    """Sign this browser out."""
    session.clear()
    g.identity = None


def login_required(view: View[P]) -> View[P]:
    """Require a signed-in user; others are redirected to the sign-in page and afterwards back."""

    @functools.wraps(view)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        return _redirect_to_sign_in() if g.identity is None else view(*args, **kwargs)

    return wrapper


def admin_required(view: View[P]) -> View[P]:
    """Require a signed-in administrator."""

    @functools.wraps(view)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        require_admin()
        return view(*args, **kwargs)

    return login_required(wrapper)


def require_admin() -> None:
    """Check that the user is an administrator.

    Raises:
        NotAllowed: the user is not.
    """
    if not g.identity.is_admin:
        raise NotAllowed("Only an administrator may do this.")


def require_token() -> None:
    """Identify the user of an API request by the bearer token.

    Raises:
        Unauthorized: the token is missing or not valid.
    """
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not secret.strip():
        raise Unauthorized("A token is missing. Send it in the header `Authorization: Bearer retint_…`.")
    with services().begin() as transaction:
        g.identity = accounts.identify_token(transaction, secret.strip())
    tracing.name_person()


def accepts_uploads(view: View[P]) -> View[P]:
    """Allow a view's request body the size of an upload; all others allow 1 MiB. Must be the outermost decorator."""

    @functools.wraps(view)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        return view(*args, **kwargs)

    wrapper.accepts_uploads = True  # type: ignore[attr-defined]
    return wrapper


def safe_next_url(target: str | None) -> str:
    """Return the sign-in page's `next` if it is an address within this portal, and the start page otherwise."""
    # Browsers treat `\\` as `/`, and two or more at the beginning as the start of a host name.
    plain = (target or "").replace("\\", "/")
    is_ours = plain.startswith("/") and not plain.startswith("//") and plain.isprintable()
    return plain if is_ours else url_for("batches.index")


def _redirect_to_sign_in() -> ResponseReturnValue:
    back = request.full_path.rstrip("?") if request.method == "GET" else None
    if "HX-Request" in request.headers:
        response = Response(status=401)
        response.headers["HX-Redirect"] = url_for("accounts.sign_in")
        return response
    return redirect(url_for("accounts.sign_in", next=back), code=303)


def _limit_body() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    if getattr(view, "accepts_uploads", False):
        request.max_content_length = services().settings.upload_limit_mib << 20
        request.max_form_parts = FORM_FILES + 20


def _identify() -> None:
    g.identity = None
    if "user" not in session or request.endpoint == "static":
        return
    try:
        user_id, stamp = UUID(session["user"]), str(session["stamp"])
    except (KeyError, ValueError, AttributeError):  # a valid signature, but the content of an older version
        return session.clear()
    with services().begin() as transaction:
        g.identity = accounts.identify_session(transaction, user_id, stamp)


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

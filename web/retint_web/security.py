"""Authentication by session or token, CSRF protection, security headers and limits of request sizes."""

import functools
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Final, ParamSpec, cast
from urllib.parse import urlsplit
from uuid import UUID

from flask import Flask, after_this_request, current_app, g, request, session, url_for
from flask.typing import ResponseReturnValue
from flask.wrappers import Response
from flask_wtf import CSRFProtect
from werkzeug.exceptions import RequestEntityTooLarge

from retint import accounts
from retint.accounts import Identity, Unauthorized
from retint.database import DatabaseUnavailable
from retint.errors import NotAllowed
from retint.settings import Settings
from retint_web import services

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]

BODY_LIMIT: Final = 1 << 20
"""Most bytes of a request that uploads no files."""
FORM_FILES: Final = 2000
"""Most files in one form that is sent without JavaScript."""
NOTE_S: Final = 60
"""How often a process notes the use of a token, also where it does not succeed."""
YEAR_S: Final = 31_536_000

csrf: Final = CSRFProtect()


class Role(StrEnum):
    """What a user may be besides a member of an institution, in words."""

    ADMIN = "an administrator"
    """Rules the institution."""
    OPERATOR = "an operator of this installation"
    """Rules the house: fleets, hosts, every institution's faults."""


_noted_at: dict[UUID, float] = {}
"""When this process last noted the use of a token."""


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
    public(cast(View[...], app.view_functions["static"]))
    headers = _security_headers(settings, is_https)
    # Whoever may not come in is refused before a byte of the body is read; the CSRF check reads forms.
    app.before_request(_identify)
    app.before_request(_require_identity)
    app.before_request(_limit_body)
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


def public(view: View[P]) -> View[P]:
    """Let anybody use a view; all others require a signed-in user, or a token in the API."""
    return mark(view, "is_public")


def accepts_uploads(view: View[P]) -> View[P]:
    """Allow a view's request body the size of an upload; all others allow 1 MiB."""
    return moves_bytes(mark(view, "accepts_uploads"))


def moves_bytes(view: View[P]) -> View[P]:
    """Run a view among the threads that read and write the store: where it is slow, pages are not."""
    return mark(view, "moves_bytes")


def mark(view: View[P], name: str) -> View[P]:
    """Mark a view, so that the request can be handled accordingly before the view is called."""
    setattr(view, name, True)
    return view


def has_mark(name: str) -> bool:
    """Whether the current request's view has this mark."""
    return getattr(current_app.view_functions.get(request.endpoint or ""), name, False)


def only(*roles: Role) -> Callable[[View[P]], View[P]]:
    """Require one of some roles for a view."""

    def decorate(view: View[P]) -> View[P]:
        @functools.wraps(view)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            require(*roles)
            return view(*args, **kwargs)

        return wrapper

    return decorate


def require(*roles: Role) -> None:
    """Check that the user has one of some roles.

    Raises:
        NotAllowed: the user has none of them.
    """
    held = {Role.ADMIN: g.identity.is_admin, Role.OPERATOR: g.identity.is_operator}
    if not any(held[role] for role in roles):
        raise NotAllowed(f"Only {' or '.join(roles)} may do this.")


def safe_next_url(target: str | None) -> str:
    """Return the sign-in page's `next` if it is an address within this portal, and the start page otherwise."""
    # Browsers treat `\\` as `/`, and two or more at the beginning as the start of a host name.
    plain = (target or "").replace("\\", "/")
    is_ours = plain.startswith("/") and not plain.startswith("//") and plain.isprintable()
    return plain if is_ours else url_for("batches.index")


def _identify() -> None:
    """Find out who asks: by the token in the API, by the session everywhere else."""
    g.identity = None
    if request.blueprint == "api" and not has_mark("is_public"):
        g.identity = _identify_by_token()
    elif "user" in session and request.endpoint != "static":
        g.identity = _identify_by_session()


def bearer_token() -> str:
    """Return the token that the request shows; empty if there is none."""
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else ""


def _identify_by_token() -> Identity:
    secret = bearer_token()
    if not secret:
        raise Unauthorized("A token is missing. Send it in the header `Authorization: Bearer retint_…`.")
    with services().read() as transaction:
        found = accounts.identify_token(transaction, secret)
    token_id, now = found.token_to_note, time.monotonic()
    if token_id is not None and now > _noted_at.get(token_id, 0) + NOTE_S:
        _noted_at[token_id] = now
        after_this_request(functools.partial(_note_use, token_id))
    return found


def _note_use(token_id: UUID, response: Response) -> Response:
    connected = services()

    def note() -> None:
        with suppress(DatabaseUnavailable), connected.begin() as transaction:
            accounts.note_token_use(transaction, token_id)

    response.call_on_close(note)  # a request that only reads waits for nobody who writes
    return response


def _identify_by_session() -> Identity | None:
    try:
        user_id, stamp = UUID(session["user"]), str(session["stamp"])
    except (KeyError, ValueError, AttributeError):  # a valid signature, but the content of an older version
        session.clear()
        return None
    with services().read() as transaction:
        return accounts.identify_session(transaction, user_id, stamp)


def _require_identity() -> None:
    if request.endpoint is not None and g.identity is None and not has_mark("is_public"):
        raise Unauthorized("You are not signed in. Sign in, then try again.")


def _limit_body() -> None:
    if has_mark("accepts_uploads"):
        request.max_content_length = services().settings.upload_limit_mib << 20
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

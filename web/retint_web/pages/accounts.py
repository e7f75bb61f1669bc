"""Account pages: signing in and out, one-time links, passwords, tokens."""

from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask import session as cookie
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from retint import accounts, admission, audit, institutions, notifications, providers
from retint.errors import Refused
from retint.notifications.kinds import KINDS
from retint.roles import TOKEN_DAYS, parse_scopes
from retint.tables import User
from retint.tenancy import get_owned
from retint_web import house, links, security, services
from retint_web.pages import people
from retint_web.security import public, safe_next_url, start_session

REMEMBERED: Final = "retint-provider"
"""The cookie with the provider that a browser used last: its button comes first."""

blueprint = Blueprint("accounts", __name__)


@blueprint.route("/sign-in", methods=["GET", "POST"])
@public
def sign_in() -> ResponseReturnValue:
    """Sign a user in with a password."""
    target = request.args.get("next")
    email = request.form.get("email", "")
    if request.method == "GET":
        if g.identity is not None:
            return redirect(safe_next_url(target), code=303)
        return render_sign_in(target)
    try:
        identity = accounts.sign_in(house(), email, request.form.get("password", ""), request.remote_addr or "")
    except Refused as error:
        return render_sign_in(target, error, email)
    start_session(identity)
    return redirect(safe_next_url(target), code=303)


@blueprint.route("/sign-in/<secret>", methods=["GET", "POST"])
@public
def redeem(secret: str) -> ResponseReturnValue:
    """Sign a user in with a one-time link."""
    if request.method == "GET":
        return render_template("accounts/redeem.html")
    with house().begin() as session:
        identity = accounts.redeem(session, secret)
        has_password = get_owned(session, User, identity.tenant_id, identity.person_id).password_hash is not None
    start_session(identity)
    if request.args.get("choose") == "password":
        return redirect(url_for("accounts.show", choose="password", _anchor="password-title"), code=303)
    if not has_password:
        flash("You are signed in. Set a password under Account to sign in without a link next time.")
    return redirect(url_for("batches.index"), code=303)


@blueprint.route("/forgot", methods=["GET", "POST"])
@public
def forgot() -> ResponseReturnValue:
    """Send who forgot the password a link; the answer is the same for an address that nobody has."""
    can_mail = links.can_mail_resets()
    if is_asked := request.method == "POST" and can_mail:
        links.mail_reset(request.form.get("email", ""))
    return render_template("accounts/forgot.html", sent=is_asked, can_mail=can_mail, hours=links.RESET_H)


@blueprint.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """Sign this browser out; its session ends on the server, too, and at the provider by which it began."""
    slug, found = cookie.get("provider"), None
    if slug is not None:
        with services().read() as session:
            found = admission.find_sign_out(session, services().settings, g.identity, slug)
    security.end_session()
    if found is None:
        return redirect(url_for("accounts.sign_in"), code=303)
    provider, address = found
    back = urlencode({"post_logout_redirect_uri": providers.redirect_uri(provider.slug, links.portal_url())})
    return render_template(
        "accounts/leaving.html", provider=provider, address=f"{address}&{back}", heading="Signed out"
    )


@blueprint.get("/account")
def show() -> ResponseReturnValue:
    """Show the user's tokens, and forms for a new token and a new password."""
    return _render_account()


@blueprint.post("/account/tokens")
def issue() -> ResponseReturnValue:
    """Create a token and show its secret once. It is part of this response, so that no session or database holds it."""
    scopes, days = parse_scopes(request.form.getlist("scope")), people.parse_days()
    with services().begin() as session:
        user = get_owned(session, User, g.identity.tenant_id, g.identity.person_id)
        secret = accounts.issue_token(session, user, request.form.get("name", ""), scopes=scopes, days=days)
    return _render_account(secret)


@blueprint.post("/account/tokens/<uuid:token_id>/revoke")
def revoke(token_id: UUID) -> ResponseReturnValue:
    """Revoke a token."""
    with services().begin() as session:
        accounts.revoke_token(session, g.identity, token_id)
    flash("The token is revoked.")
    return redirect(url_for("accounts.show"), code=303)


@blueprint.post("/account/sessions/<uuid:session_id>/end")
def end_session(session_id: UUID) -> ResponseReturnValue:
    """Sign the user out of one of their browsers, also of this one."""
    with services().begin() as session:
        accounts.end_session(session, g.identity.tenant_id, g.identity.person_id, session_id)
    flash("The session has ended.")
    return redirect(url_for("accounts.show"), code=303)


@blueprint.post("/account/password")
def set_password() -> ResponseReturnValue:
    """Set a new password; every other session of this user ends."""
    try:
        with services().begin() as session:
            admission.refuse_password(session, g.identity)
            identity = accounts.set_password(session, g.identity, request.form.get("password", ""))
    except Refused as error:
        flash(error.message)
    else:
        start_session(identity)
        flash("The new password is set.")
    return redirect(url_for("accounts.show"), code=303)


def render_sign_in(target: str | None, problem: Refused | None = None, email: str = "") -> ResponseReturnValue:
    """Show the sign-in page, with what went wrong.

    Args:
        target: the address within the portal to which the person wants.
        problem: why they are not signed in.
        email: what they had filled in.
    """
    with house().read() as session:
        listed = providers.list_for_sign_in(session, request.cookies.get(REMEMBERED))
    said = problem and problem.message
    page = render_template("accounts/sign_in.html", email=email, next=target, problem=said, providers=listed)
    return page, problem.status if problem else 200


@blueprint.post("/account/mail")
def choose_mail() -> ResponseReturnValue:
    """Choose which kinds of notifications the user gets by e-mail."""
    chosen = set(request.form.getlist("kind"))
    with services().begin() as session:
        offered = notifications.list_mail_kinds(session, g.identity.person_id, is_admin=g.identity.is_admin)
        notifications.choose_mail(session, g.identity.person_id, {name: name in chosen for name in offered})
        audit.record(session, "mail_chosen", g.identity.email, after={"kinds": sorted(chosen & set(offered))})
    flash("Saved.")
    return redirect(url_for("accounts.show"), code=303)


def _list_mail(session: Session) -> list[tuple[str, str, bool]] | None:
    """List the kinds that the user may get by e-mail: name, words, whether; None where there is no e-mail."""
    if not notifications.can_mail(services().settings):
        return None
    offered = notifications.list_mail_kinds(session, g.identity.person_id, is_admin=g.identity.is_admin)
    return [(name, KINDS[name].words, wanted) for name, wanted in offered.items()]


def _render_account(secret: str | None = None) -> ResponseReturnValue:
    with services().read() as session:
        tokens = accounts.list_tokens(session, g.identity)
        mail = _list_mail(session)
        sessions = accounts.list_sessions(session, g.identity.tenant_id, g.identity.person_id)
        connections = admission.list_connections(session, g.identity)
        institution = institutions.get(session, g.identity.tenant_id)
    return render_template(
        "accounts/show.html",
        tokens=tokens,
        sessions=sessions,
        connections=connections,
        institution=institution,
        secret=secret,
        server=links.portal_url(),
        scopes=people.scope_choices(),
        days=people.DAY_CHOICES,
        chosen_days=TOKEN_DAYS,
        mail=mail,
        must_choose=request.args.get("choose") == "password",
    )

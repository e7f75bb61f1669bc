"""Account pages: signing in and out, one-time links, passwords, tokens."""

from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import accounts, institutions
from retint.errors import Refused
from retint.tables import User
from retint.tenancy import get_owned
from retint_web import services
from retint_web.security import end_session, public, safe_next_url, start_session

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
        return render_template("accounts/sign_in.html", email="", next=target)
    try:
        identity = accounts.sign_in(services(), email, request.form.get("password", ""), request.remote_addr or "")
    except Refused as error:
        return render_template("accounts/sign_in.html", email=email, next=target, problem=error.message), error.status
    start_session(identity)
    return redirect(safe_next_url(target), code=303)


@blueprint.route("/sign-in/<secret>", methods=["GET", "POST"])
@public
def redeem(secret: str) -> ResponseReturnValue:
    """Sign a user in with a one-time link."""
    if request.method == "GET":
        return render_template("accounts/redeem.html")
    with services().begin() as session:
        identity = accounts.redeem(session, secret)
        has_password = get_owned(session, User, identity.tenant_id, identity.user_id).password_hash is not None
    start_session(identity)
    if not has_password:
        flash("You are signed in. Set a password under Account to sign in without a link next time.")
    return redirect(url_for("batches.index"), code=303)


@blueprint.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """Sign this browser out."""
    end_session()
    return redirect(url_for("accounts.sign_in"), code=303)


@blueprint.get("/account")
def show() -> ResponseReturnValue:
    """Show the user's tokens, and forms for a new token and a new password."""
    return _render_account()


@blueprint.post("/account/tokens")
def issue() -> ResponseReturnValue:
    """Create a token and show its secret once. It is part of this response, so that no session or database holds it."""
    with services().begin() as session:
        user = get_owned(session, User, g.identity.tenant_id, g.identity.user_id)
        secret = accounts.issue_token(session, user, request.form.get("name", ""))
    return _render_account(secret)


@blueprint.post("/account/tokens/<uuid:token_id>/revoke")
def revoke(token_id: UUID) -> ResponseReturnValue:
    """Revoke a token."""
    with services().begin() as session:
        accounts.revoke_token(session, g.identity, token_id)
    flash("The token is revoked.")
    return redirect(url_for("accounts.show"), code=303)


@blueprint.post("/account/password")
def set_password() -> ResponseReturnValue:
    """Set a new password; every other session of this user ends."""
    try:
        with services().begin() as session:
            identity = accounts.set_password(session, g.identity, request.form.get("password", ""))
    except Refused as error:
        flash(error.message)
    else:
        start_session(identity)
        flash("The new password is set.")
    return redirect(url_for("accounts.show"), code=303)


def _render_account(secret: str | None = None) -> ResponseReturnValue:
    with services().read() as session:
        tokens = accounts.list_tokens(session, g.identity)
        mine = institutions.get(session, g.identity.tenant_id)
    server = services().settings.public_url or request.host_url.rstrip("/")
    return render_template("accounts/show.html", tokens=tokens, secret=secret, server=server, institution=mine)

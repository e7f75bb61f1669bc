"""The administrator's pages: the people of their institution, their sessions, and service accounts."""

from typing import Final
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from retint import accounts
from retint.errors import InvalidRequest, Refused
from retint.roles import TOKEN_DAYS, Role, Scope, parse_role, parse_scopes, scopes_of
from retint.tables import User
from retint.tenancy import get_owned
from retint_web import links, services
from retint_web.pages import parameters
from retint_web.security import only

blueprint = Blueprint("people", __name__)

SHOWN: Final = 100
"""People on a page."""
DAY_CHOICES: Final = {30: "30 days", 90: "90 days", 365: "1 year", 1095: "3 years"}
"""How long a token may last, as the forms offer it."""


@blueprint.get("/people")
@only(Role.ADMIN)
def index() -> ResponseReturnValue:
    """Show the institution's people, and the form that invites one.

    Query:
        email: only those whose email contains this.
        after: the person after whom the list goes on.
    """
    return _render_index()


@blueprint.post("/people")
@only(Role.ADMIN)
def invite() -> ResponseReturnValue:
    """Invite a person, and show their link once. It is part of this response, so that no session holds it."""
    email = request.form.get("email", "")
    try:
        with services().begin() as session:
            role = parse_role(request.form.get("role", Role.MEMBER))
            user, secret = accounts.invite_person(session, g.identity, email, role)
            link = links.sign_in_url(secret)
            is_sent = links.mail_invitation(session, user, link)
    except Refused as error:
        return _render_index(problem=error.message, email=email), error.status
    return _render_person(user.id, link=link, is_sent=is_sent)


@blueprint.get("/people/<uuid:user_id>")
@only(Role.ADMIN)
def show(user_id: UUID) -> ResponseReturnValue:
    """Show one of the people: role, sessions, what an administrator may do."""
    return _render_person(user_id)


@blueprint.post("/people/<uuid:user_id>/role")
@only(Role.ADMIN)
def set_role(user_id: UUID) -> ResponseReturnValue:
    """Change a person's role."""
    with services().begin() as session:
        get_owned(session, User, g.identity.tenant_id, user_id)
        user = accounts.set_role(session, g.identity, user_id, parse_role(request.form.get("role", "")))
    flash(f"{user.email} is {user.role.words} now.")
    is_myself_no_more = user_id == g.identity.user_id and user.role is not Role.ADMIN
    return redirect(url_for("accounts.show"), code=303) if is_myself_no_more else _redirect_to_person(user_id)


@blueprint.post("/people/<uuid:user_id>/disable")
@only(Role.ADMIN)
def disable(user_id: UUID) -> ResponseReturnValue:
    """Shut a person out: their sessions and tokens end at once."""
    with services().begin() as session:
        user = accounts.disable(session, g.identity, user_id)
    flash(f"{user.email} is disabled. Their sessions and tokens have ended.")
    return _redirect_to_person(user_id)


@blueprint.post("/people/<uuid:user_id>/enable")
@only(Role.ADMIN)
def enable(user_id: UUID) -> ResponseReturnValue:
    """Let a person in again."""
    with services().begin() as session:
        user = accounts.enable(session, g.identity, user_id)
    flash(f"{user.email} may sign in again.")
    return _redirect_to_person(user_id)


@blueprint.post("/people/<uuid:user_id>/link")
@only(Role.ADMIN)
def reset_password(user_id: UUID) -> ResponseReturnValue:
    """Take a person's password and sessions away, and show the link once with which they choose a new one."""
    with services().begin() as session:
        _, secret = accounts.reset_password(session, g.identity, user_id)
    return _render_person(user_id, link=links.sign_in_url(secret, chooses_password=True))


@blueprint.post("/people/<uuid:user_id>/sessions/<uuid:session_id>/end")
@only(Role.ADMIN)
def end_session(user_id: UUID, session_id: UUID) -> ResponseReturnValue:
    """Sign a person out of one browser."""
    with services().begin() as session:
        user = get_owned(session, User, g.identity.tenant_id, user_id)
        accounts.end_session(session, user.tenant_id, user.id, session_id)
    flash("The session has ended.")
    return _redirect_to_person(user_id)


@blueprint.get("/service-accounts")
@only(Role.ADMIN)
def service_accounts() -> ResponseReturnValue:
    """Show the institution's service accounts, and the form that makes one."""
    return _render_service_accounts()


@blueprint.post("/service-accounts")
@only(Role.ADMIN)
def make_service_account() -> ResponseReturnValue:
    """Make a service account, and show its token once."""
    try:
        scopes, days = parse_scopes(request.form.getlist("scope")), parse_days()
        with services().begin() as session:
            secret = accounts.issue_service_token(session, g.identity, request.form.get("name", ""), scopes, days)
    except Refused as error:
        return _render_service_accounts(problem=error.message), error.status
    return _render_service_accounts(secret)


@blueprint.post("/service-accounts/<uuid:token_id>/revoke")
@only(Role.ADMIN)
def revoke_service_account(token_id: UUID) -> ResponseReturnValue:
    """Revoke a service account."""
    with services().begin() as session:
        accounts.revoke_service_token(session, g.identity, token_id)
    flash("The service account is revoked.")
    return redirect(url_for("people.service_accounts"), code=303)


def parse_days() -> int:
    """Return how long a token lasts, as a form says it.

    Raises:
        InvalidRequest: it does not say a number of days.
    """
    days = request.form.get("days", TOKEN_DAYS, type=int)
    if days not in DAY_CHOICES:
        raise InvalidRequest("Choose how long the token lasts.")
    return days


def scope_choices() -> list[Scope]:
    """Return the scopes that the user's role has a use for."""
    useful = scopes_of(g.identity.role, is_operator=g.identity.is_operator)
    return [scope for scope in Scope if scope in useful]


def _render_index(problem: str = "", email: str = "") -> str:
    words = request.args.get("email", "")
    after = parameters.parse_id(request.args["after"]) if request.args.get("after") else None
    with services().read() as session:
        people = accounts.list_people(session, g.identity.tenant_id, words=words, after=after, limit=SHOWN + 1)
    following = people[SHOWN - 1].id if len(people) > SHOWN else None
    return render_template(
        "people/index.html",
        people=people[:SHOWN],
        following=following,
        words=words,
        is_part=after is not None,
        roles=list(Role),
        problem=problem,
        email=email,
    )


def _render_person(user_id: UUID, link: str | None = None, *, is_sent: bool = False) -> str:
    with services().read() as session:
        person = get_owned(session, User, g.identity.tenant_id, user_id)
        sessions = accounts.list_sessions(session, person.tenant_id, person.id)
    return render_template(
        "people/show.html",
        person=person,
        sessions=sessions,
        link=link,
        is_sent=is_sent,
        days=accounts.INVITATION_H // 24,
        roles=list(Role),
        may_change=g.identity.is_operator or not person.is_operator,
    )


def _render_service_accounts(secret: str | None = None, problem: str = "") -> str:
    with services().read() as session:
        found = accounts.list_service_tokens(session, g.identity.tenant_id)
    return render_template(
        "people/service_accounts.html",
        found=found,
        secret=secret,
        problem=problem,
        scopes=scope_choices(),
        days=DAY_CHOICES,
        chosen_days=TOKEN_DAYS,
    )


def _redirect_to_person(user_id: UUID) -> Response:
    return redirect(url_for("people.show", user_id=user_id), code=303)

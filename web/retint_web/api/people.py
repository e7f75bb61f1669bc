"""API operations of an institution's people: who they are, what they may, their sessions; service accounts."""

from uuid import UUID

from flask import g

from retint import accounts
from retint.roles import Role, Scope
from retint.tables import Token, User
from retint.tenancy import get_owned
from retint_web import services
from retint_web.api import people_responses as answers
from retint_web.api import requests
from retint_web.api.blueprint import api, next_cursor
from retint_web.api.responses import Page
from retint_web.links import mail_invitation, sign_in_url

ADMIN = (Role.ADMIN,)


@api.operation("GET", "/people", Page[answers.Person], query=requests.PeopleQuery, roles=ADMIN, scope=Scope.ADMIN)
def list_people(query: requests.PeopleQuery) -> Page[answers.Person]:
    """List the institution's people by email."""
    with services().read() as session:
        found = accounts.list_people(
            session, g.identity.tenant_id, words=query.email, after=query.after, limit=query.limit
        )
    items = [_person(user) for user in found]
    return Page(items=items, next=next_cursor(items, query.limit))


@api.operation(
    "POST",
    "/people",
    answers.Link,
    status=201,
    body=requests.NewPerson,
    roles=ADMIN,
    scope=Scope.ADMIN,
    errors={409: "There is a user with this address already."},
)
def invite_person(body: requests.NewPerson) -> answers.Link:
    """Invite a person: they join with the link of the answer, which is sent to them, too, where there is e-mail."""
    with services().begin() as session:
        user, secret = accounts.invite_person(session, g.identity, body.email, body.role)
        link = sign_in_url(secret)
        mail_invitation(session, user, link)
        return answers.Link(person=_person(user), link=link, hours=accounts.INVITATION_H)


@api.operation("GET", "/people/<uuid:user_id>", answers.Person, roles=ADMIN, scope=Scope.ADMIN)
def show_person(user_id: UUID) -> answers.Person:
    """Get one of the institution's people."""
    with services().read() as session:
        return _person(get_owned(session, User, g.identity.tenant_id, user_id))


@api.operation(
    "PATCH",
    "/people/<uuid:user_id>",
    answers.Person,
    body=requests.PersonChange,
    roles=ADMIN,
    scope=Scope.ADMIN,
    errors={409: "They are the last active administrator."},
)
def change_person(user_id: UUID, body: requests.PersonChange) -> answers.Person:
    """Change a person's role, or disable or enable them; disabling ends their sessions and tokens at once."""
    with services().begin() as session:
        user = get_owned(session, User, g.identity.tenant_id, user_id)
        if body.role is not None:
            user = accounts.set_role(session, g.identity, user_id, body.role)
        if body.disabled is not None:
            change = accounts.disable if body.disabled else accounts.enable
            user = change(session, g.identity, user_id)
        session.flush()
        return _person(user)


@api.operation(
    "POST",
    "/people/<uuid:user_id>/link",
    answers.Link,
    status=201,
    roles=ADMIN,
    scope=Scope.ADMIN,
    errors={409: "They are disabled."},
)
def make_link(user_id: UUID) -> answers.Link:
    """Take a person's password and sessions away; with the link of the answer they choose a new password."""
    with services().begin() as session:
        user, secret = accounts.reset_password(session, g.identity, user_id)
        session.flush()
        link = sign_in_url(secret, chooses_password=True)
        return answers.Link(person=_person(user), link=link, hours=accounts.INVITATION_H)


@api.operation("GET", "/people/<uuid:user_id>/sessions", answers.Sessions, roles=ADMIN, scope=Scope.ADMIN)
def list_sessions(user_id: UUID) -> answers.Sessions:
    """List the browsers in which a person is signed in."""
    with services().read() as session:
        user = get_owned(session, User, g.identity.tenant_id, user_id)
        found = accounts.list_sessions(session, user.tenant_id, user.id)
    return answers.Sessions(items=[answers.Session.model_validate(each, from_attributes=True) for each in found])


@api.operation(
    "DELETE", "/people/<uuid:user_id>/sessions/<uuid:session_id>", None, status=204, roles=ADMIN, scope=Scope.ADMIN
)
def end_session(user_id: UUID, session_id: UUID) -> tuple[str, int]:
    """Sign a person out of one browser."""
    with services().begin() as session:
        user = get_owned(session, User, g.identity.tenant_id, user_id)
        accounts.end_session(session, user.tenant_id, user.id, session_id)
    return "", 204


@api.operation("GET", "/service-accounts", answers.ServiceAccounts, roles=ADMIN, scope=Scope.ADMIN)
def list_service_accounts() -> answers.ServiceAccounts:
    """List the institution's service accounts: tokens without a person."""
    with services().read() as session:
        found = accounts.list_service_tokens(session, g.identity.tenant_id)
    return answers.ServiceAccounts(items=[_service_account(token, email) for token, email in found])


@api.operation(
    "POST",
    "/service-accounts",
    answers.NewToken,
    status=201,
    body=requests.NewServiceAccount,
    roles=ADMIN,
    scope=Scope.ADMIN,
)
def make_service_account(body: requests.NewServiceAccount) -> answers.NewToken:
    """Make a service account; the answer has its token, this once."""
    with services().begin() as session:
        secret = accounts.issue_service_token(session, g.identity, body.name, body.scopes, body.days)
    return answers.NewToken(name=body.name, token=secret)


@api.operation("DELETE", "/service-accounts/<uuid:token_id>", None, status=204, roles=ADMIN, scope=Scope.ADMIN)
def revoke_service_account(token_id: UUID) -> tuple[str, int]:
    """Revoke a service account, whoever made it."""
    with services().begin() as session:
        accounts.revoke_service_token(session, g.identity, token_id)
    return "", 204


def _person(user: User) -> answers.Person:
    return answers.Person.model_validate(user, from_attributes=True)


def _service_account(token: Token, email: str | None) -> answers.ServiceAccount:
    return answers.ServiceAccount(
        id=token.id,
        name=token.name,
        prefix=token.prefix,
        scopes=[scope for scope in Scope if scope in token.allowed],
        made_by=email,
        created_at=token.created_at,
        ends_at=token.ends_at,
        used_at=token.used_at,
    )

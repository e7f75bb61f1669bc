"""Keys for the API: of persons, and of service accounts, which are an institution's and no person's."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from retint import audit
from retint.accounts.identities import Identity, Unauthorized, hash_secret, identify, is_institution_enabled
from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import InvalidRequest, NotAllowed, NotFound
from retint.roles import MOST_TOKEN_DAYS, TOKEN_DAYS, Scope, role_of, scopes_of, write_scopes
from retint.tables import Token, User
from retint.tenancy import get_owned, select_owned

TOKEN_PREFIX: Final = "retint_"  # noqa: S105  not secret
SHOWN: Final = len(TOKEN_PREFIX) + 5
"""How many characters of the secret are kept, so that people tell tokens apart."""


def issue_token(
    session: Session, user: User, name: str, *, scopes: Collection[Scope] | None = None, days: float = TOKEN_DAYS
) -> str:
    """Create a token for the API. Only the hash of its secret is stored; the secret is returned this once.

    Args:
        session: the transaction.
        user: whose token it is.
        name: what it is for.
        scopes: what it may be used for; all that the user may if None.
        days: how long it lasts.

    Raises:
        InvalidRequest: no name or no scope, or a name or a time that is too long.
        NotAllowed: a scope that the user's role has no use for.
    """
    useful = scopes_of(user.role, is_operator=user.is_operator)
    token = Token(tenant_id=user.tenant_id, user_id=user.id)
    secret = _issue(session, token, name, useful if scopes is None else scopes, useful, days)
    after = {"user": user.email, "scopes": token.scopes, "days": days}
    audit.record(session, "token_issued", token.name, tenant_id=user.tenant_id, after=after)
    return secret


def issue_service_token(
    session: Session, identity: Identity, name: str, scopes: Collection[Scope], days: float = TOKEN_DAYS
) -> str:
    """Create a service account of the institution: a token without a person. Returns its secret, this once.

    Raises:
        InvalidRequest: see `issue_token`.
        NotAllowed: a scope that the caller does not have.
    """
    token = Token(tenant_id=identity.tenant_id, user_id=None, created_by=identity.user_id)
    own = scopes_of(identity.role) & identity.scopes
    secret = _issue(session, token, name, scopes, own, days)
    audit.record(session, "service_account_made", token.name, identity, after={"scopes": token.scopes, "days": days})
    return secret


def list_tokens(session: Session, identity: Identity) -> Sequence[Token]:
    """List a user's tokens that are not revoked, newest first; those that have ended, too."""
    mine = select_owned(Token, identity.tenant_id).where(Token.user_id == identity.user_id, Token.revoked_at.is_(None))
    return session.scalars(mine.order_by(Token.id.desc())).all()


def list_service_tokens(session: Session, tenant_id: UUID) -> Sequence[tuple[Token, str | None]]:
    """List an institution's service accounts that are not revoked, newest first, each with the email of its maker."""
    theirs = (
        select(Token, User.email)
        .outerjoin(User, User.id == Token.created_by)
        .where(Token.tenant_id == tenant_id, Token.user_id.is_(None), Token.revoked_at.is_(None))
    )
    return [(token, email) for token, email in session.execute(theirs.order_by(Token.id.desc()))]


def revoke_token(session: Session, identity: Identity, token_id: UUID) -> None:
    """Revoke one of the user's own tokens.

    Raises:
        NotFound: no such token, or another user's.
    """
    token = get_owned(session, Token, identity.tenant_id, token_id)
    if token.user_id is None or token.user_id != identity.user_id:
        raise NotFound("There is no such token.")
    _revoke(session, Token.id == token_id)
    audit.record(session, "token_revoked", token.name, identity)


def revoke_service_token(session: Session, identity: Identity, token_id: UUID) -> None:
    """Revoke one of the institution's service accounts, whoever made it.

    Raises:
        NotFound: no such service account.
    """
    token = get_owned(session, Token, identity.tenant_id, token_id)
    if token.user_id is not None:
        raise NotFound("There is no such service account.")
    _revoke(session, Token.id == token_id)
    audit.record(session, "service_account_revoked", token.name, identity)


def revoke_tokens(session: Session, user_id: UUID) -> None:
    """Revoke all tokens of a person."""
    _revoke(session, Token.user_id == user_id)


def identify_token(session: Session, secret: str) -> Identity:
    """Return who shows a token: its person, as they are now, or a service account.

    Raises:
        Unauthorized: the token is unknown, was revoked or has ended, or its user is disabled.
    """
    # Noted once a minute at most: most requests need no write.
    is_stale = or_(Token.used_at.is_(None), Token.used_at < now(-60.0))
    found = session.execute(
        select(Token, User, is_stale, Token.ends_at <= now())
        .outerjoin(User, User.id == Token.user_id)
        .where(
            Token.hash == hash_secret(secret),
            Token.revoked_at.is_(None),
            User.disabled_at.is_(None),
            is_institution_enabled(Token.tenant_id),
        )
    ).first()
    if found is None:
        raise Unauthorized("The token is unknown or was revoked.")
    token, user, stale, has_ended = found
    if has_ended:
        raise Unauthorized("The time of this token is over. Ask for a new one.", code="token_ended")
    person = identify(user) if user is not None else Identity(token.tenant_id, None, role_of(token.allowed))
    return replace(person, scopes=token.allowed, token_id=token.id, token_name=token.name, is_stale=bool(stale))


def note_token_use(session: Session, token_id: UUID) -> None:
    """Note that a token was used now, and its person seen."""
    mine = Token.id == token_id
    session.execute(update(Token).where(mine).values(used_at=now()).execution_options(**NO_SYNC))
    owner = select(Token.user_id).where(mine).scalar_subquery()
    session.execute(update(User).where(User.id == owner).values(seen_at=now()).execution_options(**NO_SYNC))


def _issue(
    session: Session, token: Token, name: str, scopes: Collection[Scope], most: Collection[Scope], days: float
) -> str:
    token.name = "".join(character for character in name if character.isprintable()).strip()
    if not 0 < len(token.name) <= 100:
        raise InvalidRequest("A token needs a name of at most 100 characters.")
    if not scopes:
        raise InvalidRequest("A token needs at least one scope.")
    if not 0 < days <= MOST_TOKEN_DAYS:
        raise InvalidRequest(f"A token lasts for at most {MOST_TOKEN_DAYS} days.")
    if beyond := set(scopes) - set(most):
        raise NotAllowed(f"You cannot give a token more than you have yourself: {write_scopes(beyond)}.")
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token.hash, token.prefix, token.scopes = hash_secret(secret), secret[:SHOWN], write_scopes(scopes)
    session.add(token)
    session.flush()
    session.execute(
        update(Token).where(Token.id == token.id).values(ends_at=now(days * 86400)).execution_options(**NO_SYNC)
    )
    return secret


def _revoke(session: Session, which: ColumnElement[bool]) -> None:
    session.execute(
        update(Token).where(which, Token.revoked_at.is_(None)).values(revoked_at=now()).execution_options(**NO_SYNC)
    )

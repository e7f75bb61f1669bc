"""One-time links to sign in with: an invitation, a way back for who forgot the password."""

import secrets

from sqlalchemy import update
from sqlalchemy.orm import Session

from retint.accounts.actions import record_action
from retint.accounts.identities import Identity, hash_secret, identify
from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import NotAllowed
from retint.tables import User


def invite(session: Session, user: User, hours: float = 24) -> str:
    """Create the secret of a one-time sign-in link, valid for `hours`; the user's earlier link becomes invalid."""
    secret = secrets.token_urlsafe(32)
    session.execute(
        update(User)
        .where(User.id == user.id)
        .values(sign_in_hash=hash_secret(secret), sign_in_until=now(hours * 3600))
        .execution_options(**NO_SYNC)
    )
    return secret


def redeem(session: Session, secret: str) -> Identity:
    """Sign in by a one-time link, which becomes invalid.

    Raises:
        NotAllowed: unknown, used or expired; callers cannot tell which.
    """
    user = session.scalar(
        update(User)
        .where(User.sign_in_hash == hash_secret(secret), User.sign_in_until > now(), User.disabled_at.is_(None))
        .values(sign_in_hash=None, sign_in_until=None)
        .returning(User)
        .execution_options(**NO_SYNC)
    )
    if user is None:
        raise NotAllowed("This link was used already, or its time is over. Ask for a new one.", code="link_used")
    record_action(session, "signed_in", "link", identify(user))
    return identify(user)

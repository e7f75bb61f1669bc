"""One-time links to sign in with: an invitation, a way back for who forgot the password."""

import secrets
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from retint import audit
from retint.accounts.identities import Identity, hash_secret, identify, is_enabled
from retint.audit_tables import AuditEntry
from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import NotAllowed
from retint.tables import User

MOST_RESETS: Final = 3
"""Links that one address gets in `RESET_WINDOW_S` seconds because somebody forgot a password."""
RESET_WINDOW_S: Final = 3600.0


def invite(session: Session, user: User, hours: float = 24) -> str:
    """Create the secret of a one-time sign-in link, valid for `hours`; the user's earlier link becomes invalid."""
    secret = secrets.token_urlsafe(32)
    session.execute(
        update(User)
        .where(User.id == user.id)
        .values(sign_in_hash=hash_secret(secret), sign_in_until=now(hours * 3600))
        .execution_options(**NO_SYNC)
    )
    audit.record(session, "link_made", user.email, tenant_id=user.tenant_id, after={"hours": hours})
    return secret


def forget_password(session: Session, email: str, hours: float) -> tuple[User, str] | None:
    """Make the secret of a link for somebody who says that they forgot the password, which stays until they choose.

    Returns:
        The user and the secret; None if nobody who may sign in has this address, or got `MOST_RESETS` links lately.
        Callers never tell which.
    """
    email = email.strip().lower()[:254].replace("\0", "")
    user = session.scalar(select(User).where(User.email == email, is_enabled()))
    if user is None:
        return None
    of_user = (AuditEntry.tenant_id == user.tenant_id, AuditEntry.action == "reset_asked", AuditEntry.subject == email)
    asked = select(func.count()).where(*of_user, AuditEntry.at > now(-RESET_WINDOW_S))
    if (session.scalar(asked) or 0) >= MOST_RESETS:
        return None
    audit.record(session, "reset_asked", email, tenant_id=user.tenant_id)
    return user, invite(session, user, hours)


def redeem(session: Session, secret: str) -> Identity:
    """Sign in by a one-time link, which becomes invalid.

    Raises:
        NotAllowed: unknown, used or expired; callers cannot tell which.
    """
    user = session.scalar(
        update(User)
        .where(User.sign_in_hash == hash_secret(secret), User.sign_in_until > now(), is_enabled())
        .values(sign_in_hash=None, sign_in_until=None)
        .returning(User)
        .execution_options(**NO_SYNC)
    )
    if user is None:
        raise NotAllowed("This link was used already, or its time is over. Ask for a new one.", code="link_used")
    audit.record(session, "signed_in", "by a one-time link", identify(user))
    return identify(user)

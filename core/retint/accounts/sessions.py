"""The sessions of browsers. They live on the server, so that they end at once, whoever holds the cookie."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, delete, or_, select, true, update
from sqlalchemy.orm import Session

from retint import audit
from retint.accounts.identities import Identity, identify, is_enabled
from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import NotFound
from retint.tables import BrowserSession, User
from retint.tenancy import get_owned, select_owned

LIFETIME: Final = timedelta(days=7)
"""How long a session lasts, however much it is used."""
KEPT: Final = timedelta(days=90)
"""How long the record of a session is kept after it began."""
NOTE_S: Final = 60
"""How exactly it is noted when somebody was last seen."""


def begin_session(
    session: Session, identity: Identity, address: str, browser: str, hours: float | None = None
) -> Identity:
    """Begin a session of a browser.

    Args:
        session: the transaction.
        identity: the person who has signed in.
        address: the network address that they come from.
        browser: the browser in words.
        hours: how long it lasts at most; None for as long as any.

    Returns:
        The identity with its session.
    """
    begun = BrowserSession(
        tenant_id=identity.tenant_id, user_id=identity.user_id, address=address[:64], browser=browser[:60]
    )
    if hours is not None:
        begun.ends_at = now(hours * 3600)  # by the database's clock
    session.add(begun)
    session.flush()
    old = BrowserSession.user_id == identity.user_id, BrowserSession.begun_at < now(-KEPT.total_seconds())
    session.execute(delete(BrowserSession).where(*old).execution_options(**NO_SYNC))
    session.execute(update(User).where(User.id == identity.user_id).values(seen_at=now()).execution_options(**NO_SYNC))
    return replace(identity, session_id=begun.id, is_stale=False)


def identify_session(session: Session, session_id: UUID, stamp: str) -> Identity | None:
    """Return who has this session.

    None if it has ended, if its user is disabled, or if their password has changed since.
    """
    is_stale = BrowserSession.seen_at < now(-float(NOTE_S))
    found = session.execute(
        select(User, is_stale)
        .join(BrowserSession, BrowserSession.user_id == User.id)
        .where(BrowserSession.id == session_id, *_is_open(), is_enabled())
    ).first()
    if found is None:
        return None
    user, stale = found
    identity = replace(identify(user), session_id=session_id, is_stale=bool(stale))
    # The version before ends sessions by a new password, and knows no others.
    return identity if secrets.compare_digest(identity.stamp.encode(), stamp.encode()) else None


def note_session_use(session: Session, session_id: UUID) -> None:
    """Note that a session was used now, and its user seen."""
    mine = BrowserSession.id == session_id
    session.execute(update(BrowserSession).where(mine).values(seen_at=now()).execution_options(**NO_SYNC))
    owner = select(BrowserSession.user_id).where(mine).scalar_subquery()
    session.execute(update(User).where(User.id == owner).values(seen_at=now()).execution_options(**NO_SYNC))


def list_sessions(session: Session, tenant_id: UUID, user_id: UUID) -> Sequence[BrowserSession]:
    """List the open sessions of one of the institution's people, the one used last first."""
    theirs = select_owned(BrowserSession, tenant_id).where(BrowserSession.user_id == user_id, *_is_open())
    return session.scalars(theirs.order_by(BrowserSession.seen_at.desc(), BrowserSession.id)).all()


def end_session(session: Session, tenant_id: UUID, user_id: UUID, session_id: UUID) -> None:
    """End a session of one of the institution's people. One that has ended already stays so.

    Raises:
        NotFound: this person has no such session.
    """
    found = get_owned(session, BrowserSession, tenant_id, session_id)
    if found.user_id != user_id:
        raise NotFound("There is no such session.")
    _end(session, BrowserSession.id == session_id)
    email = get_owned(session, User, tenant_id, user_id).email
    audit.record(session, "session_ended", email, tenant_id=tenant_id, before={"browser": found.browser})


def end_sessions(session: Session, user_id: UUID, *, but: UUID | None = None) -> None:
    """End all sessions of a person, but for one of them."""
    _end(session, BrowserSession.user_id == user_id, true() if but is None else BrowserSession.id != but)


def _end(session: Session, *which: ColumnElement[bool]) -> None:
    session.execute(
        update(BrowserSession)
        .where(*which, BrowserSession.ended_at.is_(None))
        .values(ended_at=now())
        .execution_options(**NO_SYNC)
    )


def _is_open() -> tuple[ColumnElement[bool], ...]:
    lasts = or_(BrowserSession.ends_at.is_(None), BrowserSession.ends_at > now())
    return BrowserSession.ended_at.is_(None), BrowserSession.begun_at > now(-LIFETIME.total_seconds()), lasts

"""Passwords, and signing in with them."""

import secrets
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from retint.accounts.actions import record_action
from retint.accounts.identities import Identity, identify
from retint.accounts.sessions import end_sessions
from retint.columns import now
from retint.errors import InvalidRequest, NotAllowed, Refused
from retint.tables import AuditEntry, User
from retint.tenancy import get_owned

if TYPE_CHECKING:
    from retint.services import Services

PASSWORD_LENGTH: Final = range(10, 201)
LIMIT_WINDOW_S: Final = 900
"""Failed sign-ins of the last so many seconds are counted, by address and email, by address, and by email."""
FAILURES_PER_PAIR: Final = 8
FAILURES_PER_ADDRESS: Final = 60
FAILURES_PER_EMAIL: Final = 200

# OWASP's second recommendation for argon2id: 19 MiB, so that many sign-ins at once do not fill the memory.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
_DUMMY_HASH: Final = _HASHER.hash(secrets.token_urlsafe())
"""Checked for an unknown email, so that the answer takes as long as for a known one."""


class TooManyFailures(Refused):
    """Too many failed sign-ins in the last minutes."""

    code = "too_many_tries"
    status = 429


def set_password(session: Session, identity: Identity, password: str) -> Identity:
    """Set a new password, which ends all sessions of the user.

    Returns:
        The identity for a new session of the caller.

    Raises:
        InvalidRequest: the password is too short or too long.
    """
    user = get_owned(session, User, identity.tenant_id, identity.person_id)
    user.password_hash = hash_password(password)
    end_sessions(session, user.id)
    record_action(session, "password_set", user.email, identity)
    return identify(user)


def sign_in(services: "Services", email: str, password: str, address: str) -> Identity:
    """Check a password. Failures are recorded; after too many, sign-in is refused for `LIMIT_WINDOW_S` seconds.

    The slow hash is computed outside any transaction.

    Args:
        address: the client's network address.

    Raises:
        TooManyFailures: too many failed sign-ins from this address, or for this email.
        NotAllowed: wrong email or wrong password; callers cannot tell which.
    """
    email = email.strip().lower()[:254].replace("\0", "")
    subjects = _failure_limits(email, address)
    with services.read() as session:
        _refuse_too_many(session, subjects)
        user = session.scalar(select(User).where(User.email == email, User.disabled_at.is_(None)))
        password_hash = (user.password_hash if user else None) or _DUMMY_HASH
    if not _is_password(password_hash, password) or user is None:
        with services.begin() as session:
            session.add_all(AuditEntry(action="sign_in_failed", subject=subject) for subject in subjects)
        raise NotAllowed("The email or the password is wrong.", code="sign_in_failed")
    with services.begin() as session:
        record_action(session, "signed_in", f"{address} {email}", identify(user))
    return identify(user)


def _failure_limits(email: str, address: str) -> dict[str, int]:
    """Return the subjects that failures are counted for, each with the number that is too many."""
    return {
        f"{address} {email}"[:254]: FAILURES_PER_PAIR,
        address[:254]: FAILURES_PER_ADDRESS,
        email: FAILURES_PER_EMAIL,
    }


def _refuse_too_many(session: Session, subjects: dict[str, int]) -> None:
    counted = session.execute(
        select(AuditEntry.subject, func.count())
        .where(
            AuditEntry.action == "sign_in_failed",
            AuditEntry.subject.in_(subjects),
            AuditEntry.at > now(-float(LIMIT_WINDOW_S)),
        )
        .group_by(AuditEntry.subject)
    )
    if any(n >= subjects[subject] for subject, n in counted):
        minutes = LIMIT_WINDOW_S // 60
        raise TooManyFailures(f"Too many failed sign-ins. Try again in {minutes} minutes, or ask for a one-time link.")


def hash_password(password: str) -> str:
    """Return what is kept of a password.

    Raises:
        InvalidRequest: it is too short or too long.
    """
    if len(password) not in PASSWORD_LENGTH:
        raise InvalidRequest("A password needs at least 10 and at most 200 characters.", code="invalid_password")
    return _HASHER.hash(password.encode("utf-8", "surrogatepass"))


def _is_password(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password[:1000].encode("utf-8", "surrogatepass"))
    except (Argon2Error, InvalidHashError):
        return False

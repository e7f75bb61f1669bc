"""Passwords, and signing in with them."""

import secrets
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from retint import audit
from retint.accounts.identities import Identity, identify, is_enabled
from retint.accounts.sessions import end_sessions
from retint.audit_tables import SignInFailure
from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import InvalidRequest, NotAllowed, Refused
from retint.tables import User
from retint.tenancy import get_owned

if TYPE_CHECKING:
    from retint.services import Services

PASSWORD_LENGTH: Final = range(10, 201)
LIMIT_WINDOW_S: Final = 900
"""Failed sign-ins of the last so many seconds are counted, by address and email, by address, and by email."""
FAILURES_PER_PAIR: Final = 8
FAILURES_PER_ADDRESS: Final = 60
FAILURES_PER_EMAIL: Final = 200
KEPT_S: Final = 86_400.0
"""How long a failed sign-in is kept."""
FORGOTTEN_AT_ONCE: Final = 100

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
    audit.record(session, "password_set", user.email, identity)
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
    address = address[:64]
    with services.read() as session:
        _refuse_too_many(session, address, email)
        user = session.scalar(select(User).where(User.email == email, is_enabled()))
        password_hash = (user.password_hash if user else None) or _DUMMY_HASH
    if not _is_password(password_hash, password) or user is None:
        with services.begin() as session:
            _note_failure(session, address, email)
        raise NotAllowed("The email or the password is wrong.", code="sign_in_failed")
    with services.begin() as session:
        audit.record(session, "signed_in", "by password", identify(user))
    return identify(user)


def _note_failure(session: Session, address: str, email: str) -> None:
    """Count a failed sign-in, and record it where it is the one after which an institution's user is kept out."""
    session.add(SignInFailure(address=address, email=email))
    session.flush()
    old = select(SignInFailure.id).where(SignInFailure.at < now(-KEPT_S)).limit(FORGOTTEN_AT_ONCE)
    session.execute(delete(SignInFailure).where(SignInFailure.id.in_(old)), execution_options=NO_SYNC)
    pair, _, all_ = _count_failures(session, address, email)
    user = session.scalar(select(User).where(User.email == email))
    if user and (pair == FAILURES_PER_PAIR or all_ == FAILURES_PER_EMAIL):
        audit.record(session, "sign_in_refused", email, tenant_id=user.tenant_id, after={"failures": max(pair, all_)})


def _count_failures(session: Session, address: str, email: str) -> tuple[int, int, int]:
    """Count the failures of the last minutes: of the pair, of the address, and of the email."""

    def count(*conditions: ColumnElement[bool]) -> int:
        # No more than are too many: the cost does not grow with an attack.
        some = select(SignInFailure.id).where(SignInFailure.at > now(-float(LIMIT_WINDOW_S)), *conditions)
        return session.scalar(select(func.count()).select_from(some.limit(FAILURES_PER_EMAIL).subquery())) or 0

    of_address, of_email = SignInFailure.address == address, SignInFailure.email == email
    return count(of_address, of_email), count(of_address), count(of_email)


def _refuse_too_many(session: Session, address: str, email: str) -> None:
    limits = (FAILURES_PER_PAIR, FAILURES_PER_ADDRESS, FAILURES_PER_EMAIL)
    if any(n >= most for n, most in zip(_count_failures(session, address, email), limits, strict=True)):
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

"""Users, passwords, one-time sign-in links, API tokens, and the audit record."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import IllegalMove, InvalidRequest, NotAllowed, NotFound, Refused
from retint.tables import AuditEntry, Tenant, Token, User
from retint.tenancy import get_owned, select_owned

if TYPE_CHECKING:
    from retint.services import Services

TOKEN_PREFIX: Final = "retint_"  # noqa: S105  not secret
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


@dataclass(frozen=True)
class Identity:
    """Who is asking."""

    tenant_id: UUID
    user_id: UUID
    is_admin: bool
    is_operator: bool = False
    email: str = ""
    stamp: str = ""
    """Changes with the password, so that sessions opened before it end."""
    token_to_note: UUID | None = None
    """The token that was shown, if its use is to be noted (see `note_token_use`)."""


def get_or_create_tenant(session: Session, name: str) -> Tenant:
    """Return the tenant with this name; create it if there is none."""
    found = session.scalar(select(Tenant).where(Tenant.name == name))
    if found is None:
        found = Tenant(name=name)
        session.add(found)
        session.flush()
    return found


def create_user(
    session: Session,
    tenant_id: UUID,
    email: str,
    *,
    is_admin: bool = False,
    is_operator: bool = False,
    password: str | None = None,
) -> User:
    """Create a user; without a password they sign in by a one-time link (`invite`).

    Args:
        session: the transaction.
        tenant_id: the institution.
        email: the address, which no other user has.
        is_admin: whether they rule the institution.
        is_operator: whether they rule the house: fleets, hosts, every tenant's faults.
        password: at least 10 characters.

    Raises:
        InvalidRequest: not an email address, or a password of the wrong length.
        IllegalMove: another user has this email address.
    """
    user = User(
        tenant_id=tenant_id,
        email=_normalize_email(email),
        is_admin=is_admin,
        is_operator=is_operator,
        password_hash=None if password is None else _hash_password(password),
    )
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError as error:
        raise IllegalMove(f"There is already a user {user.email}.", code="email_taken") from error
    return user


def has_operator(session: Session) -> bool:
    """Whether anybody rules the house yet."""
    return session.scalar(select(User.id).where(User.is_operator, User.disabled_at.is_(None)).limit(1)) is not None


def set_operator(session: Session, user: User, *, is_operator: bool) -> None:
    """Let a user rule the house, or no longer."""
    user.is_operator = is_operator
    record_action(session, "operator_set", f"{user.email} {is_operator}", _identity(user))


def find_user(session: Session, email: str) -> User:
    """Fetch a user of any tenant by email: for the operator's commands, not for the web.

    Raises:
        NotFound: no user has this address.
    """
    user = session.scalar(select(User).where(User.email == email.strip().lower()))
    if user is None:
        raise NotFound(f"There is no user {email}.")
    return user


def set_password(session: Session, identity: Identity, password: str) -> Identity:
    """Set a new password, which ends all sessions of the user.

    Returns:
        The identity for a new session of the caller.

    Raises:
        InvalidRequest: the password is too short or too long.
    """
    user = get_owned(session, User, identity.tenant_id, identity.user_id)
    user.password_hash = _hash_password(password)
    record_action(session, "password_set", user.email, identity)
    return _identity(user)


def _is_enabled() -> ColumnElement[bool]:
    """Whether a user, and the institution, may sign in, as SQL."""
    disabled = select(Tenant.id).where(Tenant.id == User.tenant_id, Tenant.disabled_at.is_not(None))
    return and_(User.disabled_at.is_(None), ~exists(disabled))


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
        user = session.scalar(select(User).where(User.email == email, _is_enabled()))
        password_hash = (user.password_hash if user else None) or _DUMMY_HASH
    if not _is_password(password_hash, password) or user is None:
        with services.begin() as session:
            session.add_all(AuditEntry(action="sign_in_failed", subject=subject) for subject in subjects)
        raise NotAllowed("The email or the password is wrong.", code="sign_in_failed")
    with services.begin() as session:
        record_action(session, "signed_in", f"{address} {email}", _identity(user))
    return _identity(user)


def invite(session: Session, user: User, hours: float = 24) -> str:
    """Create the secret of a one-time sign-in link, valid for `hours`; the user's earlier link becomes invalid."""
    secret = secrets.token_urlsafe(32)
    session.execute(
        update(User)
        .where(User.id == user.id)
        .values(sign_in_hash=_hash_secret(secret), sign_in_until=now(hours * 3600))
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
        .where(User.sign_in_hash == _hash_secret(secret), User.sign_in_until > now(), _is_enabled())
        .values(sign_in_hash=None, sign_in_until=None)
        .returning(User)
        .execution_options(**NO_SYNC)
    )
    if user is None:
        raise NotAllowed("This link was used already, or its time is over. Ask for a new one.", code="link_used")
    record_action(session, "signed_in", "link", _identity(user))
    return _identity(user)


def identify_session(session: Session, user_id: UUID, stamp: str) -> Identity | None:
    """Return the identity of a session; None if the user is disabled or the password has changed since."""
    user = session.scalar(select(User).where(User.id == user_id, _is_enabled()))
    if user is None:
        return None
    identity = _identity(user)
    return identity if secrets.compare_digest(identity.stamp.encode(), stamp.encode()) else None


def issue_token(session: Session, user: User, name: str) -> str:
    """Create a token for the API. Only the hash of its secret is stored; the secret is returned this once.

    Raises:
        InvalidRequest: no name, or one longer than 100 characters.
    """
    name = "".join(character for character in name if character.isprintable()).strip()
    if not 0 < len(name) <= 100:
        raise InvalidRequest("A token needs a name of at most 100 characters.")
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    session.add(Token(tenant_id=user.tenant_id, user_id=user.id, name=name, hash=_hash_secret(secret)))
    record_action(session, "token_issued", name, _identity(user))
    return secret


def list_tokens(session: Session, identity: Identity) -> Sequence[Token]:
    """List a user's valid tokens, newest first."""
    mine = select_owned(Token, identity.tenant_id).where(Token.user_id == identity.user_id, Token.revoked_at.is_(None))
    return session.scalars(mine.order_by(Token.id.desc())).all()


def revoke_token(session: Session, identity: Identity, token_id: UUID) -> None:
    """Revoke one of the user's own tokens.

    Raises:
        NotFound: no such token, or another user's.
    """
    token = get_owned(session, Token, identity.tenant_id, token_id)
    if token.user_id != identity.user_id:
        raise NotFound("There is no such token.")
    session.execute(update(Token).where(Token.id == token_id, Token.revoked_at.is_(None)).values(revoked_at=now()))
    record_action(session, "token_revoked", token.name, identity)


def identify_token(session: Session, secret: str) -> Identity:
    """Return the identity that a token belongs to.

    Raises:
        Unauthorized: the token is unknown or revoked, or its user is disabled.
    """
    # Noted once a minute at most: most requests need no write.
    is_stale = or_(Token.used_at.is_(None), Token.used_at < now(-60.0))
    found = session.execute(
        select(Token.id, User, is_stale)
        .join(User, User.id == Token.user_id)
        .where(Token.hash == _hash_secret(secret), Token.revoked_at.is_(None), _is_enabled())
    ).first()
    if found is None:
        raise Unauthorized("The token is unknown or was revoked.")
    token_id, user, note = found
    return replace(_identity(user), token_to_note=token_id if note else None)


def note_token_use(session: Session, token_id: UUID) -> None:
    """Note that a token was used now."""
    session.execute(update(Token).where(Token.id == token_id).values(used_at=now()).execution_options(**NO_SYNC))


class Unauthorized(NotAllowed):
    """No valid session or token."""

    code = "unauthorized"
    status = 401


def record_action(session: Session, action: str, subject: str, identity: Identity | None = None) -> None:
    """Add an audit entry, in the transaction of the action itself."""
    session.add(
        AuditEntry(
            tenant_id=identity.tenant_id if identity else None,
            user_id=identity.user_id if identity else None,
            action=action,
            subject=subject[:254],
        )
    )


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


def _identity(user: User) -> Identity:
    stamp = _hash_secret(user.password_hash or "")[:16]
    return Identity(user.tenant_id, user.id, user.is_admin, user.is_operator, user.email, stamp)


def _hash_secret(secret: str) -> str:
    """Return the SHA-256 of a random secret, in hex; a fast hash is enough for secrets that nobody can guess."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _normalize_email(text: str) -> str:
    email = text.strip().lower()
    name, at, host = email.partition("@")
    if not (name and at and host and len(email) <= 254 and email.isprintable()) or " " in email:
        raise InvalidRequest("This is not an email address.", code="invalid_email")
    return email


def _hash_password(password: str) -> str:
    if len(password) not in PASSWORD_LENGTH:
        raise InvalidRequest("A password needs at least 10 and at most 200 characters.", code="invalid_password")
    return _HASHER.hash(password.encode("utf-8", "surrogatepass"))


def _is_password(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password[:1000].encode("utf-8", "surrogatepass"))
    except (Argon2Error, InvalidHashError):
        return False

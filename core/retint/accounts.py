"""Who may come in: users, passwords, one-time links, tokens, and the record of what they did."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint.database import NO_SYNC
from retint.errors import IllegalMove, InvalidRequest, NotAllowed, NotFound, Refused
from retint.tables import AuditEntry, Tenant, Token, User, now
from retint.tenancy import get_owned, owned

if TYPE_CHECKING:
    from retint.services import Services

TOKEN_PREFIX: Final = "retint_"  # noqa: S105  the part that is no secret
PASSWORD_LENGTH: Final = range(10, 201)
LIMIT_WINDOW_S: Final = 900
FAILURES_PER_PAIR: Final = 8
FAILURES_PER_ADDRESS: Final = 60
FAILURES_PER_EMAIL: Final = 200

# OWASP's second recommendation for argon2id: 19 MiB, so that many sign-ins at once do not fill the memory.
_hasher: Final = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
_nobody: Final = _hasher.hash(secrets.token_urlsafe())


class TooManyFailures(Refused):
    """Too many failed sign-ins of late."""

    code = "too_many_tries"
    status = 429


@dataclass(frozen=True)
class Identity:
    """Who is asking."""

    tenant_id: UUID
    user_id: UUID
    is_admin: bool
    email: str = ""
    stamp: str = ""
    """Changes with the password, so that sessions opened before it end."""


def tenant(session: Session, name: str) -> Tenant:
    """Find the tenant of that name, or make it."""
    found = session.scalar(select(Tenant).where(Tenant.name == name))
    if found is None:
        found = Tenant(name=name)
        session.add(found)
        session.flush()
    return found


def create_user(
    session: Session, tenant_id: UUID, email: str, *, is_admin: bool = False, password: str | None = None
) -> User:
    """Add a person; without a password they come in by a one-time link (`invite`).

    Raises:
        InvalidRequest: no email address, or a password that is too short.
        IllegalMove: somebody has that email address already.
    """
    user = User(
        tenant_id=tenant_id,
        email=_email(email),
        is_admin=is_admin,
        password_hash=None if password is None else _hash(password),
    )
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError as error:
        raise IllegalMove(f"There is already a user {user.email}.", code="email_taken") from error
    return user


def find_user(session: Session, email: str) -> User:
    """Fetch a user by email, whatever the tenant: for the operator's command, not for the web.

    Raises:
        NotFound: nobody has that address.
    """
    user = session.scalar(select(User).where(User.email == email.strip().lower()))
    if user is None:
        raise NotFound(f"There is no user {email}.")
    return user


def set_password(session: Session, identity: Identity, password: str) -> Identity:
    """Choose a new password; every session opened before ends, so the caller's own needs the identity returned.

    Raises:
        InvalidRequest: too short or too long.
    """
    user = get_owned(session, User, identity.tenant_id, identity.user_id)
    user.password_hash = _hash(password)
    record(session, "password_set", user.email, identity)
    return _identity(user)


def sign_in(services: "Services", email: str, password: str, address: str) -> Identity:
    """Check a password. Every failure is recorded; too many of them close the door for a quarter of an hour.

    The slow hash is computed outside any transaction.

    Args:
        address: the client's network address.

    Raises:
        TooManyFailures: from this address, or for this email.
        NotAllowed: wrong email or wrong password; callers cannot tell which.
    """
    email = email.strip().lower()[:254].replace("\0", "")
    subjects = _limited(email, address)
    with services.begin() as session:
        _refuse_too_many(session, subjects)
        user = session.scalar(select(User).where(User.email == email, User.disabled_at.is_(None)))
        password_hash = (user.password_hash if user else None) or _nobody
    if not _matches(password_hash, password) or user is None:
        with services.begin() as session:
            session.add_all(AuditEntry(action="sign_in_failed", subject=subject) for subject in subjects)
        raise NotAllowed("The email or the password is wrong.", code="sign_in_failed")
    with services.begin() as session:
        record(session, "signed_in", f"{address} {email}", _identity(user))
    return _identity(user)


def invite(session: Session, user: User, hours: float = 24) -> str:
    """Make the secret of a one-time sign-in link; it replaces the user's previous one."""
    secret = secrets.token_urlsafe(32)
    session.execute(
        update(User)
        .where(User.id == user.id)
        .values(sign_in_hash=_digest(secret), sign_in_until=now(hours * 3600))
        .execution_options(**NO_SYNC)
    )
    return secret


def redeem(session: Session, secret: str) -> Identity:
    """Use up a one-time link.

    Raises:
        NotAllowed: unknown, used or expired; callers cannot tell which.
    """
    user = session.scalar(
        update(User)
        .where(User.sign_in_hash == _digest(secret), User.sign_in_until > now(), User.disabled_at.is_(None))
        .values(sign_in_hash=None, sign_in_until=None)
        .returning(User)
        .execution_options(**NO_SYNC)
    )
    if user is None:
        raise NotAllowed("This link was used already, or its time is over. Ask for a new one.", code="link_used")
    record(session, "signed_in", "link", _identity(user))
    return _identity(user)


def recall(session: Session, user_id: UUID, stamp: str) -> Identity | None:
    """Tell who a session belongs to; None where it has ended: user disabled, password changed."""
    user = session.get(User, user_id)
    if user is None or user.disabled_at is not None:
        return None
    identity = _identity(user)
    return identity if secrets.compare_digest(identity.stamp.encode(), stamp.encode()) else None


def issue(session: Session, user: User, name: str) -> str:
    """Make a token for the API; its secret is shown this once and kept nowhere.

    Raises:
        InvalidRequest: no name, or one longer than 100 characters.
    """
    name = "".join(character for character in name if character.isprintable()).strip()
    if not 0 < len(name) <= 100:
        raise InvalidRequest("A token needs a name of at most 100 characters.")
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    session.add(Token(tenant_id=user.tenant_id, user_id=user.id, name=name, hash=_digest(secret)))
    record(session, "token_issued", name, _identity(user))
    return secret


def tokens(session: Session, identity: Identity) -> Sequence[Token]:
    """List a user's tokens that are not revoked, newest first."""
    mine = owned(Token, identity.tenant_id).where(Token.user_id == identity.user_id, Token.revoked_at.is_(None))
    return session.scalars(mine.order_by(Token.id.desc())).all()


def revoke(session: Session, identity: Identity, token_id: UUID) -> None:
    """Make a user's own token useless.

    Raises:
        NotFound: no such token, or somebody else's.
    """
    token = get_owned(session, Token, identity.tenant_id, token_id)
    if token.user_id != identity.user_id:
        raise NotFound("There is no such token.")
    session.execute(update(Token).where(Token.id == token_id, Token.revoked_at.is_(None)).values(revoked_at=now()))
    record(session, "token_revoked", token.name, identity)


def bearer(session: Session, secret: str) -> Identity:
    """Tell whose token this is.

    Raises:
        NotAllowed: unknown or revoked, or its user is disabled (status 401).
    """
    found = session.execute(
        select(Token.id, User)
        .join(User, User.id == Token.user_id)
        .where(Token.hash == _digest(secret), Token.revoked_at.is_(None), User.disabled_at.is_(None))
    ).first()
    if found is None:
        raise Unauthorized("The token is unknown or was revoked.")
    token_id, user = found
    # Once a minute is precise enough, and spares a write in most requests.
    session.execute(
        update(Token)
        .where(Token.id == token_id, or_(Token.used_at.is_(None), Token.used_at < now(-60.0)))
        .values(used_at=now())
    )
    return _identity(user)


class Unauthorized(NotAllowed):
    """Nobody we know: sign in, or send a token."""

    code = "unauthorized"
    status = 401


def record(session: Session, action: str, subject: str, identity: Identity | None = None) -> None:
    """Write down who did what; committed with what was done."""
    session.add(
        AuditEntry(
            tenant_id=identity.tenant_id if identity else None,
            user_id=identity.user_id if identity else None,
            action=action,
            subject=subject[:254],
        )
    )


def _limited(email: str, address: str) -> dict[str, int]:
    """What failures are counted for, with the number that is too many."""
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
    stamp = _digest(user.password_hash or "")[:16]
    return Identity(user.tenant_id, user.id, user.is_admin, user.email, stamp)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _email(text: str) -> str:
    email = text.strip().lower()
    name, at, host = email.partition("@")
    if not (name and at and host and len(email) <= 254 and email.isprintable()) or " " in email:
        raise InvalidRequest("That is not an email address.", code="invalid_email")
    return email


def _hash(password: str) -> str:
    if len(password) not in PASSWORD_LENGTH:
        raise InvalidRequest("A password needs at least 10 and at most 200 characters.", code="invalid_password")
    return _hasher.hash(password.encode("utf-8", "surrogatepass"))


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password[:1000].encode("utf-8", "surrogatepass"))
    except (Argon2Error, InvalidHashError):
        return False

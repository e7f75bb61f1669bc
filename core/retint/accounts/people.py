"""An institution's people, and the operators of the house."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint.accounts.actions import record_action
from retint.accounts.identities import identify
from retint.accounts.passwords import hash_password
from retint.errors import IllegalMove, InvalidRequest, NotFound
from retint.roles import Role
from retint.tables import Tenant, User


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
    role: Role = Role.MEMBER,
    is_operator: bool = False,
    password: str | None = None,
) -> User:
    """Create a user; without a password they sign in by a one-time link (`invite`).

    Args:
        session: the transaction.
        tenant_id: the institution.
        email: the address, which no other user has.
        role: what they are in the institution.
        is_operator: whether they rule the house: fleets, hosts, every tenant's faults.
        password: at least 10 characters.

    Raises:
        InvalidRequest: not an email address, or a password of the wrong length.
        IllegalMove: another user has this email address.
    """
    user = User(
        tenant_id=tenant_id,
        email=_normalize_email(email),
        role=role,
        is_operator=is_operator,
        password_hash=None if password is None else hash_password(password),
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
    record_action(session, "operator_set", f"{user.email} {is_operator}", identify(user))


def find_user(session: Session, email: str) -> User:
    """Fetch a user of any tenant by email: for the operator's commands, not for the web.

    Raises:
        NotFound: no user has this address.
    """
    user = session.scalar(select(User).where(User.email == email.strip().lower()))
    if user is None:
        raise NotFound(f"There is no user {email}.")
    return user


def _normalize_email(text: str) -> str:
    email = text.strip().lower()
    name, at, host = email.partition("@")
    if not (name and at and host and len(email) <= 254 and email.isprintable()) or " " in email:
        raise InvalidRequest("This is not an email address.", code="invalid_email")
    return email

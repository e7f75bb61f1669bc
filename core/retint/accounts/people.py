"""An institution's people, and the operators of the house."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint import audit
from retint.accounts.identities import Identity
from retint.accounts.links import invite
from retint.accounts.passwords import hash_password
from retint.accounts.sessions import end_sessions
from retint.accounts.tokens import revoke_tokens
from retint.columns import now
from retint.database import NO_SYNC
from retint.errors import IllegalMove, InvalidRequest, NotAllowed, NotFound
from retint.roles import Role
from retint.tables import Tenant, User
from retint.tenancy import get_owned, select_owned

INVITATION_H: Final = 7 * 24
"""How long an invitation is valid, and a link from an administrator to choose a new password, in hours."""


def get_or_create_tenant(session: Session, name: str) -> Tenant:
    """Return the tenant with this name; create it if there is none."""
    found = session.scalar(select(Tenant).where(Tenant.name == name))
    if found is None:
        found = Tenant(name=name)
        session.add(found)
        session.flush()
        audit.record(session, "tenant_created", name)
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
    after = {"role": role, "operator": is_operator}
    audit.record(session, "user_created", user.email, tenant_id=tenant_id, after=after)
    return user


def list_people(
    session: Session, tenant_id: UUID, *, words: str = "", after: UUID | None = None, limit: int = 100
) -> Sequence[User]:
    """List an institution's people by email, `limit` at most.

    Args:
        session: the transaction.
        tenant_id: the institution.
        words: only those whose email contains this.
        after: the id of the person after whom the list goes on.
        limit: most people.

    Raises:
        NotFound: `after` is nobody of this institution.
    """
    query = select_owned(User, tenant_id)
    if words.strip():
        query = query.where(User.email.contains(words.strip().lower(), autoescape=True))
    if after is not None:
        query = query.where(User.email > get_owned(session, User, tenant_id, after).email)
    return session.scalars(query.order_by(User.email).limit(limit)).all()


def list_everybody(session: Session, tenant_name: str | None = None) -> Sequence[tuple[str, User]]:
    """List the people of all institutions, or of the one with this name, each with its institution's name.

    For the operator's commands, not for the web.
    """
    query = select(Tenant.name, User).join(User, User.tenant_id == Tenant.id)
    if tenant_name is not None:
        query = query.where(Tenant.name == tenant_name)
    return [(name, user) for name, user in session.execute(query.order_by(Tenant.name, User.email))]


def invite_person(session: Session, identity: Identity, email: str, role: Role) -> tuple[User, str]:
    """Add a person to the caller's institution. Returns them, and the secret of the link by which they join.

    Raises:
        InvalidRequest: not an email address.
        IllegalMove: there is a user with this address, here or in another institution: callers cannot tell where.
    """
    user = create_user(session, identity.tenant_id, email, role=role)
    return user, invite(session, user, INVITATION_H)


def set_role(session: Session, identity: Identity, user_id: UUID, role: Role) -> User:
    """Change what one of the caller's people is. Their sessions and tokens go on, with the new role.

    Raises:
        NotFound: nobody of this institution.
        NotAllowed: an operator, whom only operators change.
        IllegalMove: the last active administrator, who would be none.
    """
    user = _get_to_change(session, identity, user_id)
    if role is not Role.ADMIN:
        _refuse_last_administrator(session, user)
    give_role(session, user, role, identity)
    return user


def give_role(session: Session, user: User, role: Role, by: Identity | None = None) -> None:
    """Change what a user is, whoever they are; `set_role` asks first whether the caller may."""
    before, user.role = {"role": user.role}, role
    audit.record(session, "role_changed", user.email, by, tenant_id=user.tenant_id, before=before, after={"role": role})


def disable(session: Session, identity: Identity, user_id: UUID) -> User:
    """Shut one of the caller's people out: their sessions, tokens and links end at once.

    Raises: see `set_role`.
    """
    user = _get_to_change(session, identity, user_id)
    _refuse_last_administrator(session, user)
    shut_out(session, user, identity)
    return user


def shut_out(session: Session, user: User, by: Identity | None = None) -> None:
    """Shut a user out, whoever they are; `disable` asks first whether the caller may."""
    if user.disabled_at is not None:
        return
    shut = {"disabled_at": now(), "sign_in_hash": None, "sign_in_until": None}
    session.execute(update(User).where(User.id == user.id).values(shut).execution_options(**NO_SYNC))
    end_sessions(session, user.id)
    revoke_tokens(session, user.id)
    session.refresh(user)
    audit.record(session, "person_disabled", user.email, by, tenant_id=user.tenant_id)


def enable(session: Session, identity: Identity, user_id: UUID) -> User:
    """Let somebody in again. Sessions, tokens and links from before stay ended.

    Raises: see `set_role`.
    """
    user = _get_to_change(session, identity, user_id)
    let_in(session, user, identity)
    return user


def let_in(session: Session, user: User, by: Identity | None = None) -> None:
    """Let a user in again; `enable` asks first whether the caller may."""
    if user.disabled_at is not None:
        user.disabled_at = None
        audit.record(session, "person_enabled", user.email, by, tenant_id=user.tenant_id)


def reset_password(session: Session, identity: Identity, user_id: UUID) -> tuple[User, str]:
    """Take one of the caller's people's password and sessions away. Who has not joined yet gets a new invitation.

    Returns:
        The person, and the secret of a one-time link, valid for `INVITATION_H` hours, with which they sign in and
        choose a new password.

    Raises:
        IllegalMove: they are disabled.
        NotFound: nobody of this institution.
        NotAllowed: an operator, whose link would make more of the caller.
    """
    user = _get_to_change(session, identity, user_id)
    if user.disabled_at is not None:
        raise IllegalMove("This person is disabled. Enable them first.")
    take_password(session, user, identity)
    return user, invite(session, user, INVITATION_H)


def take_password(session: Session, user: User, by: Identity | None = None) -> None:
    """Take a user's password and sessions away, whoever they are; `reset_password` asks first."""
    user.password_hash = None
    end_sessions(session, user.id)
    audit.record(session, "password_reset", user.email, by, tenant_id=user.tenant_id)


def _get_to_change(session: Session, identity: Identity, user_id: UUID) -> User:
    user = get_owned(session, User, identity.tenant_id, user_id)
    if user.is_operator and not identity.is_operator:
        raise NotAllowed(f"{user.email} is an operator of this installation. Only operators may change operators.")
    return user


def _refuse_last_administrator(session: Session, user: User) -> None:
    """Refuse to leave an institution without an administrator. Two who ask at once wait for each other."""
    session.execute(select(Tenant.id).where(Tenant.id == user.tenant_id).with_for_update())
    session.refresh(user)
    if user.role is not Role.ADMIN or user.disabled_at is not None:
        return
    others = select_owned(User, user.tenant_id).where(
        User.role == Role.ADMIN, User.disabled_at.is_(None), User.id != user.id
    )
    if not session.scalar(select(func.count()).select_from(others.subquery())):
        raise IllegalMove(f"{user.email} is the last active administrator. Make somebody else one first.")


def has_operator(session: Session) -> bool:
    """Whether anybody rules the house yet."""
    return session.scalar(select(User.id).where(User.is_operator, User.disabled_at.is_(None)).limit(1)) is not None


def set_operator(session: Session, user: User, *, is_operator: bool) -> None:
    """Let a user rule the house, or no longer."""
    before = {"operator": user.is_operator}
    user.is_operator = is_operator
    after = {"operator": is_operator}
    audit.record(session, "operator_set", user.email, tenant_id=user.tenant_id, before=before, after=after)


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

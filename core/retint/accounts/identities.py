"""Who is asking, and what they may."""

import hashlib
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, select
from sqlalchemy.orm import InstrumentedAttribute

from retint.errors import NotAllowed
from retint.roles import ALL_SCOPES, OPERATOR, Duty, Role, Scope
from retint.tables import Tenant, User


class Unauthorized(NotAllowed):
    """No valid session or token."""

    code = "unauthorized"
    status = 401


class MissingScope(NotAllowed):
    """The token is not for this."""

    code = "missing_scope"

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"This token lacks the scope `{scope}`. Use one that has it.")
        self.scope = scope


@dataclass(frozen=True)
class Identity:
    """Who is asking: a person by their browser, a person's token, or a service account's."""

    tenant_id: UUID
    user_id: UUID | None
    """None for a service account."""
    role: Role = Role.MEMBER
    is_operator: bool = False
    email: str = ""
    """Empty for a service account."""
    stamp: str = ""
    """Changes with the password, so that sessions opened before it end."""
    scopes: frozenset[Scope] = ALL_SCOPES
    """What the token is for; everything in a browser."""
    session_id: UUID | None = None
    token_id: UUID | None = None
    token_name: str | None = None
    """The name of the token that was shown, for the audit record."""
    is_stale: bool = False
    """Whether the use of the session or the token is to be noted (see `note_session_use`, `note_token_use`)."""

    @property
    def is_admin(self) -> bool:
        """Whether they rule their institution."""
        return self.role.may(Role.ADMIN)

    @property
    def is_reviewer(self) -> bool:
        """Whether they may judge results."""
        return self.role.may(Role.REVIEWER)

    @property
    def actor_id(self) -> UUID:
        """The person's id, or the token's for a service account."""
        return cast(UUID, self.user_id or self.token_id)  # every identity comes from a user or a token

    @property
    def person_id(self) -> UUID:
        """The person's id.

        Raises:
            NotAllowed: a service account asks, which is no person.
        """
        if self.user_id is None:
            raise NotAllowed("A service account is no person, and has nothing of this kind.", code="no_person")
        return self.user_id

    def has(self, duty: Duty) -> bool:
        """Whether they have a role, or are an operator."""
        return self.is_operator if duty == OPERATOR else self.role.may(duty)


def is_enabled() -> ColumnElement[bool]:
    """Whether a user, and the institution, may sign in, as SQL."""
    return and_(User.disabled_at.is_(None), is_institution_enabled(User.tenant_id))


def is_institution_enabled(tenant_id: InstrumentedAttribute[UUID]) -> ColumnElement[bool]:
    """Whether an institution is not disabled, as SQL."""
    return ~exists(select(Tenant.id).where(Tenant.id == tenant_id, Tenant.disabled_at.is_not(None)))


def identify(user: User) -> Identity:
    """Return who this user is."""
    stamp = hash_secret(user.password_hash or "")[:16]
    return Identity(user.tenant_id, user.id, user.role, user.is_operator, user.email, stamp)


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a random secret, in hex; a fast hash is enough for secrets that nobody can guess."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

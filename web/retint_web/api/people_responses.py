"""What the API answers to administrators about people, their sessions, and service accounts."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from retint.roles import Role, Scope
from retint_web.api.responses import Answer


class Person(Answer):
    """Somebody who signs in."""

    identifies = "user_id"

    id: UUID
    email: str
    role: Role
    is_operator: bool
    has_joined: bool = Field(description="False until they have used their invitation.")
    created_at: datetime
    seen_at: datetime | None = Field(description="When they last asked for anything, to a minute.")
    disabled_at: datetime | None


class Link(Answer):
    """A one-time link, which is shown this once."""

    person: Person
    link: str = Field(description="Signs them in once.")
    hours: int = Field(description="How long it is valid.")


class Session(Answer):
    """A browser in which a person is signed in."""

    identifies = "session_id"

    id: UUID
    browser: str
    address: str
    begun_at: datetime
    seen_at: datetime


class Sessions(Answer):
    """A person's sessions, the one used last first."""

    items: list[Session]


class ServiceAccount(Answer):
    """A token of the institution without a person."""

    identifies = "token_id"

    id: UUID
    name: str
    prefix: str | None = Field(description="How the token begins.")
    scopes: list[Scope]
    made_by: str | None
    created_at: datetime
    ends_at: datetime | None
    used_at: datetime | None


class ServiceAccounts(Answer):
    """The institution's service accounts, newest first; those that have ended, too."""

    items: list[ServiceAccount]


class NewToken(Answer):
    """The secret of a service account, which is shown this once."""

    name: str
    token: str

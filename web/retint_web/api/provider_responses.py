"""What the API answers about sign-in providers."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from retint.roles import Role
from retint_web.api.responses import Answer


class Provider(Answer):
    """How an institution's people sign in elsewhere. The client secret is never told."""

    identifies = "provider_id"

    id: UUID
    slug: str = Field(description="Its name in addresses.")
    name: str
    issuer: str
    client_id: str
    has_secret: bool
    scopes: str
    groups_claim: str
    roles: dict[str, Role]
    default_role: Role | None
    domains: list[str]
    creates_people: bool
    links_by_email: bool
    is_active: bool
    is_listed: bool
    redirect_uri: str = Field(description="The address that the provider must know, also for after signing out.")
    sign_in_url: str = Field(description="Where the institution's people sign in by it.")
    created_at: datetime


class Providers(Answer):
    """An institution's sign-in providers."""

    items: list[Provider]


class ProviderCheck(Answer):
    """What a provider says of itself."""

    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str | None = Field(description="Null: signing out here does not sign out there.")

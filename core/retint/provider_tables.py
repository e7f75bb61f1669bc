"""The tables of sign-in providers: how an institution's people sign in elsewhere, and who they are there."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from retint.columns import new_id, now
from retint.roles import Role
from retint.schema import Table


class Provider(Table):
    """An OpenID Connect provider of one institution: whoever signs in there belongs to this institution."""

    __tablename__ = "providers"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    slug: Mapped[str] = mapped_column(String(40), unique=True, doc="Its name in addresses; stays what it is.")
    name: Mapped[str] = mapped_column(String(60), doc="What people call it.")
    issuer: Mapped[str] = mapped_column(String(255), doc="As the provider spells it.")
    client_id: Mapped[str] = mapped_column(String(255))
    client_secret: Mapped[str | None] = mapped_column(Text, doc="Sealed; NULL for a public client.")
    scopes: Mapped[str] = mapped_column(String(255))
    groups_claim: Mapped[str] = mapped_column(String(255), doc="Dots lead into objects.")
    roles: Mapped[dict[str, Any]] = mapped_column(doc="Group to role.")
    default_role: Mapped[Role | None] = mapped_column(doc="Of those in none of these groups; NULL: they stay out.")
    domains: Mapped[list[Any]] = mapped_column(JSON, doc="Of e-mail addresses: new people have one of them.")
    creates_people: Mapped[bool] = mapped_column(doc="Whether people who are not known yet become people here.")
    links_by_email: Mapped[bool] = mapped_column(doc="Whether a verified address of a listed domain links a person.")
    is_active: Mapped[bool]
    is_listed: Mapped[bool] = mapped_column(doc="Whether the sign-in page shows a button for it.")
    created_at: Mapped[datetime] = mapped_column(default=now())


class ProviderIdentity(Table):
    """Who a person is at a provider."""

    __tablename__ = "identities"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    email: Mapped[str | None] = mapped_column(String(254), doc="As the provider said last; only shown.")
    sign_out_url: Mapped[str | None] = mapped_column(Text, doc="Sealed: where the newest sign-in ends at the provider.")
    created_at: Mapped[datetime] = mapped_column(default=now())
    seen_at: Mapped[datetime] = mapped_column(default=now(), doc="The newest sign-in.")
    __table_args__ = (UniqueConstraint("tenant_id", "issuer", "subject"),)

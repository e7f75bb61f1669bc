"""The tables of people: users, the sessions of their browsers, tokens."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, String, false
from sqlalchemy.orm import Mapped, mapped_column, validates

from retint.columns import new_id, now, partial
from retint.roles import ALL_SCOPES, Role, Scope
from retint.schema import Table


class User(Table):
    """A person who signs in."""

    __tablename__ = "users"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    email: Mapped[str] = mapped_column(String(254), unique=True, doc="Lower case.")
    password_hash: Mapped[str | None] = mapped_column(String(200), doc="argon2; none until one was chosen.")
    role: Mapped[Role] = mapped_column(default=Role.MEMBER, server_default=Role.MEMBER)
    is_admin: Mapped[bool] = mapped_column(
        default=False, doc="What the version before reads, and writes for a new user: a trigger then sets the role."
    )
    is_operator: Mapped[bool] = mapped_column(
        default=False, server_default=false(), doc="Rules the house: fleets, queues, every tenant's health."
    )
    sign_in_hash: Mapped[str | None] = mapped_column(String(64), doc="SHA-256 of the one-time link's secret.")
    sign_in_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now())
    seen_at: Mapped[datetime | None] = mapped_column(doc="When they last asked for anything, to a minute.")
    disabled_at: Mapped[datetime | None]

    @property
    def has_joined(self) -> bool:
        """Whether they ever came in; False while they are only invited."""
        return self.seen_at is not None or self.password_hash is not None

    @validates("role")
    def _keep_in_step(self, _: str, role: Role) -> Role:
        self.is_admin = role is Role.ADMIN
        return role


class BrowserSession(Table):
    """A browser in which a person is signed in. The browser's cookie holds its id."""

    __tablename__ = "sessions"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    begun_at: Mapped[datetime] = mapped_column(default=now())
    seen_at: Mapped[datetime] = mapped_column(default=now(), doc="To a minute.")
    ends_at: Mapped[datetime | None] = mapped_column(doc="Earlier than others, as a sign-in provider's do.")
    ended_at: Mapped[datetime | None]
    address: Mapped[str] = mapped_column(String(64), doc="The network address that it began from.")
    browser: Mapped[str] = mapped_column(String(60), doc="The browser in words, such as `Firefox on Linux`.")
    __table_args__ = (partial("ix_sessions_open", "user_id", where="ended_at IS NULL"),)


class Token(Table):
    """A key for the API: of a person, or of a service account of the institution, which is no person's."""

    __tablename__ = "tokens"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id"), index=True, doc="NULL: of a service account."
    )
    name: Mapped[str] = mapped_column(String(100))
    hash: Mapped[str] = mapped_column(String(64), unique=True, doc="SHA-256 of the secret.")
    prefix: Mapped[str | None] = mapped_column(String(16), doc="How the secret begins; NULL before it was kept.")
    scopes: Mapped[str | None] = mapped_column(String(100), doc="With spaces between them; NULL: all, from before.")
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"), doc="Who made a service account.")
    created_at: Mapped[datetime] = mapped_column(default=now())
    used_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None] = mapped_column(doc="NULL: never, from before.")
    revoked_at: Mapped[datetime | None]

    @property
    def allowed(self) -> frozenset[Scope]:
        """What it is for."""
        return ALL_SCOPES if self.scopes is None else frozenset(map(Scope, self.scopes.split()))

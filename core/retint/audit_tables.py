"""The tables of the audit record; their base is that of the other tables."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from retint.columns import now
from retint.schema import Table


class AuditEntry(Table):
    """Who changed what, when, from where. The database refuses to change or to delete one.

    Nothing is referred to by a foreign key: an entry outlives what it is about.
    """

    __tablename__ = "audit_entries"
    tenant_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, doc="Whose chain it is in: see `audit.HOUSE`.")
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, doc="In its chain, from 1.")
    at: Mapped[datetime]
    user_id: Mapped[uuid.UUID | None]
    actor: Mapped[str] = mapped_column(String(254), doc="The person's email at that time, or who ran a command where.")
    token: Mapped[str | None] = mapped_column(String(100), doc="The name of the token that was shown.")
    address_digest: Mapped[str | None] = mapped_column(String(64), doc="Of the address; see `AuditAddress`.")
    action: Mapped[str] = mapped_column(String(40), doc="Such as `batch_cancelled`: see `audit.sentences`.")
    subject: Mapped[str] = mapped_column(String(254), doc="What it was done to: its id, or its name.")
    before: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), doc="As it was.")
    after: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), doc="As it is since.")
    previous: Mapped[str] = mapped_column(String(64), doc="The hash of the entry before.")
    hash: Mapped[str] = mapped_column(String(64), doc="SHA-256 of all of this: see `audit.chain`.")
    __table_args__ = (
        Index("ix_audit_entries_at", "tenant_id", "at"),
        Index("ix_audit_entries_action", "tenant_id", "action", "number"),
        Index("ix_audit_entries_subject", "tenant_id", "subject", "number"),
        Index("ix_audit_entries_actor", "tenant_id", "actor", "number"),
    )


class AuditChain(Table):
    """The end of an institution's chain of entries: the next entry follows it."""

    __tablename__ = "audit_chains"
    tenant_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, doc="How many entries there are.")
    hash: Mapped[str] = mapped_column(String(64), doc="The hash of the last one.")


class AuditAddress(Table):
    """The network address that an entry came from. It may be deleted: the chain knows only a salted digest of it."""

    __tablename__ = "audit_addresses"
    tenant_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(index=True)
    address: Mapped[str] = mapped_column(String(64))
    salt: Mapped[str] = mapped_column(String(32), doc="Random; without it nobody can guess the address.")


class SignInFailure(Table):
    """A failed sign-in: counted for some minutes, then deleted. No entry, since anybody can cause a million."""

    __tablename__ = "sign_in_failures"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    address: Mapped[str] = mapped_column(String(64))
    email: Mapped[str] = mapped_column(String(254), doc="As it was typed; it may be nobody's.")
    at: Mapped[datetime] = mapped_column(default=now(), index=True)
    __table_args__ = (Index(None, "address", "at"), Index(None, "email", "at"))

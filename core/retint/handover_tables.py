"""The tables of hand-overs. Only migrations change the schema."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from retint.columns import new_id, now, partial
from retint.schema import Table


class HandoverState(StrEnum):
    """Where a hand-over stands."""

    PREPARING = "preparing"
    READY = "ready"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


IS_PREPARING = "state = 'preparing'"


class Handover(Table):
    """A batch as bags: what they hold, how far they are prepared, and until when they are there."""

    __tablename__ = "handovers"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    batch_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("batches.id"))
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=now())
    options: Mapped[dict[str, Any]] = mapped_column(doc="handover.Options as JSON.")
    state: Mapped[HandoverState] = mapped_column(default=HandoverState.PREPARING)
    reason: Mapped[str | None] = mapped_column(Text, doc="Why it failed, in sentences.")
    planned_at: Mapped[datetime | None] = mapped_column(doc="When it was settled which files it has.")
    files: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"), doc="Of the payload, in all bags.")
    read: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"), doc="Files that were read so far.")
    size: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"), doc="Bytes of these.")
    bags: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"), doc="0 before all files are read.")
    deadline: Mapped[datetime | None] = mapped_column(doc="Until then a worker prepares it; NULL: nobody does.")
    writer: Mapped[uuid.UUID | None] = mapped_column(doc="Who prepares it: the fencing token.")
    ended_at: Mapped[datetime | None] = mapped_column(doc="When it was ready, or failed.")
    expires_at: Mapped[datetime | None] = mapped_column(doc="What was made for it alone goes then.")
    __table_args__ = (
        Index(None, "tenant_id", "batch_id", "id"),
        partial("ix_handovers_preparing", "id", where=IS_PREPARING),
    )


class HandoverFile(Table):
    """A file of a bag. Its size and digests are known before it is sent: so a bag can be read from any place."""

    __tablename__ = "handover_files"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id, doc="Also the order in the bag.")
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    handover_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("handovers.id", ondelete="CASCADE"))
    bag: Mapped[int | None] = mapped_column(Integer, doc="Number of its bag, from 1.")
    kind: Mapped[str] = mapped_column(String(16), doc="original, result, access, layer, provenance or tag.")
    path: Mapped[str] = mapped_column(String(1024), doc="Within the bag.")
    key: Mapped[str] = mapped_column(String(1024), doc="Of the blob.")
    job_id: Mapped[uuid.UUID | None] = mapped_column(doc="NULL for a tag file.")
    sha256: Mapped[str | None] = mapped_column(String(64), doc="Known beforehand of originals and results.")
    size: Mapped[int | None] = mapped_column(BigInteger)
    sha512: Mapped[str | None] = mapped_column(String(128))
    crc32: Mapped[int | None] = mapped_column(BigInteger)
    record: Mapped[dict[str, Any] | None] = mapped_column(doc="Of provenance: what it says, for PREMIS.")
    read_at: Mapped[datetime | None] = mapped_column(doc="When its bytes were read, and compared with what is known.")
    __table_args__ = (Index(None, "handover_id", "bag", "id"), Index(None, "handover_id", "id"))

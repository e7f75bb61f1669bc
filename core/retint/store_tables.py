"""The tables of the store: which one belongs to this database, and how far its sweep is."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from retint.schema import Table


class StoreIdentity(Table):
    """Which store belongs to this database. One row; the store has the same in a blob (see `store_identity`)."""

    __tablename__ = "store_identity"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    mark: Mapped[int] = mapped_column(BigInteger, default=0, doc="Only grows; the store's is never larger.")
    backed_up_at: Mapped[datetime | None] = mapped_column(doc="When the newest whole backup was begun; NULL for none.")


class Sweep(Table):
    """How far the sweep of the store is, and what it found. One row."""

    __tablename__ = "sweeps"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    cursor: Mapped[str | None] = mapped_column(String(1024), doc="The last key looked at; NULL between two rounds.")
    started_at: Mapped[datetime | None]
    looked_at: Mapped[int] = mapped_column(BigInteger, default=0, doc="Files of this round.")
    deleted: Mapped[int] = mapped_column(BigInteger, default=0, doc="Orphans deleted in this round.")
    kept: Mapped[dict[str, Any] | None] = mapped_column(doc="Files of this round that stay, by `sweeps.Kept`.")
    stopped_code: Mapped[str | None] = mapped_column(String(64), doc="`too_many` or `wrong_store`.")
    stopped: Mapped[str | None] = mapped_column(Text, doc="Why it stopped and waits for an operator: a sentence.")

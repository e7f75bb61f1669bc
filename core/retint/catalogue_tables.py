"""The tables of the catalogue and of the search; their base is that of the other tables."""

import uuid
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from retint.columns import new_id
from retint.tables import Table


class CatalogueRecord(Table):
    """One row of a batch's catalogue. An import replaces all records of its batch."""

    __tablename__ = "catalogue_records"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    batch_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("batches.id"))
    row: Mapped[int] = mapped_column(doc="Number of the row in the file; the header is row 1.")
    path: Mapped[str | None] = mapped_column(String(1024), doc="The file that it describes, with its folders, if any.")
    identifier: Mapped[str | None] = mapped_column(Text)
    title: Mapped[str | None] = mapped_column(Text)
    rights: Mapped[str | None] = mapped_column(Text)
    do_not_colorize: Mapped[bool]
    columns: Mapped[list[Any]] = mapped_column(JSON, doc="Every column and its value, word for word, in their order.")
    # Digests of what files are compared with: PostgreSQL refuses index entries beyond 2,704 bytes.
    path_key: Mapped[bytes | None] = mapped_column(LargeBinary(16))
    base_key: Mapped[bytes | None] = mapped_column(LargeBinary(16), doc="Of the path without its folders.")
    identifier_key: Mapped[bytes | None] = mapped_column(LargeBinary(16))
    contested: Mapped[bool] = mapped_column(default=False, doc="It may mean several files, so none of them has it.")
    __table_args__ = (
        Index(None, "batch_id", "path_key"),
        Index("ix_catalogue_records_base", "batch_id", "base_key"),
        Index("ix_catalogue_records_identifier", "batch_id", "identifier_key"),
    )


class Vector(TSVECTOR):
    """PostgreSQL's text vector, written as words with spaces between them."""

    render_bind_cast = True


class SearchEntry(Table):
    """By which words and in which order a job is found; see `retint.words`.

    `search_index` indexes the words: on PostgreSQL an index, on SQLite a virtual table, which triggers keep.
    """

    __tablename__ = "search_entries"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    tenant_id: Mapped[uuid.UUID]
    batch_id: Mapped[uuid.UUID]
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    sort_name: Mapped[str] = mapped_column(
        String(200).with_variant(String(200, collation="C"), "postgresql"), doc="The name, in an order for people."
    )
    words: Mapped[str] = mapped_column(Text().with_variant(Vector(), "postgresql"))
    __table_args__ = (
        Index(None, "tenant_id", "job_id"),
        Index("ix_search_entries_name", "tenant_id", "sort_name", "job_id"),
        Index("ix_search_entries_batch_name", "batch_id", "sort_name", "job_id"),
    )

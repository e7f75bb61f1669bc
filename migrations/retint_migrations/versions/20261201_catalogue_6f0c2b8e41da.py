"""The catalogue of a batch; by which words photos are found.

Revision: 6f0c2b8e41da, after 4d1f8b27e6a0
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from retint_migrations import online

revision = "6f0c2b8e41da"
down_revision = "4d1f8b27e6a0"
branch_labels = None
depends_on = None

INDEX_FOR_SQLITE = (
    """
    CREATE VIRTUAL TABLE search_index USING fts5(
        words, content='search_entries', content_rowid='id', tokenize="unicode61 remove_diacritics 0 tokenchars '~'"
    )
    """,
    """
    CREATE TRIGGER search_entries_insert AFTER INSERT ON search_entries BEGIN
        INSERT INTO search_index (rowid, words) VALUES (NEW.id, NEW.words);
    END
    """,
    """
    CREATE TRIGGER search_entries_delete AFTER DELETE ON search_entries BEGIN
        INSERT INTO search_index (search_index, rowid, words) VALUES ('delete', OLD.id, OLD.words);
    END
    """,
    """
    CREATE TRIGGER search_entries_update AFTER UPDATE OF words ON search_entries BEGIN
        INSERT INTO search_index (search_index, rowid, words) VALUES ('delete', OLD.id, OLD.words);
        INSERT INTO search_index (rowid, words) VALUES (NEW.id, NEW.words);
    END
    """,
)


def upgrade() -> None:
    _create_records()
    _create_entries()
    op.add_column("jobs", sa.Column("record_id", sa.Uuid(), nullable=True))
    op.add_column("jobs", sa.Column("withheld", sa.Boolean(), nullable=False, server_default=sa.false()))
    if not online.is_postgresql():
        for statement in INDEX_FOR_SQLITE:
            op.execute(statement)


def _create_records() -> None:
    op.create_table(
        "catalogue_records",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=True),
        sa.Column("identifier", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("rights", sa.Text(), nullable=True),
        sa.Column("do_not_colorize", sa.Boolean(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("path_key", sa.LargeBinary(length=16), nullable=True),
        sa.Column("base_key", sa.LargeBinary(length=16), nullable=True),
        sa.Column("identifier_key", sa.LargeBinary(length=16), nullable=True),
        sa.Column("contested", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_catalogue_records_batch_id_batches")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_catalogue_records_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_catalogue_records")),
    )
    op.create_index("ix_catalogue_records_batch_id_path_key", "catalogue_records", ["batch_id", "path_key"])
    op.create_index("ix_catalogue_records_base", "catalogue_records", ["batch_id", "base_key"])
    op.create_index("ix_catalogue_records_identifier", "catalogue_records", ["batch_id", "identifier_key"])


def _create_entries() -> None:
    is_postgresql = online.is_postgresql()
    op.create_table(
        "search_entries",
        sa.Column("id", sa.BigInteger() if is_postgresql else sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("sort_name", sa.String(length=200, collation="C" if is_postgresql else None), nullable=False),
        sa.Column("words", postgresql.TSVECTOR() if is_postgresql else sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_search_entries_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_entries")),
        sa.UniqueConstraint("job_id", name=op.f("uq_search_entries_job_id")),
    )
    op.create_index("ix_search_entries_tenant_id_job_id", "search_entries", ["tenant_id", "job_id"])
    op.create_index("ix_search_entries_name", "search_entries", ["tenant_id", "sort_name", "job_id"])
    op.create_index("ix_search_entries_batch_name", "search_entries", ["batch_id", "sort_name", "job_id"])
    if is_postgresql:
        op.create_index("search_index", "search_entries", ["words"], postgresql_using="gin")


def downgrade() -> None:
    if not online.is_postgresql():
        for move in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER search_entries_{move}")
        op.execute("DROP TABLE search_index")
    for column in ("withheld", "record_id"):
        op.drop_column("jobs", column)
    op.drop_table("search_entries")
    op.drop_table("catalogue_records")

"""A batch is handed over as bags.

Revision: 5c8e1d7a9b24, after a91c37e5d084
"""

import sqlalchemy as sa
from alembic import op

revision = "5c8e1d7a9b24"
down_revision = "a91c37e5d084"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "handovers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("files", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("read", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("size", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bags", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("writer", sa.Uuid(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_handovers_tenant_id_tenants")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_handovers_batch_id_batches")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_handovers_created_by_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handovers")),
    )
    op.create_index(op.f("ix_handovers_tenant_id_batch_id_id"), "handovers", ["tenant_id", "batch_id", "id"])
    where = sa.text("state = 'preparing'")
    op.create_index("ix_handovers_preparing", "handovers", ["id"], sqlite_where=where, postgresql_where=where)
    op.create_table(
        "handover_files",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("handover_id", sa.Uuid(), nullable=False),
        sa.Column("bag", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha512", sa.String(length=128), nullable=True),
        sa.Column("crc32", sa.BigInteger(), nullable=True),
        sa.Column("record", sa.JSON(), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_handover_files_tenant_id_tenants")),
        sa.ForeignKeyConstraint(
            ["handover_id"],
            ["handovers.id"],
            name=op.f("fk_handover_files_handover_id_handovers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handover_files")),
    )
    op.create_index(op.f("ix_handover_files_handover_id_bag_id"), "handover_files", ["handover_id", "bag", "id"])
    op.create_index(op.f("ix_handover_files_handover_id_id"), "handover_files", ["handover_id", "id"])


def downgrade() -> None:
    op.drop_table("handover_files")
    op.drop_table("handovers")

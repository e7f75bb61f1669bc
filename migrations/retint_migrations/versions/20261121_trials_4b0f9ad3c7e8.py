"""A batch may be one try of a trial: one photo through several recipes, beside each other.

Revision: 4b0f9ad3c7e8, after 7c1e52a90b34
"""

import sqlalchemy as sa
from alembic import op

revision = "4b0f9ad3c7e8"
down_revision = "7c1e52a90b34"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("trial", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_batches_trial",
        "batches",
        ["tenant_id", "trial"],
        unique=False,
        postgresql_where=sa.text("trial IS NOT NULL"),
        sqlite_where=sa.text("trial IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_batches_trial", table_name="batches")
    op.drop_column("batches", "trial")

"""Jobs say what their result was made with, attempts what they took over, batches whose proof they are.

Revision: 6d1b8e42c9a3, after b7d41f9a6c20
"""

import sqlalchemy as sa
from alembic import op

from retint_migrations import online

revision = "6d1b8e42c9a3"
down_revision = "b7d41f9a6c20"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_jobs_made_with", "jobs", ["tenant_id", "photo_id", "made_with"], "made_with IS NOT NULL"),
    ("ix_attempts_source", "attempts", ["source"], "source IS NOT NULL"),
    ("ix_batches_proof_of", "batches", ["proof_of"], "proof_of IS NOT NULL"),
)


def upgrade() -> None:
    # Results from before stay without: what their weights were is not known for sure.
    op.add_column("jobs", sa.Column("made_with", sa.String(length=64), nullable=True))
    op.add_column("attempts", sa.Column("source", sa.Uuid(), nullable=True))
    op.add_column("batches", sa.Column("proof_of", sa.Uuid(), nullable=True))
    for name, table, columns, where in INDEXES:
        online.create_index(name, table, columns, where=where)


def downgrade() -> None:
    for name, table, *_ in reversed(INDEXES):
        online.drop_index(name, table)
    op.drop_column("batches", "proof_of")
    op.drop_column("attempts", "source")
    op.drop_column("jobs", "made_with")

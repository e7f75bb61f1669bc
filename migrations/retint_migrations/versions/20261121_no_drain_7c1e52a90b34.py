"""Workers are ended by signals alone: nobody gave the order to drain.

Revision: 7c1e52a90b34, after d8a1ad021cf6
"""

import sqlalchemy as sa
from alembic import op

revision = "7c1e52a90b34"
down_revision = "d8a1ad021cf6"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_column("workers", "drained_at")


def downgrade() -> None:
    op.add_column("workers", sa.Column("drained_at", sa.DateTime(timezone=True), nullable=True))

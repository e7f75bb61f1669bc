"""The database knows when it was last backed up.

Revision: 71c4e09ad2b5, after a40c7d19e3b5
"""

import sqlalchemy as sa
from alembic import op

revision = "71c4e09ad2b5"
down_revision = "a40c7d19e3b5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("store_identity", sa.Column("backed_up_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("store_identity", "backed_up_at")

"""What the sweep keeps although no row names it, and the code of why it stopped.

Revision: e15b7a3d902c, after c3d80a5f6b92
"""

import sqlalchemy as sa
from alembic import op

revision = "e15b7a3d902c"
down_revision = "c3d80a5f6b92"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sweeps", sa.Column("kept", sa.JSON(), nullable=True))
    op.add_column("sweeps", sa.Column("stopped_code", sa.String(length=64), nullable=True))


def downgrade() -> None:
    for column in ("stopped_code", "kept"):
        op.drop_column("sweeps", column)

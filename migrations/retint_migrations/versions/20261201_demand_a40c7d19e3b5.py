"""Fleets may scale themselves by demand; films say how long they are.

Revision: a40c7d19e3b5, after 2e7f4a9b6c10
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from retint_migrations import online

revision = "a40c7d19e3b5"
down_revision = "2e7f4a9b6c10"
branch_labels = None
depends_on = None

FLEETS: tuple[sa.Column[Any], ...] = (
    sa.Column("mode", sa.String(length=16), nullable=True),
    sa.Column("least", sa.Integer(), server_default=sa.text("0"), nullable=False),
    sa.Column("most", sa.Integer(), nullable=True),
    sa.Column("wait_s", sa.Double(), server_default=sa.text("300"), nullable=False),
    sa.Column("demand", sa.Integer(), nullable=True),
    sa.Column("work", sa.JSON(), nullable=True),
    sa.Column("rule", sa.String(length=16), nullable=True),
    sa.Column("assessed_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("lower_since", sa.DateTime(timezone=True), nullable=True),
    sa.Column("lower_peak", sa.Integer(), nullable=True),
    sa.Column("short_since", sa.DateTime(timezone=True), nullable=True),
)


def upgrade() -> None:
    for column in FLEETS:
        op.add_column("fleets", column)
    # A number that somebody has set stays what it is.
    op.execute("UPDATE fleets SET mode = 'fixed'")
    op.add_column("jobs", sa.Column("frames", sa.BigInteger(), nullable=True))
    online.create_index("ix_jobs_films", "jobs", ["id"], where="frames IS NOT NULL AND ended_at IS NULL")


def downgrade() -> None:
    online.drop_index("ix_jobs_films", "jobs")
    op.drop_column("jobs", "frames")
    for column in reversed(FLEETS):
        op.drop_column("fleets", column.name)

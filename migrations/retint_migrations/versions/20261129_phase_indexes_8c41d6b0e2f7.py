"""The indexes of phases, built while Retint runs.

Revision: 8c41d6b0e2f7, after 5e2c7a9d1f40
"""

import hashlib

import sqlalchemy as sa
from alembic import op

from retint_migrations import online

revision = "8c41d6b0e2f7"
down_revision = "5e2c7a9d1f40"
branch_labels = None
depends_on = None

INDEXES = (
    ("uq_jobs_photo_id_batch_id_fingerprint", "jobs", ["photo_id", "batch_id", "fingerprint"], None, True),
    ("ix_jobs_phase", "jobs", ["batch_id", "phase", "id"], None, False),
    ("ix_jobs_ready", "jobs", ["batch_id", "phase", "not_before"], "phase LIKE 'ready%'", False),
    ("ix_jobs_in_flight", "jobs", ["id"], "phase = 'in_flight'", False),
    (
        "ix_jobs_failures",
        "jobs",
        ["tenant_id", "phase", "reason_code", "id"],
        "phase IN ('quarantined', 'refused')",
        False,
    ),
    ("uq_jobs_replaces", "jobs", ["replaces"], "replaces IS NOT NULL", True),
    ("ix_workers_live", "workers", ["id"], "ended_at IS NULL", False),
)


def upgrade() -> None:
    if online.is_postgresql():
        # The trigger of the revision before fills in what a changed row lacks.
        online.backfill("jobs", "phase = NULL", "(phase IS NULL OR fingerprint IS NULL)")
    else:
        _fill_in_fingerprints()
    for name, table, columns, where, unique in INDEXES:
        online.create_index(name, table, columns, where=where, unique=unique)


def _fill_in_fingerprints() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT id, name FROM jobs WHERE fingerprint IS NULL")).all()
    values = [{"id": row.id, "fingerprint": hashlib.sha256(row.name.encode()).digest()} for row in rows]
    if values:
        connection.execute(sa.text("UPDATE jobs SET fingerprint = :fingerprint WHERE id = :id"), values)


def downgrade() -> None:
    for name, table, *_ in reversed(INDEXES):
        online.drop_index(name, table)

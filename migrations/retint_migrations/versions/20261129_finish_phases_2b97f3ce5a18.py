"""Indexes that only the version before needs go: they cost every move of a job.

Revision: 2b97f3ce5a18, after e15b7a3d902c
"""

import re
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

from retint_migrations import online

revision = "2b97f3ce5a18"
down_revision = "e15b7a3d902c"
branch_labels = None
depends_on = None

FINISHES = True
"""Runs when no process of the version before is left (`retint admin migrate --finish`)."""

UNIQUE_NAME = "uq_jobs_batch_id_photo_id_name"
DROPPED = (
    ("ix_jobs_next", "jobs", ["batch_id", "state", "stage", "not_before"], None),
    ("ix_jobs_due", "jobs", ["deadline"], "state IN ('queued', 'running')"),
    ("ix_jobs_failed", "jobs", ["tenant_id", "state", "reason_code"], "state IN ('quarantined', 'refused')"),
    ("ix_jobs_photo_id", "jobs", ["photo_id"], None),
    ("ix_tallies_batch_id", "tallies", ["batch_id"], None),
    ("ix_tallies_state_stage_batch_id", "tallies", ["state", "stage", "batch_id"], None),
    ("ix_workers_ended_at_heartbeat_at", "workers", ["ended_at", "heartbeat_at"], None),
)


def upgrade() -> None:
    if online.is_postgresql():
        op.execute(f"ALTER TABLE jobs DROP CONSTRAINT IF EXISTS {UNIQUE_NAME}")
        _count_failures_again()
    else:
        _rewrite_jobs(lambda sql: re.sub(rf",\s*CONSTRAINT {UNIQUE_NAME} UNIQUE \([^)]*\)", "", sql))
    for name, table, *_ in DROPPED:
        online.drop_index(name, table)


def _count_failures_again() -> None:
    """Count failures by reason from the jobs: the version before folds tallies without their reasons."""
    op.execute("SET LOCAL statement_timeout = 60000")
    op.execute("LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE")
    op.execute("LOCK TABLE tallies IN EXCLUSIVE MODE")
    op.execute("DELETE FROM tallies WHERE state IN ('quarantined', 'refused')")
    op.execute(
        "INSERT INTO tallies (batch_id, stage, state, reason_code, xid, n) "
        "SELECT batch_id, stage, state, coalesce(reason_code, 'unknown'), 0, count(*) FROM jobs "
        "WHERE phase IN ('quarantined', 'refused') GROUP BY 1, 2, 3, 4"
    )


def _rewrite_jobs(change: Callable[[str], str]) -> None:
    """Make the table anew with another definition, and its indexes and triggers as they were (SQLite).

    SQLite changes a table's constraints in no other way (sqlite.org/lang_altertable.html, section 7). Foreign keys are
    not enforced during a migration (see `retint.database`), so no row that refers to the table is deleted with it.
    """
    connection = op.get_bind()
    own = sa.text("SELECT type, sql FROM sqlite_master WHERE tbl_name = 'jobs' AND sql IS NOT NULL")
    parts = {
        kind: [row.sql for row in connection.execute(own) if row.type == kind] for kind in ("table", "index", "trigger")
    }
    columns = ", ".join(row.name for row in connection.execute(sa.text("PRAGMA table_info(jobs)")))
    [definition] = parts["table"]
    changed = change(definition)
    if changed == definition:
        raise RuntimeError("The table does not have the constraint that is to be changed.")
    op.execute(re.sub(r'^CREATE TABLE "?jobs"?', "CREATE TABLE jobs_anew", changed))
    op.execute(f"INSERT INTO jobs_anew ({columns}) SELECT {columns} FROM jobs")
    op.execute("DROP TABLE jobs")
    op.execute("ALTER TABLE jobs_anew RENAME TO jobs")
    for statement in [*parts["index"], *parts["trigger"]]:
        op.execute(statement)


def downgrade() -> None:
    for name, table, columns, where in DROPPED:
        online.create_index(name, table, columns, where=where)
    if online.is_postgresql():
        op.create_unique_constraint(UNIQUE_NAME, "jobs", ["batch_id", "photo_id", "name"])
    else:
        _rewrite_jobs(
            lambda sql: f"{sql.rstrip().removesuffix(')')}, CONSTRAINT {UNIQUE_NAME} UNIQUE (batch_id, photo_id, name))"
        )

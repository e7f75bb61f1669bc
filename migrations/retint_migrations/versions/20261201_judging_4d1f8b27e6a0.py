"""A job takes another one's place: the one that is replaced is neither counted nor listed.

Revision: 4d1f8b27e6a0, after 90d3e6c1f7ab
"""

import sqlalchemy as sa
from alembic import op

from retint_migrations import online

revision = "4d1f8b27e6a0"
down_revision = "90d3e6c1f7ab"
branch_labels = None
depends_on = None

REASON = "CASE WHEN {row}state IN ('quarantined', 'refused') THEN coalesce({row}reason_code, 'unknown') ELSE '' END"
IS_NEWEST = "replaced_by IS NULL"
KEY = "batch_id, stage, state, reason_code"


def make_triggers_for_sqlite(newest_only: bool) -> list[str]:
    """Make the triggers that change a count where it stands; those of before count jobs that are replaced, too."""
    place = "batch_id = {row}batch_id AND stage = {row}stage AND state = {row}state AND reason_code = " + REASON
    if newest_only:
        place += " AND {row}replaced_by IS NULL"
    at_old, at_new = place.format(row="OLD."), place.format(row="NEW.")
    condition = f"NEW.{IS_NEWEST} AND" if newest_only else ""
    leave = f"UPDATE tallies SET n = n - 1 WHERE {at_old}; DELETE FROM tallies WHERE {at_old} AND n = 0;"
    arrive = f"""
        INSERT INTO tallies ({KEY}, n) SELECT NEW.batch_id, NEW.stage, NEW.state, {REASON.format(row="NEW.")}, 0
        WHERE {condition} NOT EXISTS (SELECT 1 FROM tallies WHERE {at_new});
        UPDATE tallies SET n = n + 1 WHERE {at_new};
    """
    columns, changed = "stage, state", "OLD.stage <> NEW.stage OR OLD.state <> NEW.state"
    if newest_only:
        columns, changed = f"{columns}, replaced_by", f"{changed} OR OLD.replaced_by IS NOT NEW.replaced_by"
    return [
        f"CREATE TRIGGER jobs_tally_insert AFTER INSERT ON jobs BEGIN {arrive} END",
        f"CREATE TRIGGER jobs_tally_update AFTER UPDATE OF {columns} ON jobs WHEN {changed} BEGIN {leave} {arrive} END",
        f"CREATE TRIGGER jobs_tally_delete AFTER DELETE ON jobs BEGIN {leave} END",
    ]


def make_function_for_postgresql(newest_only: bool) -> str:
    """Make the function that adds a row for each change, +1 or -1."""
    values = f"batch_id, stage, state, {REASON.format(row='')}"
    where = f"WHERE {IS_NEWEST}" if newest_only else ""
    return f"""
        CREATE OR REPLACE FUNCTION jobs_tally() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                INSERT INTO tallies ({KEY}, n) SELECT {values}, count(*) FROM arrived {where} GROUP BY {values};
            ELSIF TG_OP = 'DELETE' THEN
                INSERT INTO tallies ({KEY}, n) SELECT {values}, -count(*) FROM departed {where} GROUP BY {values};
            ELSE
                INSERT INTO tallies ({KEY}, n)
                SELECT {KEY}, sum(moved.n)
                FROM (
                    SELECT {values} AS reason_code, 1 AS n FROM arrived {where}
                    UNION ALL SELECT {values}, -1 FROM departed {where}
                ) AS moved
                GROUP BY {KEY} HAVING sum(moved.n) <> 0;
            END IF;
            RETURN NULL;
        END
        $$
    """


def upgrade() -> None:
    op.add_column("jobs", sa.Column("replaced_by", sa.Uuid(), nullable=True))
    _count(newest_only=True)
    online.create_index("ix_jobs_newest", "jobs", ["batch_id", "phase", "id"], where=IS_NEWEST)
    online.drop_index("ix_jobs_phase", "jobs")


def _count(*, newest_only: bool) -> None:
    if online.is_postgresql():
        op.execute(make_function_for_postgresql(newest_only))
        return
    for move in ("insert", "update", "delete"):
        op.execute(f"DROP TRIGGER jobs_tally_{move}")
    for statement in make_triggers_for_sqlite(newest_only):
        op.execute(statement)


def downgrade() -> None:
    online.create_index("ix_jobs_phase", "jobs", ["batch_id", "phase", "id"])
    online.drop_index("ix_jobs_newest", "jobs")
    # The version before counts every job: those that are replaced come back into the counts.
    op.execute("UPDATE jobs SET replaced_by = NULL WHERE replaced_by IS NOT NULL")
    _count(newest_only=False)
    op.drop_column("jobs", "replaced_by")

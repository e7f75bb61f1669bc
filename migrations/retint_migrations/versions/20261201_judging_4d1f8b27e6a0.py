"""Results are judged; a job takes another one's place, which is neither counted nor listed any more.

Revision: 4d1f8b27e6a0, after 90d3e6c1f7ab
"""

import sqlalchemy as sa
from alembic import op

from retint_migrations import online

revision = "4d1f8b27e6a0"
down_revision = "90d3e6c1f7ab"
branch_labels = None
depends_on = None

FAILED = "{row}state IN ('quarantined', 'refused') THEN coalesce({row}reason_code, 'unknown')"
REASON_BEFORE = f"CASE WHEN {FAILED} ELSE '' END"
REASON = f"CASE WHEN {FAILED} WHEN {{row}}state = 'restored' THEN {{row}}verdict ELSE '' END"
IS_RESULT = "replaced_by IS NULL AND phase = 'restored'"
IS_NEWEST = "replaced_by IS NULL"
KEY = "batch_id, stage, state, reason_code"


def make_triggers_for_sqlite(judges: bool) -> list[str]:
    """Make the triggers that change a count where it stands; those of before count jobs that are replaced, too."""
    reason = REASON if judges else REASON_BEFORE
    place = "batch_id = {row}batch_id AND stage = {row}stage AND state = {row}state AND reason_code = " + reason
    if judges:
        place += " AND {row}replaced_by IS NULL"
    at_old, at_new = place.format(row="OLD."), place.format(row="NEW.")
    condition = f"NEW.{IS_NEWEST} AND" if judges else ""
    leave = f"UPDATE tallies SET n = n - 1 WHERE {at_old}; DELETE FROM tallies WHERE {at_old} AND n = 0;"
    arrive = f"""
        INSERT INTO tallies ({KEY}, n) SELECT NEW.batch_id, NEW.stage, NEW.state, {reason.format(row="NEW.")}, 0
        WHERE {condition} NOT EXISTS (SELECT 1 FROM tallies WHERE {at_new});
        UPDATE tallies SET n = n + 1 WHERE {at_new};
    """
    columns, changed = "stage, state", "OLD.stage <> NEW.stage OR OLD.state <> NEW.state"
    if judges:
        columns = f"{columns}, replaced_by, verdict"
        changed += " OR OLD.replaced_by IS NOT NEW.replaced_by OR OLD.verdict <> NEW.verdict"
    return [
        f"CREATE TRIGGER jobs_tally_insert AFTER INSERT ON jobs BEGIN {arrive} END",
        f"CREATE TRIGGER jobs_tally_update AFTER UPDATE OF {columns} ON jobs WHEN {changed} BEGIN {leave} {arrive} END",
        f"CREATE TRIGGER jobs_tally_delete AFTER DELETE ON jobs BEGIN {leave} END",
    ]


def make_function_for_postgresql(judges: bool) -> str:
    """Make the function that adds a row for each change, +1 or -1."""
    values = f"batch_id, stage, state, {(REASON if judges else REASON_BEFORE).format(row='')}"
    where = f"WHERE {IS_NEWEST}" if judges else ""
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
    op.add_column("jobs", sa.Column("verdict", sa.String(length=16), nullable=False, server_default="unjudged"))
    op.add_column("jobs", sa.Column("risk", sa.Double(), nullable=True))
    op.add_column("long_moves", sa.Column("state", sa.String(length=16), nullable=True))
    op.add_column("long_moves", sa.Column("verdict", sa.String(length=16), nullable=True))
    op.add_column("long_moves", sa.Column("recipe_hash", sa.String(length=64), nullable=True))
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("result_sha256", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("by", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["by"], ["users.id"], name=op.f("fk_verdicts_by_users")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_verdicts_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_verdicts_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
    )
    op.create_index(op.f("ix_verdicts_job_id_id"), "verdicts", ["job_id", "id"])
    # Results that are counted already are unjudged. On PostgreSQL what is written meanwhile waits for the new function.
    if online.is_postgresql():
        op.execute("LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE")
        op.execute("LOCK TABLE tallies IN EXCLUSIVE MODE")
    op.execute("UPDATE tallies SET reason_code = 'unjudged' WHERE state = 'restored'")
    _count(judges=True)
    online.create_index("ix_jobs_newest", "jobs", ["batch_id", "phase", "id"], where=IS_NEWEST)
    online.create_index("ix_jobs_results", "jobs", ["batch_id", "verdict", "risk", "id"], where=IS_RESULT)
    # The version before still searches with ix_jobs_phase: c95b20e7f1d8 drops it when no process of that is left.


def _count(*, judges: bool) -> None:
    if online.is_postgresql():
        op.execute(make_function_for_postgresql(judges))
        return
    for move in ("insert", "update", "delete"):
        op.execute(f"DROP TRIGGER jobs_tally_{move}")
    for statement in make_triggers_for_sqlite(judges):
        op.execute(statement)


def downgrade() -> None:
    online.drop_index("ix_jobs_results", "jobs")
    online.drop_index("ix_jobs_newest", "jobs")
    # The version before counts every job, and no verdicts.
    op.execute("UPDATE jobs SET replaced_by = NULL, verdict = 'unjudged'")
    _count(judges=False)
    op.execute("DELETE FROM tallies WHERE state = 'restored'")
    op.execute(
        "INSERT INTO tallies (batch_id, stage, state, reason_code, xid, n) "
        "SELECT batch_id, stage, state, '', 0, count(*) FROM jobs WHERE state = 'restored' GROUP BY 1, 2, 3"
    )
    op.drop_table("verdicts")
    op.execute("DELETE FROM long_moves WHERE kind = 'again'")
    for column in ("recipe_hash", "verdict", "state"):
        op.drop_column("long_moves", column)
    for column in ("risk", "verdict", "replaced_by"):
        op.drop_column("jobs", column)

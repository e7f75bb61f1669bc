"""Tallies know their transaction, so that a read passes over what is folded; and why jobs failed.

Revision: c3d80a5f6b92, after 8c41d6b0e2f7
"""

import sqlalchemy as sa
from alembic import op

from retint_migrations import online

revision = "c3d80a5f6b92"
down_revision = "8c41d6b0e2f7"
branch_labels = None
depends_on = None

REASON = "CASE WHEN {row}state IN ('quarantined', 'refused') THEN coalesce({row}reason_code, 'unknown') ELSE '' END"


def make_triggers_for_sqlite(with_reasons: bool) -> list[str]:
    """Make the triggers that change a count where it stands: SQLite has one writer at a time."""
    key, reason, place = (
        "batch_id, stage, state",
        "",
        "batch_id = {row}batch_id AND stage = {row}stage AND state = {row}state",
    )
    if with_reasons:
        key, reason, place = f"{key}, reason_code", f", {REASON}", f"{place} AND reason_code = {REASON}"
    at_old, at_new = place.format(row="OLD."), place.format(row="NEW.")
    leave = f"UPDATE tallies SET n = n - 1 WHERE {at_old}; DELETE FROM tallies WHERE {at_old} AND n = 0;"
    arrive = f"""
        INSERT INTO tallies ({key}, n) SELECT NEW.batch_id, NEW.stage, NEW.state{reason.format(row="NEW.")}, 0
        WHERE NOT EXISTS (SELECT 1 FROM tallies WHERE {at_new});
        UPDATE tallies SET n = n + 1 WHERE {at_new};
    """
    changed = "OLD.stage <> NEW.stage OR OLD.state <> NEW.state"
    return [
        f"CREATE TRIGGER jobs_tally_insert AFTER INSERT ON jobs BEGIN {arrive} END",
        f"CREATE TRIGGER jobs_tally_update AFTER UPDATE OF stage, state ON jobs WHEN {changed} "
        f"BEGIN {leave} {arrive} END",
        f"CREATE TRIGGER jobs_tally_delete AFTER DELETE ON jobs BEGIN {leave} END",
    ]


def make_function_for_postgresql(with_reasons: bool) -> str:
    """Make the function that adds a row for each change, +1 or -1, which the dispatcher folds: nobody waits."""
    reason, name = (REASON.format(row=""), ", reason_code") if with_reasons else ("''", "")
    key = f"batch_id, stage, state{name}"
    values = f"batch_id, stage, state{f', {reason}' if with_reasons else ''}"
    return f"""
        CREATE OR REPLACE FUNCTION jobs_tally() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                INSERT INTO tallies ({key}, n) SELECT {values}, count(*) FROM arrived GROUP BY {values};
            ELSIF TG_OP = 'DELETE' THEN
                INSERT INTO tallies ({key}, n) SELECT {values}, -count(*) FROM departed GROUP BY {values};
            ELSE
                INSERT INTO tallies ({key}, n)
                SELECT {key}, sum(moved.n)
                FROM (
                    SELECT batch_id, stage, state, {reason} AS reason_code, 1 AS n FROM arrived
                    UNION ALL SELECT batch_id, stage, state, {reason}, -1 FROM departed
                ) AS moved
                GROUP BY {key} HAVING sum(moved.n) <> 0;
            END IF;
            RETURN NULL;
        END
        $$
    """


def upgrade() -> None:
    op.add_column(
        "tallies", sa.Column("reason_code", sa.String(length=64), nullable=False, server_default=sa.text("''"))
    )
    if online.is_postgresql():
        # Those that are there count as not folded yet.
        op.add_column("tallies", sa.Column("xid", sa.BigInteger(), nullable=False, server_default="1"))
        op.execute("ALTER TABLE tallies ALTER COLUMN xid SET DEFAULT pg_current_xact_id()::text::bigint")
        op.execute("ALTER TABLE tallies SET (fillfactor = 70)")
        op.execute(make_function_for_postgresql(with_reasons=True))
    else:
        op.add_column("tallies", sa.Column("xid", sa.BigInteger(), nullable=False, server_default="0"))
        _replace_triggers(make_triggers_for_sqlite(with_reasons=True))
        op.execute("DELETE FROM tallies")
        op.execute(
            "INSERT INTO tallies (batch_id, stage, state, reason_code, n) "
            f"SELECT batch_id, stage, state, {REASON.format(row='')}, count(*) FROM jobs GROUP BY 1, 2, 3, 4"
        )
    key = ["batch_id", "stage", "state", "reason_code"]
    online.create_index("uq_tallies_folded", "tallies", key, where="xid = 0", unique=True)
    online.create_index("ix_tallies_state", "tallies", ["state"], where="xid = 0")
    online.create_index("ix_tallies_xid", "tallies", ["xid"], where="xid > 0")
    online.create_index("ix_tallies_batch_id_xid", "tallies", ["batch_id", "xid"], where="xid > 0")


def _replace_triggers(statements: list[str]) -> None:
    for move in ("insert", "update", "delete"):
        op.execute(f"DROP TRIGGER jobs_tally_{move}")
    for statement in statements:
        op.execute(statement)


def downgrade() -> None:
    for name in ("ix_tallies_batch_id_xid", "ix_tallies_xid", "ix_tallies_state", "uq_tallies_folded"):
        online.drop_index(name, "tallies")
    if online.is_postgresql():
        op.execute(make_function_for_postgresql(with_reasons=False))
        op.execute("ALTER TABLE tallies RESET (fillfactor)")
    else:
        _replace_triggers(make_triggers_for_sqlite(with_reasons=False))
    op.drop_column("tallies", "xid")
    op.drop_column("tallies", "reason_code")

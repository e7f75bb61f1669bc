"""What indexes know of a job is its phase; recipes belong to jobs; stores have an identity; workers have troubles.

Revision: 5e2c7a9d1f40, after 4b0f9ad3c7e8
"""

import sqlalchemy as sa
from alembic import op

from retint_migrations import online

revision = "5e2c7a9d1f40"
down_revision = "4b0f9ad3c7e8"
branch_labels = None
depends_on = None

PHASE = """
    CASE
        WHEN {row}state IN ('queued', 'running') THEN 'in_flight'
        WHEN {row}state = 'ready' THEN 'ready_' || {row}stage
        ELSE {row}state
    END
"""
# On PostgreSQL a trigger, which works for the version before, too; a generated column would rewrite the table.
DERIVE_POSTGRESQL = (
    f"""
    CREATE FUNCTION jobs_derive() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.phase := {PHASE.format(row="NEW.")};
        IF NEW.fingerprint IS NULL THEN
            NEW.fingerprint := sha256(convert_to(NEW.name, 'UTF8'));
        END IF;
        RETURN NEW;
    END
    $$
    """,
    "CREATE TRIGGER jobs_derive BEFORE INSERT OR UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION jobs_derive()",
    # Room for a changed row on its own page: a move in flight then changes no index (a heap-only update).
    "ALTER TABLE jobs SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)",
    "ALTER TABLE workers SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500)",
)


def upgrade() -> None:
    _create_tables()
    op.add_column("users", sa.Column("is_operator", sa.Boolean(), nullable=False, server_default=sa.false()))
    # Who set this installation up goes on ruling it; other administrators rule their own institution.
    op.execute(
        "UPDATE users SET is_operator = true WHERE id = ("
        "SELECT id FROM users WHERE is_admin AND disabled_at IS NULL ORDER BY created_at, id LIMIT 1)"
    )
    op.add_column("workers", sa.Column("trouble", sa.Text(), nullable=True))
    op.add_column("workers", sa.Column("trouble_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("workers", sa.Column("counters", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("recipe_hash", sa.String(length=64), nullable=True))
    op.add_column("jobs", sa.Column("replaces", sa.Uuid(), nullable=True))
    op.add_column("jobs", sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=True))
    if online.is_postgresql():
        op.add_column("jobs", sa.Column("phase", sa.String(length=16), nullable=True))
        for statement in DERIVE_POSTGRESQL:
            op.execute(statement)
    else:
        op.execute(
            f"ALTER TABLE jobs ADD COLUMN phase VARCHAR(16) GENERATED ALWAYS AS ({PHASE.format(row='')}) VIRTUAL"
        )


def _create_tables() -> None:
    op.create_table(
        "recipes",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_recipes")),
    )
    op.create_table(
        "totals",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("n", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_totals")),
    )
    op.create_table(
        "store_identity",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store_identity")),
    )
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cursor", sa.String(length=1024), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("stopped", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
    )
    op.create_table(
        "long_moves",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("moved", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_long_moves_batch_id_batches")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_long_moves_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_long_moves")),
    )
    open_moves = sa.text("ended_at IS NULL")
    op.create_index("ix_long_moves_open", "long_moves", ["id"], postgresql_where=open_moves, sqlite_where=open_moves)


def downgrade() -> None:
    if online.is_postgresql():
        op.execute("DROP TRIGGER jobs_derive ON jobs")
        op.execute("DROP FUNCTION jobs_derive()")
        op.execute("ALTER TABLE jobs RESET (fillfactor, autovacuum_vacuum_scale_factor)")
        op.execute(
            "ALTER TABLE workers RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold)"
        )
    for column in ("phase", "fingerprint", "replaces", "recipe_hash"):
        op.drop_column("jobs", column)
    for column in ("counters", "trouble_since", "trouble"):
        op.drop_column("workers", column)
    op.drop_column("users", "is_operator")
    for table in ("long_moves", "sweeps", "store_identity", "totals", "recipes"):
        op.drop_table(table)

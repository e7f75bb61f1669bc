"""The first schema: tables, and the triggers that count.

Revision: d8a1ad021cf6
"""

import sqlalchemy as sa
from alembic import op

revision = "d8a1ad021cf6"
down_revision = None
branch_labels = None
depends_on = None


# Counts are kept by the database itself, in the transaction of the move that they count.

# SQLite has one writer at a time: the count is changed where it stands.
LEAVE = """
    UPDATE tallies SET n = n - 1 WHERE batch_id = OLD.batch_id AND stage = OLD.stage AND state = OLD.state;
    DELETE FROM tallies WHERE batch_id = OLD.batch_id AND stage = OLD.stage AND state = OLD.state AND n = 0;
"""
ARRIVE = """
    INSERT INTO tallies (batch_id, stage, state, n) SELECT NEW.batch_id, NEW.stage, NEW.state, 0 WHERE NOT EXISTS (
        SELECT 1 FROM tallies WHERE batch_id = NEW.batch_id AND stage = NEW.stage AND state = NEW.state
    );
    UPDATE tallies SET n = n + 1 WHERE batch_id = NEW.batch_id AND stage = NEW.stage AND state = NEW.state;
"""
TALLY_SQLITE = (
    f"CREATE TRIGGER jobs_tally_insert AFTER INSERT ON jobs BEGIN {ARRIVE} END",
    f"""
    CREATE TRIGGER jobs_tally_update AFTER UPDATE OF stage, state ON jobs
    WHEN OLD.stage <> NEW.stage OR OLD.state <> NEW.state BEGIN {LEAVE} {ARRIVE} END
    """,
    f"CREATE TRIGGER jobs_tally_delete AFTER DELETE ON jobs BEGIN {LEAVE} END",
)
# PostgreSQL has many: each adds rows of its own, +1 and -1, that the dispatcher folds; no hot row, no waiting.
TALLY_POSTGRESQL = (
    # Written and folded all the time: cleaned by what was deleted, not by a share of what is there.
    "ALTER TABLE tallies SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)",
    # Once a statement: a bundle of sixteen that moves together writes two rows.
    """
    CREATE FUNCTION jobs_tally() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO tallies (batch_id, stage, state, n)
            SELECT batch_id, stage, state, count(*) FROM arrived GROUP BY batch_id, stage, state;
        ELSIF TG_OP = 'DELETE' THEN
            INSERT INTO tallies (batch_id, stage, state, n)
            SELECT batch_id, stage, state, -count(*) FROM departed GROUP BY batch_id, stage, state;
        ELSE
            INSERT INTO tallies (batch_id, stage, state, n)
            SELECT batch_id, stage, state, sum(moved.n)
            FROM (
                SELECT batch_id, stage, state, 1 AS n FROM arrived
                UNION ALL SELECT batch_id, stage, state, -1 FROM departed
            ) AS moved
            GROUP BY batch_id, stage, state HAVING sum(moved.n) <> 0;
        END IF;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER jobs_tally_insert AFTER INSERT ON jobs
    REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION jobs_tally()
    """,
    """
    CREATE TRIGGER jobs_tally_update AFTER UPDATE ON jobs
    REFERENCING OLD TABLE AS departed NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION jobs_tally()
    """,
    """
    CREATE TRIGGER jobs_tally_delete AFTER DELETE ON jobs
    REFERENCING OLD TABLE AS departed FOR EACH STATEMENT EXECUTE FUNCTION jobs_tally()
    """,
)


def is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def upgrade() -> None:
    op.create_table(
        "fleets",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_fleets")),
    )
    op.create_table(
        "leaders",
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=100), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("role", name=op.f("pk_leaders")),
    )
    op.create_table(
        "tallies",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column(
            "stage",
            sa.Enum("ingest", "colorize", "defade", "render", name="stage", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "ready",
                "queued",
                "running",
                "quarantined",
                "restored",
                "refused",
                "cancelled",
                name="state",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tallies")),
    )
    op.create_index(op.f("ix_tallies_batch_id"), "tallies", ["batch_id"], unique=False)
    op.create_index(op.f("ix_tallies_state_stage_batch_id"), "tallies", ["state", "stage", "batch_id"], unique=False)
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fleet", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("activity", sa.String(length=200), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("idle_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("restart_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("drained_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_ended_at_heartbeat_at"), "workers", ["ended_at", "heartbeat_at"], unique=False)
    op.create_table(
        "photos",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_photos_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_photos")),
        sa.UniqueConstraint("tenant_id", "sha256", name=op.f("uq_photos_tenant_id_sha256")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=True),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("sign_in_hash", sa.String(length=64), nullable=True),
        sa.Column("sign_in_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_users_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_index(op.f("ix_users_tenant_id"), "users", ["tenant_id"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=254), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_audit_tenant_id_tenants")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_audit_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_action_subject_at"), "audit", ["action", "subject", "at"], unique=False)
    op.create_index(op.f("ix_audit_tenant_id_at"), "audit", ["tenant_id", "at"], unique=False)
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("recipe_hash", sa.String(length=64), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=100), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_batches_created_by_users")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_batches_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint("tenant_id", "idempotency_key", name=op.f("uq_batches_tenant_id_idempotency_key")),
    )
    op.create_index(op.f("ix_batches_tenant_id_created_at"), "batches", ["tenant_id", "created_at"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_tokens_tenant_id_tenants")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tokens_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
    )
    op.create_index(op.f("ix_tokens_tenant_id"), "tokens", ["tenant_id"], unique=False)
    op.create_index(op.f("ix_tokens_user_id"), "tokens", ["user_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("photo_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=1024), nullable=False),
        sa.Column(
            "stage",
            sa.Enum("ingest", "colorize", "defade", "render", name="stage", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "ready",
                "queued",
                "running",
                "quarantined",
                "restored",
                "refused",
                "cancelled",
                name="state",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_jobs_batch_id_batches")),
        sa.ForeignKeyConstraint(["photo_id"], ["photos.id"], name=op.f("fk_jobs_photo_id_photos")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_jobs_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("batch_id", "photo_id", "name", name=op.f("uq_jobs_batch_id_photo_id_name")),
    )
    op.create_index(op.f("ix_jobs_batch_id_id"), "jobs", ["batch_id", "id"], unique=False)
    op.create_index(
        "ix_jobs_due",
        "jobs",
        ["deadline"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'running')"),
        sqlite_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_index(
        "ix_jobs_ended",
        "jobs",
        ["batch_id", "ended_at"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NOT NULL"),
        sqlite_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_failed",
        "jobs",
        ["tenant_id", "state", "reason_code"],
        unique=False,
        postgresql_where=sa.text("state IN ('quarantined', 'refused')"),
        sqlite_where=sa.text("state IN ('quarantined', 'refused')"),
    )
    op.create_index("ix_jobs_next", "jobs", ["batch_id", "state", "stage", "not_before"], unique=False)
    op.create_index(op.f("ix_jobs_photo_id"), "jobs", ["photo_id"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column(
            "stage",
            sa.Enum("ingest", "colorize", "defade", "render", name="stage", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum("done", "refused", "fault", "expired", "cancelled", name="outcome", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("timings", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_attempts_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_attempts")),
    )
    op.create_index(
        "uq_attempts_done",
        "attempts",
        ["job_id", "stage"],
        unique=True,
        postgresql_where=sa.text("outcome = 'done'"),
        sqlite_where=sa.text("outcome = 'done'"),
    )
    for statement in TALLY_POSTGRESQL if is_postgresql() else TALLY_SQLITE:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("attempts")
    op.drop_table("jobs")
    op.drop_table("tokens")
    op.drop_table("batches")
    op.drop_table("audit")
    op.drop_table("users")
    op.drop_table("photos")
    op.drop_table("workers")
    op.drop_table("tenants")
    op.drop_table("tallies")
    op.drop_table("leaders")
    op.drop_table("fleets")
    if is_postgresql():
        op.execute("DROP FUNCTION jobs_tally()")

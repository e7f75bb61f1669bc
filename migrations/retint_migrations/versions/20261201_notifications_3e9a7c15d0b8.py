"""Institutions are told what happened: webhooks, an outbox, its deliveries; batches know what was told of them.

Revision: 3e9a7c15d0b8, after 6d1b8e42c9a3
"""

import sqlalchemy as sa
from alembic import op

from retint_migrations import online

revision = "3e9a7c15d0b8"
down_revision = "6d1b8e42c9a3"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
IS_WAITING = "ended_at IS NULL"


def upgrade() -> None:
    _create_webhooks()
    _create_outbox()
    op.create_table(
        "mail_choices",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_mail_choices_user_id_users")),
        sa.PrimaryKeyConstraint("user_id", "kind", name=op.f("pk_mail_choices")),
    )
    op.add_column("batches", sa.Column("told_at", MOMENT, nullable=True))
    op.add_column("batches", sa.Column("told_failures", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("batches", sa.Column("failures_told_at", MOMENT, nullable=True))
    # Of what ended before, nobody is told now. The dispatcher opens those again that are still running.
    op.execute("UPDATE batches SET told_at = created_at")
    online.create_index("ix_batches_untold", "batches", ["id"], where="told_at IS NULL")


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.String(length=500), nullable=False),
        sa.Column("kinds", sa.JSON(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("former_secret", sa.Text(), nullable=True),
        sa.Column("former_until", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("paused_at", MOMENT, nullable=True),
        sa.Column("disabled_at", MOMENT, nullable=True),
        sa.Column("disabled_because", sa.String(length=200), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.Column("not_before", MOMENT, nullable=True),
        sa.Column("busy_until", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_webhooks_tenant_id_tenants")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_webhooks_created_by_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(op.f("ix_webhooks_tenant_id"), "webhooks", ["tenant_id"])


def _create_outbox() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=True),
        sa.Column("address", sa.String(length=254), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("tries_before", sa.Integer(), nullable=False),
        sa.Column("not_before", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_notifications_tenant_id_tenants")),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_notifications_webhook_id_webhooks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    _create_index("ix_notifications_webhook", ["webhook_id", "id"], IS_WAITING)
    _create_index("ix_notifications_due", ["not_before"], IS_WAITING)
    op.create_index("ix_notifications_of", "notifications", ["webhook_id", "id"])
    _create_index("ix_notifications_ended", ["ended_at"], "ended_at IS NOT NULL")
    op.create_table(
        "deliveries",
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("problem", sa.String(length=200), nullable=True),
        sa.Column("ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["notifications.id"],
            name=op.f("fk_deliveries_notification_id_notifications"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("notification_id", "number", name=op.f("pk_deliveries")),
    )


def _create_index(name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "notifications", columns, postgresql_where=condition, sqlite_where=condition)


def downgrade() -> None:
    online.drop_index("ix_batches_untold", "batches")
    for column in ("failures_told_at", "told_failures", "told_at"):
        op.drop_column("batches", column)
    for table in ("mail_choices", "deliveries", "notifications", "webhooks"):
        op.drop_table(table)

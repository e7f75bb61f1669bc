"""What the version before recorded during the upgrade is taken into the chains, and its table goes.

Revision: e3f6082b9c15, after c95b20e7f1d8
"""

import importlib

import sqlalchemy as sa
from alembic import op

revision = "e3f6082b9c15"
down_revision = "c95b20e7f1d8"
branch_labels = None
depends_on = None

FINISHES = True
"""Runs when no process of the version before is left (`retint admin migrate --finish`)."""


def upgrade() -> None:
    chained = importlib.import_module("retint_migrations.versions.20261201_audit_a91c37e5d084")
    chained.take_in()
    op.drop_table("audit")


def downgrade() -> None:
    # Empty: the version before only counts failed sign-ins there, and the entries stay in the chains.
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
    op.create_index(op.f("ix_audit_action_subject_at"), "audit", ["action", "subject", "at"])
    op.create_index(op.f("ix_audit_tenant_id_at"), "audit", ["tenant_id", "at"])

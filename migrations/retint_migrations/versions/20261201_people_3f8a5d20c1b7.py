"""People have roles, sessions on the server, and tokens with scopes and an end; service accounts have no person.

Revision: 3f8a5d20c1b7, after 3e9a7c15d0b8

The version before goes on with `is_admin`: it reads what this one keeps in step, and for the users that it adds
meanwhile, a trigger sets the role. It knows no service accounts, and refuses their tokens.
"""

import sqlalchemy as sa
from alembic import op

from retint_migrations import online

revision = "3f8a5d20c1b7"
down_revision = "3e9a7c15d0b8"
branch_labels = None
depends_on = None

MAKER = "fk_tokens_created_by_users"


def upgrade() -> None:
    op.add_column("users", sa.Column("role", sa.String(length=16), nullable=False, server_default="member"))
    op.add_column("users", sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True))
    _follow_the_version_before()
    # Everybody could judge before; those who did go on to.
    op.execute("UPDATE users SET role = 'reviewer' WHERE id IN (SELECT by FROM verdicts)")
    op.execute("UPDATE users SET role = 'admin' WHERE is_admin")
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("browser", sa.String(length=60), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_sessions_tenant_id_tenants")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    online.create_index("ix_sessions_open", "sessions", ["user_id"], where="ended_at IS NULL")
    with op.batch_alter_table("tokens") as tokens:  # nothing refers to them, so SQLite may make the table anew
        tokens.add_column(sa.Column("prefix", sa.String(length=16), nullable=True))
        tokens.add_column(sa.Column("scopes", sa.String(length=100), nullable=True))
        tokens.add_column(sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True))
        tokens.add_column(sa.Column("created_by", sa.Uuid(), nullable=True))
        tokens.create_foreign_key(MAKER, "users", ["created_by"], ["id"])
        tokens.alter_column("user_id", existing_type=sa.Uuid(), nullable=True)


def _follow_the_version_before() -> None:
    if online.is_postgresql():
        op.execute(
            "CREATE FUNCTION users_role() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.role := 'admin'; RETURN NEW; END $$"
        )
        op.execute(
            "CREATE TRIGGER users_role BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.is_admin) "
            "EXECUTE FUNCTION users_role()"
        )
    else:
        op.execute(
            "CREATE TRIGGER users_role AFTER INSERT ON users WHEN NEW.is_admin AND NEW.role <> 'admin' "
            "BEGIN UPDATE users SET role = 'admin' WHERE id = NEW.id; END"
        )


def downgrade() -> None:
    op.execute("DELETE FROM tokens WHERE user_id IS NULL")
    # The version before knows neither scopes nor ends: a token that has them would suddenly be for everything.
    op.execute("DELETE FROM tokens WHERE scopes IS NOT NULL OR ends_at IS NOT NULL")
    with op.batch_alter_table("tokens") as tokens:
        tokens.alter_column("user_id", existing_type=sa.Uuid(), nullable=False)
        tokens.drop_constraint(MAKER, type_="foreignkey")
        for name in ("created_by", "ends_at", "scopes", "prefix"):
            tokens.drop_column(name)
    op.drop_table("sessions")
    if online.is_postgresql():
        op.execute("DROP TRIGGER users_role ON users")
        op.execute("DROP FUNCTION users_role()")
    else:
        op.execute("DROP TRIGGER users_role")
    op.drop_column("users", "seen_at")
    op.drop_column("users", "role")

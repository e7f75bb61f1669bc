"""The audit record is append-only, chained by hash, and says from where and what; failed sign-ins have a table.

Entries from before follow each other in the chain of their institution; the entry `chain_begun` says where they end.
Those that the version before writes meanwhile are taken in by the next revision.

Revision: a91c37e5d084, after 71c4e09ad2b5
"""

from itertools import groupby
from uuid import UUID

import sqlalchemy as sa
from alembic import op

from retint.audit import HOUSE, chain
from retint.audit_tables import AuditEntry
from retint.columns import Moment, now
from retint_migrations import online

revision = "a91c37e5d084"
down_revision = "71c4e09ad2b5"
branch_labels = None
depends_on = None

TABLES = ("sign_in_failures", "audit_addresses", "audit_chains", "audit_entries")
REFUSED = {
    "audit_entries": ("UPDATE", "DELETE"),
    "audit_addresses": ("UPDATE",),
    "audit_chains": ("DELETE",),
}
"""What the database refuses; on PostgreSQL TRUNCATE, too."""
WHY = "The audit record is append-only: a row of {} is neither changed nor deleted."
FOLLOWING = sa.text(
    f"""
    SELECT audit.id, audit.tenant_id, audit.user_id, audit.at, audit.action, audit.subject, users.email FROM audit
    LEFT JOIN users ON users.id = audit.user_id
    WHERE audit.id > :after AND audit.action <> 'sign_in_failed'
    AND NOT EXISTS (
        SELECT 1 FROM audit_entries AS taken WHERE taken.tenant_id = coalesce(audit.tenant_id, :house)
        AND taken.action = audit.action AND taken.subject = audit.subject AND taken.at = audit.at
    )
    ORDER BY audit.id LIMIT {online.ROWS}
    """
).bindparams(sa.bindparam("after", type_=sa.Uuid()), sa.bindparam("house", HOUSE, sa.Uuid()))
ROWS = FOLLOWING.columns(
    id=sa.Uuid(),
    tenant_id=sa.Uuid(),
    user_id=sa.Uuid(),
    at=Moment(),
    action=sa.Text(),
    subject=sa.Text(),
    email=sa.Text(),
)


def upgrade() -> None:
    _create_tables()
    for table, moves in REFUSED.items():
        _refuse(table, moves)
    for tenant_id, taken in take_in().items():
        _append(tenant_id, [_begin(tenant_id, taken)])


def _create_tables() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.String(length=254), nullable=False),
        sa.Column("token", sa.String(length=100), nullable=True),
        sa.Column("address_digest", sa.String(length=64), nullable=True),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=254), nullable=False),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "number", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_at", "audit_entries", ["tenant_id", "at"])
    for column in ("action", "subject", "actor"):
        op.create_index(f"ix_audit_entries_{column}", "audit_entries", ["tenant_id", column, "number"])
    op.create_table(
        "audit_chains",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_audit_chains")),
    )
    op.create_table(
        "audit_addresses",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "number", name=op.f("pk_audit_addresses")),
    )
    op.create_index(op.f("ix_audit_addresses_at"), "audit_addresses", ["at"])
    op.create_table(
        "sign_in_failures",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_failures")),
    )
    for columns in (["address", "at"], ["email", "at"], ["at"]):
        op.create_index(op.f(f"ix_sign_in_failures_{'_'.join(columns)}"), "sign_in_failures", columns)


def _refuse(table: str, moves: tuple[str, ...]) -> None:
    """Let the database itself refuse moves, also to whoever owns the table."""
    why = WHY.format(table)
    if not online.is_postgresql():
        for move in moves:
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{move.lower()} BEFORE {move} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{why}'); END"
            )
        return
    function = f"{table}_refuse()"
    op.execute(
        f"CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{why}'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_refuse BEFORE {' OR '.join(moves)} ON {table} FOR EACH ROW EXECUTE FUNCTION {function}"
    )
    op.execute(
        f"CREATE TRIGGER {table}_refuse_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {function}"
    )


def take_in() -> dict[UUID, int]:
    """Let entries from before, which are in no chain yet, follow in those of their institutions; return how many."""
    connection, after, taken = op.get_bind(), UUID(int=0), dict[UUID, int]()
    while rows := connection.execute(ROWS, {"after": after}).all():
        after = rows[-1].id
        ordered = sorted(rows, key=lambda row: (row.tenant_id or HOUSE).int)
        for tenant_id, group in groupby(ordered, lambda row: row.tenant_id or HOUSE):
            entries = [
                AuditEntry(
                    tenant_id=tenant_id,
                    at=row.at,
                    user_id=row.user_id,
                    actor=row.email or "unknown",
                    action=row.action,
                    subject=row.subject,
                )
                for row in group
            ]
            _append(tenant_id, entries)
            taken[tenant_id] = taken.get(tenant_id, 0) + len(entries)
    return taken


def _begin(tenant_id: UUID, taken: int) -> AuditEntry:
    return AuditEntry(
        tenant_id=tenant_id,
        at=op.get_bind().scalar(sa.select(now())),
        actor="Retint",
        action="chain_begun",
        subject=f"the {taken} entries",
        after={"entries": taken},
    )


def _append(tenant_id: UUID, entries: list[AuditEntry]) -> None:
    connection, chains = op.get_bind(), sa.table("audit_chains", *map(sa.column, ("tenant_id", "number", "hash")))
    key = chains.c.tenant_id == sa.bindparam(None, tenant_id, sa.Uuid())
    found = connection.execute(sa.select(chains.c.number, chains.c.hash).where(key).with_for_update()).one_or_none()
    number, previous = found or (0, chain.BEGIN)
    last = chain.append(entries, number, previous)
    connection.execute(
        sa.insert(AuditEntry),
        [{c.key: getattr(entry, c.key) for c in AuditEntry.__table__.columns} for entry in entries],
    )
    values = {"number": number + len(entries), "hash": last}
    if found:
        connection.execute(chains.update().where(key).values(values))
    else:
        connection.execute(chains.insert().values(tenant_id=sa.bindparam(None, tenant_id, sa.Uuid()), **values))


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    if online.is_postgresql():
        for table in REFUSED:
            op.execute(f"DROP FUNCTION {table}_refuse()")

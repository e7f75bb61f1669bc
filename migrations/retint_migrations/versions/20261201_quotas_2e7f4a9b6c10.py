"""Quotas of institutions, and triggers that count what they keep; institutions may be disabled.

Revision: 2e7f4a9b6c10, after a4e91c7d3b58
"""

import sqlalchemy as sa
from alembic import op

from retint.columns import Moment
from retint_migrations import online

revision = "2e7f4a9b6c10"
down_revision = "a4e91c7d3b58"
branch_labels = None
depends_on = None

# An upload's id becomes its photo's. So an upload reserves its bytes as long as it is open and no photo has its id.
OPEN = "{upload}.photo_id IS NULL AND NOT EXISTS (SELECT 1 FROM photos WHERE photos.id = {upload}.id)"
COLUMNS = "tenant_id, photos, kept_bytes, reserved_bytes"

COUNT_ALL = f"""
    INSERT INTO quotas ({COLUMNS})
    SELECT tenants.id,
        (SELECT count(*) FROM photos WHERE photos.tenant_id = tenants.id),
        (SELECT coalesce(sum(size), 0) FROM photos WHERE photos.tenant_id = tenants.id),
        (SELECT coalesce(sum(size), 0) FROM uploads
         WHERE uploads.tenant_id = tenants.id AND {OPEN.format(upload="uploads")})
    FROM tenants
"""

ADD = f"""
    INSERT INTO quotas ({COLUMNS}) SELECT * FROM changed WHERE tenant_id IS NOT NULL
    ON CONFLICT (tenant_id) DO UPDATE SET
        photos = quotas.photos + excluded.photos,
        kept_bytes = quotas.kept_bytes + excluded.kept_bytes,
        reserved_bytes = quotas.reserved_bytes + excluded.reserved_bytes
"""


def of_photos(rows: str, sign: str) -> str:
    """SQL that counts photos that came or went: those of an open upload are no longer reserved, or again."""
    return f"""
        WITH changed AS (
            SELECT {rows}.tenant_id, {sign}count(*), {sign}sum({rows}.size)::bigint,
                -({sign}coalesce(sum(uploads.size), 0))::bigint
            FROM {rows} LEFT JOIN uploads ON uploads.id = {rows}.id AND uploads.photo_id IS NULL
            GROUP BY {rows}.tenant_id ORDER BY {rows}.tenant_id
        ) {ADD}
    """


def of_uploads(rows: str, sign: str, condition: str) -> str:
    """SQL that counts uploads that were opened or ended."""
    return f"""
        WITH changed AS (
            SELECT {rows}.tenant_id, 0, 0, {sign}sum({rows}.size)::bigint
            FROM {rows} WHERE {condition} GROUP BY {rows}.tenant_id ORDER BY {rows}.tenant_id
        ) {ADD}
    """


BECAME = (
    "EXISTS (SELECT 1 FROM arrived WHERE arrived.id = departed.id AND arrived.photo_id IS NOT NULL) AND "
    + OPEN.format(upload="departed")
)

FUNCTIONS = {
    "photos": ("INSERT", of_photos("arrived", "")),
    "photos_gone": ("DELETE", of_photos("departed", "-")),
    "uploads": ("INSERT", of_uploads("arrived", "", OPEN.format(upload="arrived"))),
    "uploads_become": ("UPDATE", of_uploads("departed", "-", BECAME)),
    "uploads_gone": ("DELETE", of_uploads("departed", "-", OPEN.format(upload="departed"))),
}
TABLES = {
    "INSERT": "REFERENCING NEW TABLE AS arrived",
    "DELETE": "REFERENCING OLD TABLE AS departed",
    "UPDATE": "REFERENCING NEW TABLE AS arrived OLD TABLE AS departed",
}


def create_for_postgresql() -> None:
    """Count by statement, not by row: a transaction that adds many photos changes the row once."""
    for name, (move, body) in FUNCTIONS.items():
        table = name.partition("_")[0]
        op.execute(
            f"CREATE FUNCTION quotas_of_{name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {body}; RETURN NULL; END $$"
        )
        op.execute(
            f"CREATE TRIGGER quotas_{name} AFTER {move} ON {table} {TABLES[move]} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION quotas_of_{name}()"
        )


def create_for_sqlite() -> None:
    there = (
        "INSERT INTO quotas (tenant_id) SELECT NEW.tenant_id "
        "WHERE NOT EXISTS (SELECT 1 FROM quotas WHERE tenant_id = NEW.tenant_id);"
    )
    reserved = "coalesce((SELECT size FROM uploads WHERE id = {row}.id AND photo_id IS NULL), 0)"
    photos = (
        "UPDATE quotas SET photos = photos {plus} 1, kept_bytes = kept_bytes {plus} {row}.size, "
        f"reserved_bytes = reserved_bytes {{minus}} {reserved} WHERE tenant_id = {{row}}.tenant_id;"
    )
    uploads = "UPDATE quotas SET reserved_bytes = reserved_bytes {plus} {row}.size WHERE tenant_id = {row}.tenant_id;"
    became = f"NEW.photo_id IS NOT NULL AND {OPEN.format(upload='OLD')}"
    added, gone = {"row": "NEW", "plus": "+", "minus": "-"}, {"row": "OLD", "plus": "-", "minus": "+"}
    for name, when, body in (
        ("photos AFTER INSERT ON photos", "", there + photos.format(**added)),
        ("photos_gone AFTER DELETE ON photos", "", photos.format(**gone)),
        ("uploads AFTER INSERT ON uploads", f"WHEN {OPEN.format(upload='NEW')}", there + uploads.format(**added)),
        ("uploads_become AFTER UPDATE OF photo_id ON uploads", f"WHEN {became}", uploads.format(**gone)),
        ("uploads_gone AFTER DELETE ON uploads", f"WHEN {OPEN.format(upload='OLD')}", uploads.format(**gone)),
    ):
        op.execute(f"CREATE TRIGGER quotas_{name} {when} BEGIN {body} END")


def upgrade() -> None:
    op.add_column("tenants", sa.Column("disabled_at", Moment(), nullable=True))
    zero = sa.text("0")
    op.create_table(
        "quotas",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("most_bytes", sa.BigInteger(), nullable=True),
        sa.Column("most_in_flight", sa.Integer(), nullable=True),
        sa.Column("highest_priority", sa.Integer(), nullable=True),
        sa.Column("per_minute", sa.Integer(), nullable=True),
        sa.Column("per_second", sa.Integer(), nullable=True),
        sa.Column("photos", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("kept_bytes", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("reserved_bytes", sa.BigInteger(), server_default=zero, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_quotas_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_quotas")),
    )
    if online.is_postgresql():
        # The triggers lock out writers to the end of the transaction, so the count misses nobody's rows. Deposits wait
        # for it, about a second for each five million photos.
        op.execute("SET LOCAL statement_timeout = '120s'")
        create_for_postgresql()
        op.execute("ALTER TABLE quotas SET (fillfactor = 50)")
    else:
        create_for_sqlite()
    op.execute(COUNT_ALL)


def downgrade() -> None:
    for name in FUNCTIONS:
        if online.is_postgresql():
            op.execute(f"DROP TRIGGER quotas_{name} ON {name.partition('_')[0]}")
            op.execute(f"DROP FUNCTION quotas_of_{name}()")
        else:
            op.execute(f"DROP TRIGGER quotas_{name}")
    op.drop_table("quotas")
    op.drop_column("tenants", "disabled_at")

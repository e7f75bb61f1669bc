"""The second lock between institutions, on PostgreSQL: a query that forgets its filter returns nothing of another one.

The portal answers each request as the database role `retint_portal`, which owns no table. A policy on each table of
institutions shows that role the rows of one of them alone: the one that the transaction names when it begins. Both,
role and institution, end with the transaction, so that the pool and PgBouncer hand on neither. Workers, the dispatcher
and commands work as the owner of the tables, who is bound by no policy; so does what the portal does for the house.

SQLite has no such thing.
"""

from typing import Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, ProgrammingError

ROLE: Final = "retint_portal"
TENANT: Final = "retint_tenant"
"""Execution option of a connection: the id of the institution that its transactions see, or an empty text for none;
without it they see all."""
POLICY: Final = "retint_tenant"
KNOWN: Final = "retint_role_known"
"""Where a connection keeps whether it may take the role."""

GRANTS: Final = {
    "audit_addresses": "SELECT, INSERT",
    "audit_chains": "SELECT, INSERT, UPDATE",
    "audit_entries": "SELECT, INSERT",
    "deliveries": "SELECT",
    "fleets": "SELECT",
    "leaders": "SELECT",
    "mail_choices": "SELECT, INSERT, UPDATE, DELETE",
    "recipes": "SELECT, INSERT",
    "store_identity": "SELECT",
    "tallies": "SELECT",
    "tenants": "SELECT",
    "totals": "SELECT",
    "workers": "SELECT",
}
"""What the role may do with a table; with one that has a `tenant_id`, all by default, with any other nothing."""
CURRENT: Final = "(SELECT nullif(current_setting('retint.tenant', true), '')::uuid)"
CONDITIONS: Final = {
    # What is asked of another table has that table's policy.
    "deliveries": "EXISTS (SELECT 1 FROM notifications WHERE notifications.id = notification_id)",
    "mail_choices": "EXISTS (SELECT 1 FROM users WHERE users.id = user_id)",
    # The count of a batch is its institution's.
    "tallies": f"batch_id IN (SELECT id FROM batches WHERE batches.id = batch_id AND tenant_id = {CURRENT})",  # noqa: S608
    "tenants": f"id = {CURRENT}",
}
"""Which rows of a table without a `tenant_id` are an institution's."""
FOUND_BY_WORDS: Final = "search_entries"
"""Searched by an index that PostgreSQL does not use beneath a policy, since the operator `@@` is not leakproof. What is
found there is read from jobs, which have a policy; here only what is written is held to it."""
OWNERS_FUNCTIONS: Final = ("jobs_tally()",)
"""Functions of triggers that write where the role may not."""
MAKE_ROLE: Final = f"""
    DO $$ BEGIN
        CREATE ROLE {ROLE} NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END $$
"""
HOW: Final = (
    f"As a superuser of PostgreSQL run `CREATE ROLE {ROLE} NOLOGIN; GRANT {ROLE} TO the user of RETINT_DATABASE_URL;`, "
    "then `retint admin migrate`."
)

log = structlog.get_logger()


def narrow(connection: Connection) -> None:
    """Let a transaction that has just begun see one institution's rows, if its connection has the option `TENANT`.

    Without the role (see `is_ready`) it sees what its filters ask for, as on SQLite.
    """
    tenant = connection.get_execution_options().get(TENANT)
    if tenant is None:
        return
    known = connection.info
    if KNOWN not in known:
        known[KNOWN] = is_ready(connection)
        if not known[KNOWN]:
            log.warning("row_security_missing", remedy=HOW)
    if known[KNOWN]:
        # Both until the end of the transaction; one statement, since each is a round trip.
        connection.exec_driver_sql(
            f"SELECT set_config('role', '{ROLE}', true), set_config('retint.tenant', %s, true)", (tenant,)
        )


def is_ready(connection: Connection) -> bool:
    """Whether the role is there, the user of this connection may take it, and policies are in force."""
    found = connection.exec_driver_sql(
        "SELECT pg_has_role(session_user, oid, 'MEMBER') AND EXISTS (SELECT 1 FROM pg_policies WHERE policyname = %s)"
        " FROM pg_roles WHERE rolname = %s",
        (POLICY, ROLE),
    ).scalar()
    return bool(found)


def find_remedy(engine: Engine) -> str | None:
    """Return what an operator does to get the second lock; None where it is in force, and on SQLite."""
    if engine.dialect.name != "postgresql":
        return None
    with engine.connect() as connection:
        return None if is_ready(connection) else HOW


def apply(connection: Connection) -> bool:
    """Make the role, grants and policies; called after each migration, which may have added tables.

    Changes only what is missing: tables that are in use are not locked again.

    Returns:
        False where the user may not make the role: `HOW` says what to do.
    """
    connection.commit()
    try:
        with connection.begin():
            if not connection.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,)).scalar():
                connection.exec_driver_sql(MAKE_ROLE)
            if not connection.exec_driver_sql(f"SELECT pg_has_role(session_user, '{ROLE}', 'MEMBER')").scalar():
                connection.exec_driver_sql(f"GRANT {ROLE} TO CURRENT_USER")
    except ProgrammingError as error:
        log.warning("row_security_missing", reason=_first_line(error), remedy=HOW)
        return False
    with connection.begin():
        tables = _list_tables(connection)
        for table, columns in tables.items():
            _grant(connection, table, has_id="id" in columns, has_tenant="tenant_id" in columns)
    for table, columns in tables.items():
        if "tenant_id" in columns or table in CONDITIONS:
            with connection.begin():
                _guard(connection, table)
    with connection.begin():
        for function in OWNERS_FUNCTIONS:
            # Created again by a later migration, it would have lost this.
            schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
            connection.exec_driver_sql(
                f"ALTER FUNCTION {function} SECURITY DEFINER SET search_path = {schema}, pg_temp"
            )
    return True


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]


def remove(connection: Connection) -> None:
    """Drop the policies: before a downgrade, which may drop tables that they refer to."""
    connection.commit()
    with connection.begin():
        found = connection.exec_driver_sql(
            "SELECT tablename, policyname FROM pg_policies WHERE schemaname = current_schema()"
        )
        for table, policy in found.all():
            connection.exec_driver_sql(f"DROP POLICY {policy} ON {table}")
            connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")


def _list_tables(connection: Connection) -> dict[str, set[str]]:
    """List the tables and their columns."""
    tables: dict[str, set[str]] = {}
    columns = connection.exec_driver_sql(
        "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
        " USING (table_schema, table_name) WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
    )
    for table, column in columns:
        tables.setdefault(table, set()).add(column)
    return tables


def _grant(connection: Connection, table: str, *, has_id: bool, has_tenant: bool) -> None:
    rights = GRANTS.get(table) or ("SELECT, INSERT, UPDATE, DELETE" if has_tenant else "")
    if not rights:
        return
    connection.exec_driver_sql(f"GRANT {rights} ON {table} TO {ROLE}")
    sequence = (
        connection.exec_driver_sql("SELECT pg_get_serial_sequence(%s, 'id')", (table,)).scalar() if has_id else None
    )
    if sequence:
        connection.exec_driver_sql(f"GRANT USAGE ON SEQUENCE {sequence} TO {ROLE}")


def _guard(connection: Connection, table: str) -> None:
    """Show the role one institution's rows of a table, and let it write no others."""
    has_policy = connection.exec_driver_sql(
        "SELECT 1 FROM pg_policies WHERE schemaname = current_schema() AND tablename = %s AND policyname = %s",
        (table, POLICY),
    ).scalar()
    if has_policy:
        return
    condition = CONDITIONS.get(table, f"tenant_id = {CURRENT}")
    connection.exec_driver_sql(f"CREATE POLICY {POLICY} ON {table} TO {ROLE} USING ({condition})")
    if table == FOUND_BY_WORDS:
        connection.exec_driver_sql(f"CREATE POLICY retint_found ON {table} FOR SELECT TO {ROLE} USING (true)")
    connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")

"""How Alembic reaches the database: on the connection that `retint.database.migrate` hands over, or on its own."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, text

from retint import database
from retint.settings import Settings
from retint.tables import Moment, Table

LOCK_TIMEOUT_S = 4
"""A migration that cannot have a table at once gives up, instead of making everybody wait behind it."""
STATEMENT_TIMEOUT_S = 5


def render_item(kind: str, item: Any, _: Any) -> str | Literal[False]:
    # A migration outlives the code that it was made from: it names only what SQLAlchemy knows.
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Moment) else False


def run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
        connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"))
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        compare_server_default=True,
        render_item=render_item,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with database.connect(Settings().database).begin() as connection:
        run(connection)

"""How Alembic reaches the database: on the connection that `retint.database.migrate` hands over, or on its own.

On PostgreSQL each migration is a transaction of its own, so that it may build indexes beside the service (see
`online`). On SQLite all of them are one.
"""

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection

import retint.audit_tables
import retint.catalogue_tables
import retint.fleet_tables
import retint.provider_tables
import retint.quota_tables
import retint.store_tables  # noqa: F401  its tables, too
from retint import database
from retint.columns import Moment
from retint.settings import Settings
from retint.tables import Table


def render_item(kind: str, item: Any, _: Any) -> str | Literal[False]:
    # A migration outlives the code that it was made from: it names only what SQLAlchemy knows.
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Moment) else False


def include_name(name: str | None, *_: Any) -> bool:
    # The index of words is not the same on both databases; on SQLite it has tables of its own.
    return not str(name).startswith("search_index")


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        compare_server_default=True,
        render_item=render_item,
        include_name=include_name,
        transaction_per_migration=connection.dialect.name == "postgresql",
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with database.connect_to_migrate(database.connect(Settings().database)) as connection:
        run(connection)

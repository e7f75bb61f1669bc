"""Types, functions and defaults of columns, the same on PostgreSQL and SQLite."""

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Enum, Index, TypeDecorator, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction


class Moment(TypeDecorator[datetime]):
    """A point in time, always aware and in UTC; SQLite has no such type of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: D102
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: D102
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class now(GenericFunction[datetime]):  # noqa: N801  named as the SQL function that it is
    """The database's clock, `now()`, or some seconds after it, `now(60.0)`. Leases depend on no other clock.

    On PostgreSQL it is the statement's time: stable within it, so that an index can be searched with it.
    """

    type = Moment()
    inherit_cache = True
    name = "retint_now"


@compiles(now, "postgresql")
def _compile_postgresql(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(statement_timestamp() + make_interval(secs => {seconds}))" if seconds else "statement_timestamp()"


@compiles(now, "sqlite")
def _compile_sqlite(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    shift = f", ({seconds}) || ' seconds'" if seconds else ""
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now'{shift}) || '000')"


def new_id() -> uuid.UUID:
    """Return a new row's id: time-ordered (UUID version 7, RFC 9562), so that an index grows at its end."""
    milliseconds = int(datetime.now(UTC).timestamp() * 1000)
    random = uuid.uuid4().int & ((1 << 74) - 1)
    return uuid.UUID(
        int=(milliseconds << 80) | (7 << 76) | ((random >> 62) << 64) | (2 << 62) | (random & ((1 << 62) - 1))
    )


def fingerprint(name: str, replaces: uuid.UUID | None = None) -> bytes:
    """Return what tells jobs with the same photo and batch apart; 32 bytes."""
    # No name has the character between them.
    return hashlib.sha256(f"{name}\0{replaces}".encode() if replaces else name.encode()).digest()


def text_enum(kind: type[Any]) -> Enum:
    """Make the type of a StrEnum that is stored as text: a new value then needs no migration."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda e: [member.value for member in e])


def partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of the rows that meet a condition, on both databases."""
    return Index(name, *columns, unique=unique, postgresql_where=text(where), sqlite_where=text(where))

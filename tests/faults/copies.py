"""Copies of databases: an empty one, a second one, an older one."""

import shutil
import sqlite3
from contextlib import closing

import psycopg
from sqlalchemy.engine import make_url


def make_empty_database(url: str, name: str) -> str:
    """Return the address of an empty database beside another one."""
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return f"sqlite:///{address.database}-{name}"
    return _create(url, f"{address.database}_{name}", "template1")


def copy_database(url: str, name: str, source: str | None = None) -> str:
    """Copy a database to which nobody is connected, or another one on its server; return the copy's address.

    Args:
        url: the database.
        name: added to its name.
        source: the path of the SQLite file, or the name of the PostgreSQL database, that is copied instead.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        return _create(url, f"{address.database}_{name}", source or str(address.database))
    path = f"{address.database}-{name}"
    if source:
        shutil.copyfile(source, path)
    else:
        with closing(sqlite3.connect(str(address.database))) as here, closing(sqlite3.connect(path)) as there:
            here.backup(there)
    return f"sqlite:///{path}"


def _create(url: str, name: str, template: str) -> str:
    """Create a database of PostgreSQL as a copy of another one."""
    server = make_url(url).set(drivername="postgresql", database="postgres")
    with psycopg.connect(server.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return make_url(url).set(database=name).render_as_string(hide_password=False)

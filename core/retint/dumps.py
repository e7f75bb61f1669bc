"""Dumps of the database: pg_dump and pg_restore for PostgreSQL, SQLite's own online backup for SQLite.

A dump is one consistent state, made while Retint runs.
"""

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from sqlalchemy import inspect
from sqlalchemy.engine import URL, make_url

from retint import database
from retint.errors import Refused
from retint.settings import Settings

SUFFIXES: Final = {"postgresql": ".dump", "sqlite": ".db"}
_OF_A_ROLE: Final = re.compile(r"\d+; \d+ \d+ (?:ACL|DEFAULT ACL|POLICY|ROW SECURITY) ")
"""Entries of a dump's list."""


class BackupFailed(Refused):
    """A backup cannot be made or used."""

    code = "backup_failed"


def suffix(settings: Settings) -> str:
    """Return the suffix of a dump of this kind of database."""
    return SUFFIXES[_address(settings).get_backend_name()]


def write(settings: Settings, path: Path) -> None:
    """Dump the database into a file.

    Raises:
        BackupFailed: pg_dump is missing, or has said why it fails.
    """
    address = _address(settings)
    if address.get_backend_name() == "postgresql":
        _run(settings, "pg_dump", "--format=custom", "--no-owner", f"--file={path}", _libpq(address))
        return
    with closing(_open_sqlite(Path(str(address.database)))) as here, closing(sqlite3.connect(path)) as there:
        here.backup(there)
        there.execute("PRAGMA journal_mode=DELETE")


def require_empty(settings: Settings, path: Path) -> None:
    """See that a dump may be restored into the database.

    Raises:
        BackupFailed: the database has tables, or is of the other kind.
        DatabaseUnavailable: it did not answer.
    """
    address = _address(settings)
    if path.suffix != suffix(settings):
        kinds = {ending: kind for kind, ending in SUFFIXES.items()}
        raise BackupFailed(
            f"{path.name} is of {kinds.get(path.suffix, 'another kind of database')}, and RETINT_DATABASE_URL names "
            f"{address.get_backend_name()}: restore it into a database of its own kind."
        )
    if address.get_backend_name() == "sqlite" and not Path(str(address.database)).exists():
        return
    engine = database.connect(settings.database)
    try:
        with database.read(engine) as session:
            tables = inspect(session.connection()).get_table_names()
    finally:
        engine.dispose()
    if tables:
        raise BackupFailed(
            "The database is not empty, and nothing is written over: stop Retint, and let RETINT_DATABASE_URL name an "
            "empty database."
        )


def restore(settings: Settings, path: Path) -> None:
    """Restore a dump into the empty database, all of it or nothing.

    Raises:
        BackupFailed: pg_restore is missing, or has said why it fails.
    """
    address = _address(settings)
    if address.get_backend_name() == "postgresql":
        _restore_postgresql(settings, path)
        return
    target = Path(str(address.database))
    target.parent.mkdir(parents=True, exist_ok=True)
    for rest in ("-wal", "-shm"):
        target.with_name(target.name + rest).unlink(missing_ok=True)
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(path, part)
    part.chmod(0o600)
    part.replace(target)


def _restore_postgresql(settings: Settings, path: Path) -> None:
    """Restore everything but grants and policies: their role may be missing, and `retint admin migrate` makes them."""
    lines = _run(settings, "pg_restore", "--list", str(path)).splitlines()
    with NamedTemporaryFile("w", suffix=".list") as chosen:
        chosen.write("\n".join(line for line in lines if not _OF_A_ROLE.match(line)) + "\n")
        chosen.flush()
        options = ("--single-transaction", "--exit-on-error", "--no-owner", f"--use-list={chosen.name}")
        _run(settings, "pg_restore", *options, f"--dbname={_libpq(_address(settings))}", str(path))


def _address(settings: Settings) -> URL:
    return make_url(settings.database)


def _open_sqlite(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise BackupFailed(f"There is no database {path}: set RETINT_DATABASE_URL or RETINT_DATA as Retint does.")
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)


def _libpq(address: URL) -> str:
    """Return the address as PostgreSQL's programs take it, without the password: others see a command line."""
    plain = address.set(drivername="postgresql", password=None).difference_update_query(["pgbouncer"])
    return plain.render_as_string(hide_password=False)


def _run(settings: Settings, program: str, *arguments: str) -> str:
    """Run a program of PostgreSQL; return what it prints."""
    if shutil.which(program) is None:
        raise BackupFailed(
            f"{program} is not installed: install PostgreSQL's client programs, of the server's version or a newer one "
            f"(Debian: postgresql-client)."
        )
    password = _address(settings).password
    environment = settings.environment(**({"PGPASSWORD": password} if password else {}))
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[:500]
        raise BackupFailed(f"{program} failed: {said}")
    return done.stdout

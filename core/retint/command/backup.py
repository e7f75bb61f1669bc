"""Backups for operators: `retint admin backup`, `retint admin restore`, `retint admin verify-store`."""

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retint.errors import RetintError

if TYPE_CHECKING:
    from retint.backups import Outcome
    from retint.inventory import Inventory, Keys
    from retint.services import Services

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  retint admin backup --to /mnt/backup                   the database, and what is new in the store
  retint admin backup --to /mnt/backup --every 24        the same every day, until it is stopped
  retint admin backup --to /mnt/backup --database-only   where the bucket is copied by other means

Retint may run meanwhile. PostgreSQL is dumped by pg_dump, which must be installed. The user of
RETINT_DATABASE_URL must own the tables.

Exit status: 0 when the backup is whole; 1 when files are missing or damaged; 2 when it cannot be
made; 3 when the database or the store did not answer.
"""
)
@click.option("--to", "folder", type=FOLDER, required=True, help="Folder, on another disk or machine.")
@click.option("--keep", type=click.IntRange(1, 1000), default=7, show_default=True, help="Dumps that stay.")
@click.option("--database-only", is_flag=True, help="Leave the store out.")
@click.option("--every", "hours", type=click.FloatRange(0, min_open=True), help="Hours until the next one; goes on.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.pass_obj
def backup(
    services: "Services", folder: Path, keep: int, database_only: bool, hours: float | None, as_json: bool
) -> None:
    """Back up the database, then the store, into a folder.

    Files of the store that are there already are not copied again, and never deleted: one copy serves all dumps.
    """
    from retint import backups

    while True:
        begun = time.monotonic()
        try:
            outcome = _show(backups.back_up(services, folder, keep=keep, with_store=not database_only), as_json)
            _print_backup(outcome, as_json, with_store=not database_only)
        except RetintError as error:
            if hours is None:
                raise
            click.echo(f"Error: {error.message} The next backup is tried in time.", err=True)
        if hours is None:
            sys.exit(0 if outcome.is_whole else 1)
        time.sleep(max(0.0, hours * 3600 - (time.monotonic() - begun)))


@click.command(
    epilog="""\b
Examples:
  retint admin restore --from /mnt/backup --list
  retint admin restore --from /mnt/backup
  retint admin restore --from /mnt/backup --dump 20261201T030000.000000Z.dump --read

Stop Retint's processes first. RETINT_DATABASE_URL names an empty database, of the kind that was
backed up; RETINT_STORE_URL any bucket or folder, empty or with some of the files. A restore that
was interrupted is repeated: files that are there are not copied again.

Exit status: 0 when everything is there; 1 when files are missing or damaged; 2 when the backup
does not fit; 3 when the database or the store did not answer.
"""
)
@click.option("--from", "folder", type=FOLDER, required=True, help="Folder of the backup.")
@click.option("--dump", "name", help="Name of a dump; by default the newest.")
@click.option("--list", "only_list", is_flag=True, help="List the dumps, restore nothing.")
@click.option("--database-only", is_flag=True, help="Leave the store as it is.")
@click.option("--read", is_flag=True, help="Then read every original and result, and compare its SHA-256.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.pass_obj
def restore(
    services: "Services",
    folder: Path,
    name: str | None,
    only_list: bool,
    database_only: bool,
    read: bool,
    as_json: bool,
) -> None:
    """Restore the store and the database from a backup, and compare the two."""
    from retint import backups

    if only_list:
        found = backups.list_dumps(folder)
        lines = [f"{dump.name}  {dump.at}  {dump.size / 1e6:,.1f} MB  version {dump.version}" for dump in found]
        click.echo(json.dumps([asdict(dump) for dump in found], indent=2) if as_json else "\n".join(lines))
        return
    steps = backups.restore(services, folder, name=name, with_store=not database_only, read=read)
    outcome = _show(steps, as_json)
    if as_json:
        click.echo(json.dumps(asdict(outcome), indent=2))
    else:
        _print_restore(outcome)
    sys.exit(0 if outcome.is_whole else 1)


@click.command(
    "verify-store",
    epilog="""\b
Examples:
  retint admin verify-store           every file that the database names is there, with its size
  retint admin verify-store --read    and every original and result has the bytes that it had

Exit status: 0 when everything is there; 1 when files are missing or damaged; 3 when the database
or the store did not answer.
""",
)
@click.option("--read", is_flag=True, help="Read every original and every result, and compare its SHA-256.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as one JSON object.")
@click.pass_obj
def verify_store(services: "Services", read: bool, as_json: bool) -> None:
    """Compare what the database names with what the store has. Changes nothing."""
    from retint.backups import Outcome

    steps = (Outcome("Comparing the store with the database", inventory=found) for found in _compare(services, read))
    found = _show(steps, as_json).inventory
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        _print_inventory(found)
    sys.exit(0 if found.is_whole else 1)


def _compare(services: "Services", read: bool) -> "Iterable[Inventory]":
    from retint import inventory

    found = inventory.Inventory()
    for found in inventory.compare(services, read=read):
        yield found
    yield found


def _show(steps: "Iterable[Outcome]", is_quiet: bool) -> "Outcome":
    """Go through all steps and show how far they are, where somebody looks; return the last outcome."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from retint.backups import Outcome

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    outcome = Outcome()
    with Progress(*columns, console=console, disable=is_quiet or not console.is_terminal) as progress:
        task = progress.add_task("")
        for outcome in steps:
            known = outcome.inventory
            done = f"{known.photos:,} photos" if known.photos else f"{outcome.files:,} files copied"
            progress.update(task, description=f"{outcome.step}: {done}")
    return outcome


def _print_backup(outcome: "Outcome", as_json: bool, *, with_store: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(outcome)))
        return
    if outcome.dump:
        click.echo(f"Dumped the database: {outcome.dump.name}, {outcome.dump.size / 1e6:,.1f} MB.")
    if with_store:
        click.echo(f"Copied {outcome.files:,} new files of the store, {outcome.file_bytes / 1e6:,.1f} MB.")
        _print_keys(outcome.damaged, "are not what was deposited any more, and were not copied")
        _print_inventory(outcome.inventory)
    if outcome.deleted:
        click.echo(f"Deleted {outcome.deleted} old dumps.")


def _print_restore(outcome: "Outcome") -> None:
    click.echo(f"Copied {outcome.files:,} files into the store, {outcome.file_bytes / 1e6:,.1f} MB.")
    if outcome.dump:
        click.echo(f"Restored the database of {outcome.dump.at}, made by version {outcome.dump.version}.")
    _print_inventory(outcome.inventory)
    if outcome.mismatch:
        click.echo(outcome.mismatch)
    click.echo("Now run `retint admin migrate`, then start Retint's processes: work that was in flight goes on.")


def _print_inventory(found: "Inventory") -> None:
    """Print how database and store compare."""
    read = f" {found.read:,} originals and results were read." if found.read else ""
    click.echo(
        f"{found.photos:,} photos: {found.files:,} files that the database names are there, "
        f"{found.file_bytes / 1e6:,.1f} MB.{read}"
    )
    _print_keys(found.missing, "that the database names are missing")
    _print_keys(found.damaged, "are damaged: their bytes are not those that the database knows")
    _print_keys(found.unknown, "are originals that this database does not know: deposited after its dump, or foreign")


def _print_keys(keys: "Keys", what: str) -> None:
    if keys.count:
        click.echo(f"{keys.count:,} files {what}:", err=True)
        for key in keys.examples:
            click.echo(f"  {key}", err=True)
        if keys.count > len(keys.examples):
            click.echo("  …", err=True)

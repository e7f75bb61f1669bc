"""What an operator does with the store: `retint admin sweep`, `retint admin adopt-store`."""

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from retint.services import Services
    from retint.sweeps import Findings


@click.command(
    epilog="""\b
Examples:
  retint admin sweep --dry-run      say what would be deleted, and why the rest is kept
  retint admin sweep                delete it now, instead of waiting for the daily sweep
  retint admin sweep --continue     after a sweep that stopped: go on, and delete also where it is much

Exit status: 0 when the sweep came to its end, 1 when it stopped, 2 when database and store
do not belong together or another sweep runs, 3 when one of them did not answer.
"""
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, delete nothing.")
@click.option(
    "--continue", "go_on", is_flag=True, help="Go on where the sweep stopped, and do not stop again, however much goes."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as one JSON object.")
@click.pass_obj
def sweep(services: "Services", dry_run: bool, go_on: bool, as_json: bool) -> None:
    """Delete files in the store that no row of the database names.

    They were left behind by processes that died. Originals are never deleted, nor files of jobs that the database does
    not know. Where files of many jobs would go, the sweep stops. The dispatcher does the same every day, slowly.
    """
    from retint import audit, sweeps

    steps = sweeps.preview(services) if dry_run else sweeps.sweep(services, go_on=go_on, accept_many=go_on)
    findings = _show_progress(steps, is_quiet=as_json)
    if dry_run and (reason := _find_mismatch(services)):
        findings.stopped = reason
    if not dry_run:
        with services.begin() as session:
            after = {"deleted": findings.deleted, "stopped": findings.stopped}
            audit.record(session, "store_swept", "at once", after=after)
    if as_json:
        click.echo(json.dumps(_as_json(findings), indent=2))
    else:
        _print(findings, dry_run=dry_run)
    sys.exit(1 if findings.stopped else 0)


def _show_progress(steps: "Iterable[Findings]", *, is_quiet: bool) -> "Findings":
    """Go through all steps and show how far they are, where somebody looks; return the last findings."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from retint.sweeps import Findings

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    findings = Findings()
    with Progress(*columns, console=console, disable=is_quiet or not console.is_terminal) as progress:
        task = progress.add_task("Looking at the store")
        for findings in steps:
            progress.update(task, description=f"{findings.looked_at:,} files, {findings.orphans:,} orphans")
    return findings


def _find_mismatch(services: "Services") -> str | None:
    """Return why a sweep would not begin; None if nothing speaks against it."""
    from retint import store_identity

    try:
        store_identity.check(services)
    except store_identity.WrongStore as error:
        return error.message
    return None


def _as_json(findings: "Findings") -> dict[str, Any]:
    return {
        "looked_at": findings.looked_at,
        "orphans": findings.orphans,
        "orphan_bytes": findings.orphan_bytes,
        "deleted": findings.deleted,
        "kept": findings.kept,
        "examples": findings.examples,
        "stopped": findings.stopped,
    }


def _print(findings: "Findings", *, dry_run: bool) -> None:
    from retint.sweeps import Kept

    size = f"{findings.orphan_bytes / 1e6:,.1f} MB"
    what = "would be deleted" if dry_run else f"found, {findings.deleted:,} deleted"
    click.echo(f"Looked at {findings.looked_at:,} files: {findings.orphans:,} orphans ({size}) {what}.")
    for reason, files in findings.kept.items():
        example = f" ({findings.examples[reason]} …)" if reason in findings.examples and reason != Kept.NAMED else ""
        click.echo(f"{files:>12,} kept: {reason.words}{example}")
    if findings.stopped:
        click.echo(f"{'A sweep would stop' if dry_run else 'Stopped'}: {findings.stopped}", err=True)


@click.command(
    "adopt-store",
    epilog="""\b
Examples:
  retint admin adopt-store --dry-run    after an older dump was restored: see what fits
  retint admin adopt-store              then start Retint's processes again
""",
)
@click.option("--dry-run", is_flag=True, help="Say what is known of the two, change nothing.")
@click.pass_obj
def adopt_store(services: "Services", dry_run: bool) -> None:
    """Join this database and this store, whatever they knew before.

    Do this only where you know that they are the right ones: after a dump was restored, or the store was moved. If they
    belonged to others, the others' processes will refuse to work with them. No file is changed.
    """
    from retint import store_identity

    found, of = store_identity.count_originals(services)
    click.echo(f"The store has the originals of {found} of {of} photos of the database that were looked for.")
    if dry_run:
        click.echo(_find_mismatch(services) or "They belong together already.")
        return
    store_identity.adopt(services)
    click.echo("Database and store belong together now. Start all processes of Retint again.")

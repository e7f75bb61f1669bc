"""The command `retint`. Other parts add their subcommands through the entry points `retint.commands`."""

import io
import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import click
import structlog

from retint import __version__
from retint.command import audit as audit_commands
from retint.command import backup, institution, people, store
from retint.command.catalogue import catalogue
from retint.command.options import recipe_options
from retint.command.provider import provider
from retint.command.reseal import reseal
from retint.command.scale import scale
from retint.errors import Refused, RetintError
from retint.names import escape_surrogates, show_name
from retint.settings import Settings

if TYPE_CHECKING:
    from uuid import UUID

    from retint.recipes import Recipe
    from retint.services import Services

MAX_TITLE = 200
"""Most characters of a batch's name."""


class PartsGroup(click.Group):
    """The core's commands, and those of every part that is installed."""

    def _load_parts(self) -> None:
        for entry_point in entry_points(group="retint.commands"):
            for name, command in entry_point.load().commands.items():
                self.commands.setdefault(name, command)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: D102
        self._load_parts()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: D102
        self._load_parts()
        return super().get_command(ctx, cmd_name)


@click.group(
    cls=PartsGroup,
    epilog="""\b
Exit status: 0 success; 1 some photos or checks failed; 2 the request or its input is
at fault; 3 a service did not answer: try again later.
""",
)
@click.version_option(__version__, prog_name="retint")
def retint() -> None:
    """Restore archives of old photographs: colorize, then defade."""


def main() -> None:
    """Run the command; a RetintError becomes one sentence and an exit status."""
    # A file's name may hold what the terminal's encoding does not: print it escaped, rather than fail.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Standard output is for results; a process that runs on and on sets up its own logging.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        retint(prog_name="retint")
    except RetintError as error:
        click.echo(f"Error: {escape_surrogates(error.message)}", err=True)
        sys.exit(2 if isinstance(error, Refused) else 3)


@retint.command(
    epilog="""\b
Examples:
  retint push scans/ --server https://retint.museum.example --token retint_…
  retint push scans/ --server http://127.0.0.1:8000 --dry-run
  retint push scans/ --server http://127.0.0.1:8000 --receipt received.csv
  retint push prints/ --server http://127.0.0.1:8000 --colorizer compact-vivid --strength .7 --priority 5

After an interruption, or when the folder grew, run it again: it goes into the same
batch, and what the server has is not sent twice. Trouble with one file stops no
other: it is named with the reason, and the exit status is 1.
"""
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--server", required=True, help="Address of the portal.")
@click.option("--token", envvar="RETINT_TOKEN", required=True, help="API token [env: RETINT_TOKEN].")
@click.option("--name", help="Name of the batch; by default the folder's name.")
@recipe_options
@click.option(
    "--priority", type=click.IntRange(0, 9), default=0, show_default=True, help="A higher priority is served first."
)
@click.option("--prove-first", is_flag=True, help="The batch waits until it is proved in the portal, or resumed.")
@click.option(
    "--receipt",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the portal's receipt here, as CSV: path, bytes, SHA-256 and time of arrival of each file.",
)
@click.option(
    "--catalogue",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Import this CSV as the batch's catalogue, before the files; see `retint catalogue --help`.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be sent, send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def push(
    folder: Path,
    server: str,
    token: str,
    name: str | None,
    recipe: "Recipe",
    priority: int,
    prove_first: bool,
    receipt: Path | None,
    catalogue: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Deposit a folder, with all its subfolders, as one batch."""
    from retint.command import push as pushing

    title = show_name(name) if name else show_name(folder.resolve().name)[:MAX_TITLE] or "Photographs"
    batch = pushing.NewBatch(title, recipe, priority, prove_first)
    outcome = pushing.push(
        folder, server, token, batch, dry_run=dry_run, quiet=as_json, receipt=receipt, catalogue=catalogue
    )
    if as_json:
        click.echo(json.dumps(outcome.as_json(), indent=2))
    elif outcome.total:
        click.echo(outcome.sentence)
        for line in outcome.catalogue_lines:
            click.echo(line)
        # Where a quota was reached, the reason of all that is left out is the same, and follows.
        named = outcome.refused if outcome.is_cut_short else outcome.refused | outcome.not_sent
        for file, reason in named.items():
            click.echo(f"{file}: {escape_surrogates(reason)}", err=True)
    if outcome.error:
        click.echo(f"Error: {escape_surrogates(outcome.error.message)}", err=True)
    sys.exit(outcome.exit_status)


retint.add_command(catalogue)


@retint.command(
    epilog="""\b
Examples:
  retint again BATCH --server https://retint.museum.example --state refused
  retint again BATCH --server http://127.0.0.1:8000 --verdict rejected --recipe '{"colorizer": "keep"}'

The results so far stay; the new ones are to be judged again.
"""
)
@click.argument("batch", type=click.UUID)
@click.option("--server", required=True, help="Address of the portal.")
@click.option("--token", envvar="RETINT_TOKEN", required=True, help="API token [env: RETINT_TOKEN].")
@click.option("--state", type=click.Choice(["restored", "refused", "quarantined", "cancelled"]), help="Only these.")
@click.option("--verdict", type=click.Choice(["unjudged", "approved", "rejected"]), help="Only results with it.")
@click.option("--reason", help="Only photos that failed for this reason: its code in the report.")
@click.option("--recipe", help="What they go through, as JSON; by default the recipe that each has.")
def again(
    batch: "UUID",
    server: str,
    token: str,
    state: str | None,
    verdict: str | None,
    reason: str | None,
    recipe: str | None,
) -> None:
    """Run photos of a batch again: all that have ended, or some."""
    from retint.command.client import Client

    try:
        parsed = None if recipe is None else json.loads(recipe)
    except ValueError as error:
        raise click.BadParameter(f"It is no JSON: {error}.", param_hint="--recipe") from error
    chosen = {"state": state, "verdict": verdict, "reason_code": reason, "recipe": parsed}
    with Client(server, token) as client:
        done = client.run_again(str(batch), **{name: value for name, value in chosen.items() if value is not None})
    follows = "" if done["complete"] else " The rest follows."
    click.echo(f"{done['replaced']} run again.{follows}")


@retint.command()
@click.option("--json", "as_json", is_flag=True, help="Print the checks as a JSON list.")
def doctor(as_json: bool) -> None:
    """Check what this machine lacks to run Retint, and how to get it. Exit status 1 if something is missing."""
    from retint.command.doctor import run_checks

    checks = run_checks(Settings())
    if as_json:
        click.echo(json.dumps([check.__dict__ for check in checks], indent=2))
    else:
        for check in checks:
            click.echo(f"{'ok     ' if check.ok else 'MISSING'}  {check.name}: {check.finding}")
            if not check.ok:
                click.echo(f"         {check.remedy}")
    sys.exit(0 if all(check.ok for check in checks) else 1)


@retint.group()
@click.pass_context
def admin(context: click.Context) -> None:
    """Manage people, tokens, the schema and the number of workers (for operators)."""
    from retint import audit, telemetry
    from retint.services import Services

    settings = Settings()
    telemetry.configure(settings, "admin")
    audit.set_origin(audit.on_terminal())
    context.obj = Services.connect(settings)


admin.add_command(audit_commands.audit)
admin.add_command(reseal)
admin.add_command(scale)
admin.add_command(store.sweep)
admin.add_command(store.adopt_store)
admin.add_command(backup.backup)
admin.add_command(backup.restore)
admin.add_command(backup.verify_store)
admin.add_command(institution.institution)
admin.add_command(provider)
for _command in people.COMMANDS:
    admin.add_command(_command)


@admin.command(
    epilog="""\b
An upgrade while Retint runs:
  retint admin migrate           before the first process of the new version starts
  retint admin migrate --finish  when no process of the version before is left
"""
)
@click.option("--finish", is_flag=True, help="Also take away what only the version before needs.")
@click.pass_obj
def migrate(services: "Services", finish: bool) -> None:
    """Bring the database's schema up to date, create the bucket or the folder of the store, and join the two.

    Retint may run meanwhile, also the version before.
    """
    from retint import audit, database, row_security, store_identity

    present = database.read_revision(services.engine)
    is_newest = database.migrate(services.engine, finish=finish)
    if (revision := database.read_revision(services.engine)) != present:
        with services.begin() as session:
            before, after = {"revision": present}, {"revision": revision}
            audit.record(session, "schema_migrated", revision, before=before, after=after)
    services.store.prepare()
    store_identity.verify(services)
    click.echo(
        "The schema is up to date."
        if is_newest
        else "The schema is ready for this version. When no process of the version before is left, run "
        "`retint admin migrate --finish`."
    )
    if remedy := row_security.find_remedy(services.engine):
        click.echo(f"There is no second lock between institutions (row security). {remedy}", err=True)


if __name__ == "__main__":
    main()

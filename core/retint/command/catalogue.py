"""`retint catalogue`: what a museum's catalogue knows of a batch is sent to the portal."""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from retint.command.client import Client
from retint.errors import InvalidRequest
from retint.names import escape_surrogates

if TYPE_CHECKING:
    from retint.catalogue_files import CatalogueFile

TITLES: Final = {
    "ambiguous": "not clear, several could be meant",
    "no_file": "records without a photo; they wait for it",
    "no_record": "photos without a record",
}
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@click.command(
    epilog="""\b
Examples:
  retint catalogue 0193c0de-… metadata.csv --server https://retint.museum.example --dry-run
  retint catalogue https://retint.museum.example/batches/0193c0de-… metadata.csv --server https://…

The CSV has a column `filename` or `identifier`; `dc.title`, `dc.rights` and
`do_not_colorize` are understood, and all columns are handed back with the report.
It replaces the catalogue that the batch has, all of it or nothing.
"""
)
@click.argument("batch")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--server", required=True, help="Address of the portal.")
@click.option("--token", envvar="RETINT_TOKEN", required=True, help="API token [env: RETINT_TOKEN].")
@click.option("--dry-run", is_flag=True, help="Print what would become of it, import nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the portal's answer as JSON.")
def catalogue(batch: str, file: Path, server: str, token: str, dry_run: bool, as_json: bool) -> None:
    """Import the catalogue of a BATCH, which is its id or the address of its page, from a CSV."""
    found = _ID.findall(batch)
    if len(found) != 1:
        raise InvalidRequest(f"{batch} is neither the id of a batch nor the address of its page.")
    with Client(server, token) as client:
        answer = client.import_catalogue(found[0].lower(), read(file), dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    for line in describe(answer):
        click.echo(escape_surrogates(line))


def read(file: Path) -> bytes:
    """Read a catalogue's bytes.

    Raises:
        InvalidRequest: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}.") from error


def foretell(file: "CatalogueFile", names: Collection[str]) -> dict[str, Any]:
    """Say what would become of a catalogue whose batch is not open yet, as the portal does."""
    from retint.catalogue import EXAMPLES, compare

    matching = compare(file, names)
    told = {"ambiguous": matching.ambiguous, "no_file": matching.no_file, "no_record": matching.no_record}
    return {
        "dry_run": True,
        "records": len(file.rows),
        "replaced": 0,
        "matched": matching.matched,
        "not_colorized": matching.forbidden,
        "kept_gray": matching.forbidden,
        "withheld": 0,
        "remarks": file.remarks,
        **{name: len(found) for name, found in told.items()},
        "examples": [asdict(each) for found in told.values() for each in found[:EXAMPLES]],
    }


def describe(answer: dict[str, Any]) -> Iterator[str]:
    """Yield lines that say what an import did, or would do."""
    done = "would be imported" if answer["dry_run"] else "imported"
    yield f"{answer['records']} records {done}, in place of {answer['replaced']}; {answer['matched']} photos matched."
    if answer["not_colorized"]:
        yield (
            f"{answer['not_colorized']} photos are not to be colorized: {answer['kept_gray']} of them have no colors "
            f"yet, {answer['withheld']} colored results are withheld."
        )
    yield from answer["remarks"]
    for name, title in TITLES.items():
        if answer[name]:
            yield f"{answer[name]} {title}:"
            shown = [each for each in answer["examples"] if each["problem"].replace(" ", "_") == name]
            yield from (f"  {_name(each)}" for each in shown)
            if len(shown) < answer[name]:
                yield f"  and {answer[name] - len(shown)} more"


def _name(problem: dict[str, Any]) -> str:
    named = ", ".join(filter(None, (problem["file"], problem["identifier"])))
    return f"{named} (row {problem['row']})" if problem["row"] else named

"""The command `retint evaluate`."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import click

from retint_models.command.arguments import FILE, FOLDER, IMPORTED_FOLDER, refusing


@click.command(
    epilog="""\b
Examples:
  retint evaluate dev/ --training train/ --json scores.json --sheet sheet.jpg
  retint evaluate dev/ --colorizers all --defaders "" --every 4
  retint evaluate dev/ --old scans/ --old-sheet old.jpg

PHOTOS must be in color: their gray is colored, their prints are faded, and the photographs are the truth.
"""
)
@click.argument("photos", type=FOLDER)
@click.option(
    "--training", type=FOLDER, help="Training photographs, for the rows `mean-ab` and `table`; by default PHOTOS."
)
@click.option(
    "--colorizers",
    default="compact,compact-vivid",
    show_default=True,
    help="Names, with commas; or `all` that are here.",
)
@click.option(
    "--defaders", default="compact-defade", show_default=True, help="Names, with commas; or `all` that are here."
)
@IMPORTED_FOLDER
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep decoded photographs.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Judge on every n-th photo only.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@click.option("--json", "json_file", type=FILE, help="Write the rows to this file, under `colorize` and `defade`.")
@click.option("--sheet", type=FILE, help="Write gray, results and truth of the photos judged on to this JPEG.")
@click.option("--defade-sheet", type=FILE, help="The same for the simulated prints.")
@click.option("--old", type=FOLDER, help="Old photographs, to be judged by eye; --old-sheet says where to.")
@click.option("--old-sheet", type=FILE, help="Write --old as they are, colorized, defaded, and both to this JPEG.")
def evaluate(
    photos: Path,
    training: Path | None,
    colorizers: str,
    defaders: str,
    folder: Path,
    cache: Path | None,
    every: int,
    device: str,
    threads: int | None,
    json_file: Path | None,
    sheet: Path | None,
    defade_sheet: Path | None,
    old: Path | None,
    old_sheet: Path | None,
) -> None:
    """Judge networks on PHOTOS in color, beside rows that say what a number is worth."""
    from tempfile import TemporaryDirectory

    import torch

    from retint_models.datasets.photographs import open_photos
    from retint_models.evaluation import colorize, defade, sheets
    from retint_models.networks import registry

    if threads:
        torch.set_num_threads(threads)
    with refusing(), TemporaryDirectory() as scratch:
        if (old is None) != (old_sheet is None):
            raise ValueError("--old and --old-sheet belong together")
        painters = {
            name: registry.load_colorizer(name, device, folder)
            for name in chosen(colorizers, registry.COLORIZERS, folder)
        }
        repairers = {
            name: registry.load_defader(name, device, folder) for name in chosen(defaders, registry.DEFADERS, folder)
        }
        decoded = cache or Path(scratch)
        held_back = open_photos(photos, decoded)
        if held_back.skipped:
            click.echo(f"{len(held_back)} photographs; skipped: {held_back.skipped}", err=True)
        if painters:
            shots = colorize.shots_of(held_back)[::every]
            known = open_photos(training, decoded) if training else held_back
            if not training:
                click.echo("No --training given: the rows mean-ab and table know the photographs themselves.", err=True)
            rows = told(colorize.heading(), colorize.rows_of(shots, known, painters), colorize.line)
            if json_file:
                colorize.write_json(json_file, rows)
            if sheet:
                sheets.colorized(shots[:60], painters).save(sheet, quality=85)
        if repairers:
            cases = defade.cases_of(held_back, every=every)
            rows = told(defade.heading(), defade.rows_of(cases, repairers), defade.line)
            if json_file:
                colorize.write_json(json_file, rows, "defade")
            if defade_sheet:
                sheets.defaded(cases[:60], repairers).save(defade_sheet, quality=85)
        if old and old_sheet:
            sheets.restored(old, painters, repairers).save(old_sheet, quality=85)


def chosen(names: str, known: Collection[str], folder: Path) -> list[str]:
    """Return the networks that are named with commas, or all whose weights are here.

    Raises:
        ValueError: a name is unknown, empty, or there twice.
    """
    from retint_models.networks import registry

    if names == "all":
        return [name for name in known if registry.card(name, folder).is_here]
    asked = [name.strip() for name in names.split(",")] if names.strip() else []
    for name in asked:
        if name not in known:
            raise ValueError(f"no such network: {name!r}; there are {', '.join(known)}")
        if asked.count(name) > 1:
            raise ValueError(f"{name} is named twice")
    return asked


def told(heading: str, rows: Iterator[dict[str, Any]], line: Callable[[dict[str, Any]], str]) -> list[dict[str, Any]]:
    """Print a table while its rows come, and return them."""
    click.echo(heading)
    kept = []
    for row in rows:
        click.echo(line(row))
        kept.append(row)
    return kept

"""The command `retint evaluate`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from retint_models.arguments import FILE, FOLDER, refusing


@click.command(
    epilog="""\b
Example:
  retint evaluate dev/ --training train/ --json scores.json --sheet sheet.jpg
"""
)
@click.argument("photos", type=FOLDER)
@click.option("--training", type=FOLDER, help="Training photographs, for the rows `mean-ab` and `table`.")
@click.option("--colorizers", default="compact,compact-vivid", show_default=True, help="Names, with commas.")
@click.option("--defaders", default="compact-defade", show_default=True, help="Names, with commas.")
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep decoded photographs.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Judge on every n-th photo only.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@click.option("--json", "json_file", type=FILE, help="Write the rows to this file, under `colorize` and `defade`.")
@click.option("--sheet", type=FILE, help="Write gray, results and truth of the photos judged on to this JPEG.")
@click.option("--defade-sheet", type=FILE, help="The same for the simulated prints.")
def evaluate(
    photos: Path,
    training: Path | None,
    colorizers: str,
    defaders: str,
    cache: Path | None,
    every: int,
    device: str,
    threads: int | None,
    json_file: Path | None,
    sheet: Path | None,
    defade_sheet: Path | None,
) -> None:
    """Judge networks on PHOTOS in color, beside rows that say what a number is worth."""
    from tempfile import TemporaryDirectory

    import torch

    from retint_models import registry
    from retint_models.data import open_photos
    from retint_models.evaluation import colorize, defade

    if threads:
        torch.set_num_threads(threads)
    with refusing(), TemporaryDirectory() as scratch:
        decoded = cache or Path(scratch)
        held_back = open_photos(photos, decoded)
        if colorizers:
            shots = colorize.shots_of(held_back)[::every]
            networks = {name: registry.load_colorizer(name, device) for name in colorizers.split(",")}
            known = open_photos(training, decoded) if training else None
            rows = told(colorize.heading(), colorize.rows_of(shots, known, networks), colorize.line)
            if json_file:
                colorize.write_json(json_file, rows)
            if sheet:
                colorize.compared(shots[:60], networks).save(sheet, quality=85)
        if defaders:
            cases = defade.cases_of(held_back)[::every]
            repairers = {name: registry.load_defader(name, device) for name in defaders.split(",")}
            rows = told(defade.heading(), defade.rows_of(cases, repairers), defade.line)
            if json_file:
                defade.write_json(json_file, rows)
            if defade_sheet:
                defade.compared(cases[:60], repairers).save(defade_sheet, quality=85)


def told(heading: str, rows: Iterator[dict[str, Any]], line: Callable[[dict[str, Any]], str]) -> list[dict[str, Any]]:
    """Print a table while its rows come, and return them."""
    click.echo(heading)
    kept = []
    for row in rows:
        click.echo(line(row))
        kept.append(row)
    return kept

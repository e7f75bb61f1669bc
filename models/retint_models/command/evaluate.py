"""The command `retint evaluate`."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from retint_models.command.arguments import FILE, FOLDER, IMPORTED_FOLDER, translate_errors

if TYPE_CHECKING:
    from retint_models.datasets.photographs import Photos
    from retint_models.networks.registry import Colorizer, Defader


@click.command(
    epilog="""\b
Examples:
  retint evaluate dev/ --training train/ --json scores.json --sheet sheet.jpg
  retint evaluate dev/ --colorizers all --defaders "" --every 4
  retint evaluate dev/ --old scans/ --old-sheet old.jpg

PHOTOS must be in color. Colorizers see their gray, defaders see simulated faded prints of them, and both are compared
with the photographs.
"""
)
@click.argument("photos", type=FOLDER)
@click.option(
    "--training", type=FOLDER, help="Training photographs for the rows `mean-ab` and `table`; PHOTOS by default."
)
@click.option(
    "--colorizers",
    default="compact,compact-vivid",
    show_default=True,
    help="Names with commas between them; `all` for those whose weights are installed.",
)
@click.option(
    "--defaders",
    default="compact-defade",
    show_default=True,
    help="Names with commas between them; `all` for those whose weights are installed.",
)
@IMPORTED_FOLDER
@click.option(
    "--cache", type=click.Path(file_okay=False, path_type=Path), help="Folder that keeps decoded photographs."
)
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Use only every n-th photo.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@click.option("--json", "json_file", type=FILE, help="Write the rows to this file, under `colorize` and `defade`.")
@click.option("--sheet", type=FILE, help="Write gray, results and truth of the first 60 photos to this JPEG.")
@click.option("--defade-sheet", type=FILE, help="The same for the simulated prints.")
@click.option("--old", type=FOLDER, help="Old photographs, to be judged by eye; needs --old-sheet.")
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
    """Score networks on photographs in color.

    The tables hold baselines as well, which show what a score is worth.
    """
    import torch

    from retint_models.datasets.photographs import open_photos
    from retint_models.evaluation import sheets
    from retint_models.networks import registry

    if threads:
        torch.set_num_threads(threads)
    with translate_errors(), TemporaryDirectory() as scratch:
        if (old is None) != (old_sheet is None):
            raise ValueError("--old and --old-sheet belong together")
        names = choose_networks(colorizers, registry.COLORIZERS, folder)
        chosen_colorizers = {name: registry.load_colorizer(name, device, folder) for name in names}
        names = choose_networks(defaders, registry.DEFADERS, folder)
        chosen_defaders = {name: registry.load_defader(name, device, folder) for name in names}
        decoded = cache or Path(scratch)
        held_back = open_photos(photos, decoded)
        if held_back.skipped:
            click.echo(f"{len(held_back)} photographs; skipped: {held_back.skipped}", err=True)
        if chosen_colorizers:
            if not training:
                click.echo("No --training given: the rows mean-ab and table know the photographs themselves.", err=True)
            known = open_photos(training, decoded) if training else held_back
            evaluate_colorizers(chosen_colorizers, held_back, known, every, json_file, sheet)
        if chosen_defaders:
            evaluate_defaders(chosen_defaders, held_back, every, json_file, defade_sheet)
        if old and old_sheet:
            sheets.draw_restored(old, chosen_colorizers, chosen_defaders).save(old_sheet, quality=85)


def evaluate_colorizers(
    colorizers: "dict[str, Colorizer]",
    photos: "Photos",
    training: "Photos",
    every: int,
    json_file: Path | None,
    sheet: Path | None,
) -> None:
    """Print the table of colorizers; write it to a JSON file and a contact sheet if they are given."""
    from retint_models.evaluation import colorize, report, samples, sheets

    color_samples = samples.make_color_samples(photos)[::every]
    scores = colorize.score_colorizers(color_samples, training, colorizers)
    rows = print_table(colorize.table_heading(), scores, colorize.table_line)
    if json_file:
        report.write_json(json_file, rows, "colorize")
    if sheet:
        sheets.draw_colorized(color_samples[:60], colorizers).save(sheet, quality=85)


def evaluate_defaders(
    defaders: "dict[str, Defader]", photos: "Photos", every: int, json_file: Path | None, sheet: Path | None
) -> None:
    """Print the table of defaders; write it to a JSON file and a contact sheet if they are given."""
    from retint_models.evaluation import defade, prints, report, sheets

    print_samples = prints.make_print_samples(photos, every=every)
    rows = print_table(defade.table_heading(), defade.score_defaders(print_samples, defaders), defade.table_line)
    if json_file:
        report.write_json(json_file, rows, "defade")
    if sheet:
        sheets.draw_defaded(print_samples[:60], defaders).save(sheet, quality=85)


def choose_networks(names: str, known: Collection[str], folder: Path) -> list[str]:
    """Return the networks of a comma-separated list, or for `all` those whose weights are installed.

    Raises:
        ValueError: a name is unknown, empty, or there twice.
    """
    from retint_models.networks import registry

    if names == "all":
        return [name for name in known if registry.card(name, folder).is_here]
    chosen = [name.strip() for name in names.split(",")] if names.strip() else []
    for name in chosen:
        if name not in known:
            raise ValueError(f"no such network: {name!r}; there are {', '.join(known)}")
        if chosen.count(name) > 1:
            raise ValueError(f"{name} is named twice")
    return chosen


def print_table(
    heading: str, rows: Iterator[dict[str, Any]], format_line: Callable[[dict[str, Any]], str]
) -> Sequence[dict[str, Any]]:
    """Print each row of a table as soon as it is there, and return all rows."""
    click.echo(heading)
    printed = []
    for row in rows:
        click.echo(format_line(row))
        printed.append(row)
    return printed

"""The command `retint evaluate`: scores of networks alone, and of what the stages make of prints with them."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import click

from retint_models.command.arguments import FILE, FOLDER, IMPORTED_FOLDER, translate_errors

if TYPE_CHECKING:
    from retint_models.datasets.photographs import Photos
    from retint_models.networks.registry import Colorizer, Defader
    from retint_workers.local.restore_prints import Run

ALL = "all"


@dataclass(frozen=True)
class Wanted:
    """What is to be scored, and where the scores go.

    Attributes:
        every: Use only every n-th photo.
        half: Use only the photos of this half, or `all`.
        json_file: File to write the rows to.
        sheet: JPEG for colorized photos.
        defade_sheet: JPEG for repaired prints.
    """

    every: int
    half: Literal["choose", "judge", "all"]
    json_file: Path | None
    sheet: Path | None
    defade_sheet: Path | None


@click.command(
    epilog="""\b
Examples:
  retint evaluate dev/ --training train/ --json scores.json --sheet sheet.jpg
  retint evaluate dev/ --colorizers all --defaders "" --every 4
  retint evaluate dev/ --score restoration --order both --half judge
  retint evaluate dev/ --old scans/ --old-sheet old.jpg

PHOTOS must be in color. Colorizers see their gray, defaders see simulated faded prints of them, and both are compared
with the photographs. --score restoration makes faded black-and-white and color prints of them, restores each as
`retint restore` does (ingest, both networks, render), and compares the results' files with the photographs.

One half of the photographs may choose (checkpoints, settings, thresholds), the other only judges what was chosen: the
columns `chose` and `judge`. A file's name decides which half it is in.
"""
)
@click.argument("photos", type=FOLDER)
@click.option(
    "--score",
    type=click.Choice(["networks", "restoration", ALL]),
    default="networks",
    show_default=True,
    help="What is scored: each network alone, prints restored by the stages, or both.",
)
@click.option(
    "--half",
    type=click.Choice(["choose", "judge", ALL]),
    default=ALL,
    show_default=True,
    help="Score only the photos that may choose, or only those that judge.",
)
@click.option(
    "--order",
    type=click.Choice(["tone-first", "color-first", "both"]),
    default="tone-first",
    show_default=True,
    help="Order in which restoration applies tone and color; `both` compares them, print by print.",
)
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
@click.option(
    "--json", "json_file", type=FILE, help="Write the rows to this file, under `colorize`, `defade` and `restore`."
)
@click.option("--sheet", type=FILE, help="Write gray, results and truth of the first 60 photos to this JPEG.")
@click.option("--defade-sheet", type=FILE, help="The same for the simulated prints.")
@click.option("--old", type=FOLDER, help="Old photographs, to be judged by eye; needs --old-sheet.")
@click.option("--old-sheet", type=FILE, help="Write --old as they are, colorized, defaded, and both to this JPEG.")
# Longer than a screen: one option of the command line after the other.
def evaluate(
    photos: Path,
    score: str,
    half: Literal["choose", "judge", "all"],
    order: str,
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
    """Score networks, and whole restorations, on photographs in color.

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
        wanted = Wanted(every, half, json_file, sheet, defade_sheet)
        named_colorizers = choose_networks(colorizers, registry.COLORIZERS, folder)
        named_defaders = choose_networks(defaders, registry.DEFADERS, folder)
        runs = plan_runs(named_colorizers, named_defaders, order) if score in ("restoration", ALL) else []
        if score == "restoration" and not old:  # the stages load their own
            named_colorizers, named_defaders = [], []
        chosen_colorizers = {name: registry.load_colorizer(name, device, folder) for name in named_colorizers}
        chosen_defaders = {name: registry.load_defader(name, device, folder) for name in named_defaders}
        decoded = cache or Path(scratch)
        held_back = open_photos(photos, decoded)
        if held_back.skipped:
            click.echo(f"{len(held_back)} photographs; skipped: {held_back.skipped}", err=True)
        if score in ("networks", ALL) and chosen_colorizers:
            if not training:
                click.echo("No --training given: the rows mean-ab and table know the photographs themselves.", err=True)
            known = open_photos(training, decoded) if training else held_back
            evaluate_colorizers(chosen_colorizers, held_back, known, wanted)
        if score in ("networks", ALL) and chosen_defaders:
            evaluate_defaders(chosen_defaders, held_back, wanted)
        if runs:
            evaluate_restoration(runs, held_back, wanted, folder, device)
        if old and old_sheet:
            sheets.draw_restored(old, chosen_colorizers, chosen_defaders).save(old_sheet, quality=85)


def evaluate_colorizers(
    colorizers: "dict[str, Colorizer]", photos: "Photos", training: "Photos", wanted: Wanted
) -> None:
    """Print the table of colorizers; write it to a JSON file and a contact sheet if they are given."""
    from retint_models.evaluation import colorize, report, samples, sheets

    color_samples = keep_half(samples.make_color_samples(photos)[:: wanted.every], wanted)
    scores = colorize.score_colorizers(color_samples, training, colorizers)
    rows = print_table(colorize.table_heading(), scores, colorize.table_line)
    if wanted.json_file:
        report.write_json(wanted.json_file, rows, "colorize")
    if wanted.sheet:
        sheets.draw_colorized(color_samples[:60], colorizers).save(wanted.sheet, quality=85)


def evaluate_defaders(defaders: "dict[str, Defader]", photos: "Photos", wanted: Wanted) -> None:
    """Print the table of defaders; write it to a JSON file and a contact sheet if they are given."""
    from retint_models.evaluation import defade, prints, report, sheets

    print_samples = keep_half(prints.make_print_samples(photos, every=wanted.every), wanted)
    rows = print_table(defade.table_heading(), defade.score_defaders(print_samples, defaders), defade.table_line)
    if wanted.json_file:
        report.write_json(wanted.json_file, rows, "defade")
    if wanted.defade_sheet:
        sheets.draw_defaded(print_samples[:60], defaders).save(wanted.defade_sheet, quality=85)


def plan_runs(colorizers: Sequence[str], defaders: Sequence[str], order: str) -> "list[Run]":
    """Return the ways to restore: each colorizer with each defader, in the orders that are asked for.

    Color first comes first, because the others are compared with it.
    """
    from retint_models.layers.types import Order
    from retint_workers.local.restore_prints import Run

    orders = [Order.COLOR_FIRST, Order.TONE_FIRST] if order == "both" else [Order(order)]
    return [
        Run(colorizer, defader, each)
        for colorizer in colorizers or ["keep"]
        for defader in defaders or ["keep"]
        for each in orders
    ]


def evaluate_restoration(runs: "Sequence[Run]", photos: "Photos", wanted: Wanted, weights: Path, device: str) -> None:
    """Print the table of restorations; write it to a JSON file if one is given.

    Raises:
        NetworkUnavailable: a network cannot be loaded.
    """
    from rich.console import Console
    from rich.progress import Progress

    from retint.settings import Settings
    from retint_models.evaluation import report, restoration
    from retint_workers import scratch
    from retint_workers.inference import loading
    from retint_workers.local.restore_prints import restore_print

    settings = Settings().model_copy(update={"weights": weights, "device": device})
    for kind, name in {(kind, getattr(run, kind)) for run in runs for kind in ("colorizer", "defader")}:
        if name != "keep":
            loading.load_network(kind, name, settings)
    samples = keep_half(restoration.make_restoration_samples(photos, every=wanted.every), wanted)
    report_refusal = partial(click.echo, err=True)
    ways = {run.title: partial(restore_print, run=run, settings=settings, report=report_refusal) for run in runs}
    console = Console(stderr=True)
    with scratch.open_root(), Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Restoring prints", total=len(samples) * len(ways))
        rows = restoration.score_restorations(samples, ways, lambda: progress.advance(task))
    print_table(restoration.table_heading(), rows, restoration.table_line)
    if wanted.json_file:
        report.write_json(wanted.json_file, rows, "restore")


def keep_half(samples: list[Any], wanted: Wanted) -> list[Any]:
    """Return the samples of the half that is wanted.

    Raises:
        ValueError: there is none.
    """
    from retint_models.datasets.halves import half_of

    kept = [sample for sample in samples if wanted.half in (ALL, half_of(sample.name))]
    if not kept:
        raise ValueError(f"none of the photographs is in the half that may {wanted.half}: add photographs")
    return kept


def choose_networks(names: str, known: Collection[str], folder: Path) -> list[str]:
    """Return the networks of a comma-separated list, or for `all` those whose weights are installed.

    Raises:
        ValueError: a name is unknown, empty, or there twice.
    """
    from retint_models.networks import registry

    if names == ALL:
        return [name for name in known if registry.card(name, folder).is_here]
    chosen = [name.strip() for name in names.split(",")] if names.strip() else []
    for name in chosen:
        if name not in known:
            raise ValueError(f"no such network: {name!r}; there are {', '.join(known)}")
        if chosen.count(name) > 1:
            raise ValueError(f"{name} is named twice")
    return chosen


def print_table(
    heading: str, rows: Iterable[dict[str, Any]], format_line: Callable[[dict[str, Any]], str]
) -> Sequence[dict[str, Any]]:
    """Print each row of a table as soon as it is there, and return all rows."""
    click.echo(heading)
    printed = []
    for row in rows:
        click.echo(format_line(row))
        printed.append(row)
    return printed

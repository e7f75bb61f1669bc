"""The command `retint evaluate`: scores of networks alone, and of what the stages make of prints with them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import click

from retint_models.command.arguments import FILE, FOLDER, IMPORTED_FOLDER, translate_errors

if TYPE_CHECKING:
    from retint_models.datasets.photographs import Photos
    from retint_models.evaluation.candidates import Candidate
    from retint_models.evaluation.prints import Repair
    from retint_models.evaluation.samples import Decide
    from retint_workers.local.restore_prints import Run

ALL = "all"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Wanted:
    """What is to be scored, and where the scores go.

    Attributes:
        every: Use only every n-th photo.
        half: Use only the photos of this half, or `all`.
        earlier: Rows of an earlier evaluation, by kind.
        json_file: File to write the rows to.
        sheets: Folder for contact sheets.
    """

    every: int
    half: Literal["choose", "judge", "all"]
    earlier: dict[str, Rows]
    json_file: Path | None
    sheets: Path | None


@click.command(
    epilog="""\b
Examples:
  retint evaluate dev/ --training train/ --json scores.json --sheets sheets/
  retint evaluate dev/ --colorizers compact,compact=runs/1/best.safetensors,compact:gain=2.4:limit=1.6
  retint evaluate dev/ --against scores.json --old scans/ --sheets sheets/
  retint evaluate dev/ --score networks --colorizers all --defaders "" --every 4
  retint evaluate dev/ --score restoration --order both --half judge

PHOTOS must be in color. Colorizers see their gray, defaders see simulated faded prints of them, and both are compared
with the photographs. Restoration makes faded black-and-white and color prints of them, restores each as
`retint restore` does (ingest, both networks, render), and compares the results' files with the photographs.

\b
A network is written as
  NAME                       as it is installed
  NAME=FILE                  with other weights, such as a training run's best.safetensors
  NAME:SETTING=NUMBER        with another setting, and more of them after further colons
Each is compared with the first one, photograph by photograph, or with the row of an earlier evaluation (--against).
A change counts (*) where its 95 % interval excludes 0.

One half of the photographs may choose (checkpoints, settings, thresholds), the other only judges what was chosen: the
columns `chose` and `judge`. A file's name decides which half it is in.
"""
)
@click.argument("photos", type=FOLDER)
@click.option(
    "--score",
    type=click.Choice(["networks", "restoration", ALL]),
    default=ALL,
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
    "--training",
    type=FOLDER,
    help="Training photographs for the rows `mean-ab` and `table`; PHOTOS by default. With --half choose, those that"
    " training holds back are scored as well.",
)
@click.option(
    "--colorizers",
    default=ALL,
    show_default=True,
    help="Networks with commas between them; `all` for those whose weights are here.",
)
@click.option(
    "--defaders",
    default=ALL,
    show_default=True,
    help="Networks with commas between them; `all` for those whose weights are here.",
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
@click.option("--against", type=FILE, help="Compare with the rows that --json wrote to this file, not with the first.")
@click.option(
    "--sheets",
    type=click.Path(file_okay=False, path_type=Path),
    help="Draw contact sheets in this folder: photos by stratum, pages without a photograph, prints, and --old.",
)
@click.option("--old", type=FOLDER, help="Old photographs, to be judged by eye; needs --sheets.")
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
    against: Path | None,
    sheets: Path | None,
    old: Path | None,
) -> None:
    """Score networks, and whole restorations, on photographs in color.

    The tables hold baselines as well, which show what a score is worth.
    """
    import torch

    from retint_models.datasets.halves import hold_back
    from retint_models.datasets.photographs import join_photos, open_photos
    from retint_models.evaluation import report
    from retint_models.evaluation.candidates import read_candidates
    from retint_models.networks import registry

    if threads:
        torch.set_num_threads(threads)
    with translate_errors(), TemporaryDirectory() as scratch:
        if old and not sheets:
            raise ValueError("--old needs --sheets, a folder to draw them in")
        wanted = Wanted(every, half, report.read_json(against) if against else {}, json_file, sheets)
        asked = Networks(
            read_candidates(colorizers, {name: registry.card(name, folder) for name in registry.COLORIZERS}),
            read_candidates(defaders, {name: registry.card(name, folder) for name in registry.DEFADERS}),
            folder,
            Path(scratch),
        )
        runs = asked.plan_runs(order) if score in ("restoration", ALL) else []
        decoded = cache or Path(scratch)
        chosen_colorizers, chosen_defaders = asked.load(device) if score in ("networks", ALL) or old else ({}, {})
        held_back = open_photos(photos, decoded)
        known = open_photos(training, decoded) if training else held_back
        if training and half == "choose":
            held_back = join_photos(held_back, hold_back(known))
        if held_back.skipped:
            click.echo(f"{len(held_back)} photographs; skipped: {held_back.skipped}", err=True)
        if score in ("networks", ALL) and chosen_colorizers:
            if not training:
                click.echo("No --training given: the rows mean-ab and table know the photographs themselves.", err=True)
            evaluate_colorizers(chosen_colorizers, held_back, known, wanted)
        if score in ("networks", ALL) and chosen_defaders:
            evaluate_defaders(chosen_defaders, held_back, wanted)
        if runs:
            evaluate_restoration(runs, held_back, wanted, device)
        if old and sheets:
            draw_old(old, sheets, chosen_colorizers, chosen_defaders)


@dataclass(frozen=True)
class Networks:
    """The networks that are asked for.

    Attributes:
        colorizers: To be scored.
        defaders: To be scored.
        imported: Folder of imported weights.
        scratch: Folder for those of candidates.
    """

    colorizers: "Sequence[Candidate]"
    defaders: "Sequence[Candidate]"
    imported: Path
    scratch: Path

    def load(self, device: str) -> "tuple[dict[str, Decide], dict[str, Repair]]":
        """Load all of them onto a device.

        Raises:
            ValueError, FileNotFoundError: the weights of one are missing or do not fit; says what to do.
        """
        from retint_models.evaluation.candidates import provide_weights
        from retint_models.evaluation.colorize import decide_with
        from retint_models.evaluation.defade import repair_with
        from retint_models.networks import registry

        def folder_of(candidate: "Candidate") -> Path:
            return provide_weights([candidate], self.imported, self.scratch)

        colorizers = {
            one.title: decide_with(registry.load_colorizer(one.name, device, folder_of(one)), one.settings)
            for one in self.colorizers
        }
        defaders = {
            one.title: repair_with(registry.load_defader(one.name, device, folder_of(one))) for one in self.defaders
        }
        return colorizers, defaders

    def plan_runs(self, order: str) -> "list[Run]":
        """Return the ways to restore: each colorizer with each defader, in the orders that are asked for.

        Color first comes first, because the others are compared with it.
        """
        from retint_models.evaluation.candidates import KEEP, provide_weights
        from retint_models.layers.types import Order
        from retint_workers.local.restore_prints import Run

        orders = [Order.COLOR_FIRST, Order.TONE_FIRST] if order == "both" else [Order(order)]
        return [
            Run(colorizer, defader, each, weights)
            for colorizer, defader in product(self.colorizers or [KEEP], self.defaders or [KEEP])
            for weights in [provide_weights([colorizer, defader], self.imported, self.scratch)]
            for each in orders
        ]


def evaluate_colorizers(colorizers: "dict[str, Decide]", photos: "Photos", training: "Photos", wanted: Wanted) -> None:
    """Print the table of colorizers, how true their confidence is, and what changed; draw them."""
    from retint_models.evaluation import calibration, colorize, samples, sheets

    color_samples = keep_half(samples.make_color_samples(photos)[:: wanted.every], wanted)
    scores = colorize.score_colorizers(color_samples, training, colorizers)
    rows = print_table(colorize.table_heading(), scores, colorize.table_line, list(colorizers))
    for row in rows:
        if row.get("calibration"):
            click.echo(f"\n{row['name']}, the half that judges:")
            click.echo("\n".join(calibration.table_lines(row["calibration"])))
    finish(rows, "colorize", wanted)
    if wanted.sheets:
        wanted.sheets.mkdir(parents=True, exist_ok=True)
        for stratum in sorted({sample.stratum for sample in color_samples}):
            drawn = [sample for sample in color_samples if sample.stratum == stratum]
            sheets.draw_colorized(drawn, colorizers).save(wanted.sheets / f"{stratum or 'photos'}.jpg", quality=85)
        sheets.draw_pages(colorizers).save(wanted.sheets / "pages.jpg", quality=85)


def evaluate_defaders(defaders: "dict[str, Repair]", photos: "Photos", wanted: Wanted) -> None:
    """Print the table of defaders and what changed; draw them."""
    from retint_models.evaluation import defade, prints, sheets

    print_samples = keep_half(prints.make_print_samples(photos, every=wanted.every), wanted)
    scores = defade.score_defaders(print_samples, defaders)
    rows = print_table(defade.table_heading(), scores, defade.table_line, list(defaders))
    finish(rows, "defade", wanted)
    if wanted.sheets:
        wanted.sheets.mkdir(parents=True, exist_ok=True)
        sheets.draw_defaded(print_samples[:60], defaders).save(wanted.sheets / "prints.jpg", quality=85)


def draw_old(old: Path, folder: Path, colorizers: "dict[str, Decide]", defaders: "dict[str, Repair]") -> None:
    """Draw old photographs on one sheet."""
    from retint_models.evaluation import sheets

    folder.mkdir(parents=True, exist_ok=True)
    sheets.draw_restored(old, colorizers, defaders).save(folder / "old.jpg", quality=85)


def evaluate_restoration(runs: "Sequence[Run]", photos: "Photos", wanted: Wanted, device: str) -> None:
    """Print the table of restorations and what changed.

    Raises:
        NetworkUnavailable: a network cannot be loaded.
    """
    from rich.console import Console
    from rich.progress import Progress

    from retint.settings import Settings
    from retint_models.evaluation import restoration
    from retint_workers import scratch
    from retint_workers.inference import loading
    from retint_workers.local.restore_prints import restore_print

    settings = Settings().model_copy(update={"device": device})
    for run in runs:
        for kind, name in (("colorizer", run.colorizer.name), ("defader", run.defader.name)):
            if name != "keep":
                loading.load_network(kind, name, run.settings(settings))
    samples = keep_half(restoration.make_restoration_samples(photos, every=wanted.every), wanted)
    report_refusal = partial(click.echo, err=True)
    ways = {run.title: partial(restore_print, run=run, settings=settings, report=report_refusal) for run in runs}
    console = Console(stderr=True)
    with scratch.open_root(), Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Restoring prints", total=len(samples) * len(ways))
        rows = restoration.score_restorations(samples, ways, lambda: progress.advance(task))
    finish(print_table(restoration.table_heading(), rows, restoration.table_line, list(ways)), "restore", wanted)


def finish(rows: Rows, kind: str, wanted: Wanted) -> None:
    """Print what changed, and write the rows to the JSON file if one is wanted."""
    from retint_models.evaluation import comparison, report

    comparison.add_changes(rows, wanted.earlier.get(kind, []))
    for line in comparison.table_lines(rows):
        click.echo(line)
    if wanted.json_file:
        report.write_json(wanted.json_file, rows, kind)


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


def print_table(
    heading: str,
    rows: Iterable[dict[str, Any]],
    format_line: Callable[[dict[str, Any]], str],
    names: Sequence[str],
) -> Rows:
    """Print each row of a table as soon as it is there, behind its name, and return all rows."""
    width = max(17, *map(len, names))
    click.echo(f"\n{'':<{width}}  {heading}")
    printed = []
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {format_line(row)}")
        printed.append(row)
    return printed

"""What the networks' part adds to the command `retint`."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.decorators import FC
    from torch import Tensor

    from retint_models.data import Photos
    from retint_models.training.loop import Run

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


@contextmanager
def refusing() -> Iterator[None]:
    """Turn what the networks' part refuses into a sentence and exit status 2."""
    try:
        yield
    except (ValueError, OSError, ArithmeticError) as error:
        raise click.UsageError(str(error)) from error


@click.group()
def commands() -> None:
    """Commands of the networks."""


@commands.group()
def weights() -> None:
    """Show and check the weights that come with Retint."""


@weights.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print all cards as one JSON object.")
def list_cards(as_json: bool) -> None:
    """List the networks that have weights."""
    from retint_models.weights import cards

    with refusing():
        found = cards()
    if as_json:
        click.echo(json.dumps({name: shown(card) for name, card in found.items()}, indent=2))
        return
    for card in found.values():
        state = f"{card.size / 1e6:.1f} MB" if card.is_here else "missing"
        click.echo(f"{card.name:<16} {card.kind:<10} {state:>8}  {card.title}")


@weights.command()
@click.argument("name")
def show(name: str) -> None:
    """Print all that is known of a network, as JSON."""
    from retint_models.registry import card

    with refusing():
        click.echo(json.dumps(shown(card(name)), indent=2))


@weights.command()
@click.pass_context
def verify(ctx: click.Context) -> None:
    """Check every file against its card; exit status 1 if one is missing or another."""
    from retint_models.weights import cards

    with refusing():
        found = cards()
    failed = False
    for card in (card for card in found.values() if card.is_shipped or card.path.exists()):
        try:
            card.check()
            click.echo(f"{card.name}: as its card says")
        except (ValueError, OSError) as error:
            failed = True
            click.echo(f"{card.name}: {error}", err=True)
    ctx.exit(1 if failed else 0)


def shown(card: Any) -> dict[str, Any]:
    """Return a card as JSON values."""
    return json.loads(json.dumps(asdict(card), default=str))  # type: ignore[no-any-return]


@commands.group()
def train() -> None:
    """Train networks on your own photographs."""


def run_options(minutes: float, judge_every: float) -> "Callable[[FC], FC]":
    """Give a recipe's command what every training is told."""
    described = [
        click.argument("photos", type=FOLDER),
        click.option("--dev", type=FOLDER, required=True, help="Photographs held back, to choose the best weights by."),
        click.option(
            "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the run."
        ),
        click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=minutes, show_default=True),
        click.option("--steps", type=click.IntRange(1), help="End after so many steps instead; repeatable."),
        click.option("--seed", type=int, default=1, show_default=True),
        click.option(
            "--judge-every", type=float, default=judge_every, show_default=True, help="Minutes between judgements."
        ),
        click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default."),
        click.option("--resume", is_flag=True, help="Go on where the run in this folder was stopped."),
    ]

    def described_command(command: "FC") -> "FC":
        for option in reversed(described):
            command = option(command)
        return command

    return described_command


def opened(photos: Path, dev: Path, out: Path, short_side: int) -> "tuple[Photos, Photos]":
    """Decode the photographs to train on and those held back, and say how many there are."""
    from retint_models.data import open_photos

    training, held_back = (open_photos(folder, out / "photos", short_side=short_side) for folder in (photos, dev))
    click.echo(f"{len(training)} photographs to train on, {len(held_back)} held back; skipped: {training.skipped}")
    return training, held_back


def conduct(run: "Run", *, threads: int | None, resume: bool) -> None:
    """Train, telling what happens, and leave `weights.safetensors` in the run's folder."""
    import torch

    from retint_models.training.loop import write_whole
    from retint_models.weights import halved

    if threads:
        torch.set_num_threads(threads)
    run.tell = lambda entry: click.echo(f"{run.progress():4.0%}  {json.dumps(entry)}")
    run.train(resume=resume)
    if (run.folder / "best.safetensors").exists():
        write_whole(run.folder / "weights.safetensors", halved((run.folder / "best.safetensors").read_bytes()))


@train.command(
    epilog="""\b
Examples:
  retint train compact photos/ --dev held-back/ --out runs/first --minutes 100
  retint train compact photos/ --dev held-back/ --out runs/first --resume

Ctrl-C or SIGTERM saves and stops. RUN/weights.safetensors is what to ship.
"""
)
@run_options(minutes=100, judge_every=8)
@click.option("--encoder", type=FILE, help="Safetensors of EfficientNet-Lite0; that of `compact` by default.")
@click.option("--start-from", type=FILE, help="best.safetensors of an earlier run.")
def compact(
    photos: Path,
    dev: Path,
    out: Path,
    encoder: Path | None,
    start_from: Path | None,
    threads: int | None,
    *,
    resume: bool,
    **pace: Any,
) -> None:
    """Train the compact colorizer on PHOTOS: a folder of photographs or of tar shards."""
    from retint_models.training import compact as recipe
    from retint_models.training.loop import Pace

    with refusing():
        training, held_back = opened(photos, dev, out, short_side=256)
        run = recipe.start(out, training, recipe.judge_on(held_back), imagenet(encoder), Pace(**pace))
        if start_from:
            run.adopt(start_from.read_bytes())
        conduct(run, threads=threads, resume=resume)


@train.command(
    "compact-defade",
    epilog="""\b
Example:
  retint train compact-defade photos/ --dev held-back/ --out runs/prints --minutes 60

Every step makes new prints of PHOTOS, aged at random. RUN/weights.safetensors is what to ship.
""",
)
@run_options(minutes=60, judge_every=4)
def compact_defade(photos: Path, dev: Path, out: Path, threads: int | None, *, resume: bool, **pace: Any) -> None:
    """Train the compact defader on PHOTOS: a folder of photographs or of tar shards."""
    from retint_models.training import defade as recipe
    from retint_models.training.loop import Pace

    with refusing():
        training, held_back = opened(photos, dev, out, short_side=192)
        run = recipe.start(out, training, recipe.judge_on(held_back), Pace(**pace, average=0.997))
        conduct(run, threads=threads, resume=resume)


def imagenet(file: Path | None) -> "dict[str, Tensor]":
    """Read an encoder from a file, or take that of `compact`, which training left as it was."""
    if file is not None:
        from safetensors.torch import load_file

        return load_file(file)
    from retint_models.compact import Compact
    from retint_models.registry import card
    from retint_models.weights import fill

    network = Compact()
    fill(network, card("compact").tensors(), "compact")
    return dict(network.encoder.state_dict())


@commands.command(
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

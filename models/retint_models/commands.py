"""What the networks' part adds to the command `retint`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from torch import Tensor

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
        state = f"{card.path.stat().st_size / 1e6:.1f} MB" if card.path.exists() else "missing"
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
    for card in found.values():
        try:
            card.read()
            click.echo(f"{card.name}: as its card says")
        except (ValueError, OSError) as error:
            failed = True
            click.echo(f"{card.name}: {error}", err=True)
    ctx.exit(1 if failed else 0)


def shown(card: Any) -> dict[str, Any]:
    """Return a card as JSON values."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in vars(card).items()}


@commands.group()
def train() -> None:
    """Train networks on your own photographs."""


@train.command(
    epilog="""\b
Examples:
  retint train compact photos/ --dev held-back/ --out runs/first --minutes 100
  retint train compact photos/ --dev held-back/ --out runs/first --resume

Ctrl-C or SIGTERM saves and stops. RUN/weights.safetensors is what to ship.
"""
)
@click.argument("photos", type=FOLDER)
@click.option("--dev", type=FOLDER, required=True, help="Photographs held back, to choose the best weights by.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the run.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=100, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="End after so many steps instead; repeatable.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--judge-every", type=float, default=8, show_default=True, help="Minutes between two judgements.")
@click.option("--encoder", type=FILE, help="Safetensors of EfficientNet-Lite0; that of `compact` by default.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@click.option("--resume", is_flag=True, help="Go on where the run in this folder was stopped.")
def compact(
    photos: Path,
    dev: Path,
    out: Path,
    minutes: float,
    steps: int | None,
    seed: int,
    judge_every: float,
    encoder: Path | None,
    threads: int | None,
    resume: bool,
) -> None:
    """Train the compact colorizer on PHOTOS: a folder of photographs or of tar shards."""
    import torch

    from retint_models.data import open_photos
    from retint_models.training import compact as recipe
    from retint_models.training.loop import Pace, write_whole
    from retint_models.weights import halved

    if threads:
        torch.set_num_threads(threads)
    with refusing():
        training, held_back = open_photos(photos, out / "photos"), open_photos(dev, out / "photos")
        click.echo(f"{len(training)} photographs to train on, {len(held_back)} held back; skipped: {training.skipped}")
        pace = Pace(minutes=minutes, steps=steps, seed=seed, judge_every=judge_every)
        run = recipe.start(out, training, recipe.judge_on(held_back), imagenet(encoder), pace)
        run.tell = lambda entry: click.echo(f"{run.progress():4.0%}  {json.dumps(entry)}")
        run.train(resume=resume)
        if (out / "best.safetensors").exists():
            write_whole(out / "weights.safetensors", halved((out / "best.safetensors").read_bytes()))


def imagenet(file: Path | None) -> "dict[str, Tensor]":
    """Read an encoder from a file, or take that of `compact`, which training left as it was."""
    if file is not None:
        from safetensors.torch import load_file

        return load_file(file)
    from retint_models.compact import Compact
    from retint_models.registry import card

    network = Compact()
    card("compact").fill(network)
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
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep decoded photographs.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Judge on every n-th photo only.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--json", "json_file", type=FILE, help="Write the rows to this file under `colorize`.")
@click.option("--sheet", type=FILE, help="Write gray, result and truth of the photos judged on to this JPEG.")
def evaluate(
    photos: Path,
    training: Path | None,
    colorizers: str,
    cache: Path | None,
    every: int,
    device: str,
    json_file: Path | None,
    sheet: Path | None,
) -> None:
    """Judge colorizers on PHOTOS in color, beside rows that say what a number is worth."""
    from tempfile import TemporaryDirectory

    from retint_models import registry
    from retint_models.data import open_photos
    from retint_models.evaluation import colorize

    with refusing(), TemporaryDirectory() as scratch:
        decoded = cache or Path(scratch)
        shots = colorize.shots_of(open_photos(photos, decoded))[::every]
        networks = {name: registry.load_colorizer(name, device) for name in colorizers.split(",") if name}
        known = open_photos(training, decoded) if training else None
        click.echo(colorize.heading())
        rows = []
        for row in colorize.rows_of(shots, known, networks):
            rows.append(row)
            click.echo(colorize.line(row))
        if json_file:
            colorize.write_json(json_file, rows)
        if sheet:
            colorize.compared(shots[:60], networks).save(sheet, quality=85)

"""The command `retint train`: one subcommand a recipe."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retint_models.arguments import FILE, FOLDER, refusing

if TYPE_CHECKING:
    from click.decorators import FC
    from torch import Tensor

    from retint_models.data import Photos
    from retint_models.training.loop import Run


@click.group()
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
    from safetensors.torch import load_file

    from retint_models.training import compact as recipe
    from retint_models.training.loop import Pace

    with refusing():
        training, held_back = opened(photos, dev, out, short_side=256)
        run = recipe.start(out, training, recipe.judge_on(held_back), imagenet(encoder), Pace(**pace))
        if start_from:
            run.adopt(load_file(start_from))
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

"""What all subcommands of `retint train` do: read photographs and pretrained weights, train, report progress."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from torch import Tensor

    from retint_models.datasets.photographs import Photos
    from retint_models.training.loop import TrainingRun
    from retint_models.training.pretrained import Pretrained


def open_photographs(photos: Path, dev: Path, out: Path, short_side: int) -> "tuple[Photos, Photos]":
    """Decode the photographs of both folders, and print how many train and how many choose.

    Returns:
        The photographs to train on, and those that choose the best weights (`datasets.halves`).

    Raises:
        ValueError: nothing is left to train on, or to choose with.
        FileNotFoundError: a folder has no usable photograph.
    """
    from retint_models.datasets.halves import part_photographs
    from retint_models.datasets.photographs import open_photos

    known, held_back = (open_photos(folder, out / "photos", short_side=short_side) for folder in (photos, dev))
    training, choosing = part_photographs(known, held_back)
    more = len(known) - len(training)
    click.echo(
        f"{len(training)} photographs to train on; {len(choosing)} to choose the best weights: {len(choosing) - more}"
        f" of the {len(held_back)} in {dev.name}/, {more} of {photos.name}/; skipped: {known.skipped}"
    )
    return training, choosing


def set_up_device(device: str, threads: int | None) -> None:
    """Limit the CPU threads, and check that the device exists.

    Raises:
        ValueError: there is no such device.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"no device {device!r} here: {str(error).splitlines()[0]}") from error


def read_pretrained(encoder: Path | None, backbone: Path | None, layers: tuple[int, ...]) -> "Pretrained":
    """Read encoder and backbone, and print what follows if one of them is missing.

    Args:
        encoder: File of a ResNet; None to start from random weights.
        backbone: File of the feature loss's network; None to compare only pixels.
        layers: Layers of VGG16 used by the feature loss.
    """
    from retint_models.training.pretrained import NO_BACKBONE, NO_ENCODER, Pretrained, read_backbone, read_resnet

    for warning in (NO_ENCODER if encoder is None else "", NO_BACKBONE if backbone is None else ""):
        if warning:
            click.echo(warning, err=True)
    return Pretrained(read_resnet(encoder), read_backbone(backbone, layers))


def read_imagenet_encoder(file: Path | None, network: str) -> "dict[str, Tensor]":
    """Read an EfficientNet-Lite0 trained on ImageNet.

    Args:
        file: Its weights as safetensors; None to take them from the shipped network, whose encoder stayed frozen.
        network: Name of the shipped network.
    """
    if file is not None:
        from retint_models.weights import checkpoints

        return checkpoints.read(file).tensors
    from retint_models.networks.registry import card
    from retint_models.weights.loading import load_tensors

    return take_encoder(load_tensors(card(network)))


def take_encoder(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Return the weights of a network's encoder, under the names that they have there."""
    return {name.removeprefix("encoder."): value for name, value in tensors.items() if name.startswith("encoder.")}


def run_training(run: "TrainingRun", *, resume: bool) -> bool:
    """Train, report progress, and write the best weights in half precision to `weights.safetensors`.

    Returns:
        Whether the run was finished; otherwise it was stopped by a signal.
    """
    from retint_models.training.run_files import BEST, write_atomically
    from retint_models.weights.loading import to_half_precision

    with report_progress(run):
        run.train(resume=resume)
    if (run.folder / BEST).exists():
        weights = run.folder / "weights.safetensors"
        write_atomically(weights, to_half_precision((run.folder / BEST).read_bytes()))
        click.echo(f"The best weights so far: {weights}")
    elif not run.was_stopped:
        click.echo("No weights were kept: the network gave no number that could be judged.", err=True)
    if run.was_stopped:
        click.echo(f"Stopped at step {run.steps_done}; the same command with --resume goes on.")
    return not run.was_stopped


@contextmanager
def report_progress(run: "TrainingRun") -> Iterator[None]:
    """Print each entry of the run's log: on a terminal above a progress bar, else after the progress in percent."""
    if not sys.stderr.isatty():
        run.on_entry = lambda entry: click.echo(f"{min(1.0, run.progress()):4.0%}  {json.dumps(entry)}")
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(run.folder.name, total=1.0)

        def print_entry(entry: dict[str, Any]) -> None:
            bar.console.print(json.dumps(entry), markup=False, highlight=False, soft_wrap=True)

        run.on_entry = print_entry
        run.on_step = lambda: bar.update(task, completed=min(1.0, run.progress()))
        yield

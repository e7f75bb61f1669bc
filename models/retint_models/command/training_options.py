"""Options of `retint train` that several of its subcommands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retint_models.command.arguments import FILE, FOLDER

if TYPE_CHECKING:
    from click.decorators import FC

ENDING = (
    "Ctrl-C or SIGTERM saves a checkpoint and stops; --resume continues. RUN is the folder given by --out; its"
    " weights.safetensors is the result."
)


def import_hint(name: str) -> str:
    """Return the paragraph of a help text that says how to use the result (\\b keeps click from wrapping it)."""
    return f"\b\nTo use it:\n  retint weights import RUN/weights.safetensors --as {name}"


DEVICE = click.option("--device", default="cpu", show_default=True, help="`cpu` or `cuda`.")
BATCH = click.option("--batch", type=click.IntRange(1), help="Most crops a step; by default as the authors have it.")
SIDE = click.option(
    "--side", type=click.IntRange(64), help="Side of the crops in pixels; by default as the authors have it."
)
RESNET = click.option("--encoder", type=FILE, help="A ResNet trained on ImageNet, as torchvision saves it.")
START_FROM = click.option(
    "--start-from", type=FILE, help="Start from these weights: best.safetensors of an earlier run."
)
BACKBONE = click.option("--backbone", type=FILE, help="VGG16-bn or EfficientNet-Lite0 for the feature loss.")
LARGEST = click.option(
    "--largest", type=click.IntRange(64), help="Largest side of crops in pixels; phases with larger ones are left out."
)


def training_options(minutes: float, judge_every: float, *more: "Callable[[Any], Any]") -> "Callable[[FC], FC]":
    """Return a decorator that adds the options of every training, and some that only this one has.

    Args:
        minutes: Default of `--minutes`.
        judge_every: Default of `--judge-every`.
        more: Further options.
    """
    options = [
        click.argument("photos", type=FOLDER),
        click.option(
            "--dev",
            type=FOLDER,
            required=True,
            help="Photographs held back. One half, by name, chooses the best weights, with one in twenty of PHOTOS that"
            " are of tier A; the other judges them later.",
        ),
        click.option(
            "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the run."
        ),
        click.option(
            "--minutes",
            type=click.FloatRange(min=0, min_open=True),
            default=minutes,
            show_default=True,
            help="Time budget; learning rates follow it.",
        ),
        click.option(
            "--steps",
            type=click.IntRange(1),
            help="Number of steps, instead of minutes; repeatable to the last bit on a CPU.",
        ),
        click.option("--seed", type=int, default=1, show_default=True, help="Seed of all random numbers."),
        click.option(
            "--judge-every", type=float, default=judge_every, show_default=True, help="Minutes between judgements."
        ),
        click.option(
            "--sheet-every", type=click.IntRange(1), default=1000, show_default=True, help="Steps between samples."
        ),
        *more,
        click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default."),
        click.option("--resume", is_flag=True, help="Continue the run in this folder."),
    ]

    def add_options(command: "FC") -> "FC":
        for option in reversed(options):
            command = option(command)
        return command

    return add_options


def drop_missing(**sizes: int | None) -> dict[str, int]:
    """Return the sizes that were given; hyperparameters have defaults for the others."""
    return {name: size for name, size in sizes.items() if size is not None}

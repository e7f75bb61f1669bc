"""The command `retint train`: one subcommand a recipe."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retint_models.command.arguments import FILE, FOLDER, refusing

if TYPE_CHECKING:
    from click.decorators import FC
    from torch import Tensor

    from retint_models.datasets.photographs import Photos
    from retint_models.training.loop import Run
    from retint_models.training.networks.deoldify_2018 import Given, Task

ENDING = "Ctrl-C or SIGTERM saves and stops; --resume goes on. RUN/weights.safetensors is what to use."
IMPORT = "then `retint weights import RUN/weights.safetensors --as NAME`"


@click.group()
def train() -> None:
    """Train networks on your own photographs."""


def options(minutes: float, judge_every: float, *more: "Callable[[Any], Any]") -> "Callable[[FC], FC]":
    """Give a recipe's command what every training is told, and what only some are."""
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
        click.option(
            "--sheet-every", type=click.IntRange(1), default=1000, show_default=True, help="Steps between samples."
        ),
        *more,
        click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default."),
        click.option("--resume", is_flag=True, help="Go on where the run in this folder was stopped."),
    ]

    def described_command(command: "FC") -> "FC":
        for option in reversed(described):
            command = option(command)
        return command

    return described_command


DEVICE = click.option("--device", default="cpu", show_default=True, help="`cpu` or `cuda`.")
BATCH = click.option("--batch", type=click.IntRange(1), help="At most so many crops a step; the authors' by default.")
SIDE = click.option("--side", type=click.IntRange(64), help="Side of the crops, in pixels; the authors' by default.")
RESNET = click.option("--encoder", type=FILE, help="A ResNet trained on ImageNet, as torchvision saves it.")
BACKBONE = click.option("--backbone", type=FILE, help="VGG16-bn or EfficientNet-Lite0, for the feature loss.")
SIZES = click.option("--largest", type=click.IntRange(64), help="Largest crop, in pixels: leave out what is larger.")


def opened(photos: Path, dev: Path, out: Path, short_side: int) -> "tuple[Photos, Photos]":
    """Decode the photographs to train on and those held back, and say how many there are."""
    from retint_models.datasets.photographs import open_photos

    training, held_back = (open_photos(folder, out / "photos", short_side=short_side) for folder in (photos, dev))
    click.echo(f"{len(training)} photographs to train on, {len(held_back)} held back; skipped: {training.skipped}")
    return training, held_back


def prepared(device: str, threads: int | None) -> None:
    """See that the device is there, and limit the threads.

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


def conduct(run: "Run", *, resume: bool) -> bool:
    """Train, telling what happens, and leave `weights.safetensors` in the run's folder; say whether it was finished."""
    from retint_models.training.loop import write_whole
    from retint_models.weights.loading import to_half_precision

    with telling(run):
        run.train(resume=resume)
    if (run.folder / "best.safetensors").exists():
        weights = run.folder / "weights.safetensors"
        write_whole(weights, to_half_precision((run.folder / "best.safetensors").read_bytes()))
        click.echo(f"The best weights so far: {weights}")
    if run.stopped:
        click.echo(f"Stopped at step {run.done}; the same command with --resume goes on.")
    return not run.stopped


@contextmanager
def telling(run: "Run") -> Iterator[None]:
    """Print the journal of a run while it lasts, above a progress bar if somebody watches."""
    if not sys.stderr.isatty():
        run.tell = lambda entry: click.echo(f"{min(1.0, run.progress()):4.0%}  {json.dumps(entry)}")
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(run.folder.name, total=1.0)

        def tell(entry: dict[str, Any]) -> None:
            bar.console.print(json.dumps(entry), markup=False, highlight=False, soft_wrap=True)

        run.tell, run.pulse = tell, lambda: bar.update(task, completed=min(1.0, run.progress()))
        yield


@train.command(
    epilog=f"""\b
Examples:
  retint train compact photos/ --dev held-back/ --out runs/first --minutes 30
  retint train compact photos/ --dev held-back/ --out runs/first --resume

{ENDING}
"""
)
@options(30, 3, DEVICE)
@click.option("--encoder", type=FILE, help="Safetensors of EfficientNet-Lite0; that of `compact` by default.")
@click.option("--start-from", type=FILE, help="best.safetensors of an earlier run.")
def compact(
    photos: Path,
    dev: Path,
    out: Path,
    encoder: Path | None,
    start_from: Path | None,
    device: str,
    threads: int | None,
    *,
    resume: bool,
    **pace: Any,
) -> None:
    """Train the compact colorizer on PHOTOS: a folder of photographs or of tar shards."""
    from retint_models.training.loop import Pace
    from retint_models.training.networks import compact as recipe
    from retint_models.weights import checkpoints

    with refusing():
        prepared(device, threads)
        training, held_back = opened(photos, dev, out, short_side=256)
        run = recipe.start(out, training, held_back, imagenet(encoder, "compact"), Pace(**pace), device=device)
        if start_from:
            run.adopt(checkpoints.read(start_from))
        conduct(run, resume=resume)


@train.command(
    "compact-defade",
    epilog=f"""\b
Example:
  retint train compact-defade photos/ --dev held-back/ --out runs/prints --minutes 60

Every step makes new prints of PHOTOS, aged at random.
{ENDING}
""",
)
@options(60, 4)
@click.option("--encoder", type=FILE, help="Safetensors of EfficientNet-Lite0; that of `compact-defade` by default.")
def compact_defade(
    photos: Path, dev: Path, out: Path, encoder: Path | None, threads: int | None, *, resume: bool, **pace: Any
) -> None:
    """Train the compact defader on PHOTOS: a folder of photographs or of tar shards."""
    from retint_models.training.loop import Pace
    from retint_models.training.networks import compact_defade as recipe

    with refusing():
        prepared("cpu", threads)
        training, held_back = opened(photos, dev, out, short_side=192)
        given = imagenet(encoder, "compact-defade")
        run = recipe.start(out, training, recipe.judge_on(held_back), given, Pace(**pace, average=0.997))
        conduct(run, resume=resume)


@train.command(
    "lab-resnet18",
    epilog=f"""\b
Example:
  retint train lab-resnet18 photos/ --dev held-back/ --out runs/lab --encoder resnet18-f37072fd.pth

{ENDING}
To use it, {IMPORT}.
""",
)
@options(60, 5, DEVICE, BATCH, SIDE, RESNET)
def lab_resnet18(
    photos: Path,
    dev: Path,
    out: Path,
    encoder: Path | None,
    batch: int | None,
    side: int | None,
    device: str,
    threads: int | None,
    *,
    resume: bool,
    **pace: Any,
) -> None:
    """Train lukemelas' small regressor of a and b on PHOTOS."""
    from retint_models.training.loop import Pace
    from retint_models.training.losses import resnet
    from retint_models.training.networks import lab_resnet18 as recipe

    with refusing():
        prepared(device, threads)
        given = resnet(encoder)
        training, held_back = opened(photos, dev, out, short_side=256)
        chosen = replace(recipe.Recipe(), **given_sizes(batch=batch, side=side))
        conduct(recipe.start(out, training, held_back, Pace(**pace), given, chosen, device), resume=resume)


@train.command(
    "yuv-gan",
    epilog=f"""\b
Example:
  retint train yuv-gan photos/ --dev held-back/ --out runs/yuv --device cuda

{ENDING}
To use it, {IMPORT}.
""",
)
@options(120, 10, DEVICE, BATCH, SIDE)
def yuv_gan(
    photos: Path,
    dev: Path,
    out: Path,
    batch: int | None,
    side: int | None,
    device: str,
    threads: int | None,
    *,
    resume: bool,
    **pace: Any,
) -> None:
    """Train zeruniverse's colorizer of U and V, with its critic, on PHOTOS."""
    from retint_models.training.loop import Pace
    from retint_models.training.networks import yuv_gan as recipe

    with refusing():
        prepared(device, threads)
        training, held_back = opened(photos, dev, out, short_side=256)
        chosen = replace(recipe.Recipe(), **given_sizes(batch=batch, side=side))
        conduct(recipe.start(out, training, held_back, Pace(**pace), chosen, device), resume=resume)


def first_deoldify(task: "Task", description: str) -> None:
    """Add the subcommand of one of the tasks of the DeOldify of 2018."""

    @train.command(
        task,
        help=description,
        epilog=f"""\b
Example:
  retint train {task} photos/ --dev held-back/ --out runs/{task} --device cuda \\
    --encoder resnet34-b627a593.pth --backbone vgg16_bn-6c64b313.pth

{ENDING}
To use it, {IMPORT}.
""",
    )
    @options(240, 15, DEVICE, BATCH, RESNET, BACKBONE, SIZES)
    def command(
        photos: Path,
        dev: Path,
        out: Path,
        encoder: Path | None,
        backbone: Path | None,
        batch: int | None,
        largest: int | None,
        device: str,
        threads: int | None,
        *,
        resume: bool,
        **pace: Any,
    ) -> None:
        from retint_models.training.loop import Pace
        from retint_models.training.networks import deoldify_2018 as recipe

        with refusing():
            prepared(device, threads)
            given = given_by(encoder, backbone, recipe.TAPS)
            training, held_back = opened(photos, dev, out, short_side=256)
            chosen = recipe.recipe_of(task, largest, batch)
            run = recipe.start(task, out, training, held_back, Pace(**pace), given, chosen, device)
            conduct(run, resume=resume)


first_deoldify("deoldify-2018", "Train the colorizer of the first DeOldify on PHOTOS, with its critic.")
first_deoldify("defade-deoldify", "Train the first DeOldify to undo false light, on the gray of PHOTOS.")


@train.command(
    epilog=f"""\b
Examples:
  retint train deoldify artistic photos/ --dev held-back/ --out runs/artistic --device cuda \\
    --encoder resnet34-b627a593.pth --backbone vgg16_bn-6c64b313.pth
  retint train deoldify video photos/ --dev held-back/ --out runs/video --device cuda \\
    --start-from runs/stable/generator/best.safetensors

Each step has a folder: generator, critic, gan, and critic-2, gan-2 … where they are repeated. gan*/steps holds the
weights around the inflection point, gan*/log.jsonl how each was judged, gan*/sheets what they do. Look at them: past
the point skin turns orange.
{ENDING}
To use it, {IMPORT}.
"""
)
@click.argument("name", type=click.Choice(["artistic", "stable", "video"]))
@options(720, 15, DEVICE, BATCH, RESNET, BACKBONE, SIZES)
@click.option(
    "--repeats", type=click.IntRange(1), help="How often critic and GAN follow; by default as NAME's authors."
)
@click.option("--start-from", type=FILE, help="A generator's weights to go on from, as `video` does from `stable`.")
def deoldify(
    name: Any,
    photos: Path,
    dev: Path,
    out: Path,
    encoder: Path | None,
    backbone: Path | None,
    batch: int | None,
    largest: int | None,
    repeats: int | None,
    start_from: Path | None,
    device: str,
    threads: int | None,
    *,
    resume: bool,
    **pace: Any,
) -> None:
    """Train DeOldify's generator NAME on PHOTOS by NoGAN: generator, critic, both."""
    from retint_models.training.loop import Pace
    from retint_models.training.networks import deoldify as recipe
    from retint_models.weights import checkpoints

    with refusing():
        prepared(device, threads)
        if not resume and (out / "generator").exists():
            raise ValueError(f"{out} holds a training already: resume it, or give another folder")
        given = given_by(encoder, backbone, recipe.TAPS)
        adopted = checkpoints.read(start_from) if start_from else None
        training, held_back = opened(photos, dev, out, short_side=256)
        chosen = recipe.recipe_of(name, largest, repeats, batch)
        steps = recipe.Training(name, out, training, held_back, Pace(**pace), given, chosen, device, adopted)
        for run in steps.runs():
            click.echo(f"{run.folder.name}:")
            if not conduct(run, resume=True):
                return


def given_sizes(**sizes: int | None) -> dict[str, int]:
    """Return the sizes that were given; the recipe has the others."""
    return {name: size for name, size in sizes.items() if size is not None}


def given_by(encoder: Path | None, backbone: Path | None, taps: tuple[int, ...]) -> "Given":
    """Read what others trained, and say what is missing and what that means."""
    from retint_models.training.losses import NO_BACKBONE, NO_ENCODER, resnet
    from retint_models.training.losses import backbone as backbone_of
    from retint_models.training.networks.deoldify_2018 import Given

    for missing in (NO_ENCODER if encoder is None else "", NO_BACKBONE if backbone is None else ""):
        if missing:
            click.echo(missing, err=True)
    return Given(resnet(encoder), backbone_of(backbone, taps))


def imagenet(file: Path | None, network: str) -> "dict[str, Tensor]":
    """Read an encoder from a file, or take that of a network that ships, which training left as it was."""
    if file is not None:
        from retint_models.weights import checkpoints

        return checkpoints.read(file)
    from retint_models.networks.registry import card
    from retint_models.weights.loading import load_tensors

    tensors = load_tensors(card(network))
    return {name.removeprefix("encoder."): value for name, value in tensors.items() if name.startswith("encoder.")}

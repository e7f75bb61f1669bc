"""The command `retint train`: one subcommand a network."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retint_models.command.arguments import FILE, translate_errors
from retint_models.command.run_training import (
    open_photographs,
    read_imagenet_encoder,
    read_pretrained,
    run_training,
    set_up_device,
    take_encoder,
)
from retint_models.command.training_options import (
    BACKBONE,
    BATCH,
    DEVICE,
    ENDING,
    LARGEST,
    RESNET,
    SIDE,
    START_FROM,
    drop_missing,
    import_hint,
    training_options,
)

if TYPE_CHECKING:
    from retint_models.training.networks.deoldify_2018 import Task


@click.group()
def train() -> None:
    """Train networks on your own photographs."""


@train.command(
    epilog=f"""\b
Examples:
  retint train compact photos/ --dev held-back/ --out runs/first --minutes 30
  retint train compact photos/ --dev held-back/ --out runs/first --resume
  retint train compact photos/ --dev held-back/ --out runs/second --seed 2 --views runs/first/views

{ENDING}
"""
)
@training_options(30, 3, DEVICE)
@click.option("--encoder", type=FILE, help="EfficientNet-Lite0 as safetensors; the encoder of `compact` by default.")
@START_FROM
@click.option(
    "--views",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the crops that are kept, up to 5 MB a photograph; runs may share it. By default in the run's.",
)
def compact(
    photos: Path,
    dev: Path,
    out: Path,
    encoder: Path | None,
    start_from: Path | None,
    views: Path | None,
    device: str,
    threads: int | None,
    *,
    resume: bool,
    **options: Any,
) -> None:
    """Train Retint's own colorizer.

    PHOTOS is a folder of photographs or of tar shards.
    """
    from retint_models.training.loop import TrainingOptions
    from retint_models.training.networks import compact as trainer
    from retint_models.weights import checkpoints

    with translate_errors():
        set_up_device(device, threads)
        training, held_back = open_photographs(photos, dev, out, short_side=256)
        imagenet = read_imagenet_encoder(encoder, "compact")
        run = trainer.make_run(
            out, training, held_back, imagenet, TrainingOptions(**options), device=device, kept=views
        )
        if start_from:
            run.load_weights(checkpoints.read(start_from).tensors)
        run_training(run, resume=resume)


@train.command(
    "compact-defade",
    epilog=f"""\b
Example:
  retint train compact-defade photos/ --dev held-back/ --out runs/prints --minutes 60

First it makes prints of PHOTOS, which age at random, and keeps what the encoder sees in them (in RUN/prints); every
step draws some of them.

{ENDING}
""",
)
@training_options(60, 4)
@click.option(
    "--encoder", type=FILE, help="EfficientNet-Lite0 as safetensors; the encoder of `compact-defade` by default."
)
@START_FROM
@click.option("--prints", type=click.IntRange(1), help="How many prints are made; 113 MB for a thousand.")
def compact_defade(
    photos: Path,
    dev: Path,
    out: Path,
    encoder: Path | None,
    start_from: Path | None,
    prints: int | None,
    threads: int | None,
    *,
    resume: bool,
    **options: Any,
) -> None:
    """Train Retint's own defader.

    PHOTOS is a folder of photographs or of tar shards.
    """
    from retint_models.training.loop import TrainingOptions
    from retint_models.training.networks import compact_defade as trainer
    from retint_models.weights import checkpoints

    with translate_errors():
        set_up_device("cpu", threads)
        if encoder and start_from:
            raise ValueError("--encoder and --start-from exclude each other: weights belong to the encoder they have")
        training, held_back = open_photographs(photos, dev, out, short_side=192)
        weights = checkpoints.read(start_from).tensors if start_from else None
        imagenet = take_encoder(weights) if weights else read_imagenet_encoder(encoder, "compact-defade")
        chosen = replace(trainer.Hyperparameters(), **drop_missing(prints=prints))
        judge, pace = trainer.make_judge(held_back), TrainingOptions(**options, average=0.997)
        run = trainer.make_run(out, training, judge, imagenet, pace, chosen)
        if weights:
            run.load_weights(weights)
        run_training(run, resume=resume)


@train.command(
    "lab-resnet18",
    epilog=f"""\b
Example:
  retint train lab-resnet18 photos/ --dev held-back/ --out runs/lab --encoder resnet18-f37072fd.pth

{ENDING}

{import_hint("lab-resnet18")}
""",
)
@training_options(60, 5, DEVICE, BATCH, SIDE, RESNET)
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
    **options: Any,
) -> None:
    """Train lukemelas' regression of a and b.

    PHOTOS is a folder of photographs or of tar shards.
    """
    from retint_models.training.loop import TrainingOptions
    from retint_models.training.networks import lab_resnet18 as trainer
    from retint_models.training.pretrained import read_resnet

    with translate_errors():
        set_up_device(device, threads)
        pretrained = read_resnet(encoder)
        training, held_back = open_photographs(photos, dev, out, short_side=256)
        chosen = replace(trainer.Hyperparameters(), **drop_missing(batch=batch, side=side))
        run = trainer.make_run(out, training, held_back, TrainingOptions(**options), pretrained, chosen, device)
        run_training(run, resume=resume)


@train.command(
    "yuv-gan",
    epilog=f"""\b
Example:
  retint train yuv-gan photos/ --dev held-back/ --out runs/yuv --device cuda

{ENDING}

{import_hint("yuv-gan")}
""",
)
@training_options(120, 10, DEVICE, BATCH, SIDE)
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
    **options: Any,
) -> None:
    """Train zeruniverse's colorizer.

    Its critic is trained with it. PHOTOS is a folder of photographs or of tar shards.
    """
    from retint_models.training.loop import TrainingOptions
    from retint_models.training.networks import yuv_gan as trainer

    with translate_errors():
        set_up_device(device, threads)
        training, held_back = open_photographs(photos, dev, out, short_side=256)
        chosen = replace(trainer.Hyperparameters(), **drop_missing(batch=batch, side=side))
        run = trainer.make_run(out, training, held_back, TrainingOptions(**options), chosen, device)
        run_training(run, resume=resume)


def add_deoldify_2018(task: "Task", description: str) -> None:
    """Add the subcommand of a task of DeOldify 2018."""

    @train.command(
        task,
        help=f"{description}\n\nIts critic is trained with it. PHOTOS is a folder of photographs or of tar shards.",
        epilog=f"""\b
Example:
  retint train {task} photos/ --dev held-back/ --out runs/{task} --device cuda \\
    --encoder resnet34-b627a593.pth --backbone vgg16_bn-6c64b313.pth

{ENDING}

{import_hint(task)}
""",
    )
    @training_options(240, 15, DEVICE, BATCH, RESNET, BACKBONE, LARGEST)
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
        **options: Any,
    ) -> None:
        from retint_models.training.loop import TrainingOptions
        from retint_models.training.networks import deoldify_2018 as trainer

        with translate_errors():
            set_up_device(device, threads)
            pretrained = read_pretrained(encoder, backbone, trainer.FEATURE_LAYERS)
            training, held_back = open_photographs(photos, dev, out, short_side=256)
            chosen = trainer.choose_hyperparameters(task, largest, batch)
            run = trainer.make_run(
                task, out, training, held_back, TrainingOptions(**options), pretrained, chosen, device
            )
            run_training(run, resume=resume)


add_deoldify_2018("deoldify-2018", "Train the colorizer of the first DeOldify.")
add_deoldify_2018("defade-deoldify", "Train the first DeOldify to undo false light.")


@train.command(
    epilog=f"""\b
Examples:
  retint train deoldify artistic photos/ --dev held-back/ --out runs/artistic --device cuda \\
    --encoder resnet34-b627a593.pth --backbone vgg16_bn-6c64b313.pth
  retint train deoldify video photos/ --dev held-back/ --out runs/video --device cuda \\
    --start-from runs/stable/generator/best.safetensors

Each step is a run with a folder of its own: generator, critic, gan, then critic-2, gan-2 … where they are repeated.
gan*/steps holds weights from around the inflection point, gan*/log.jsonl their scores, gan*/sheets samples of them.
Look at the samples: past the inflection point skin turns orange.

{ENDING}

{import_hint("NAME")}
"""
)
@click.argument("name", type=click.Choice(["artistic", "stable", "video"]))
@training_options(720, 15, DEVICE, BATCH, RESNET, BACKBONE, LARGEST)
@click.option(
    "--repeats", type=click.IntRange(1), help="How often critic and GAN are trained; by default as the author has it."
)
@click.option(
    "--start-from", type=FILE, help="A generator's weights to start from, such as those of `stable` for `video`."
)
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
    **options: Any,
) -> None:
    """Train one of DeOldify's three generators.

    By NoGAN: the generator alone, its critic alone, then both. PHOTOS is a folder of photographs or of tar shards.
    """
    from retint_models.training.loop import TrainingOptions
    from retint_models.training.networks import deoldify as trainer
    from retint_models.training.networks.deoldify_hyperparameters import choose_hyperparameters
    from retint_models.weights import checkpoints

    with translate_errors():
        set_up_device(device, threads)
        if not resume and (out / "generator").exists():
            raise ValueError(f"{out} holds a training already: continue it with --resume, or give another folder")
        pretrained = read_pretrained(encoder, backbone, trainer.FEATURE_LAYERS)
        weights = checkpoints.read(start_from).tensors if start_from else None
        training, held_back = open_photographs(photos, dev, out, short_side=256)
        chosen = choose_hyperparameters(name, largest, repeats, batch)
        nogan = trainer.NoGan(
            name, out, training, held_back, TrainingOptions(**options), pretrained, chosen, device, start_from=weights
        )
        for run in nogan.runs():
            click.echo(f"{run.folder.name}:")
            if not run_training(run, resume=True):
                return

"""Hyperparameters of `artistic`, `stable` and `video`, as published with DeOldify."""

from dataclasses import dataclass, replace
from typing import Literal

from retint_models.networks.deoldify import GeneratorConfig

Name = Literal["artistic", "stable", "video"]


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of a NoGAN training. The field names are keys in logs and checkpoints.

    Attributes:
        stages: Phases of the generator alone: share of the run, side of the crops, crops a step, largest learning rates
            of the ResNet's first part, its last part and the rest; whether the rate first rises (one cycle).
        noise: Share of the photographs that get film noise.
        features: Weights of the features in the feature loss.
        critic_batch: Crops a step of the critic alone.
        critic_rates: Largest learning rate of the critic alone: the first time, from random weights, and when repeated.
        gan_batch, gan_rate: Of the GAN: crops a step, the generator's learning rate; the critic's is five times that.
        side: Side of the crops of critic and GAN.
        weights: Weights of the adversarial loss and of the feature loss.
        threshold: The critic's loss below which the generator is trained.
        keep_every: Steps of the GAN between weights that are kept.
        repeats: How often critic and GAN follow each other.
        pictures: Most pictures that the generator makes for the critic to learn from; one a photograph.
        channels: Channels of the critic's first map.
        config: Shape of the generator; that of its name if None.
    """

    stages: tuple[tuple[float, int, int, tuple[float, float, float], bool], ...] = (
        (0.10, 64, 88, (0.0, 0.0, 1e-3), True),
        (0.15, 64, 88, (3e-7, 1e-5, 3e-4), False),
        (0.30, 128, 22, (1e-7, 3e-6, 1e-4), False),
        (0.45, 192, 11, (5e-8, 1.6e-6, 5e-5), False),
    )
    noise: float = 0.0
    features: tuple[float, ...] = (20.0, 70.0, 10.0)
    critic_batch: int = 16
    critic_rates: tuple[float, float] = (1e-3, 1e-4)
    gan_batch: int = 9
    gan_rate: float = 1e-5
    side: int = 192
    weights: tuple[float, float] = (1.0, 2.0)
    threshold: float = 0.65
    keep_every: int = 100
    repeats: int = 5
    pictures: int = 2000
    channels: int = 256
    config: GeneratorConfig | None = None


ARTISTIC = Hyperparameters()
STABLE = replace(
    ARTISTIC,
    stages=(
        *ARTISTIC.stages[:2],
        (0.30, 128, 20, (1e-7, 3e-6, 1e-4), False),
        (0.45, 192, 8, (5e-8, 1.6e-6, 5e-5), False),
    ),
    gan_batch=5,
    gan_rate=2e-5,
    weights=(1.0, 1.5),
    repeats=3,
)
VIDEO = replace(STABLE, stages=((1.0, 192, 8, (5e-8, 1.6e-6, 5e-5), False),), noise=0.8, gan_rate=5e-6, repeats=1)
PUBLISHED: dict[Name, Hyperparameters] = {"artistic": ARTISTIC, "stable": STABLE, "video": VIDEO}


def choose_hyperparameters(
    name: Name, largest: int | None = None, repeats: int | None = None, batch: int | None = None
) -> Hyperparameters:
    """Return the published hyperparameters of a generator, with limits for small machines.

    Args:
        name: The generator.
        largest: Crops with a larger side are left out.
        repeats: How often critic and GAN follow each other.
        batch: Most crops a step.

    Raises:
        ValueError: no crops are left.
    """
    published = PUBLISHED[name]
    side = largest or published.side
    most = batch or max(stage[2] for stage in published.stages)
    stages = tuple(
        (stage[0], stage[1], min(stage[2], most), *stage[3:]) for stage in published.stages if stage[1] <= side
    )
    if not stages:
        raise ValueError(f"{name} is trained on crops of {published.side} pixels, which --largest leaves out")
    return replace(
        published,
        stages=stages,
        side=min(side, published.side),
        critic_batch=min(published.critic_batch, most),
        gan_batch=min(published.gan_batch, most),
        repeats=repeats or published.repeats,
    )

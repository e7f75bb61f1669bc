"""Training of `lab-resnet18`: regression of a and b of CIELAB by squared error.

Luke Melas-Kyriazi's tutorial (2018), of which names and numbers are known; written afresh. Not copied: its repository
kept the checkpoint with the largest loss, and took gamma-coded gray for L* when it put colors back. Its learning rate
stayed at .01; here it falls along a cosine, as in all our runs. Squared error turns colors that could be one or the
other into gray: that is a known weakness of the network, not a fault of the run.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.datasets.photographs import Photos
from retint_models.networks.color import ab_to_chroma, rec709_luma, rgb_to_lab
from retint_models.networks.lab_resnet18 import TutorialNetwork
from retint_models.training.crops import make_crop_sampler
from retint_models.training.judging import make_colorizer_judge, make_sample_drawer
from retint_models.training.loop import TrainingOptions, TrainingRun, TrainingStep
from retint_models.training.precision import autocast, device_of
from retint_models.training.pretrained import load_encoder


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of `lab-resnet18`. The field names are keys in logs and checkpoints.

    Attributes:
        side: Side of the crops in pixels.
        batch: Crops a step.
        rate: Largest learning rate of Adam.
    """

    side: int = 224
    batch: int = 64
    rate: float = 1e-2


def make_run(
    folder: Path,
    photos: Photos,
    held_back: Photos,
    options: TrainingOptions,
    encoder: Mapping[str, Tensor],
    hyperparameters: Hyperparameters | None = None,
    device: str = "cpu",
) -> TrainingRun:
    """Set up a run.

    Args:
        folder: Folder of the run.
        photos: Photographs to train on.
        held_back: Photographs to judge on.
        options: How long the run lasts.
        encoder: A ResNet-18 trained on ImageNet (`pretrained.read_resnet`); empty to start from random weights.
        hyperparameters: The authors' by default.
        device: `cpu` or `cuda`.
    """
    chosen = hyperparameters or Hyperparameters()
    torch.manual_seed(options.seed)
    network = TutorialNetwork()
    load_encoder(network.midlevel_resnet, encoder)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TrainingRun(
        folder,
        network,
        optimizer=torch.optim.Adam(network.parameters(), lr=chosen.rate),
        training_step=make_training_step(network, photos, chosen),
        judge=make_colorizer_judge(held_back, decide_chroma),
        options=options,
        settings={"recipe": "lab-resnet18", "photos": photos.identity, "pretrained": bool(encoder)} | asdict(chosen),
        draw_samples=make_sample_drawer(held_back, decide_chroma),
    )


def make_training_step(network: nn.Module, photos: Photos, hyperparameters: Hyperparameters) -> TrainingStep:
    """Return the training step."""
    device = device_of(network)
    draw_crops = make_crop_sampler(photos, device)

    def step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        rgb = draw_crops(hyperparameters.batch, hyperparameters.side, rng)
        with autocast(device):
            output = network(rec709_luma(rgb).clamp(0, 1))
        return {"loss": compute_loss(output.float(), rgb)}

    return step


def compute_loss(output: Tensor, rgb: Tensor) -> Tensor:
    """Return the mean squared error of the network's output (B, 2, h, w), which is a and b plus 128, over 255."""
    return functional.mse_loss(output, (rgb_to_lab(rgb)[:, 1:] + 128) / 255)


def decide_chroma(network: nn.Module, luma: Tensor) -> Tensor:
    """Run a network on luma (B, 1, h, w) and return its Cb and Cr."""
    return ab_to_chroma(luma, 255 * network(luma.clamp(0, 1)) - 128)

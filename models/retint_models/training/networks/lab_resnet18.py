"""The recipe of `lab-resnet18`: regress a and b of CIELAB by their squared error.

Luke Melas-Kyriazi's tutorial (2018), of which names and numbers are known; written afresh. Not copied: its repository
kept the checkpoint with the largest loss, and took gamma-coded gray for L* when it put colors back. Its learning rate
stayed at .01; here it falls along a cosine, as in all our runs. Squared error makes colors that could be one or the
other gray: that is the network's known weakness, not a fault of the run.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.datasets.photographs import Photos
from retint_models.networks.color import rec709_luma, rgb_to_lab
from retint_models.networks.lab_resnet18 import Tutorial, chroma_at
from retint_models.training.crops import crops
from retint_models.training.judging import judge_on, samples_of
from retint_models.training.loop import Pace, Run, Step, mixed
from retint_models.training.losses import adopt


@dataclass(frozen=True)
class Recipe:
    """What shapes a run besides its pace.

    Attributes:
        side: Of the crops, in pixels.
        batch: Crops a step.
        rate: Largest learning rate of Adam.
    """

    side: int = 224
    batch: int = 64
    rate: float = 1e-2


def start(
    folder: Path,
    photos: Photos,
    held_back: Photos,
    pace: Pace,
    encoder: Mapping[str, Tensor],
    recipe: Recipe | None = None,
    device: str = "cpu",
) -> Run:
    """Set up a run.

    Args:
        folder: Of the run.
        photos: To train on.
        held_back: To judge on.
        pace: Of the run.
        encoder: A ResNet-18 trained on ImageNet (`losses.resnet`); empty to start from nothing.
        recipe: The authors' by default.
        device: `cpu` or `cuda`.
    """
    recipe = recipe or Recipe()
    torch.manual_seed(pace.seed)
    network = Tutorial()
    adopt(network.midlevel_resnet, encoder)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.rate)
    settings = {"recipe": "lab-resnet18", "photos": photos.identity, "pretrained": bool(encoder)} | asdict(recipe)
    step = stepper(network, photos, recipe)
    judge, show = judge_on(held_back, decide), samples_of(held_back, decide)
    return Run(folder, network, optimizer, step, judge, pace, settings, show=show)


def stepper(network: nn.Module, photos: Photos, recipe: Recipe) -> Step:
    """Return the recipe's step."""
    device = next(network.parameters()).device
    draw = crops(photos, device)

    def step(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
        rgb = draw(recipe.batch, recipe.side, chance)
        with mixed(device):
            made = network(rec709_luma(rgb).clamp(0, 1))
        return {"loss": loss_of(made.float(), rgb)}

    return step


def loss_of(made: Tensor, rgb: Tensor) -> Tensor:
    """Return the squared error of a and b plus 128, over 255, as the network gives them, (B, 2, h, w)."""
    return functional.mse_loss(made, (rgb_to_lab(rgb)[:, 1:] + 128) / 255)


def decide(network: nn.Module, luma: Tensor) -> Tensor:
    """Let a network decide chroma."""
    return chroma_at(luma, 255 * network(luma.clamp(0, 1)) - 128)

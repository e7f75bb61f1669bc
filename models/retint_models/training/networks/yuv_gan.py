"""The recipe of `yuv-gan`: squared error of U and V, and a critic that sees them with their luma.

zeruniverse, neural-colorization (2018): names, constants and numbers are known; written afresh, no line of it is used.
Critic and network take turns, each on its own crops, where the original gave both the same. Not copied: batch norms
that stayed in training mode when the network was used.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.datasets.photographs import Photos
from retint_models.networks.yuv_gan import BLUE, RED, YuvCritic, YuvGenerator, chroma
from retint_models.training.adversary import Rivals, alternate
from retint_models.training.crops import crops
from retint_models.training.judging import judge_on, samples_of
from retint_models.training.loop import Pace, Run, Step, mixed


@dataclass(frozen=True)
class Recipe:
    """What shapes a run besides its pace.

    Attributes:
        side: Of the crops, in pixels; above 40.
        batch: Crops a step.
        rate: Learning rate of both networks; the loop's cosine takes it down.
        pixels: Weight of the squared error of U and V, beside the critic's word.
    """

    side: int = 256
    batch: int = 20
    rate: float = 1e-4
    pixels: float = 1000.0


def start(
    folder: Path, photos: Photos, held_back: Photos, pace: Pace, recipe: Recipe | None = None, device: str = "cpu"
) -> Run:
    """Set up a run; both networks start from nothing. Gradients are not clipped."""
    recipe = recipe or Recipe()
    torch.manual_seed(pace.seed)
    network = YuvGenerator().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    rivals = Rivals(YuvCritic()).to(device)
    parameters = [{"params": list(module.parameters())} for module in (network, rivals)]
    optimizer = torch.optim.Adam(parameters, lr=recipe.rate, betas=(0.5, 0.999))
    settings = {"recipe": "yuv-gan", "photos": photos.identity} | asdict(recipe)
    step = stepper(network, rivals, photos, recipe)
    judge, show = judge_on(held_back, decide), samples_of(held_back, decide)
    pace = replace(pace, clip=0.0)
    return Run(folder, network, optimizer, step, judge, pace, settings, {"rivals": rivals}, show=show)


def stepper(network: nn.Module, rivals: Rivals, photos: Photos, recipe: Recipe) -> Step:
    """Return the recipe's step."""
    device = next(network.parameters()).device
    draw = crops(photos, device)

    def decided(chance: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        yuv = yuv_of(draw(recipe.batch, recipe.side, chance))
        with mixed(device):
            made = network(yuv[:, :1])[:, :, : recipe.side, : recipe.side].float()
        return yuv[:, :1], yuv[:, 1:], made

    def judged(yuv: Tensor, target: float) -> Tensor:
        with mixed(device):
            share = rivals.critic(yuv)
        return functional.binary_cross_entropy(share.float(), torch.full_like(share, target).float())

    def of_critic(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            luma, true, made = decided(chance)
        real, false = judged(torch.cat([luma, true], 1), 1.0), judged(torch.cat([luma, made], 1), 0.0)
        return {"loss": (real + false) / 2, "critic": (real + false) / 2}

    def of_network(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
        luma, true, made = decided(chance)
        pixels, deceived = functional.mse_loss(made, true), judged(torch.cat([luma, made], 1), 1.0)
        return {"loss": deceived + recipe.pixels * pixels, "pixels": pixels, "deceived": deceived}

    return alternate(rivals, of_critic, of_network)


def yuv_of(rgb: Tensor) -> Tensor:
    """Return luma minus .5, and U and V as parts of the largest, (B, 3, h, w), of sRGB; Rec. 601."""
    red, green, blue = rgb.unbind(1)
    luma = RED * red + (1 - RED - BLUE) * green + BLUE * blue
    u, v = (blue - luma) / (1 - BLUE), (red - luma) / (1 - RED)
    return torch.stack([(luma - 0.5).clamp(-0.5, 0.5), u, v], 1)


def decide(network: nn.Module, luma: Tensor) -> Tensor:
    """Let a network decide chroma."""
    return chroma(network((luma - 0.5).clamp(-0.5, 0.5))[:, :, : luma.shape[2], : luma.shape[3]])

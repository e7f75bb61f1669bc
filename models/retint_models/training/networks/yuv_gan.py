"""Training of `yuv-gan`: squared error of U and V, and a critic that sees them with their luma.

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
from retint_models.networks.yuv_gan import REC601_BLUE, REC601_RED, YuvCritic, YuvGenerator, uv_to_chroma
from retint_models.training.adversary import Adversary, alternate_steps
from retint_models.training.crops import make_crop_sampler
from retint_models.training.judging import make_colorizer_judge, make_sample_drawer
from retint_models.training.loop import TrainingOptions, TrainingRun, TrainingStep
from retint_models.training.precision import autocast, device_of


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of `yuv-gan`. The field names are keys in logs and checkpoints.

    Attributes:
        side: Side of the crops in pixels; above 40.
        batch: Crops a step.
        rate: Largest learning rate of both networks.
        pixels: Weight of the squared error of U and V, relative to the adversarial loss.
    """

    side: int = 256
    batch: int = 20
    rate: float = 1e-4
    pixels: float = 1000.0


def make_run(
    folder: Path,
    photos: Photos,
    held_back: Photos,
    options: TrainingOptions,
    hyperparameters: Hyperparameters | None = None,
    device: str = "cpu",
) -> TrainingRun:
    """Set up a run; both networks start from random weights. Gradients are not clipped."""
    chosen = hyperparameters or Hyperparameters()
    torch.manual_seed(options.seed)
    network = YuvGenerator().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    adversary = Adversary(YuvCritic()).to(device)
    parameters = [{"params": list(module.parameters())} for module in (network, adversary)]
    return TrainingRun(
        folder,
        network,
        optimizer=torch.optim.Adam(parameters, lr=chosen.rate, betas=(0.5, 0.999)),
        training_step=make_training_step(network, adversary, photos, chosen),
        judge=make_colorizer_judge(held_back, decide_chroma),
        options=replace(options, clip=0.0),
        settings={"recipe": "yuv-gan", "photos": photos.identity} | asdict(chosen),
        extra_modules={"rivals": adversary},
        draw_samples=make_sample_drawer(held_back, decide_chroma),
    )


def make_training_step(
    network: nn.Module, adversary: Adversary, photos: Photos, hyperparameters: Hyperparameters
) -> TrainingStep:
    """Return the training step."""
    device, side = device_of(network), hyperparameters.side
    draw_crops = make_crop_sampler(photos, device)

    def colorize_crops(rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        yuv = rgb_to_yuv(draw_crops(hyperparameters.batch, side, rng))
        with autocast(device):
            output = network(yuv[:, :1])[:, :, :side, :side].float()
        return yuv[:, :1], yuv[:, 1:], output

    def critic_loss(luma: Tensor, uv: Tensor, target: float) -> Tensor:
        with autocast(device):
            probability = adversary.critic(torch.cat([luma, uv], 1))
        return functional.binary_cross_entropy(probability.float(), torch.full_like(probability, target).float())

    def critic_step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            luma, true_uv, output = colorize_crops(rng)
        loss = (critic_loss(luma, true_uv, 1.0) + critic_loss(luma, output, 0.0)) / 2
        return {"loss": loss, "critic": loss}

    def network_step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        luma, true_uv, output = colorize_crops(rng)
        pixels, adversarial = functional.mse_loss(output, true_uv), critic_loss(luma, output, 1.0)
        loss = adversarial + hyperparameters.pixels * pixels
        return {"loss": loss, "pixels": pixels, "deceived": adversarial}

    return alternate_steps(adversary, critic_step, network_step)


def rgb_to_yuv(rgb: Tensor) -> Tensor:
    """Convert sRGB to luma minus .5, and U and V as shares of the largest, (B, 3, h, w); Rec. 601."""
    red, green, blue = rgb.unbind(1)
    luma = REC601_RED * red + (1 - REC601_RED - REC601_BLUE) * green + REC601_BLUE * blue
    u, v = (blue - luma) / (1 - REC601_BLUE), (red - luma) / (1 - REC601_RED)
    return torch.stack([(luma - 0.5).clamp(-0.5, 0.5), u, v], 1)


def decide_chroma(network: nn.Module, luma: Tensor) -> Tensor:
    """Run a network on luma (B, 1, h, w) and return its Cb and Cr."""
    return uv_to_chroma(network((luma - 0.5).clamp(-0.5, 0.5))[:, :, : luma.shape[2], : luma.shape[3]])

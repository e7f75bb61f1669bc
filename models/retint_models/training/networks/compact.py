"""Training of `compact`: the luma of photographs in, their own chroma as the target.

The loss is made of CIEDE2000 of the colored picture (what is judged), the distance in chroma (which has a gradient also
where colors leave the gamut), and the losses of the two other outputs, expected error and vividness. The encoder stays
as ImageNet left it: with a few thousand photographs, training it takes twice the time and overfits.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.datasets.photographs import Photos
from retint_models.evaluation.metrics import batch_colorfulness
from retint_models.networks.color import ciede2000, join_luma_chroma, rec709_chroma, rec709_luma, rgb_to_lab
from retint_models.networks.compact import ColorDecision, Compact, CompactConfig
from retint_models.training.crops import make_crop_sampler
from retint_models.training.judging import make_colorizer_judge, make_sample_drawer
from retint_models.training.loop import TrainingOptions, TrainingRun, TrainingStep
from retint_models.training.precision import autocast, device_of


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of `compact`. The field names are keys in logs and checkpoints.

    Attributes:
        sides: Sides of the crops in pixels; each step draws one.
        batch: Crops a step.
        rate: Largest learning rate.
        decay: Weight decay.
        smallest: Smallest share of a photo's short side that a crop covers.
        dropout: Share of the decoder's channels that are dropped.
        delta_e, chroma, error, vividness: Weights of the parts of the loss; CIEDE2000 is divided by 10 first.
        colorful: Weight of a reward for colorfulness, subtracted from the loss. More than 0 improves scores but burns
            skin (docs/study.md).
        aging: Whether crops are aged as old photographs are before the network sees them.
        encoder: Learning rate of the encoder as a share of `rate`; 0 freezes it.
    """

    sides: tuple[int, ...] = (96, 128, 160, 224)
    batch: int = 16
    rate: float = 1.5e-3
    decay: float = 0.3
    smallest: float = 0.55
    dropout: float = 0.2
    delta_e: float = 1.0
    chroma: float = 0.5
    error: float = 0.1
    vividness: float = 0.2
    colorful: float = 0.0
    aging: bool = True
    encoder: float = 0.0


def make_run(
    folder: Path,
    photos: Photos,
    held_back: Photos,
    imagenet: dict[str, Tensor],
    options: TrainingOptions,
    hyperparameters: Hyperparameters | None = None,
    device: str = "cpu",
) -> TrainingRun:
    """Set up a run.

    Args:
        folder: Folder of the run.
        photos: Photographs to train on.
        held_back: Photographs to judge on.
        imagenet: Weights of EfficientNet-Lite0 trained on ImageNet; empty to start from random weights, which needs
            `Hyperparameters.encoder` above 0.
        options: How long the run lasts.
        hyperparameters: Those of the shipped weights by default.
        device: `cpu` or `cuda`.
    """
    chosen = hyperparameters or Hyperparameters()
    torch.manual_seed(options.seed)
    network = Compact(CompactConfig(dropout=chosen.dropout)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if imagenet:
        network.encoder.load_imagenet(imagenet)
    network.encoder.requires_grad_(chosen.encoder > 0)
    network.to(device)
    decoder = [value for name, value in network.named_parameters() if not name.startswith("encoder.")]
    groups: list[dict[str, Any]] = [{"params": decoder}]
    if chosen.encoder:
        groups.append({"params": list(network.encoder.parameters()), "lr": chosen.encoder * chosen.rate})
    return TrainingRun(
        folder,
        network,
        optimizer=torch.optim.AdamW(groups, lr=chosen.rate, betas=(0.9, 0.98), weight_decay=chosen.decay),
        training_step=make_training_step(network, photos, chosen, is_pretrained=bool(imagenet)),
        judge=make_colorizer_judge(held_back, decide_chroma),
        options=options,
        settings={"recipe": "compact", "photos": photos.identity, "pretrained": bool(imagenet)} | asdict(chosen),
        draw_samples=make_sample_drawer(held_back, decide_chroma),
    )


def make_training_step(
    network: Compact, photos: Photos, hyperparameters: Hyperparameters, *, is_pretrained: bool
) -> TrainingStep:
    """Return the training step; batch norms of a pretrained encoder stay in evaluation mode."""
    device = device_of(network)
    draw_crops = make_crop_sampler(photos, device, hyperparameters.smallest)

    def step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        network.encoder.train(not is_pretrained)
        side = hyperparameters.sides[int(torch.randint(len(hyperparameters.sides), (), generator=rng))]
        rgb = draw_crops(hyperparameters.batch, side, rng)
        luma = age_luma(rgb, rng) if hyperparameters.aging else rec709_luma(rgb)
        luma = luma.contiguous(memory_format=torch.channels_last)
        if hyperparameters.encoder:
            with autocast(device):
                output = network(luma)
        else:
            # No gradient reaches a frozen encoder, so it runs in bfloat16 on every device.
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                maps = [stage.float() for stage in network.encoder(luma)]
            with autocast(device):
                output = network.decide(maps)
        decision = ColorDecision(output.chroma.float(), output.error.float(), output.vividness.float())
        return {"loss": compute_loss(decision, functional.avg_pool2d(rgb, 4), hyperparameters)}

    return step


def compute_loss(decision: ColorDecision, rgb: Tensor, hyperparameters: Hyperparameters) -> Tensor:
    """Return the loss of a decision against true sRGB of the same size."""
    true_chroma, luma = rec709_chroma(rgb), rec709_luma(rgb)
    colored = join_luma_chroma(luma, decision.chroma).clamp(1e-3, 1)
    distance = ciede2000(rgb_to_lab(colored), rgb_to_lab(rgb.clamp(1e-3, 1))).unsqueeze(1)
    in_chroma = functional.smooth_l1_loss(20 * decision.chroma, 20 * true_chroma)
    # Negative log likelihood of the distance under an exponential distribution with the expected error as its mean.
    surprise = (distance.detach() / decision.error + decision.error.log()).mean()
    vividness = functional.smooth_l1_loss(20 * decision.vividness, 20 * true_chroma.norm(dim=1, keepdim=True))
    return (
        hyperparameters.delta_e * distance.mean() / 10
        + hyperparameters.chroma * in_chroma
        + hyperparameters.error * surprise
        + hyperparameters.vividness * vividness
        - hyperparameters.colorful * batch_colorfulness(colored, floor=1.0).mean() / 10
    )


def age_luma(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """Return the luma (B, 1, h, w) that the network sees: unchanged, or changed at random as in old photographs.

    Film before about 1920 was blind to red, which changes the luma of skies and lips; prints are flat, dark, blurred or
    grainy. torchvision's transforms do none of this: they draw from torch's global random state (see `crops`), and
    apply one strength to the whole batch.
    """
    count = len(rgb)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=rng).to(rgb.device)

    def happens(probability: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=rng).to(rgb.device) < probability

    red = uniform(0.0, 0.15)
    blue = uniform(0.3, 0.6)
    blind_to_red = red * rgb[:, :1] + (1 - red - blue) * rgb[:, 1:2] + blue * rgb[:, 2:]
    luma = torch.where(happens(0.2), blind_to_red, rec709_luma(rgb))
    gamma = torch.exp(0.2 * torch.randn(count, 1, 1, 1, generator=rng)).to(rgb.device)
    contrast, lift = uniform(0.7, 1.1), uniform(-0.1, 0.1)
    toned = (luma.clamp(1e-3, 1) ** gamma - 0.5) * contrast + 0.5 + lift
    luma = torch.where(happens(0.5), toned, luma)
    blurred = functional.avg_pool2d(functional.pad(luma, (1, 1, 1, 1), mode="replicate"), 3, 1)
    luma = torch.where(happens(0.2), blurred, luma)
    grain = uniform(0.0, 0.04) * torch.randn(luma.shape, generator=rng).to(rgb.device)
    return torch.where(happens(0.4), luma + grain, luma).clamp(0, 1)


def decide_chroma(network: nn.Module, luma: Tensor) -> Tensor:
    """Run a network on luma (B, 1, h, w) and return its Cb and Cr."""
    chroma: Tensor = network(luma).chroma
    return chroma

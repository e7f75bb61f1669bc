"""Training of `compact`: the luma of photographs in, their own chroma as the target.

The loss is made of CIEDE2000 of the colored picture (what is judged), the distance in chroma (which has a gradient also
where colors leave the gamut), and the losses of the two other outputs, expected error and vividness. Skin weighs more:
wrong colors are seen there first. The encoder stays as ImageNet left it for all or most of a run, so what it makes of a
crop is kept and used again (`training.views`).
"""

from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.datasets.photographs import Photos
from retint_models.networks.color import ciede2000, join_luma_chroma, rec709_chroma, rec709_luma, rgb_to_lab
from retint_models.networks.compact import ColorDecision, Compact, CompactConfig
from retint_models.networks.compact_defade import load_compact_defader
from retint_models.networks.proxies import normalise_tone
from retint_models.networks.registry import card
from retint_models.training.judging import make_colorizer_judge, make_sample_drawer
from retint_models.training.loop import TrainingOptions, TrainingRun, TrainingStep
from retint_models.training.precision import autocast, device_of
from retint_models.training.views import ViewDrawer, Views


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of `compact`. The field names are keys in logs and checkpoints.

    Attributes:
        sides: Sides of the crops in pixels; each step draws one.
        batch: Crops a step.
        rate: Largest learning rate.
        decay: Weight decay.
        dropout: Share of the decoder's channels that are dropped.
        delta_e, chroma, error, vividness: Weights of the parts of the loss; CIEDE2000 is divided by 10 first.
        skin: Additional weight of CIEDE2000 where the true color could be one of skin.
        gray_share: Share of the crops that are no photograph.
        repaired: Whether some crops are faded and repaired.
        views: Crops that are kept of each photograph and side.
        encoder: Learning rate of the encoder as a share of `rate`.
        frozen: Share of the run in which the encoder stays frozen, and crops are kept; 1 for all of it.
    """

    sides: tuple[int, ...] = (96, 128, 128, 160, 160, 224)
    batch: int = 16
    rate: float = 1.5e-3
    decay: float = 0.05
    dropout: float = 0.1
    delta_e: float = 1.0
    chroma: float = 0.5
    error: float = 0.1
    vividness: float = 0.2
    skin: float = 1.0
    gray_share: float = 0.06
    repaired: bool = True
    views: int = 8
    encoder: float = 0.1
    frozen: float = 1.0


def make_run(
    folder: Path,
    photos: Photos,
    held_back: Photos,
    imagenet: dict[str, Tensor],
    options: TrainingOptions,
    hyperparameters: Hyperparameters | None = None,
    device: str = "cpu",
    kept: Path | None = None,
) -> TrainingRun:
    """Set up a run.

    Args:
        folder: Folder of the run.
        photos: Photographs to train on.
        held_back: Photographs to judge on.
        imagenet: Weights of EfficientNet-Lite0 trained on ImageNet.
        options: How long the run lasts.
        hyperparameters: Those of the shipped weights by default.
        device: `cpu` or `cuda`.
        kept: Folder of the views, which runs may share; by default one in the run's folder.
    """
    chosen = hyperparameters or Hyperparameters()
    torch.manual_seed(options.seed)
    network = Compact(CompactConfig(dropout=chosen.dropout)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.encoder.load_imagenet(imagenet)
    network.encoder.requires_grad_(chosen.frozen < 1)
    encoder = deepcopy(network.encoder).eval().requires_grad_(False)
    drawer = ViewDrawer(
        photos, load_compact_defader(card("compact-defade")) if chosen.repaired else None, chosen.gray_share
    )
    network.to(device)
    decoder = [value for name, value in network.named_parameters() if not name.startswith("encoder.")]
    groups: list[dict[str, Any]] = [{"params": decoder}]
    if chosen.frozen < 1:
        groups.append({"params": list(network.encoder.parameters()), "lr": chosen.encoder * chosen.rate})
    return TrainingRun(
        folder,
        network,
        optimizer=torch.optim.AdamW(groups, lr=chosen.rate, betas=(0.9, 0.98), weight_decay=chosen.decay),
        training_step=make_training_step(
            network, Views(drawer, encoder, kept or folder / "views", chosen.views), chosen
        ),
        judge=make_colorizer_judge(held_back, decide_chroma),
        options=options,
        settings={"recipe": "compact", "photos": photos.identity} | asdict(chosen),
        draw_samples=make_sample_drawer(held_back, decide_chroma),
    )


def make_training_step(network: Compact, views: Views, hyperparameters: Hyperparameters) -> TrainingStep:
    """Return the training step; batch norms of the encoder stay in evaluation mode."""
    device = device_of(network)

    def step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        network.encoder.train(False)
        side = hyperparameters.sides[int(torch.randint(len(hyperparameters.sides), (), generator=rng))]
        if progress < hyperparameters.frozen:
            batch = views.draw(hyperparameters.batch, side, rng)
            rgb, maps = batch.rgb, [each.to(device, memory_format=torch.channels_last) for each in batch.maps]
            with autocast(device):
                output = network.decide(maps)
        else:
            luma, rgb = views.draw_new(hyperparameters.batch, side, rng)
            with autocast(device):
                output = network(luma.to(device, memory_format=torch.channels_last))
        decision = ColorDecision(output.chroma.float(), output.error.float(), output.vividness.float())
        return {"loss": compute_loss(decision, rgb.to(device), hyperparameters)}

    return step


def compute_loss(decision: ColorDecision, rgb: Tensor, hyperparameters: Hyperparameters) -> Tensor:
    """Return the loss of a decision against true sRGB of the same size."""
    true_chroma, luma = rec709_chroma(rgb), rec709_luma(rgb)
    true_lab = rgb_to_lab(rgb.clamp(1e-3, 1))
    colored = join_luma_chroma(luma, decision.chroma).clamp(1e-3, 1)
    distance = ciede2000(rgb_to_lab(colored), true_lab).unsqueeze(1)
    in_chroma = functional.smooth_l1_loss(20 * decision.chroma, 20 * true_chroma)
    # Negative log likelihood of the distance under an exponential distribution with the expected error as its mean.
    surprise = (distance.detach() / decision.error + decision.error.log()).mean()
    vividness = functional.smooth_l1_loss(20 * decision.vividness, 20 * true_chroma.norm(dim=1, keepdim=True))
    weights = 1 + hyperparameters.skin * is_like_skin(true_lab)
    return (
        hyperparameters.delta_e * (weights * distance).mean() / 10
        + hyperparameters.chroma * in_chroma
        + hyperparameters.error * surprise
        + hyperparameters.vividness * vividness
    )


def is_like_skin(lab: Tensor) -> Tensor:
    """Return where CIELAB (B, 3, h, w) could be skin, light or dark, by its color alone, (B, 1, h, w).

    Wood, sand and brick could, too. The judge finds skin by another rule (`evaluation.skin`).
    """
    lightness, a, b = lab.unbind(1)
    chroma, hue = a.hypot(b), torch.rad2deg(torch.atan2(b, a))
    return ((lightness > 25) & (lightness < 92) & (chroma > 10) & (chroma < 45) & (hue > 25) & (hue < 75)).unsqueeze(1)


def decide_chroma(network: nn.Module, luma: Tensor) -> Tensor:
    """Run a network on the luma of a photo, (1, 1, h, w), stretched as it is in use, and return its Cb and Cr."""
    chroma: Tensor = network(normalise_tone(luma)).chroma
    return chroma

"""The recipe of `compact`: photographs in, their own chroma as the answer.

Loss: CIEDE2000 of the decided picture (what is judged), the distance in chroma (which still pulls where the gamut is
left), and the two side decisions, expected error and vividness. The encoder stays as ImageNet left it: with a few
thousand photographs, training it costs twice the time and overfits.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.datasets.photographs import Photos
from retint_models.evaluation.metrics import colorfulnesses
from retint_models.networks.color import ciede2000, join_luma_chroma, rec709_chroma, rec709_luma, rgb_to_lab
from retint_models.networks.compact import Compact, Config, Decision
from retint_models.training.crops import crops
from retint_models.training.judging import judge_on, samples_of
from retint_models.training.loop import Pace, Run, Step, mixed


@dataclass(frozen=True)
class Recipe:
    """What shapes a run besides its pace.

    Attributes:
        sides: Of the crops, in pixels; each step draws one.
        batch: Crops a step.
        rate: Largest learning rate.
        decay: Weight decay.
        smallest: Least share of a photo's sides that a crop shows.
        dropout: Share of the decoder's maps dropped.
        delta_e, chroma, error, vividness: Weights of the parts of the loss; CIEDE2000 counts a tenth.
        colorful: What a unit of colorfulness is worth, in CIEDE2000; more than 0 buys scores with burnt skin (see the
            study).
        aging: Whether the network is shown crops as old photographs might have them.
        encoder: Learning rate of the encoder as a share of `rate`; 0 leaves it as ImageNet left it.
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


def start(
    folder: Path,
    photos: Photos,
    held_back: Photos,
    imagenet: dict[str, Tensor],
    pace: Pace,
    recipe: Recipe | None = None,
    device: str = "cpu",
) -> Run:
    """Set up a run of the recipe on photographs.

    Args:
        folder: Of the run.
        photos: To train on.
        held_back: To judge on.
        imagenet: Weights of an encoder trained on ImageNet; empty to start from nothing, which takes `encoder`.
        pace: Of the run.
        recipe: What ships by default.
        device: `cpu` or `cuda`.
    """
    recipe = recipe or Recipe()
    torch.manual_seed(pace.seed)
    network = Compact(Config(dropout=recipe.dropout)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if imagenet:
        network.encoder.adopt(imagenet)
    network.encoder.requires_grad_(recipe.encoder > 0)
    network.to(device)
    decoder = [value for name, value in network.named_parameters() if not name.startswith("encoder.")]
    groups: list[dict[str, Any]] = [{"params": decoder}]
    if recipe.encoder:
        groups.append({"params": list(network.encoder.parameters()), "lr": recipe.encoder * recipe.rate})
    optimizer = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.decay)
    settings = {"recipe": "compact", "photos": photos.identity, "pretrained": bool(imagenet)} | asdict(recipe)
    step = stepper(network, photos, recipe, pretrained=bool(imagenet))
    judge, show = judge_on(held_back, decide), samples_of(held_back, decide)
    return Run(folder, network, optimizer, step, judge, pace, settings, show=show)


def stepper(network: Compact, photos: Photos, recipe: Recipe, *, pretrained: bool) -> Step:
    """Return the recipe's step; a pretrained encoder's batch norms stay as they were."""
    device = next(network.parameters()).device
    draw = crops(photos, device, recipe.smallest)

    def step(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
        network.encoder.train(not pretrained)
        side = recipe.sides[int(torch.randint(len(recipe.sides), (), generator=chance))]
        rgb = draw(recipe.batch, side, chance)
        luma = aged(rgb, chance) if recipe.aging else rec709_luma(rgb)
        seen = luma.contiguous(memory_format=torch.channels_last)
        if recipe.encoder:
            with mixed(device):
                made = network(seen)
        else:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):  # nothing flows back through it
                maps = [stage.float() for stage in network.encoder(seen)]
            with mixed(device):
                made = network.decide(maps)
        decision = Decision(made.chroma.float(), made.error.float(), made.vividness.float())
        return {"loss": loss_of(decision, functional.avg_pool2d(rgb, 4), recipe)}

    return step


def loss_of(decision: Decision, rgb: Tensor, recipe: Recipe) -> Tensor:
    """Return the loss of a decision against true sRGB of its size."""
    true, luma = rec709_chroma(rgb), rec709_luma(rgb)
    made = join_luma_chroma(luma, decision.chroma).clamp(1e-3, 1)
    off = ciede2000(rgb_to_lab(made), rgb_to_lab(rgb.clamp(1e-3, 1))).unsqueeze(1)
    in_chroma = functional.smooth_l1_loss(20 * decision.chroma, 20 * true)
    surprise = (off.detach() / decision.error + decision.error.log()).mean()
    vividness = functional.smooth_l1_loss(20 * decision.vividness, 20 * true.norm(dim=1, keepdim=True))
    return (
        recipe.delta_e * off.mean() / 10
        + recipe.chroma * in_chroma
        + recipe.error * surprise
        + recipe.vividness * vividness
        - recipe.colorful * colorfulnesses(made, floor=1.0).mean() / 10
    )


def aged(rgb: Tensor, chance: torch.Generator) -> Tensor:
    """Return the luma (B, 1, h, w) that the network is shown: as it is, or as an old photograph might have it.

    Film before about 1920 was blind to red, which turns the luma of skies and lips; prints are flat or dark; grain.
    """
    count = len(rgb)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=chance).to(rgb.device)

    def some(share: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=chance).to(rgb.device) < share

    red = draw(0.0, 0.15)
    blue = draw(0.3, 0.6)
    blind = red * rgb[:, :1] + (1 - red - blue) * rgb[:, 1:2] + blue * rgb[:, 2:]
    luma = torch.where(some(0.2), blind, rec709_luma(rgb))
    gamma = torch.exp(0.2 * torch.randn(count, 1, 1, 1, generator=chance)).to(rgb.device)
    contrast, lift = draw(0.7, 1.1), draw(-0.1, 0.1)
    toned = (luma.clamp(1e-3, 1) ** gamma - 0.5) * contrast + 0.5 + lift
    luma = torch.where(some(0.5), toned, luma)
    blurred = functional.avg_pool2d(functional.pad(luma, (1, 1, 1, 1), mode="replicate"), 3, 1)
    luma = torch.where(some(0.2), blurred, luma)
    grain = draw(0.0, 0.04) * torch.randn(luma.shape, generator=chance).to(rgb.device)
    return torch.where(some(0.4), luma + grain, luma).clamp(0, 1)


def decide(network: nn.Module, luma: Tensor) -> Tensor:
    """Let a network decide chroma."""
    chroma: Tensor = network(luma).chroma
    return chroma

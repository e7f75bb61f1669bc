"""Training of `compact-defade`: `fading` makes another print of each crop in every step."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from retint_models.datasets.fading import Pair, as_floats, simulate
from retint_models.datasets.photographs import Photos
from retint_models.evaluation.defade import quick_scores
from retint_models.networks.color import rgb_to_lab
from retint_models.networks.compact_defade import SIDE, Decision, DefadeNet, places, repair
from retint_models.training.loop import Judge, Pace, Run, Step

HALF_WEIGHT = ("Oldpel/flower_photos",)
"""Sources that make up too much of the training photographs: five flowers are a fifth of them."""


@dataclass(frozen=True)
class Recipe:
    """What shapes a training.

    Attributes:
        batch: Prints a step.
        again: How many of them the network also sees repaired, and should leave alone.
        again_from: Share of the run after which it does: before, its repairs are no better than the prints.
        again_weight: Of those. A repair looks like a slightly faded print: with more weight, prints stay faded.
        rate: Largest learning rate.
        clean: Weight of photographs that nothing happened to.
        gate: Weight of the gate's cross-entropy.
        smooth: Weight of the grid's roughness.
        stride: Only every so manieth pixel in each direction is compared, from a random start: it is enough and fast.
    """

    batch: int = 16
    again: int = 4
    again_from: float = 0.5
    again_weight: float = 0.3
    rate: float = 2e-3
    decay: float = 0.02
    clean: float = 2.0
    gate: float = 0.2
    smooth: float = 0.5
    stride: int = 4


def start(
    folder: Path,
    photos: Photos,
    judge: Judge,
    imagenet: dict[str, Tensor],
    pace: Pace,
    recipe: Recipe | None = None,
) -> Run:
    """Set up a run of the recipe.

    Args:
        folder: Of the run.
        photos: To train on, decoded at a short side of 192 or more.
        judge: Of the network while it trains.
        imagenet: Weights of an EfficientNet-Lite0 trained on ImageNet.
        pace: Of the run.
        recipe: What ships by default.
    """
    recipe = recipe or Recipe()
    torch.manual_seed(pace.seed)
    network = DefadeNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.encoder.adopt(imagenet)
    learning = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.decay)
    settings = {"recipe": "compact-defade", "photos": photos.identity} | asdict(recipe)
    return Run(folder, network, optimizer, stepper(network, photos, recipe), judge, pace, settings)


def judge_on(photos: Photos) -> Judge:
    """Return a judge: mean CIEDE2000 of repaired prints, plus what clean and repaired photographs are moved by."""

    def judge(network: nn.Module) -> dict[str, float]:
        assert isinstance(network, DefadeNet)  # noqa: S101 - the loop hands back what it was given
        return quick_scores(network, photos)

    return judge


def stepper(network: DefadeNet, photos: Photos, recipe: Recipe) -> Step:
    """Return the recipe's step."""
    draw = crops(photos)

    def step(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=chance)))
        again = recipe.again if progress >= recipe.again_from else 0
        pairs = [simulate(draw(rng), rng) for _ in range(recipe.batch)]
        return {"loss": loss_of(network, pairs, again, recipe, rng)}

    return step


def crops(photos: Photos) -> Callable[[Generator], np.ndarray]:
    """Return a function that draws a crop at random: float32 (128, 128, 3), sRGB in [0, 1]."""
    weights = np.array([0.5 if entry.get("source") in HALF_WEIGHT else 1.0 for entry in photos.entries])
    weights /= weights.sum()

    def draw(rng: Generator) -> np.ndarray:
        photo = photos[rng.choice(len(photos), p=weights)]
        size = np.array(photo.shape[1::-1])
        extent = size * rng.uniform(0.6, 1) * np.array([1, rng.uniform(0.85, 1)])[:: rng.choice([1, -1])]
        start = rng.uniform(0, 1, 2) * (size - extent)
        box = (*start, *(start + extent))
        crop = np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box))
        return as_floats(crop[:, :: rng.choice([1, -1])])

    return draw


def loss_of(network: DefadeNet, pairs: list[Pair], again: int, recipe: Recipe, rng: Generator) -> Tensor:
    """Compare the network's repair of prints with the truth, with its own gate and with the gate wide open.

    Behind a closed gate nothing would be learned. The first `again` repairs are seen once more, as if they were clean.
    """
    seen, truth = batch_of([pair.print for pair in pairs]), batch_of([pair.truth for pair in pairs])
    seen = (seen * 255).round() / 255
    if again:
        repaired = repaired_once(network, seen[:again])
        seen, truth = torch.cat([seen, repaired]), torch.cat([truth, repaired])
    weights = [recipe.clean if pair.family == "clean" else 1.0 for pair in pairs] + [recipe.again_weight] * again
    weight = torch.tensor(weights)

    decision = network(seen)
    rows, columns = (slice(int(rng.integers(recipe.stride)), None, recipe.stride) for _ in range(2))
    at = places(SIDE, SIDE).view(SIDE, SIDE, 2)[rows, columns]
    before, after = seen[..., rows, columns], truth[..., rows, columns]
    true_lab = rgb_to_lab(after)
    error = torch.zeros(len(seen))
    for gate in (decision.gate, torch.ones_like(decision.gate)):
        ours = repair(decision._replace(gate=gate), before.flatten(2), at.flatten(0, 1)).view_as(before)
        error = error + difference(ours, after, true_lab) / 2
    faded = (rgb_to_lab(before) - true_lab).norm(dim=1).mean((1, 2))
    closing = F.binary_cross_entropy_with_logits(decision.gate_logit, ((faded - 1.5) / 4).clamp(0, 1), weight)
    return (error * weight).mean() + recipe.gate * closing + recipe.smooth * roughness(decision)


def difference(ours: Tensor, truth: Tensor, true_lab: Tensor) -> Tensor:
    """Tell how far pictures (B, 3, h, w) are from the truth, (B,): L1 in Lab / 10 + 2 L1 in sRGB."""
    in_lab = (rgb_to_lab(ours) - true_lab).abs().mean((1, 2, 3))
    return in_lab / 10 + 2 * (ours - truth).abs().mean((1, 2, 3))


def batch_of(pictures: list[np.ndarray]) -> Tensor:
    """Stack float32 (h, w, 3) pictures as (B, 3, h, w)."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


@torch.no_grad()
def repaired_once(network: DefadeNet, seen: Tensor) -> Tensor:
    """Repair (B, 3, 128, 128) as it would be kept: rounded to 8 bits."""
    network.eval()
    repaired = repair(network(seen), seen.flatten(2), places(SIDE, SIDE)).view_as(seen)
    network.train()
    return (repaired * 255).round() / 255


def roughness(decision: Decision) -> Tensor:
    """Mean square of the differences between neighboring cells of the grid, along all three directions."""
    return sum((decision.grid.diff(dim=axis).square().mean() for axis in (2, 3, 4)), torch.zeros(()))

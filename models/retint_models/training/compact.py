"""The recipe of `compact`: photographs in, their own chroma as the answer.

Loss: CIEDE2000 of the decided picture (what is judged), the distance in chroma (which still pulls where the gamut is
left), and the two side decisions, expected error and vividness. The encoder stays as ImageNet left it: with a few
thousand photographs, training it costs twice the time and overfits.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from retint_models.color import chroma_of, delta_e, lab_of, luma_of, rgb_of
from retint_models.compact import Compact, Config, Decision
from retint_models.data import Photos
from retint_models.evaluation.metrics import colorfulness
from retint_models.training.loop import Judge, Pace, Run, Step

WEIGHTS = {
    "flower_photos": 0.5,
    "clothing-dataset": 0.5,
    "GroceryStoreDataset": 0.5,
    "caltech": 0.7,
}
"""How often a source's photographs are drawn, where it would fill the set with one kind of picture."""


@dataclass(frozen=True)
class Recipe:
    """What shapes a run besides its pace.

    Attributes:
        sizes: Sides of the crops in pixels, and the share of the run from which each is used.
        batch: Crops a step.
        rate: Largest learning rate.
        decay: Weight decay.
        smallest: Least share of a photo's sides that a crop shows.
        chroma, error, vividness, overall: Shares of the parts of the loss beside CIEDE2000 / 10.
    """

    sizes: tuple[tuple[float, int], ...] = ((0.0, 128), (0.6, 160))
    batch: int = 16
    rate: float = 1.5e-3
    decay: float = 0.05
    smallest: float = 0.55
    chroma: float = 0.5
    error: float = 0.1
    vividness: float = 0.2
    overall: float = 0.0
    dropout: float = 0.1


def start(
    folder: Path, photos: Photos, judge: Judge, imagenet: dict[str, Tensor], pace: Pace, recipe: Recipe | None = None
) -> Run:
    """Set up a run of the recipe on photographs, with the weights of an encoder trained on ImageNet."""
    recipe = recipe or Recipe()
    torch.manual_seed(pace.seed)
    network = Compact(Config(dropout=recipe.dropout)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.encoder.adopt(imagenet)
    network.encoder.requires_grad_(False)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.decay)
    step = stepper(network, photos, recipe)
    return Run(
        folder, network, optimizer, step, judge, pace, {"recipe": "compact", "photos": photos.identity} | asdict(recipe)
    )


def stepper(network: Compact, photos: Photos, recipe: Recipe) -> Step:
    """Return the recipe's step."""
    weights = torch.tensor([weight_of(str(entry.get("source", ""))) for entry in photos.entries])

    def step(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
        network.encoder.eval()  # its batch norms, too, stay as they were
        side = [size for begin, size in recipe.sizes if progress >= begin][-1]
        drawn = torch.multinomial(weights, recipe.batch, replacement=True, generator=chance)
        crops = np.stack([crop(photos[int(index)], side, recipe.smallest, chance) for index in drawn])
        rgb = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        seen = aged(rgb, chance).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast(seen.device.type, torch.bfloat16):  # nothing flows back through it
            maps = [stage.float() for stage in network.encoder(seen)]
        return {"loss": loss_of(network.decide(maps), functional.avg_pool2d(rgb, 4), recipe)}

    return step


def loss_of(decision: Decision, rgb: Tensor, recipe: Recipe) -> Tensor:
    """Return the loss of a decision against true sRGB of its size."""
    true, luma = chroma_of(rgb), luma_of(rgb)
    off = delta_e(lab_of(rgb_of(luma, decision.chroma).clamp(1e-3, 1)), lab_of(rgb.clamp(1e-3, 1))).unsqueeze(1)
    in_chroma = functional.smooth_l1_loss(20 * decision.chroma, 20 * true)
    surprise = (off.detach() / decision.error + decision.error.log()).mean()
    vividness = functional.smooth_l1_loss(20 * decision.vividness, 20 * true.norm(dim=1, keepdim=True))
    overall = functional.l1_loss(20 * decision.chroma.mean((2, 3)), 20 * true.mean((2, 3)))
    return (
        off.mean() / 10
        + recipe.chroma * in_chroma
        + recipe.error * surprise
        + recipe.vividness * vividness
        + recipe.overall * overall
    )


def weight_of(source: str) -> float:
    """Tell how often a source's photographs are drawn."""
    return next((weight for part, weight in WEIGHTS.items() if part.lower() in source.lower()), 1.0)


def crop(photo: NDArray[np.uint8], side: int, smallest: float, chance: torch.Generator) -> NDArray[np.uint8]:
    """Return a random square part of a photo, or of its mirror image, as uint8 (side, side, 3).

    The part is slightly stretched at random; the reduction averages (no aliasing).
    """
    draws = torch.rand(5, generator=chance).tolist()
    height, width = photo.shape[:2]
    extent = (smallest + (1 - smallest) * draws[0]) * min(height, width)
    stretch = 1.2 ** (draws[1] - 0.5)
    across, down = min(width, extent * stretch), min(height, extent / stretch)
    left, top = draws[2] * (width - across), draws[3] * (height - down)
    box = (left, top, left + across, top + down)
    part = np.asarray(Image.fromarray(photo).resize((side, side), Image.Resampling.BILINEAR, box=box))
    return np.ascontiguousarray(part[:, ::-1]) if draws[4] < 0.5 else part


def aged(rgb: Tensor, chance: torch.Generator) -> Tensor:
    """Return the luma (B, 1, h, w) that the network is shown: as it is, or as an old photograph might have it.

    Film before about 1920 was blind to red, which turns the luma of skies and lips; prints are flat or dark; grain.
    """
    count = len(rgb)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=chance)

    def some(share: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=chance) < share

    red = draw(0.0, 0.15)
    blue = draw(0.3, 0.6)
    blind = red * rgb[:, :1] + (1 - red - blue) * rgb[:, 1:2] + blue * rgb[:, 2:]
    luma = torch.where(some(0.2), blind, luma_of(rgb))
    gamma = torch.exp(0.2 * torch.randn(count, 1, 1, 1, generator=chance))
    contrast, lift = draw(0.7, 1.1), draw(-0.1, 0.1)
    toned = (luma.clamp(1e-3, 1) ** gamma - 0.5) * contrast + 0.5 + lift
    luma = torch.where(some(0.5), toned, luma)
    blurred = functional.avg_pool2d(functional.pad(luma, (1, 1, 1, 1), mode="replicate"), 3, 1)
    luma = torch.where(some(0.2), blurred, luma)
    grain = draw(0.0, 0.04) * torch.randn(luma.shape, generator=chance)
    return torch.where(some(0.4), luma + grain, luma).clamp(0, 1)


def judge_on(photos: Photos, *, ratio: float = 0.68, gains: tuple[float, ...] = (1.0, 1.3, 1.6, 2.0, 2.5)) -> Judge:
    """Return a judge: mean CIEDE2000 at the gain that gives a share of the true colorfulness.

    At a fixed gain a drab network beats a better one; at a fixed colorfulness they can be compared.
    """

    def judge(network: nn.Module) -> dict[str, float]:
        rows = [judge_one(network, photo, gains) for photo in photos]
        error, colorful = np.mean([row[:, 0] for row in rows], 0), np.mean([row[:, 1] for row in rows], 0)
        share = colorful[1:] / colorful[0]
        return {
            "score": float(np.interp(ratio, share, error[1:])),
            "gain": float(np.interp(ratio, share, gains)),
            "delta_e": float(error[1]),
            "share": float(share[0]),
        }

    return judge


def judge_one(network: nn.Module, photo: NDArray[np.uint8], gains: tuple[float, ...]) -> NDArray[np.float64]:
    """Return CIEDE2000 and colorfulness of the true photo (first row) and of its decision at each gain."""
    height, width = (max(32, round(side / 32) * 32) for side in photo.shape[:2])
    sized = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
    rgb = torch.from_numpy(sized.copy()).permute(2, 0, 1)[None].float() / 255
    decision = network(luma_of(rgb))
    half = functional.avg_pool2d(rgb, 2)
    chroma = functional.interpolate(decision.chroma, size=half.shape[-2:], mode="bilinear")
    true = lab_of(half)
    rows = [(0.0, colorfulness(half[0]))]
    for gain in gains:
        made = rgb_of(luma_of(half), gain * chroma)
        rows.append((float(delta_e(lab_of(made), true).mean()), colorfulness(made[0])))
    return np.array(rows)

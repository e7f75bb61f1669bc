"""Random crops of photographs, cut and sized on the device that trains."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from retint_models.datasets.photographs import Photos

WEIGHTS = {
    "flower_photos": 0.5,
    "clothing-dataset": 0.5,
    "GroceryStoreDataset": 0.5,
    "caltech": 0.7,
}
"""How often a source's photographs are drawn, where it would fill the set with one kind of picture."""

Draw = Callable[[int, int, torch.Generator], Tensor]
"""Takes a count and a side; returns so many crops, (count, 3, side, side), sRGB in [0, 1]."""


def crops(photos: Photos, device: torch.device, smallest: float = 0.55) -> Draw:
    """Return what draws square crops at random, half of them mirrored, each stretched a little.

    Args:
        photos: On a GPU they are held in its memory; a CPU reads them where they lie.
        device: Where the crops are wanted.
        smallest: Least share of a photo's short side that a crop shows.
    """
    weights = torch.tensor([weight_of(str(entry.get("source", ""))) for entry in photos.entries])
    held = torch.from_numpy(np.array(photos.pixels)).to(device) if device.type != "cpu" else None

    def part(index: int, top: int, left: int, down: int, across: int) -> Tensor:
        rows, columns = slice(top, top + down), slice(left, left + across)
        if held is None:
            return torch.from_numpy(photos[index][rows, columns].copy())
        entry = photos.entries[index]
        size, start = (entry["height"], entry["width"], 3), entry["start"]
        return held[start : start + entry["height"] * entry["width"] * 3].view(size)[rows, columns]

    def draw(count: int, side: int, chance: torch.Generator) -> Tensor:
        drawn = torch.multinomial(weights, count, replacement=True, generator=chance).tolist()
        pictures = []
        for index, draws in zip(drawn, torch.rand(count, 5, generator=chance).tolist(), strict=True):
            box = boxed(photos.entries[index]["height"], photos.entries[index]["width"], smallest, draws)
            rgb = part(index, *box).permute(2, 0, 1)[None].float() / 255
            sized = functional.interpolate(rgb, (side, side), mode="bilinear", antialias=True)
            pictures.append(sized.flip(3) if draws[4] < 0.5 else sized)
        return torch.cat(pictures)

    return draw


def boxed(height: int, width: int, smallest: float, draws: list[float]) -> tuple[int, int, int, int]:
    """Return a random part of a photo, its sides' ratio within about a tenth of 1: top, left, height, width."""
    extent = (smallest + (1 - smallest) * draws[0]) * min(height, width)
    stretch = 1.2 ** (draws[1] - 0.5)
    down, across = max(1, min(height, round(extent / stretch))), max(1, min(width, round(extent * stretch)))
    return round(draws[2] * (height - down)), round(draws[3] * (width - across)), down, across


def weight_of(source: str) -> float:
    """Tell how often a source's photographs are drawn."""
    return next((weight for part, weight in WEIGHTS.items() if part.lower() in source.lower()), 1.0)

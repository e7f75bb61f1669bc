"""Random crops of photographs, cut and resized on the device that trains.

Resizing and flipping are torchvision's. Its random transforms are not used: they draw from torch's global random state,
and a resumed run must go on with the same crops, so everything is drawn from the run's generator. Their crops are also
measured by area, ours by the photo's short side.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from retint_models.datasets.photographs import Photos
from retint_models.vision import transforms

SAMPLING_WEIGHTS = {
    "flower_photos": 0.5,
    "clothing-dataset": 0.5,
    "GroceryStoreDataset": 0.5,
    "caltech": 0.7,
}
"""How often photographs of a source are drawn, where the source would fill the set with one kind of picture."""

DrawCrops = Callable[[int, int, torch.Generator], Tensor]
"""Draws a number of square crops of a side: (count, 3, side, side), sRGB in [0, 1]."""


def make_crop_sampler(photos: Photos, device: torch.device, smallest: float = 0.55) -> DrawCrops:
    """Return a function that draws square crops at random; half are mirrored, and each is stretched a little.

    Args:
        photos: On a GPU they are held in its memory; a CPU reads them from the mapped file.
        device: The device of the crops.
        smallest: Smallest share of a photo's short side that a crop covers.
    """
    weights = torch.tensor([sampling_weight(str(entry.get("source", ""))) for entry in photos.entries])
    on_device = torch.from_numpy(np.array(photos.pixels)).to(device) if device.type != "cpu" else None

    def cut(index: int, top: int, left: int, height: int, width: int) -> Tensor:
        rows, columns = slice(top, top + height), slice(left, left + width)
        if on_device is None:
            return torch.from_numpy(photos[index][rows, columns].copy())
        entry = photos.entries[index]
        size, start = (entry["height"], entry["width"], 3), entry["start"]
        return on_device[start : start + entry["height"] * entry["width"] * 3].view(size)[rows, columns]

    def draw(count: int, side: int, rng: torch.Generator) -> Tensor:
        indices = torch.multinomial(weights, count, replacement=True, generator=rng).tolist()
        crops = []
        for index, draws in zip(indices, torch.rand(count, 5, generator=rng).tolist(), strict=True):
            box = crop_box(photos.entries[index]["height"], photos.entries[index]["width"], smallest, draws)
            rgb = cut(index, *box).permute(2, 0, 1)[None].float() / 255
            crops.append(finish_crop(rgb, side, draws))
        return torch.cat(crops)

    return draw


def crop_box(height: int, width: int, smallest: float, draws: list[float]) -> tuple[int, int, int, int]:
    """Return a random box in a photo: top, left, height and width in pixels.

    Args:
        height: Of the photo.
        width: Of the photo.
        smallest: Smallest share of the short side that the box covers.
        draws: At least four random numbers in [0, 1): size, ratio of the sides (1/1.2 to 1.2), top and left.
    """
    extent = (smallest + (1 - smallest) * draws[0]) * min(height, width)
    stretch = 1.2 ** (draws[1] - 0.5)
    down, across = max(1, min(height, round(extent / stretch))), max(1, min(width, round(extent * stretch)))
    return round(draws[2] * (height - down)), round(draws[3] * (width - across)), down, across


def finish_crop(cut: Tensor, side: int, draws: list[float]) -> Tensor:
    """Resize what lies in a box, (..., h, w), to a square, and mirror half of the squares.

    Args:
        cut: Channels of a picture.
        side: Of the square.
        draws: Those of `crop_box`; the fifth one mirrors.
    """
    crop: Tensor = transforms.functional.resize(cut, [side, side], antialias=True)
    return transforms.functional.horizontal_flip(crop) if draws[4] < 0.5 else crop


def sampling_weight(source: str) -> float:
    """Return how often photographs of a source are drawn, relative to 1."""
    return next((weight for part, weight in SAMPLING_WEIGHTS.items() if part.lower() in source.lower()), 1.0)

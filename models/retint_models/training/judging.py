"""How colorizers are scored while they train, and shown: the same for all recipes, so that runs can be compared."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from retint_models.datasets.photographs import Photos
from retint_models.evaluation.metrics import colorfulness
from retint_models.networks.color import ciede2000, join_luma_chroma, rec709_luma, rgb_to_lab
from retint_models.training.loop import Judge, Show

Decide = Callable[[nn.Module, Tensor], Tensor]
"""Lets a network decide Cb and Cr (1, 2, h, w), of any size, for luma (1, 1, H, W) in [0, 1]; all on its device."""


def judge_on(
    photos: Photos, decide: Decide, *, ratio: float = 0.68, gains: tuple[float, ...] = (0.7, 1.0, 1.3, 1.6, 2.0, 2.5)
) -> Judge:
    """Return a judge: mean CIEDE2000 at the gain that gives a share of the true colorfulness.

    At a fixed gain a drab network beats a better one; at a fixed colorfulness they can be compared. `ciede2000` and
    `share` are error and colorfulness without gain.
    """

    def judge(network: nn.Module) -> dict[str, float]:
        rows = [judge_one(network, decide, photo, gains) for photo in photos]
        error, colorful = np.mean([row[:, 0] for row in rows], 0), np.mean([row[:, 1] for row in rows], 0)
        share = colorful[1:] / colorful[0]
        return {
            "score": float(np.interp(ratio, share, error[1:])),
            "gain": float(np.interp(ratio, share, gains)),
            "delta_e": float(np.interp(1, gains, error[1:])),
            "share": float(np.interp(1, gains, share)),
        }

    return judge


def judge_one(
    network: nn.Module, decide: Decide, photo: NDArray[np.uint8], gains: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return CIEDE2000 and colorfulness of the true photo (first row) and of its decision at each gain."""
    rgb = seen(photo, device_of(network))
    half = functional.avg_pool2d(rgb, 2)
    chroma = decided(network, decide, rgb, (half.shape[-2], half.shape[-1]))
    true = rgb_to_lab(half)
    rows = [(0.0, colorfulness(half[0]))]
    for gain in gains:
        made = join_luma_chroma(rec709_luma(half), gain * chroma)
        rows.append((float(ciede2000(rgb_to_lab(made), true).mean()), colorfulness(made[0])))
    return np.array(rows)


def samples_of(photos: Photos, decide: Decide, count: int = 12, side: int = 128) -> Show:
    """Return what draws a sheet: each row a photo's gray, what the network makes of it, and the photo itself."""
    chosen = [photos[index] for index in np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int)]
    squares = [np.asarray(Image.fromarray(photo).resize((side, side), Image.Resampling.BILINEAR)) for photo in chosen]

    def show(network: nn.Module) -> NDArray[np.uint8]:
        rows = []
        for square in squares:
            rgb = seen(square, device_of(network))
            gray = rec709_luma(rgb).expand(-1, 3, -1, -1)
            rows.append(
                torch.cat(
                    [gray, join_luma_chroma(rec709_luma(rgb), decided(network, decide, rgb, (side, side))), rgb], 3
                )
            )
        return as_sheet(torch.cat(rows, 2))

    return show


def as_sheet(rgb: Tensor) -> NDArray[np.uint8]:
    """Return (1, 3, h, w) in [0, 1] as uint8 (h, w, 3)."""
    pixels: NDArray[np.uint8] = (255 * rgb[0].clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels


def seen(photo: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return a photo at about its size, sides multiples of 32 and at least 64: (1, 3, h, w) in [0, 1]."""
    height, width = (max(64, round(side / 32) * 32) for side in photo.shape[:2])
    sized = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(sized).permute(2, 0, 1)[None].to(device).float() / 255


def decided(network: nn.Module, decide: Decide, rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a network's decision on a picture at a size."""
    chroma = decide(network, rec709_luma(rgb)).float()
    return functional.interpolate(chroma, size=size, mode="bilinear", antialias=True)


def device_of(network: nn.Module) -> torch.device:
    """Tell where a network is."""
    return next(network.parameters()).device

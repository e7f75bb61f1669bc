"""How colorizers are scored and shown while they train; the same for all networks, so that runs can be compared."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from retint_models.datasets.photographs import Photos
from retint_models.evaluation.metrics import colorfulness
from retint_models.evaluation.pictures import to_pixels
from retint_models.networks.color import ciede2000, join_luma_chroma, rec709_luma, rgb_to_lab
from retint_models.training.loop import DrawSamples, Judge
from retint_models.training.precision import device_of

DecideChroma = Callable[[nn.Module, Tensor], Tensor]
"""Runs a network on Rec. 709 luma (1, 1, H, W) in [0, 1] and returns Cb and Cr (1, 2, h, w), of any size."""


def make_colorizer_judge(
    photos: Photos,
    decide_chroma: DecideChroma,
    *,
    ratio: float = 0.68,
    gains: tuple[float, ...] = (0.7, 1.0, 1.3, 1.6, 2.0, 2.5),
) -> Judge:
    """Return a judge whose score is the mean CIEDE2000 at the gain that gives a share of the true colorfulness.

    At a fixed gain a drab network beats a better one; at a fixed colorfulness the two can be compared. The scores
    `delta_e` and `share` are error and colorfulness at gain 1.

    Args:
        photos: Photographs held back.
        decide_chroma: Runs the network.
        ratio: The share of the true colorfulness.
        gains: Factors of the chroma that are tried; the score is interpolated between them.
    """

    def judge(network: nn.Module) -> dict[str, float]:
        rows = [score_photo(network, decide_chroma, photo, gains) for photo in photos]
        error, colorful = np.mean([row[:, 0] for row in rows], 0), np.mean([row[:, 1] for row in rows], 0)
        share = colorful[1:] / colorful[0]
        return {
            "score": float(np.interp(ratio, share, error[1:])),
            "gain": float(np.interp(ratio, share, gains)),
            "delta_e": float(np.interp(1, gains, error[1:])),
            "share": float(np.interp(1, gains, share)),
        }

    return judge


def score_photo(
    network: nn.Module, decide_chroma: DecideChroma, photo: NDArray[np.uint8], gains: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return CIEDE2000 and colorfulness of a photo (first row) and of its colorization at each gain, at half size."""
    rgb = to_network_size(photo, device_of(network))
    half = functional.avg_pool2d(rgb, 2)
    chroma = decide_at_size(network, decide_chroma, rgb, (half.shape[-2], half.shape[-1]))
    true_lab = rgb_to_lab(half)
    rows = [(0.0, colorfulness(half[0]))]
    for gain in gains:
        colored = join_luma_chroma(rec709_luma(half), gain * chroma)
        rows.append((float(ciede2000(rgb_to_lab(colored), true_lab).mean()), colorfulness(colored[0])))
    return np.array(rows)


def make_sample_drawer(photos: Photos, decide_chroma: DecideChroma, count: int = 12, side: int = 128) -> DrawSamples:
    """Return a function that draws a contact sheet; its rows are a photo's gray, the network's colors and the photo."""
    chosen = [photos[index] for index in np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int)]
    squares = [np.asarray(Image.fromarray(photo).resize((side, side), Image.Resampling.BILINEAR)) for photo in chosen]

    def draw(network: nn.Module) -> NDArray[np.uint8]:
        rows = []
        for square in squares:
            rgb = to_network_size(square, device_of(network))
            luma = rec709_luma(rgb)
            colored = join_luma_chroma(luma, decide_at_size(network, decide_chroma, rgb, (side, side)))
            rows.append(torch.cat([luma.expand(-1, 3, -1, -1), colored, rgb], 3))
        return to_pixels(torch.cat(rows, 2)[0])

    return draw


def to_network_size(photo: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Resize a photo so that its sides are multiples of 32 and at least 64: (1, 3, h, w) in [0, 1]."""
    height, width = (max(64, round(side / 32) * 32) for side in photo.shape[:2])
    resized = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(resized).permute(2, 0, 1)[None].to(device).float() / 255


def decide_at_size(network: nn.Module, decide_chroma: DecideChroma, rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a network's Cb and Cr for the luma of a picture, resized to (height, width)."""
    chroma = decide_chroma(network, rec709_luma(rgb)).float()
    return functional.interpolate(chroma, size=size, mode="bilinear", antialias=True)

"""Repairs that need no network: the classics that defaders are compared with."""

import numpy as np
import torch
from numpy.typing import NDArray

from retint_models.datasets.fading import as_bytes
from retint_models.evaluation.pictures import Pixels, to_pixels, to_tensor
from retint_models.evaluation.prints import Repair
from retint_models.networks.color import lab_to_rgb, rgb_to_lab


def leave_faded(pixels: Pixels) -> Pixels:
    """Return a print as it is."""
    return pixels


def auto_levels(pixels: Pixels) -> Pixels:
    """Stretch each channel so that half a percent of it is black and half a percent white."""
    return stretch_to_full_range(pixels, np.percentile(pixels, (0.5, 99.5), axis=(0, 1)))


def auto_levels_joint(pixels: Pixels) -> Pixels:
    """Stretch all channels alike, so that half a percent of their values is black and half a percent white."""
    return stretch_to_full_range(pixels, np.percentile(pixels, (0.5, 99.5)))


def stretch_to_full_range(pixels: Pixels, ends: NDArray[np.float64]) -> Pixels:
    """Stretch code values from `ends` (black and white, one number each or one a channel) to the full range."""
    black, white = ends
    return as_bytes(np.clip((pixels - black) / np.maximum(white - black, 1), 0, 1).astype(np.float32))


def gray_world(pixels: Pixels) -> Pixels:
    """Scale the channels so that their means are equal (Buchsbaum, J. Franklin Inst. 310(1), 1980)."""
    means = pixels.mean((0, 1))
    return as_bytes(np.clip(pixels / 255 * (means.mean() / np.maximum(means, 1)), 0, 1).astype(np.float32))


def clahe(pixels: Pixels) -> Pixels:
    """Equalize lightness locally with limited contrast (Zuiderveld, Graphics Gems IV, 1994)."""
    from skimage import exposure  # an optional dependency: only this row needs it

    lab = rgb_to_lab(to_tensor(pixels))
    equalized = exposure.equalize_adapthist(lab[0].numpy() / 100, clip_limit=0.01)
    return to_pixels(lab_to_rgb(torch.cat([100 * torch.from_numpy(equalized).float()[None], lab[1:]])))


CLASSICS: dict[str, Repair] = {
    "faded": leave_faded,
    "auto-levels-joint": auto_levels_joint,
    "auto-levels": auto_levels,
    "gray-world": gray_world,
    "clahe": clahe,
}
"""The rows of the table that need no network, by name."""

"""Colorizations that need no network: the calibration rows that say what a score is worth."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from retint_models.datasets.photographs import Photos
from retint_models.evaluation.pictures import Pixels, to_pixels, to_tensor
from retint_models.evaluation.samples import Colorize, ColorSample
from retint_models.networks.color import lab_to_rgb, rgb_to_lab


def leave_gray(number: int, gray: Pixels) -> Pixels:
    """Return a photo in gray: small error, no color."""
    return gray


def colorize_with_mean_ab(training: Photos) -> Colorize:
    """Return a colorization with one color everywhere: the mean a and b of the training photographs."""
    mean = torch.stack([lab_thumbnail(pixels)[1:].mean((1, 2)) for pixels in training]).mean(0)

    def colorize(number: int, gray: Pixels) -> Pixels:
        lightness = rgb_to_lab(to_tensor(gray))[:1]
        return to_pixels(lab_to_rgb(torch.cat([lightness, mean.view(2, 1, 1).expand(-1, *lightness.shape[1:])])))

    return colorize


def colorize_by_table(training: Photos, levels: int = 16, rows: int = 8) -> Colorize:
    """Return a colorization by a table: the mean a and b of training pixels of the same lightness and height.

    Args:
        training: Training photographs.
        levels: Levels of lightness.
        rows: Rows that a picture is divided into.
    """
    total, count = torch.zeros(2, levels * rows), torch.zeros(levels * rows)
    for pixels in training:
        lab = lab_thumbnail(pixels)
        cells = cell_numbers(lab[0], levels, rows).flatten()
        total.index_add_(1, cells, lab[1:].flatten(1))
        count.index_add_(0, cells, torch.ones(cells.numel()))
    means = total / count.clamp_min(1)

    def colorize(number: int, gray: Pixels) -> Pixels:
        lightness = rgb_to_lab(to_tensor(gray))[0]
        return to_pixels(lab_to_rgb(torch.cat([lightness[None], means[:, cell_numbers(lightness, levels, rows)]])))

    return colorize


def cell_numbers(lightness: Tensor, levels: int, rows: int) -> Tensor:
    """Return the number of the table's cell for each place of a lightness (h, w) in [0, 100]."""
    level = (lightness / 100 * levels).long().clamp(0, levels - 1)
    row = (torch.arange(lightness.shape[0]) * rows // lightness.shape[0])[:, None]
    return level * rows + row


def lab_thumbnail(pixels: Pixels, side: int = 32) -> Tensor:
    """Return a photo reduced to a square, in CIELAB (3, side, side)."""
    return rgb_to_lab(to_tensor(np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX))))


def colorize_with_another_photo(samples: Sequence[ColorSample], seed: int = 0) -> Colorize:
    """Return a colorization of each sample with the colors of another one: full color, all of it wrong."""
    order = np.random.default_rng(seed).permutation(len(samples))
    other = {int(order[place]): int(order[place - 1]) for place in range(len(order))}

    def colorize(number: int, gray: Pixels) -> Pixels:
        size = (gray.shape[1], gray.shape[0])
        colors = np.asarray(Image.fromarray(samples[other[number]].true).resize(size, Image.Resampling.BILINEAR))
        return to_pixels(lab_to_rgb(torch.cat([rgb_to_lab(to_tensor(gray))[:1], rgb_to_lab(to_tensor(colors))[1:]])))

    return colorize

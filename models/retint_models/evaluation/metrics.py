"""Distances between pictures, and confidence intervals of their means.

Pictures are sRGB (3, h, w) in [0, 1], as torch tensors of single or double precision.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from retint_models.networks.color import ciede2000, rec709_luma, rgb_to_lab

DIRECTIONS = 32
QUANTILES = 256


def delta_e_2000(one: Tensor, two: Tensor) -> float:
    """Return the mean CIEDE2000 difference."""
    return float(ciede2000(rgb_to_lab(one), rgb_to_lab(two)).mean())


def delta_e_chroma(picture: Tensor, true: Tensor) -> float:
    """Return the mean CIEDE2000 difference after the true lightness has been put in."""
    true_lab = rgb_to_lab(true)
    return float(ciede2000(torch.cat([true_lab[:1], rgb_to_lab(picture)[1:]]), true_lab).mean())


def rmse_ab(picture: Tensor, true: Tensor) -> float:
    """Return the root mean square distance in CIELAB's a and b."""
    return float((rgb_to_lab(picture)[1:] - rgb_to_lab(true)[1:]).square().sum(0).mean().sqrt())


def psnr(picture: Tensor, true: Tensor) -> float:
    """Return the peak signal-to-noise ratio over the three channels, in dB; infinite for equal pictures."""
    error = float((picture - true).square().mean())
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(picture: Tensor, true: Tensor) -> float:
    """Return the mean structural similarity of the channels: Wang et al. (2004), Gaussian of sd 1.5 over 11 x 11."""
    gaussian = torch.exp(-(torch.arange(-5, 6, dtype=picture.dtype) ** 2) / (2 * 1.5**2))
    window = (torch.outer(gaussian, gaussian) / gaussian.sum() ** 2)[None, None]

    def blur(x: Tensor) -> Tensor:
        return functional.conv2d(x[:, None], window)

    mean_picture, mean_true = blur(picture), blur(true)
    var_picture, var_true = blur(picture**2) - mean_picture**2, blur(true**2) - mean_true**2
    covariance = blur(picture * true) - mean_picture * mean_true
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_picture * mean_true + c1) * (2 * covariance + c2)
    return float((above / ((mean_picture**2 + mean_true**2 + c1) * (var_picture + var_true + c2))).mean())


def colorfulness(rgb: Tensor) -> float:
    """Return the colorfulness of a picture (3, h, w), see `batch_colorfulness`."""
    return float(batch_colorfulness(rgb[None]))


def batch_colorfulness(rgb: Tensor, floor: float = 0.0) -> Tensor:
    """Return the colorfulness (B,) of sRGB (B, 3, h, w) in [0, 1].

    Hasler and Suesstrunk, Measuring colorfulness in natural images, SPIE 5007, 2003.

    Args:
        rgb: Pictures.
        floor: Variance added, so that gray has a gradient as well.
    """
    red, green, blue = (255 * rgb).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue], 1).flatten(2)
    spread = (opponents.var(2, correction=0).sum(1) + floor).sqrt()
    return spread + 0.3 * (opponents.mean(2).square().sum(1) + floor).sqrt()


def quantiles_ab(rgb: Tensor) -> Tensor:
    """Return the quantiles of a picture's colors along 32 directions of CIELAB's ab plane, (32, 256).

    Every second row and column is enough for 256 quantiles and takes a quarter of the time.
    """
    return quantiles(rgb_to_lab(rgb[:, ::2, ::2])[1:].flatten(1))


def quantiles(points: Tensor) -> Tensor:
    """Return the 256 middle quantiles of points (2, n) along 32 directions, (32, 256)."""
    angles = torch.arange(DIRECTIONS, dtype=points.dtype) * math.pi / DIRECTIONS
    along = torch.stack([angles.cos(), angles.sin()], 1) @ points
    at = (torch.arange(QUANTILES) + 0.5) / QUANTILES * along.shape[1]
    return along.sort(1).values[:, at.long()]


def sliced_wasserstein(one: Tensor, two: Tensor) -> float:
    """Return the sliced Wasserstein distance of two sets of quantiles from `quantiles_ab`."""
    return float((one - two).abs().mean())


def ab_distance(one: Tensor, two: Tensor) -> float:
    """Return the mean distance in CIELAB's a and b of two pictures, the larger one box-reduced to the smaller."""
    size = (min(one.shape[1], two.shape[1]), min(one.shape[2], two.shape[2]))
    first, second = (rgb_to_lab(functional.adaptive_avg_pool2d(rgb, size))[1:] for rgb in (one, two))
    return float((first - second).norm(dim=0).mean())


def luma_drift(picture: Tensor, gray: Tensor) -> tuple[float, float]:
    """Return the change of luma in code values of 255: its mean, and its largest where no channel is 0 or 1.

    Args:
        picture: (3, h, w), rounded to 8 bits.
        gray: (1, h, w), the expected luma.
    """
    drift = 255 * (rec709_luma(picture) - gray).abs()[0]
    inside = ((picture > 0) & (picture < 1)).all(0)
    return float(drift.mean()), float(drift[inside].max()) if bool(inside.any()) else 0.0


def mean_score(rows: Sequence[Mapping[str, float]], name: str = "delta_e2000") -> float:
    """Return the mean of one score over the photographs that have it; NaN if none has."""
    known = [row[name] for row in rows if not math.isnan(row[name])]
    return float(np.mean(known)) if known else math.nan


def bootstrap_intervals(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the 95 % intervals of the means of some scores; photographs without a score (NaN) are left out."""
    finite = {name: np.array([row[name] for row in rows if math.isfinite(row[name])]) for name in names}
    return {name: bootstrap_interval(values) for name, values in finite.items() if len(values)}


def bootstrap_interval(
    values: NDArray[np.float64], weights: NDArray[np.float64] | None = None, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of a mean: percentile bootstrap over photographs (Efron, 1979).

    Args:
        values: One a photograph.
        weights: How much each counts, not all 0; the same by default.
        draws: How many samples are drawn.
        seed: Of the draws.
    """
    drawn = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    weights = np.ones(len(values)) if weights is None else weights
    totals = weights[drawn].sum(1)
    means = (values * weights)[drawn].sum(1)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)

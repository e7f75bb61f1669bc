"""Joint upsampling: how chroma that was decided at a small size follows the detail of the full-size luma.

At full size chroma is up(C) + up(a) (Y - up(Y)), where up is bilinear and a = cov(Y, C) / (var(Y) + eps) over 3 x 3
pixels of the small size (after the fast guided filter, He and Sun, arXiv:1505.00996, but keeping the chroma instead of
smoothing it).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

DETAIL_EPS = 1e-2
"""Regularizes the slopes: with a larger value chroma follows the luma's detail, and its grain, less."""


def detail_slopes(luma: NDArray[Any], planes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the slopes a (n, h, w) of planes (n, h, w) along luma (h, w)."""
    luma, planes = luma.astype(np.float64), planes.astype(np.float64)
    mean = box_mean(luma)
    variance = box_mean(luma * luma) - mean * mean
    return np.stack([(box_mean(luma * plane) - mean * box_mean(plane)) / (variance + DETAIL_EPS) for plane in planes])


def box_mean(values: NDArray[Any]) -> NDArray[Any]:
    """Return the mean over 3 x 3 pixels of (h, w), in the type of the input; edges repeat."""
    padded = np.pad(values, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean: NDArray[Any] = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return mean

"""What lies on a page of one color: the page's color, the things on it, and their straight sides."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyvips
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]
Scalar = TypeVar("Scalar", bound=np.generic)

RIM = 3
"""How many pixels of the rim tell the page's color."""
BIN = 16
REACH = 28.0
"""How far, in code values, the rim's pixels may be from their most frequent color, because of uneven light."""
LEAST_TOLERANCE = 7.0
MOST_TOLERANCE = 17.0
"""Rims that vary more are no page of one color."""
SLOPES = np.linspace(-0.06, 0.06, 13)
BEYOND = 20
STRAY = 0.02


@dataclass(frozen=True)
class Ground:
    """What things lie on. `color` (h, w, 3) in code values; `spread`: how far its own pixels are from that at most.

    `covers`: the shares of the top, bottom, left and right rim that have this color.
    """

    color: Floats
    spread: float
    covers: tuple[float, float, float, float]


@dataclass(frozen=True)
class Side:
    """A straight side of a thing: how far from the page's edge its middle is, in pixels, and its slope.

    `contact`: the share of the side, in [0, 1], along which the thing's outline follows the line. `beyond`: by how much
    the thing reaches over the line, toward the edge of the page, but for `STRAY` of its outline.
    """

    distance: float
    slope: float
    contact: float
    beyond: float


Sides = tuple[Side, Side, Side, Side]
"""Top, bottom, left, right."""


def fit_ground(page: Floats) -> Ground:
    """Fit a plane in each channel through the most frequent color of the page's rim; the page is (h, w, 3)."""
    height, width = page.shape[:2]
    at_rim = np.ones((height, width), bool)
    at_rim[RIM:-RIM, RIM:-RIM] = False
    rows, columns = np.nonzero(at_rim)
    colors = page[rows, columns]
    bins = (colors // BIN).astype(np.int64) @ np.array([1, 32, 1024])
    center = colors[bins == np.bincount(bins).argmax()].mean(axis=0)
    for _ in range(2):
        near = measure_difference(colors, center) < REACH
        center = np.median(colors[near], axis=0)
    places = np.stack([np.ones(len(rows)), columns / width, rows / height], 1)
    for _ in range(3):
        plane = np.linalg.lstsq(places[near], colors[near], rcond=None)[0]
        distance = measure_difference(colors, places @ plane)
        spread = 4.5 * float(np.median(distance[near]))
        near = distance < np.clip(spread, LEAST_TOLERANCE, MOST_TOLERANCE)
    across, down = np.arange(width)[:, None] / width, np.arange(height)[:, None, None] / height
    is_near = np.zeros((height, width), bool)
    is_near[rows, columns] = near
    parts = is_near[:RIM], is_near[-RIM:], is_near[:, :RIM], is_near[:, -RIM:]
    top, bottom, left, right = (float(part.mean()) for part in parts)
    color = np.asarray(plane[0] + plane[1] * across + plane[2] * down, np.float32)
    return Ground(color, spread, (top, bottom, left, right))


def measure_difference(colors: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Return by how much colors (..., 3) differ at most in a channel, (...)."""
    red, green, blue = np.moveaxis(np.abs(colors - others), -1, 0)
    return np.asarray(np.maximum(np.maximum(red, green), blue))


def find_things(page: Floats, ground: Ground, tolerance: float, stroke: int, least_share: float) -> list[Mask]:
    """Return the masks (h, w) of what lies on the ground, and differs from it by `tolerance`; the largest first.

    What is thinner than `stroke` pixels or smaller than `least_share` of the page is left out: writing, lines, dirt.
    What has the ground's color belongs to it only if it is connected with the rim.
    """
    like_ground = measure_difference(page, ground.color) < tolerance
    things = _open(~_keep_at_rim(like_ground), stroke)
    labels = _label(things)
    numbers, counts = np.unique(labels[things], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [labels == numbers[one] for one in order if counts[one] >= least_share * things.size]


def fit_sides(thing: Mask) -> Sides:
    """Fit the four sides of a thing, each within the sides next to it."""
    views = (thing, thing[::-1], thing.T, thing.T[::-1])
    columns, rows = get_span(thing, 0), get_span(thing, 1)
    for _ in range(2):
        top, bottom, left, right = (
            _fit_side(view, *span) for view, span in zip(views, (columns, columns, rows, rows), strict=True)
        )
        height, width = thing.shape
        inner_columns = max(0, round(left.distance)), min(width, round(width - right.distance))
        inner_rows = max(0, round(top.distance)), min(height, round(height - bottom.distance))
        columns = inner_columns if np.diff(inner_columns)[0] > RIM else columns
        rows = inner_rows if np.diff(inner_rows)[0] > RIM else rows
    return top, bottom, left, right


def _fit_side(thing: Mask, start: int, end: int) -> Side:
    """Find the line that the upper outline of a thing follows most, between two columns."""
    first = thing[:, start:end].argmax(axis=0).astype(np.float64)
    place = np.arange(end - start) - (end - start - 1) / 2
    used = thing[:, start:end].any(axis=0)
    if not used.any():
        return Side(0, 0, 0, 0)
    levels = np.rint(first[used] - SLOPES[:, None] * place[used]).astype(np.int64) + BEYOND
    levels = np.clip(levels, 0, len(thing) + 2 * BEYOND)
    counts = np.stack([np.bincount(row, minlength=len(thing) + 2 * BEYOND + 1) for row in levels])
    counts = counts[:, :-2] + counts[:, 1:-1] + counts[:, 2:]
    slope, level = np.unravel_index(counts.argmax(), counts.shape)
    along = np.abs(levels[slope] - level - 1) <= 1
    line = np.polyfit(place[used][along], first[used][along], 1) if along.sum() > 2 else (0.0, first[used].min())
    beyond = -float(np.quantile(first[used] - np.polyval(line, place[used]), STRAY))
    return Side(float(line[1]), float(line[0]), float(along.sum() / len(place)), max(0.0, beyond))


def get_span(thing: Mask, axis: int) -> tuple[int, int]:
    """Return the first column (axis 0) or row (axis 1) that a thing reaches, and the one past the last."""
    used = np.flatnonzero(thing.any(axis=axis))
    return int(used[0]), int(used[-1]) + 1


def measure_oval(thing: Mask) -> float:
    """Return the overlap, intersection over union, of a mask (h, w) with the ellipse that it encloses."""
    ellipse = draw_ellipse(*thing.shape)
    return float((thing & ellipse).sum() / (thing | ellipse).sum())


def draw_ellipse(height: int, width: int) -> Mask:
    """Return which pixels (h, w) lie in the ellipse that touches the four sides."""
    down, across = np.mgrid[:height, :width]
    return np.asarray((2 * down + 1 - height) ** 2 / height**2 + (2 * across + 1 - width) ** 2 / width**2 <= 1)


def _label(mask: Mask) -> NDArray[np.int32]:
    """Number the connected parts of a mask, of both its True and its False pixels."""
    pixels = np.ascontiguousarray(mask, np.uint8)
    image = pyvips.Image.new_from_memory(pixels.data, mask.shape[1], mask.shape[0], 1, "uchar")
    return np.asarray(image.labelregions().numpy())


def _keep_at_rim(mask: Mask) -> Mask:
    """Keep what is connected with the rim."""
    labels = _label(mask)
    at_rim = np.zeros_like(mask)
    at_rim[[0, -1]] = at_rim[:, [0, -1]] = True
    return mask & np.isin(labels, np.unique(labels[at_rim & mask]))


def _open(mask: Mask, width: int) -> Mask:
    """Remove what is thinner than `width` pixels."""
    return dilate(~dilate(~mask, width), width)


def dilate(pixels: NDArray[Scalar], width: int) -> NDArray[Scalar]:
    """Give each pixel (h, w) the largest value of the square of `width` pixels around it."""
    for _ in range(2):
        padded = np.pad(pixels, ((width // 2, width // 2), (0, 0)), mode="edge")
        largest = padded[: len(pixels)].copy()
        for row in range(1, width):
            np.maximum(largest, padded[row : row + len(pixels)], out=largest)
        pixels = largest.T
    return pixels

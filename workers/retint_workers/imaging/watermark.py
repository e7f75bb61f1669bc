"""The watermark: a painter's palette in the lower left corner, which shows that the colors are not the photo's own.

It is drawn from distances to circles and ellipses, so it is equally sharp at any size. The idea is DeOldify's (a
palette of 5 % of the height in the lower left corner, half transparent); the drawing is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint.errors import InvalidPhoto
from retint_models.layers.rendering import to_stored_orientation
from retint_workers.imaging.color.spaces import SRGB, ColorSpace

MIN_SIDE = 64
"""In a smaller picture the watermark would cover too much."""
HEIGHT_SHARE = 0.05
MIN_HEIGHT = 16
"""The watermark's height: a share of the picture's short side, but at least so many pixels."""
ASPECT_RATIO = 1.3
OPACITY = 0.6
MIN_CHANGE = 4 / 255
"""A watermark that changes the pixels under it by less than this (root mean square) is invisible."""
WOOD_COLOR, RIM_COLOR = (224, 190, 140), (58, 38, 24)
RIM_WIDTH = 0.035
"""Lengths and places are in heights of the palette, from its upper left corner."""
THUMB_HOLE = (0.93, 0.66, 0.105, 0.085)
NOTCH = (1.31, 0.93, 0.23)
DABS = (
    (0.28, 0.59, (30, 64, 160)),
    (0.33, 0.32, (196, 30, 40)),
    (0.60, 0.20, (236, 180, 24)),
    (0.88, 0.24, (34, 128, 70)),
    (0.56, 0.77, (250, 248, 240)),
)
"""Centers and sRGB colors of the dabs of paint."""
DAB_RADIUS = 0.085

Pixels = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Watermark:
    """The watermark at its place in one result.

    Attributes:
        left: column of its upper left corner in the pixels as stored.
        top: row of that corner.
        color: float32 (h, w, 1 or 3) in [0, 1], in the result's code values and orientation.
        weight: float32 (h, w, 1) in [0, 1]: its opacity.
    """

    left: int
    top: int
    color: Pixels
    weight: Pixels

    @classmethod
    def fit(cls, box: tuple[int, int, int, int], bands: int, orientation: int, space: ColorSpace = SRGB) -> "Watermark":
        """Make the watermark for a picture in a result.

        Args:
            box: left, top, right and bottom of the picture in the result's pixels as stored.
            bands: of the result, 1 or 3.
            orientation: EXIF's.
            space: the result's.

        Raises:
            InvalidPhoto: the picture is too small.
        """
        height, width = box[3] - box[1], box[2] - box[0]
        short = min(height, width)
        if short < MIN_SIDE:
            raise InvalidPhoto(
                f"The picture is too small for a watermark: its short side has {short} pixels, "
                f"and {MIN_SIDE} are needed.",
                code="too_small_for_watermark",
            )
        drawn = draw_palette(max(MIN_HEIGHT, round(HEIGHT_SHARE * short)))
        rgb = to_stored_orientation(np.ascontiguousarray(drawn[..., :3]), orientation)
        weight = to_stored_orientation(np.ascontiguousarray(drawn[..., 3:]), orientation)
        margin = len(drawn) // 2
        (low,), (right,) = np.nonzero(to_stored_orientation(np.array([[0, 0], [1, 0]]), orientation))
        top = height - len(rgb) - margin if low else margin
        left = width - rgb.shape[1] - margin if right else margin
        color = space.from_srgb(rgb, bands)
        return cls(int(left) + box[0], int(top) + box[1], color, weight * np.float32(OPACITY / 255))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Its left, top, right and bottom in the pixels as stored; right and bottom are exclusive."""
        return self.left, self.top, self.left + self.weight.shape[1], self.top + len(self.weight)

    def scale_box(self, across: float, down: float) -> tuple[int, int, int, int]:
        """Return the box in a copy of the result scaled by these factors, rounded outwards."""
        left, top, right, bottom = self.box
        return floor(left * across), floor(top * down), ceil(right * across), ceil(bottom * down)

    def pixels_under(self, strip: NDArray[Any], top: int) -> NDArray[Any]:
        """Return a view of the part of a strip that lies under the watermark; it may be empty.

        Args:
            strip: rows of the result.
            top: the result's row that the strip begins with.
        """
        left, first, right, last = self.box
        return strip[max(0, first - top) : max(0, last - top), left:right]

    def draw_on(self, strip: NDArray[Any], top: int) -> None:
        """Draw the watermark on a strip, uint8 or uint16, in place; arguments as for `pixels_under`."""
        part = self.pixels_under(strip, top)
        rows = slice(max(0, top - self.top), max(0, top - self.top) + len(part))
        full = np.float32(np.iinfo(strip.dtype).max)
        below = part.reshape(*part.shape[:2], -1).astype(np.float32)
        painted = below + self.weight[rows] * (self.color[rows] * full - below)
        part[...] = (painted + np.float32(0.5)).astype(strip.dtype).reshape(part.shape)


def is_visible(read: NDArray[Any], bare: NDArray[Any], marked: NDArray[Any]) -> bool:
    """Whether pixels that were read back look like those with the watermark rather than those without it.

    Changes by lossy encoding do not matter.

    Args:
        read: pixels under the watermark, uint8 or uint16.
        bare: the same before it was drawn.
        marked: the same after it was drawn.
    """
    full = np.iinfo(marked.dtype).max
    change = (marked.astype(np.float32) - bare) / full
    got = (read.astype(np.float32) - bare) / full
    energy = float((change * change).mean())
    return energy >= MIN_CHANGE**2 and float((got * change).mean()) >= 0.5 * energy


def draw_palette(height: int) -> NDArray[np.uint8]:
    """Draw the palette, uint8 (h, w, 4): sRGB and coverage."""
    y, x = np.mgrid[:height, : round(height * ASPECT_RATIO)].astype(np.float32)
    x, y = (x + 0.5) / height, (y + 0.5) / height
    wood = np.maximum(_distance_to_ellipse(x, y, (0.65, 0.5, 0.63, 0.48)), -_distance_to_circle(x, y, NOTCH))
    wood = np.maximum(wood, -_distance_to_ellipse(x, y, THUMB_HOLE))
    color = np.broadcast_to(np.array(RIM_COLOR, np.float32), (*x.shape, 3))
    for distance, paint in [
        (wood + np.float32(RIM_WIDTH), WOOD_COLOR),
        *((_distance_to_circle(x, y, (across, down, DAB_RADIUS)), paint) for across, down, paint in DABS),
    ]:
        inside = _cover(distance, height)[..., None]
        color = color + inside * (np.array(paint, np.float32) - color)
    layers = np.concatenate([color, 255 * _cover(wood, height)[..., None]], axis=-1)
    return (layers + np.float32(0.5)).astype(np.uint8)


def _cover(distance: Pixels, height: int) -> Pixels:
    """Return how much of each pixel lies inside an edge, from its center's distance to the edge (negative inside)."""
    covered: Pixels = np.clip(np.float32(0.5) - distance * np.float32(height), 0, 1)
    return covered


def _distance_to_circle(x: Pixels, y: Pixels, circle: Sequence[float]) -> Pixels:
    across, down, radius = circle
    distance: Pixels = np.hypot(x - np.float32(across), y - np.float32(down)) - np.float32(radius)
    return distance


def _distance_to_ellipse(x: Pixels, y: Pixels, ellipse: Sequence[float]) -> Pixels:
    """Return the distance to an ellipse, correct to first order near its edge."""
    across, down, wide, high = ellipse
    u, v = (x - np.float32(across)) / np.float32(wide), (y - np.float32(down)) / np.float32(high)
    place = np.hypot(u, v)
    steep = np.hypot(u / np.float32(wide), v / np.float32(high)) + np.float32(1e-6)
    distance: Pixels = place * (place - 1) / steep
    return distance

"""A painter's palette in the lower left corner: whoever looks at the picture sees that its colors are painted.

Drawn from circles and ellipses by their distances, so it is as sharp at any size. The habit is DeOldify's (a palette
of 5 % of the height in the lower left corner, half transparent); the drawing is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint.errors import InvalidPhoto
from retint_models.layers.rendering import as_stored
from retint_workers.imaging import profiles

SHORTEST_SIDE = 64
"""Where the picture's short side is less, the mark would be the picture."""
SHARE = 0.05
LEAST = 16
"""Pixels that the mark is high: its share of the picture's short side, and at least so many."""
RATIO = 1.3
WEIGHT = 0.6
VISIBLE = 4 / 255
"""A mark that changes the pixels under it by less than this (root of mean squares) cannot be seen."""
WOOD, RIM = (224, 190, 140), (58, 38, 24)
RIM_WIDTH = 0.035
THUMB = (0.93, 0.66, 0.105, 0.085)
BITE = (1.31, 0.93, 0.23)
DABS = (
    (0.28, 0.59, (30, 64, 160)),
    (0.33, 0.32, (196, 30, 40)),
    (0.60, 0.20, (236, 180, 24)),
    (0.88, 0.24, (34, 128, 70)),
    (0.56, 0.77, (250, 248, 240)),
)
"""Middles and colors of the dabs, in heights of the palette."""
DAB = 0.085

Pixels = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Watermark:
    """The mark made ready for one photo.

    Attributes:
        left, top: where it begins in the pixels as stored.
        color: float32 (h, w, 1 or 3) in [0, 1], in the numbers of the photo's result, turned as its pixels are stored.
        weight: float32 (h, w, 1): how much of it covers what is below.
    """

    left: int
    top: int
    color: Pixels
    weight: Pixels

    @classmethod
    def of(cls, shape: tuple[int, int, int], orientation: int, profile: bytes | None) -> "Watermark":
        """Fit the mark to a result of so many rows, columns and bands, as stored.

        Raises:
            InvalidPhoto: it cannot be drawn there.
        """
        height, width, bands = shape
        short = min(height, width)
        if short < SHORTEST_SIDE:
            raise InvalidPhoto(
                f"The picture is too small for a watermark: its short side has {short} pixels, "
                f"and {SHORTEST_SIDE} are needed.",
                code="too_small_for_watermark",
            )
        drawn = draw(max(LEAST, round(SHARE * short)))
        rgb = as_stored(np.ascontiguousarray(drawn[..., :3]), orientation)
        weight = as_stored(np.ascontiguousarray(drawn[..., 3:]), orientation)
        margin = len(drawn) // 2
        (low,), (right,) = np.nonzero(as_stored(np.array([[0, 0], [1, 0]]), orientation))
        top = height - len(rgb) - margin if low else margin
        left = width - rgb.shape[1] - margin if right else margin
        color = profiles.from_srgb(rgb, profile, bands)
        return cls(int(left), int(top), color, weight * np.float32(WEIGHT / 255))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Its left, top, right and bottom in the pixels as stored; the last two lie beyond it."""
        return self.left, self.top, self.left + self.weight.shape[1], self.top + len(self.weight)

    def box_in(self, across: float, down: float) -> tuple[int, int, int, int]:
        """The box in a copy of the result scaled by so much; what it touches belongs to it."""
        left, top, right, bottom = self.box
        return floor(left * across), floor(top * down), ceil(right * across), ceil(bottom * down)

    def cut(self, strip: NDArray[Any], top: int) -> NDArray[Any]:
        """The part of a strip that lies under the mark, perhaps empty: a view."""
        left, first, right, last = self.box
        return strip[max(0, first - top) : max(0, last - top), left:right]

    def put(self, strip: NDArray[Any], top: int) -> None:
        """Paint the mark onto the rows of a strip, uint8 or uint16, that begins at a row of the result."""
        part = self.cut(strip, top)
        rows = slice(max(0, top - self.top), max(0, top - self.top) + len(part))
        full = np.float32(np.iinfo(strip.dtype).max)
        below = part.reshape(*part.shape[:2], -1).astype(np.float32)
        painted = below + self.weight[rows] * (self.color[rows] * full - below)
        part[...] = (painted + np.float32(0.5)).astype(strip.dtype).reshape(part.shape)


def is_there(read: NDArray[Any], bare: NDArray[Any], marked: NDArray[Any]) -> bool:
    """Say whether the pixels that were read under the mark are those with it, rather than those without.

    All three uint8 or uint16 of one shape. What lossy encoding does to them is noise to this.
    """
    full = np.iinfo(marked.dtype).max
    change = (marked.astype(np.float32) - bare) / full
    got = (read.astype(np.float32) - bare) / full
    energy = float((change * change).mean())
    return energy >= VISIBLE**2 and float((got * change).mean()) >= 0.5 * energy


def draw(height: int) -> NDArray[np.uint8]:
    """Draw the palette, uint8 (h, w, 4): sRGB and how much of the pixel it covers."""
    y, x = np.mgrid[:height, : round(height * RATIO)].astype(np.float32)
    x, y = (x + 0.5) / height, (y + 0.5) / height
    wood = np.maximum(_ellipse(x, y, (0.65, 0.5, 0.63, 0.48)), -_circle(x, y, BITE))
    wood = np.maximum(wood, -_ellipse(x, y, THUMB))
    color = np.broadcast_to(np.array(RIM, np.float32), (*x.shape, 3))
    for distance, paint in [
        (wood + np.float32(RIM_WIDTH), WOOD),
        *((_circle(x, y, (across, down, DAB)), paint) for across, down, paint in DABS),
    ]:
        inside = _covered(distance, height)[..., None]
        color = color + inside * (np.array(paint, np.float32) - color)
    layers = np.concatenate([color, 255 * _covered(wood, height)[..., None]], axis=-1)
    return (layers + np.float32(0.5)).astype(np.uint8)


def _covered(distance: Pixels, height: int) -> Pixels:
    """How much of each pixel lies within an edge, given its middle's distance to it (negative inside)."""
    covered: Pixels = np.clip(np.float32(0.5) - distance * np.float32(height), 0, 1)
    return covered


def _circle(x: Pixels, y: Pixels, circle: Sequence[float]) -> Pixels:
    across, down, radius = circle
    distance: Pixels = np.hypot(x - np.float32(across), y - np.float32(down)) - np.float32(radius)
    return distance


def _ellipse(x: Pixels, y: Pixels, ellipse: Sequence[float]) -> Pixels:
    """Distance to an ellipse, right to first order near its edge."""
    across, down, wide, high = ellipse
    u, v = (x - np.float32(across)) / np.float32(wide), (y - np.float32(down)) / np.float32(high)
    place = np.hypot(u, v)
    steep = np.hypot(u / np.float32(wide), v / np.float32(high)) + np.float32(1e-6)
    distance: Pixels = place * (place - 1) / steep
    return distance

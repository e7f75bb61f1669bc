"""Finds the pictures in a scan: what lies on a mount, an album page or a scanner's bed, beside targets and rulers.

Plain image analysis. The color that fills the rim of the page is taken for what the pictures lie on. What remains is a
picture if its outline is a rectangle: an object before an even background has no straight sides. Pictures are looked
at again by themselves, because a print on an album page has its own border.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retint.region import Rectangle, Region
from retint_workers.imaging.outlines import (
    MOST_TOLERANCE,
    Floats,
    Mask,
    Side,
    Sides,
    find_things,
    fit_ground,
    fit_sides,
    get_span,
    measure_oval,
)
from retint_workers.imaging.targets import is_target, measure_strip

SIDE = 256
"""Long side, in pixels, at which a page is looked at."""
LEAST_SIDE = 24
"""Pages and pictures with a side of fewer pixels are not looked into."""
STROKE = 5
"""What is thinner than so many pixels is writing, a line or dirt."""
LEAST_AREA = 0.02
LEAST_INSIDE = 0.4
"""Share of a picture that pictures inside it take at least: less is a thing in the picture."""
LEAST_OF_LARGEST = 0.25
"""What is smaller than this share of the largest picture is none: a ruler, a target, a label."""
MOST_ELONGATED = 4.0
TOLERANCES = (7.0, 3.5)
"""By how many code values a picture differs from an even ground; less is tried where a dark coat meets a black bed."""
COVERED = 0.65
"""Share of a side of the rim that has the ground's color where there is a border."""
LEAST_CONFIDENCE = 0.6
LEAST_OVAL = 0.96
"""Overlap with the ellipse in its box, from which a thing is an oval picture."""
OVAL_CONFIDENCE = 0.9
UPRIGHT = 1.1
"""How much higher than wide an oval picture is at least: what is round or wide is a plate on a table."""
LEAST_STRAIGHT = 0.5
"""Share of a side along which the outline follows a line, for it to be straight."""
LEAST_CONTACT = 0.9
"""Share of each side that must be straight where the border does not go all the way around. Where it does, one of the
four sides may be hard to see: a white sky meets a white border."""
EDGE = 0.2
"""How far inside the first pixel that differs from the ground a picture's edge lies on average, in pixels."""
RAGGED = 3.0
"""What reaches farther over a side than a ragged edge does is of the picture: a roof before a sky like the mount."""
INSET = 0.008
"""How much is left out at the edges of a picture, as a share of its long side, before it is looked into."""
DEPTH = 4
"""How often a picture may lie in another: print on mount on bed."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Found:
    """A picture on a page: its box in pixels, turned around its middle by `slope`, and a confidence in [0, 1]."""

    box: Box
    slope: float
    confidence: float

    @property
    def area(self) -> float:
        """How many pixels it has."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True)
class View:
    """A part of a page, straightened and shrunk: `pixels` (h, w, 3), and the box of the page that it shows."""

    pixels: Floats
    box: Box
    slope: float

    def to_page(self, found: Found) -> Found:
        """Say where on the page something lies that was found in the view."""
        left, top, right, bottom = self.box
        height, width = self.pixels.shape[:2]
        scale = (right - left) / width
        x = (found.box[0] + found.box[2] - width) / 2 * scale
        y = (found.box[1] + found.box[3] - height) / 2 * scale
        middle = (left + right) / 2 + x - self.slope * y, (top + bottom) / 2 + y + self.slope * x
        half = (found.box[2] - found.box[0]) / 2 * scale, (found.box[3] - found.box[1]) / 2 * scale
        box = middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]
        return Found(box, self.slope + found.slope, found.confidence)


def find_region(page: NDArray[np.uint8]) -> Region:
    """Find the pictures on an upright page, (h, w, 3) sRGB, long side about 768. In doubt, it is the whole page."""
    height, width = page.shape[:2]
    found = _look_into(Image.fromarray(page), Found((0, 0, width, height), 0.0, 1.0), DEPTH)
    if not found:
        return Region((Rectangle(0, 0, 1, 1),), 1.0)
    rectangles = tuple(_to_rectangle(one.box, width, height) for one in found)
    return Region(rectangles, round(min(one.confidence for one in found), 3))


def _to_rectangle(box: Box, width: int, height: int) -> Rectangle:
    """Write a box in pixels as fractions of a page."""
    left, right = (round(min(max(number / width, 0), 1), 5) for number in box[::2])
    top, bottom = (round(min(max(number / height, 0), 1), 5) for number in box[1::2])
    return Rectangle(left, top, right - left, bottom - top)


def crop(page: NDArray[Any], rectangle: Rectangle) -> NDArray[Any]:
    """Return the pixels (h, w, ...) of a page inside a rectangle; a view."""
    left, top, right, bottom = rectangle.to_pixels(page.shape[1], page.shape[0])
    return page[top:bottom, left:right]


def _look_into(page: Image.Image, part: Found, depth: int) -> list[Found]:
    """Find the pictures inside a part of the page, and inside these; none if the part seems to be a picture itself."""
    view = _make_view(page, part) if depth else None
    if view is None:
        return []
    seen = _find_on_ground(view.pixels) or _find_beside_target(view.pixels)
    if depth < DEPTH and sum(one.area for one in seen) < LEAST_INSIDE * view.pixels[..., 0].size:
        return []
    pictures = []
    for found in seen:
        picture = view.to_page(found)
        pictures += _look_into(page, picture, depth - 1) or [picture]
    return pictures


def _make_view(page: Image.Image, part: Found) -> View | None:
    """Shrink a part of the page to `SIDE`, without its slanted edges; None if it is too narrow to hold pictures."""
    is_page = part.box == (0, 0, *page.size)
    margin = 0.0 if is_page else INSET * max(part.box[2] - part.box[0], part.box[3] - part.box[1])
    left, top, right, bottom = (number + sign * margin for number, sign in zip(part.box, (1, 1, -1, -1), strict=True))
    scale = max(1.0, (right - left) / SIDE, (bottom - top) / SIDE)
    size = round((right - left) / scale), round((bottom - top) / scale)
    if min(size) < LEAST_SIDE:
        return None
    shrunk = page.resize((round(page.width / scale), round(page.height / scale)), Image.Resampling.BOX)
    shown = (
        shrunk if is_page else _turn(shrunk, ((left + right) / 2 / scale, (top + bottom) / 2 / scale), size, part.slope)
    )
    return View(np.asarray(shown, np.float32), (left, top, right, bottom), part.slope)


def _turn(page: Image.Image, middle: tuple[float, float], size: tuple[int, int], slope: float) -> Image.Image:
    """Cut out what lies around a point, turned so that lines of that slope are level."""
    across, down = size[0] / 2, size[1] / 2
    matrix = 1, -slope, middle[0] - across + slope * down, slope, 1, middle[1] - slope * across - down
    return page.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _find_on_ground(page: Floats) -> list[Found]:
    """Find pictures that lie on a ground of one color; none where that is in doubt."""
    ground = fit_ground(page)
    top, bottom, left, right = bordered = tuple(share >= COVERED for share in ground.covers)
    if not (top or bottom) or not (left or right):
        return []
    tolerances = {min(max(least, ground.spread), MOST_TOLERANCE) for least in TOLERANCES}
    for tolerance in sorted(tolerances, reverse=True):
        things = _choose_pictures(page, find_things(page, ground, tolerance, STROKE, LEAST_AREA))
        areas = np.array([thing.sum() for thing in things])
        found = [_to_picture(thing, fit_sides(thing), bordered) for thing in things]
        sure = np.array([one.confidence for one in found])
        if found and (sure * areas).sum() >= LEAST_CONFIDENCE * areas.sum():
            return found
    return []


def _choose_pictures(page: Floats, things: list[Mask]) -> list[Mask]:
    """Leave out what is no picture by its size, its shape or its patches."""
    chosen: list[Mask] = []
    widest = 0.0
    for thing in things:
        (top, bottom), (left, right) = get_span(thing, 1), get_span(thing, 0)
        short, long = sorted((bottom - top, right - left))
        is_ruler = bool(chosen) and long / short > MOST_ELONGATED > widest
        is_small = short < LEAST_SIDE or (bool(chosen) and thing.sum() < LEAST_OF_LARGEST * chosen[0].sum())
        if is_ruler or is_small or (len(things) > 1 and is_target(page[top:bottom, left:right])):
            continue
        chosen.append(thing)
        widest = max(widest, long / short)
    return chosen


def _to_picture(thing: Mask, sides: Sides, bordered: tuple[bool, ...]) -> Found:
    """Say where the sides of a thing are, and how sure it is that it has four straight ones, or is an oval."""
    height, width = thing.shape
    (first, last), (start, end) = get_span(thing, 1), get_span(thing, 0)
    gaps = first, height - last, start, width - end
    is_upright = last - first >= UPRIGHT * (end - start)
    if all(bordered) and is_upright and measure_oval(thing[first:last, start:end]) >= LEAST_OVAL:
        return Found((start, first, end, last), 0.0, OVAL_CONFIDENCE)
    is_free = [has or gap > RAGGED for has, gap in zip(bordered, gaps, strict=True)]
    contacts = sorted(side.contact for side, free in zip(sides, is_free, strict=True) if free)
    is_straight = contacts[1] >= LEAST_STRAIGHT if all(bordered) else contacts[0] >= LEAST_CONTACT
    confidence = float(np.prod(contacts[1:] if all(bordered) else contacts)) if is_straight else 0.0
    top, bottom, left, right = (
        max(0.0, side.distance + EDGE - _measure_overhang(side)) if free else 0.0
        for side, free in zip(sides, is_free, strict=True)
    )
    slopes = np.array([sides[0].slope, -sides[1].slope, -sides[2].slope, sides[3].slope])
    weights = np.array([side.contact for side in sides]) + 1e-6
    slope = float((slopes * weights).sum() / weights.sum())
    return Found((left, top, width - right, height - bottom), slope, confidence)


def _measure_overhang(side: Side) -> float:
    """Return how far a picture reaches over its side; not where a stain of the mount, up to the page's edge, does."""
    is_stain = side.contact >= LEAST_STRAIGHT and side.beyond > side.distance - RAGGED
    return 0.0 if is_stain or side.beyond <= RAGGED else side.beyond


def _find_beside_target(page: Floats) -> list[Found]:
    """Cut off a strip with a color target at one side."""
    height, width = page.shape[:2]
    views = page, page[::-1], page.swapaxes(0, 1), page.swapaxes(0, 1)[::-1]
    top, bottom, left, right = (measure_strip(view) for view in views)
    if max(top, bottom, left, right) == 0:
        return []
    box = float(left), float(top), float(width - right), float(height - bottom)
    return [Found(box, 0.0, 0.9)]

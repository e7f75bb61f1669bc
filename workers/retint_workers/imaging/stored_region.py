"""Where a region lies in the pixels of one photo as stored: the one place where fractions become whole pixels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint.region import WHOLE, Region
from retint_workers.imaging.decoding.formats import Header

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom are exclusive."""
MIRRORED, UPSIDE_DOWN, ON_ITS_SIDE = (2, 3, 6, 7), (3, 4, 7, 8), (5, 6, 7, 8)
"""EXIF's orientations by what is done to an upright picture to store it, in this order."""


@dataclass(frozen=True)
class StoredRegion:
    """A region in pixels as stored, before the orientation turns them.

    Attributes:
        size: height and width of the photo.
        boxes: of its pictures.
    """

    size: tuple[int, int]
    boxes: tuple[Box, ...]

    @classmethod
    def locate(cls, region: Region, header: Header) -> "StoredRegion":
        """Find the pixels of a region, whose rectangles are those of the upright photo."""
        width, height = header.upright_size
        upright = (rectangle.to_pixels(width, height) for rectangle in region.rectangles)
        boxes = tuple(_to_stored(box, (width, height), header.orientation) for box in upright)
        return cls((header.height, header.width), boxes)

    @property
    def bounds(self) -> Box:
        """The smallest box around all pictures: layers lie over it."""
        lefts, tops, rights, bottoms = zip(*self.boxes, strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)

    @property
    def bounds_size(self) -> tuple[int, int]:
        """Height and width of the bounds."""
        left, top, right, bottom = self.bounds
        return bottom - top, right - left

    @property
    def largest(self) -> Box:
        """The box of the largest picture."""
        return max(self.boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))

    @property
    def is_whole(self) -> bool:
        """Whether the whole photo is one picture."""
        return (0, 0, *self.size[::-1]) in self.boxes

    def shrink(self, factor: int, size: tuple[int, int]) -> "StoredRegion":
        """Return the region in a copy of the photo of this size, which is so many times smaller."""
        (height, width), (full_height, full_width) = size, self.size
        shrunk = []
        for left, top, right, bottom in self.boxes:
            start, first = min(round(left / factor), width - 1), min(round(top / factor), height - 1)
            end = width if right == full_width else max(start + 1, round(right / factor))
            last = height if bottom == full_height else max(first + 1, round(bottom / factor))
            shrunk.append((start, first, end, last))
        return StoredRegion(size, tuple(shrunk))

    def change_pixels(
        self, strip: NDArray[Any], top: int, bands: int, change: Callable[[NDArray[Any], int], NDArray[Any]]
    ) -> NDArray[Any]:
        """Return a strip whose pictures are changed; all else keeps its values, also where gray becomes RGB.

        Args:
            strip: rows of the photo, (rows, width) or (rows, width, 3).
            top: the photo's row that the strip begins with.
            bands: of what is returned, 1 or 3.
            change: returns changed pixels; called with the part of the strip in the bounds, and its first row there.
        """
        if self.is_whole:
            return change(strip, top)
        is_spread = bands == 3 and strip.ndim == 2
        out: NDArray[Any] = np.repeat(strip[..., None], 3, axis=2) if is_spread else strip.copy()
        left, first, right, last = self.bounds
        start, end = max(first, top), min(last, top + len(strip))
        if start >= end:
            return out
        changed = change(strip[start - top : end - top, left:right], start - first)
        for box_left, box_top, box_right, box_bottom in self.boxes:
            rows = slice(max(box_top, start), min(box_bottom, end))
            if rows.start < rows.stop:
                inside = changed[rows.start - start : rows.stop - start, box_left - left : box_right - left]
                out[rows.start - top : rows.stop - top, box_left:box_right] = inside
        return out

    def cover(self, shape: tuple[int, int], cell: int) -> NDArray[np.bool_]:
        """Return which square cells lie wholly in a picture; of a picture without any, those that it meets.

        Args:
            shape: rows and columns of cells.
            cell: side of a cell, in pixels of the photo.
        """
        covered = np.zeros(shape, bool)
        for left, top, right, bottom in self.boxes:
            is_last_row, is_last_column = bottom == self.size[0], right == self.size[1]
            rows = slice(ceil(top / cell), ceil(bottom / cell) if is_last_row else floor(bottom / cell))
            columns = slice(ceil(left / cell), ceil(right / cell) if is_last_column else floor(right / cell))
            if not covered[rows, columns].size:
                rows = slice(floor(top / cell), ceil(bottom / cell))
                columns = slice(floor(left / cell), ceil(right / cell))
            covered[rows, columns] = True
        return covered


@dataclass(frozen=True)
class Picture:
    """What of a photo is restored.

    Attributes:
        region: where it lies.
        is_inverted: whether dark becomes light before the layers are applied.
    """

    region: StoredRegion
    is_inverted: bool = False

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], header: Header) -> "Picture":
        """Read what ingest found; the whole photo where it found nothing, as it did before there were regions."""
        region = Region.from_facts(facts["region"]) if facts.get("region") else WHOLE
        return cls(StoredRegion.locate(region, header), bool(facts.get("inverted")))


def _to_stored(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Return a box of an upright photo of this width and height in its pixels as stored."""
    left, top, right, bottom = box
    if orientation in MIRRORED:
        left, right = size[0] - right, size[0] - left
    if orientation in UPSIDE_DOWN:
        top, bottom = size[1] - bottom, size[1] - top
    return (top, left, bottom, right) if orientation in ON_ITS_SIDE else (left, top, right, bottom)

"""Pictures to look at: upright, 8-bit sRGB, small. The preview and the thumbnail."""

from concurrent.futures import Executor, Future
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint.pages import PREVIEW_SIDE
from retint_workers.imaging.color import profiles
from retint_workers.imaging.decoding.formats import Header
from retint_workers.imaging.shrinking import shrink
from retint_workers.imaging.stored_region import Box
from retint_workers.imaging.vips import XMP_FIELD, open_image

THUMB_SIDE = 640
MIN_CELL = 16
MAX_CELLS = 64


def load_display_picture(
    header: Header, side: int, box: Box | None = None, *, invert: bool = False, **options: Any
) -> pyvips.Image:
    """Load a photo as a picture to look at, into memory: upright, 8-bit sRGB, its long side at most `side`.

    Args:
        header: the photo's.
        side: the most pixels of the long side.
        box: the part of the stored pixels that is loaded; all of them by default.
        invert: make dark light, in code values.
        options: of libvips' loader.
    """
    left, top, right, bottom = box or (0, 0, header.width, header.height)
    size = right - left, bottom - top
    if header.coding == "jpeg":  # shrinking while decoding is fast; a factor of two is left for quality
        options["shrink"] = max((n for n in (1, 2, 4, 8) if max(size) / n >= 2 * side), default=1)
    image = open_image(header.pixels, header.coding, **options)
    if header.extras:
        image = image.extract_band(0, n=header.bands)
    if box is not None:
        across, down = image.width / header.width, image.height / header.height
        left, top = min(round(left * across), image.width - 1), min(round(top * down), image.height - 1)
        end, last = max(left + 1, round(right * across)), max(top + 1, round(bottom * down))
        image = image.crop(left, top, end - left, last - top)
    return to_display(image.invert() if invert else image, header, side, size)


def to_display(image: pyvips.Image, header: Header, side: int, size: tuple[int, int] | None = None) -> pyvips.Image:
    """Convert pixels of a photo to a picture to look at; see `load_display_picture`.

    Args:
        image: the photo's stored pixels or a smaller copy of them, gray or RGB, 8 or 16 bits.
        header: the photo's, for size, color space and orientation.
        side: the most pixels of the long side.
        size: width and height of the part of the photo that the pixels are; the whole photo's by default.
    """
    full = size or (header.width, header.height)
    scale = min(1.0, side / max(full))
    width, height = (max(1, round(length * scale)) for length in full)
    if image.format == "ushort" and header.space.equivalent is None:  # with 8 bits resizing is ten times as fast
        image = profiles.to_srgb(image, None)
    image = image.resize(width / image.width, vscale=height / image.height)
    stored = profiles.to_srgb(image, header.space.equivalent).copy_memory()
    return turn_upright(stored, header.orientation).copy_memory()


def turn_upright(image: pyvips.Image, orientation: int) -> pyvips.Image:
    """Turn stored pixels by an EXIF orientation."""
    image = image.copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image.autorot()


class Downscaler:
    """Collects strips into a picture that is a whole number of times smaller, but no smaller than the preview.

    Args:
        header: of the photo.
        aside: runs the arithmetic, where it is given, while the caller goes on to the next strip.

    Attributes:
        factor: by how much it is smaller.
        size: its height and width.
        cell: side of the cells of `cell_means`, in pixels of the smaller picture.
    """

    def __init__(self, header: Header, aside: Executor | None = None) -> None:
        longest = max(header.width, header.height)
        self.factor = max(1, longest // PREVIEW_SIDE)
        self.cell = max(MIN_CELL, ceil(ceil(longest / self.factor) / MAX_CELLS))
        self.size = ceil(header.height / self.factor), ceil(header.width / self.factor)
        self._aside, self._unfinished = aside, Future[None]()
        self._unfinished.set_result(None)
        self._picture: NDArray[Any] = np.empty(0)
        self._filled = 0

    def add(self, strip: NDArray[Any]) -> None:
        """Add the next rows, which must not change any more: a multiple of `factor`, or the last ones."""
        if self._filled == 0:
            self._picture = np.empty((*self.size, *strip.shape[2:]), strip.dtype)
        rows = self._picture[self._filled :][: ceil(len(strip) / self.factor)]
        self._filled += len(rows)
        self._unfinished.result()
        if self._aside:
            self._unfinished = self._aside.submit(shrink, strip, self.factor, rows)
        else:
            shrink(strip, self.factor, rows)

    def image(self) -> pyvips.Image:
        """Return the picture, after the last strip."""
        self._unfinished.result()
        return pyvips.Image.new_from_array(self._picture)

    def cell_means(self) -> NDArray[np.float64]:
        """Return the means of square cells, at most 64 along the long side: float64 (h, w) or (h, w, 3)."""
        image = self.image().cast("float")
        return np.asarray(image.shrink(self.cell, self.cell, ceil=True).numpy(), np.float64)


def save_previews(image: pyvips.Image, preview: Path, thumb: Path, xmp: bytes) -> None:
    """Write a picture of preview size as the preview and, smaller, as the thumbnail."""
    save_jpeg(image, preview, xmp)
    save_jpeg(image.resize(min(1, THUMB_SIDE / max(image.width, image.height))), thumb, xmp)


def save_jpeg(image: pyvips.Image, path: Path, xmp: bytes | None = None) -> None:
    """Write an 8-bit sRGB picture as JPEG, without metadata other than this XMP."""
    image = image.copy()
    if xmp is not None:
        image.set_type(pyvips.GValue.blob_type, XMP_FIELD, xmp)
    saved: bytes = image.jpegsave_buffer(Q=88, keep="xmp" if xmp is not None else "none")
    path.write_bytes(saved)  # libvips takes no path that is no text

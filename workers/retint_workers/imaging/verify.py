"""Reads a result back and compares it with what was rendered. Only a verified result counts.

The preview and the thumbnail are made from the pixels that are read back.
"""

import zlib
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint.errors import InvalidPhoto, Transient
from retint.pages import PREVIEW_SIDE
from retint_models.layers.color import CB_SCALE, CR_SCALE, LUMA
from retint_models.layers.types import ColorLayer
from retint_workers.imaging import appearance, provenance, watermark
from retint_workers.imaging.decoding.formats import Header, read_header, sniff_file
from retint_workers.imaging.previews import Downscaler, save_previews, to_display
from retint_workers.imaging.provenance import Provenance
from retint_workers.imaging.stored_region import Picture, StoredRegion
from retint_workers.imaging.streams import measure_extras, read_strips
from retint_workers.imaging.vips import XMP_FIELD, open_image
from retint_workers.imaging.watermark import Watermark

MAX_LUMA_DRIFT = 1 / 255
"""How far color alone may change luma, as a fraction of full scale."""
COLORLESS_CHROMA = 1.0
"""Chroma in code values of 255. A picture in which only one pixel in a hundred has more looks gray."""
MODEST_CHROMA = 8.0
"""Chroma in code values of 255 of modest color."""
MAX_MEAN_CHANGE = 3.0
MAX_CELL_CHANGE = 24.0
"""How far, in code values of 255, lossy encoding may change the means of cells of at least 16 pixels: on average, and
in one cell. Saturated colors, stored at half the size, change single cells by more than six."""


MAX_DIFFERENCE = {False: (1.5, 8.0), True: (4.0, 24.0)}
"""ΔE*ab by which a result may look different from what is predicted, without and with loss: on average, in one cell.
Measured on photographs with their true colors in twelve spaces: 0.7 and 4.1 at most; after JPEG of quality 30, 2.7 and
14. A wrong curve, wrong primaries or a lost profile give 2 and more on average."""

TOLERANT = {"fail_on": "error"}
"""How results are read: warnings may be of metadata that was carried as it was, and what cannot be decoded differs from
what was written."""


class NotVerified(Transient):
    """A result was read back and is not as it should be. The job is tried again, then quarantined with the reason."""

    code = "not_verified"


@dataclass(frozen=True)
class MarkedPixels:
    """The watermark of a result, with the rendered pixels under it before and after it was drawn."""

    watermark: Watermark
    bare: NDArray[Any]
    marked: NDArray[Any]


@dataclass(frozen=True)
class Expected:
    """What was written, for comparison with what is read back.

    Attributes:
        header: what the result's should say.
        record: what the result's XMP should say.
        checksum: CRC-32 of the rendered pixels.
        extras: CRC-32 of the channels beside the color.
        cell_means: of the rendered pixels, see `Downscaler.cell_means`.
        look: what it should look like without the watermark, see `appearance`; computed meanwhile.
        picture: what of the photo was restored.
        marked: the pixels under the watermark, if one was drawn.
    """

    header: Header
    record: Provenance
    checksum: int
    extras: int
    cell_means: NDArray[np.float64]
    look: Future[appearance.Cells]
    picture: Picture
    marked: MarkedPixels | None


@dataclass(frozen=True)
class Decoded:
    """The pixels of a result, decoded: their checksum, a smaller copy, and those under the watermark."""

    checksum: int
    smaller: Downscaler
    marked: NDArray[Any] | None


def read_back(result: Path, expected: Expected, pixel_limit_mp: int) -> tuple[dict[str, Path], float]:
    """Decode a result, verify it, and write `preview` and `thumb` beside it.

    Returns:
        The files by name, and the chroma that one place in a hundred of the picture, outside the watermark, exceeds,
        in code values of 255.

    Raises:
        NotVerified: it is not as it should be.
        InvalidPhoto: it cannot be decoded.
    """
    header = read_header(result, pixel_limit_mp)
    verify_header(header, expected)
    verify_record(read_record(open_image(result, header.coding)), expected.record)
    files = {"preview": result.with_name("preview.jpg"), "thumb": result.with_name("thumb.jpg")}
    decoded = _decode(header, expected)
    cell_means = decoded.smaller.cell_means()
    _verify_pixels(decoded, cell_means, header, expected)
    preview = to_display(decoded.smaller.image(), header, PREVIEW_SIDE)
    save_previews(preview, files["preview"], files["thumb"], expected.record.to_xmp())
    scale = 1 / (decoded.smaller.factor * decoded.smaller.cell)
    box = expected.marked.watermark.scale_box(scale, scale) if expected.marked else (0, 0, 0, 0)
    look = appearance.measure(decoded.smaller, header)
    is_outside = select_outside(box, look.shape[:2])
    verify_appearance(look[is_outside][None], expected.look.result()[is_outside][None], is_lossy=header.lossy)
    is_picture = is_outside & expected.picture.region.cover(
        look.shape[:2], decoded.smaller.factor * decoded.smaller.cell
    )
    return files, measure_chroma(look[is_picture][None] * 255)


def _decode(header: Header, expected: Expected) -> Decoded:
    """Decode a result once from top to bottom."""
    smaller, checksum, marked = Downscaler(header), 0, []
    for top, strip in read_strips(header, smaller.factor, **TOLERANT):
        checksum = zlib.crc32(strip.data, checksum)
        if expected.marked:
            marked.append(expected.marked.watermark.pixels_under(strip, top).copy())
        smaller.add(strip)
    return Decoded(checksum, smaller, np.concatenate(marked) if expected.marked else None)


def _full_scale(header: Header) -> int:
    return 255 if header.bits == 8 else 65535


# --- comparisons ------------------------------------------------------------------------------------------------------


def verify_header(header: Header, expected: Expected) -> None:
    """Compare a result's header with what it should say.

    Raises:
        NotVerified: names the first thing that differs.
    """
    for name in ("format", "width", "height", "bits", "bands", "extras", "orientation", "profile"):
        wanted = expected.header.result_format if name == "format" else getattr(expected.header, name)
        if getattr(header, name) != wanted:
            raise NotVerified(f"The result's {name} is not the original's.", code=f"{name}_differs")


def verify_record(found: dict[str, str], record: Provenance) -> None:
    """Compare what a result's XMP says (see `read_record`) with the record of what made it.

    Raises:
        NotVerified: the record is missing, or is another one.
    """
    if found.get("OriginalSHA256") != record.original or found.get(provenance.SOURCE_TYPE) != record.source_type:
        raise NotVerified("The result does not say what made it.", code="unmarked")


def verify_luma_drift(drift: float) -> None:
    """Check the largest change of luma by color alone, a fraction of full scale.

    Raises:
        NotVerified: it is too large.
    """
    if drift > MAX_LUMA_DRIFT:
        raise NotVerified(f"Color alone changed luma by {drift * 255:.2f} of 255.", code="luma_changed")


def verify_likeness(read: NDArray[np.float64], rendered: NDArray[Any], full_scale: int = 255) -> None:
    """Compare two small copies: of the pixels that were read back, and of those that were rendered.

    Raises:
        NotVerified: they differ by more than lossy encoding explains.
    """
    change = np.abs(read - rendered) * 255 / full_scale
    if change.mean() > MAX_MEAN_CHANGE or change.max() > MAX_CELL_CHANGE:
        raise NotVerified("The result does not look like what was rendered.", code="pixels_differ")


def verify_appearance(found: NDArray[Any], wanted: NDArray[Any], *, is_lossy: bool) -> None:
    """Compare what a result looks like through its own color space with what it should look like, in sRGB (..., 3).

    Raises:
        NotVerified: the colors or the tones are others.
    """
    differences = appearance.compare(found, wanted)
    on_average, in_one_cell = MAX_DIFFERENCE[is_lossy]
    if differences.mean() > on_average or differences.max() > in_one_cell:
        raise NotVerified("The result does not look as it should through its color profile.", code="looks_different")


def verify_extras(read: int, carried: int) -> None:
    """Compare the CRC-32 of the channels beside the color in the result with that of the original's.

    Raises:
        NotVerified: they differ.
    """
    if read != carried:
        raise NotVerified("The transparency or infrared channel is not the original's.", code="extras_differ")


def verify_watermark(read: NDArray[Any], bare: NDArray[Any], marked: NDArray[Any]) -> None:
    """Check that pixels that were read back show the watermark; arguments as for `watermark.is_visible`.

    Raises:
        NotVerified: they do not.
    """
    if not watermark.is_visible(read, bare, marked):
        raise NotVerified("The watermark cannot be seen in the result.", code="watermark_differs")


def _verify_pixels(decoded: Decoded, cell_means: NDArray[np.float64], header: Header, expected: Expected) -> None:
    """Compare the pixels that were read back with those that were rendered.

    Raises:
        NotVerified: they are not the same, or after lossy encoding not alike.
    """
    if not header.lossy and decoded.checksum != expected.checksum:
        raise NotVerified("The pixels that were read back are not those that were written.", code="pixels_differ")
    if header.format != "webp" or not header.lossy:  # libwebp rounds transparency in lossy files
        verify_extras(measure_extras(header, **TOLERANT), expected.extras)
    verify_likeness(cell_means, expected.cell_means, _full_scale(header))
    if expected.marked is not None and decoded.marked is not None:
        verify_watermark(decoded.marked, expected.marked.bare, expected.marked.marked)


# --- what a result says -----------------------------------------------------------------------------------------------


def read_record(image: pyvips.Image) -> dict[str, str]:
    """Read from an opened picture what made it, as `provenance.read_xmp`; empty where it does not say."""
    return provenance.read_xmp(image.get(XMP_FIELD)) if image.get_typeof(XMP_FIELD) else {}


def read_record_of_file(path: Path) -> dict[str, str]:
    """Read from a picture's file what made it; empty where it does not say, or is no picture."""
    try:
        return read_record(open_image(path, sniff_file(path)))
    except (OSError, InvalidPhoto, pyvips.Error):
        return {}


# --- color ------------------------------------------------------------------------------------------------------------


def measure_chroma(pixels: NDArray[Any]) -> float:
    """Return the chroma that one pixel in a hundred exceeds, in the unit of the pixels, (h, w) or (h, w, 3)."""
    if pixels.ndim == 2:
        return 0.0
    luma = pixels @ np.array(LUMA)
    return float(np.percentile(np.hypot((pixels[..., 2] - luma) / CB_SCALE, (pixels[..., 0] - luma) / CR_SCALE), 99))


def select_outside(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which pixels of a picture of this shape lie outside a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    is_outside = np.ones(shape[:2], bool)
    is_outside[top:bottom, left:right] = False
    return is_outside


def explain_colorless(header: Header, region: StoredRegion, color: ColorLayer) -> str:
    """Say why a result shows no color: the network decided for none, or nearly all of the photo is black or white.

    Args:
        header: the photo's.
        region: what of it is restored.
        color: what the colorizer decided.

    Raises:
        NotVerified: there is room, and the network decided for color. So its decision got lost.
    """
    decided = 255 * float(np.percentile(np.hypot(*color.chroma.astype(np.float32)), 99))
    is_gray = decided < COLORLESS_CHROMA
    wanted = MODEST_CHROMA if is_gray else min(decided, MODEST_CHROMA)
    if _measure_room(header, region, wanted) < wanted / 2:  # in a photo, unlike a drawing, nearly every pixel has room
        return "The photo is black and white with hardly any gray between: there is no room for color in it."
    if is_gray:
        return "The network found no color to give this photo: it stayed black and white."
    raise NotVerified("The result came out without color.", code="colorless")


def _measure_room(header: Header, region: StoredRegion, chroma: float) -> float:
    """Measure how much of a chroma a photo could show: the mean of a cell that one cell in a hundred exceeds.

    At luma Y' no hue can have a chroma above min(Y', 1 - Y') / 1.8556 without losing some of it.
    """
    full = _full_scale(header)
    codes = np.arange(full + 1, dtype=np.float32) * (255 / full)
    room = np.minimum(np.minimum(codes, 255 - codes) / CB_SCALE, chroma)
    room_by_code = (room * (full / 255)).astype(np.uint8 if header.bits == 8 else np.uint16)
    smaller = Downscaler(header)
    for _, strip in read_strips(header, smaller.factor):
        smaller.add(room_by_code[strip if strip.ndim == 2 else strip[..., 1]])  # green is nearly luma
    cells = smaller.cell_means() * (255 / full)
    return float(np.percentile(cells[region.cover(cells.shape[:2], smaller.factor * smaller.cell)], 99))

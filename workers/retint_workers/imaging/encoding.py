"""Reads how a file is encoded, for writing the result in the same way: what libvips does not tell.

Each reader also refuses what its format shows on the way: files that end early, animations, several pages.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from retint.errors import InvalidPhoto
from retint_workers.containers import jpeg, png, tiff, webp
from retint_workers.imaging.vips import damaged_file, incomplete_file

Options = dict[str, Any]
"""Options of libvips' saver for the format."""

DEFAULT_QUALITY = 90
COMPRESSIONS = {
    1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 7: "jpeg", 32773: "packbits", 50000: "zstd", 50001: "webp",
}  # fmt: skip
LOSSY_COMPRESSIONS = {"jpeg", "webp"}
PREDICTORS = {1: "none", 2: "horizontal"}
RAW_PHOTOMETRICS, LAB_PHOTOMETRICS = {32803, 34892}, {8, 9, 10}
REDUCED_OR_MASK = 5
"""Bits of a TIFF page's SubfileType: a smaller copy of the picture, or a transparency mask."""
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""Quantization of luminance at quality 50 (ITU-T T.81, table K.1)."""


def read_encoding(file: BinaryIO, file_format: str) -> Options:
    """Read how an open file of a format is encoded.

    Raises:
        InvalidPhoto: the file is incomplete or damaged, is an animation or raw data, or has several pages.
    """
    return READERS[file_format](file)


# --- JPEG -------------------------------------------------------------------------------------------------------------


def _read_jpeg(file: BinaryIO) -> Options:
    """Estimate the quality from the table that quantizes luminance (T.81, B.2.4.1)."""
    table_sum = 0
    for segment in jpeg.read_segments(file):
        data = segment.data
        if segment.marker == jpeg.QUANTIZATION and data and data[0] & 15 == 0:
            table_sum = sum(struct.unpack_from(">64H", data, 1) if data[0] >> 4 else data[1:65])
    return {"Q": estimate_quality(table_sum) if table_sum else DEFAULT_QUALITY}


def estimate_quality(table_sum: int) -> int:
    """Return the quality, 1 to 100, whose luminance table has the sum nearest to this one (libjpeg's scale)."""

    def sum_at(quality: int) -> int:
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        return sum(min(max((step * scale + 50) // 100, 1), 255) for step in LUMINANCE)

    return min(range(100, 0, -1), key=lambda quality: abs(sum_at(quality) - table_sum))


# --- PNG and WebP -----------------------------------------------------------------------------------------------------


def _read_png(file: BinaryIO) -> Options:
    """Walk over the chunks to the last (PNG, third edition, 11.3.6)."""
    kinds = {chunk.kind for chunk in png.read_chunks(file)}
    if b"acTL" in kinds:
        raise _animation()
    if b"IEND" not in kinds:
        raise incomplete_file()
    return {"compression": 6}


def _read_webp(file: BinaryIO) -> Options:
    """Find out whether the pixels are stored without loss (RFC 9649, 2.7)."""
    if webp.ends_early(file):
        raise incomplete_file()
    for chunk in webp.read_chunks(file):
        if chunk.kind == b"VP8X" and chunk.read(file)[0] & 2:
            raise _animation()
        if chunk.kind == b"VP8L":
            return {"lossless": True}
    return {"lossless": False, "Q": DEFAULT_QUALITY}


def _animation() -> InvalidPhoto:
    return InvalidPhoto("The file is an animation: save one picture of it.", code="animated")


# --- TIFF -------------------------------------------------------------------------------------------------------------


def _read_tiff(file: BinaryIO) -> Options:
    """Read compression, tiles and size class."""
    try:
        reader = tiff.Reader(file)
        pages = list(reader.directories())
        _refuse_tiff(reader, pages)
        return _tiff_options(pages, is_big=reader.is_big)
    except ValueError as error:
        raise incomplete_file() from error


def _refuse_tiff(reader: tiff.Reader, pages: Sequence[tiff.Directory]) -> None:
    """Refuse a TIFF that is no single photograph in gray or RGB.

    Raises:
        InvalidPhoto: says what it is instead.
    """
    if not pages:
        raise damaged_file()
    first = pages[0]
    if reader.ends_before_pixels(first):
        raise incomplete_file()
    if any(not tiff.first_number(page, tiff.SUBFILE, 0) & REDUCED_OR_MASK for page in pages[1:]):
        raise InvalidPhoto("The TIFF has several pages: save each as a file of its own.", code="several_pages")
    photometric = tiff.first_number(first, tiff.PHOTOMETRIC, 1)
    if photometric in RAW_PHOTOMETRICS:
        raise InvalidPhoto(
            "The file is a camera's raw data: develop it and save it as TIFF.", code="unsupported_format"
        )
    if photometric in LAB_PHOTOMETRICS:
        raise InvalidPhoto("The picture is in Lab color: save it as RGB.", code="unsupported_color")


def _tiff_options(pages: Sequence[tiff.Directory], *, is_big: bool) -> Options:
    first = pages[0]
    width = tiff.first_number(first, tiff.WIDTH, 0)
    compression = COMPRESSIONS.get(tiff.first_number(first, tiff.COMPRESSION, 1), "deflate")
    options: Options = {"compression": compression, "bigtiff": is_big}
    if compression in ("lzw", "deflate", "zstd"):
        options["predictor"] = PREDICTORS.get(tiff.first_number(first, tiff.PREDICTOR, 1), "horizontal")
    if compression in LOSSY_COMPRESSIONS:
        options["Q"] = DEFAULT_QUALITY
    if tiff.TILE_WIDTH in first:
        options |= {
            "tile": True,
            "tile_width": tiff.first_number(first, tiff.TILE_WIDTH, 256),
            "tile_height": tiff.first_number(first, tiff.TILE_HEIGHT, 256),
            "pyramid": len(pages) > 1 and tiff.first_number(pages[1], tiff.WIDTH, 0) == width // 2,
        }
    return options


READERS: Mapping[str, Callable[[BinaryIO], Options]] = {
    "jpeg": _read_jpeg,
    "png": _read_png,
    "webp": _read_webp,
    "tiff": _read_tiff,
}

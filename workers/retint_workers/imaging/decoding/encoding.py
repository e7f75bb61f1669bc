"""Reads how a file is encoded, for writing the result in the same way: what libvips does not tell.

Each reader also refuses what its format shows on the way: files that end early, animations, several pages.
"""

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from retint.errors import InvalidPhoto
from retint_workers.containers import jpeg, png, tiff, webp
from retint_workers.containers.tiff_pixels import PixelLayout
from retint_workers.imaging.decoding import quality
from retint_workers.imaging.decoding.tiff_pages import Choice, choose_photograph
from retint_workers.imaging.vips import incomplete_file

Options = dict[str, Any]
"""Options of libvips' saver for the format."""

COMPRESSIONS = {
    1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 7: "jpeg", 32773: "packbits", 50001: "webp",
}  # fmt: skip
"""TIFF's compressions that libvips writes; a file with another one that loses nothing gets `deflate`."""
LOSSY_COMPRESSIONS = {"jpeg", "webp"}
PREDICTORS = {1: "none", 2: "horizontal"}
JPEG_TABLES, PREDICTOR = 347, 317
TILE_STEP = 16
"""Sides of tiles are multiples of it (TIFF 6.0, section 15)."""
MAX_HEAD_BYTES = 1 << 16
"""How much of the first strip or tile is looked at for its quality."""
HEAD_BYTES = 1024
"""Of a chunk, enough to tell how its pixels are stored."""


def read_encoding(file: BinaryIO, file_format: str) -> Options:
    """Read how an open file of a format is encoded.

    Raises:
        InvalidPhoto: the file is incomplete or damaged, is an animation or raw data, or has several pages.
    """
    return READERS[file_format](file)


# --- JPEG, PNG and WebP -----------------------------------------------------------------------------------------------


def _read_jpeg(file: BinaryIO) -> Options:
    """Estimate the quality; find out whether chroma is halved both ways, and whether the scans are progressive."""
    tables = [segment.data for segment in jpeg.read_segments(file) if segment.marker == jpeg.QUANTIZATION]
    frame = jpeg.read_frame(file)
    is_halved = frame is not None and frame.sampling == ((2, 2), (1, 1), (1, 1))
    return {
        "Q": quality.estimate_jpeg_quality(tables),
        "interlace": frame is not None and frame.marker in jpeg.PROGRESSIVE,
        "subsample_mode": "on" if is_halved else "off",
    }


def _read_png(file: BinaryIO) -> Options:
    """Walk over the chunks to the last (PNG, third edition, 11.2.1 and 11.3.6)."""
    chunks = list(png.read_chunks(file))
    if any(chunk.kind == b"acTL" for chunk in chunks):
        raise animation()
    head = chunks[0].read(file, HEAD_BYTES) if chunks else b""
    return {"compression": 6, "interlace": len(head) == 13 and head[12] == 1}


def _read_webp(file: BinaryIO) -> Options:
    """Find out whether the pixels are stored without loss, or how well (RFC 9649, 2.7)."""
    for chunk in webp.read_chunks(file):
        head = chunk.read(file, HEAD_BYTES)
        if chunk.kind == b"VP8X" and head and head[0] & 2:
            raise animation()
        if chunk.kind == b"VP8L":
            return {"lossless": True, "exact": True}
        if chunk.kind == b"VP8 ":
            return {"lossless": False, "Q": quality.estimate_vp8_quality(head), "exact": True}
    raise incomplete_file()


def animation() -> InvalidPhoto:
    """Return the refusal of a file with moving pictures."""
    return InvalidPhoto("The file is an animation: save one picture of it.", code="animated")


# --- TIFF -------------------------------------------------------------------------------------------------------------


def _read_tiff(file: BinaryIO) -> Options:
    """Read compression, quality, tiles and size class of the photograph."""
    try:
        reader = tiff.Reader(file)
        choice = choose_photograph(reader)
        options = tiff_options(choice, file, is_big=reader.is_big)
    except ValueError as error:
        raise incomplete_file() from error
    layout = choice.page.layout
    if not layout.is_complete(file.seek(0, 2)):
        raise incomplete_file()
    return options


def tiff_options(choice: Choice, file: BinaryIO, *, is_big: bool) -> Options:
    """Return the options with which libvips writes a TIFF like this one."""
    layout, directory = choice.page.layout, choice.directory
    compression = COMPRESSIONS.get(layout.compression, "deflate")
    options: Options = {"compression": compression, "bigtiff": is_big}
    if compression in ("lzw", "deflate"):
        options["predictor"] = PREDICTORS.get(tiff.first_number(directory, PREDICTOR, 1), "horizontal")
    if compression == "jpeg":
        options |= _jpeg_options(directory, layout, file)
    if compression == "webp":
        options |= _webp_options(layout, file)
    if layout.tile:
        width, height = (-(-side // TILE_STEP) * TILE_STEP for side in layout.tile)
        options |= {"tile": True, "tile_width": width, "tile_height": height, "pyramid": bool(choice.levels)}
        options |= {"subifd": True} if choice.levels == "subifds" else {}
    return options


def _jpeg_options(directory: tiff.Directory, layout: PixelLayout, file: BinaryIO) -> Options:
    """Estimate JPEG's quality from the common tables or the first strip's own (TIFF Technical Note 2).

    libvips halves chroma below quality 90 unless the picture is stored as RGB. Better than the original is allowed,
    worse is not.
    """
    tables = directory[JPEG_TABLES].data if JPEG_TABLES in directory else _read_first(layout, file)
    segments = [segment.data for segment in jpeg.read_segments_of(tables) if segment.marker == jpeg.QUANTIZATION]
    is_halved = layout.photometric == 6 and tiff.first_number(directory, 530, 2) > 1
    return {"Q": quality.estimate_jpeg_quality(segments)} | ({} if is_halved else {"rgbjpeg": True})


def _webp_options(layout: PixelLayout, file: BinaryIO) -> Options:
    stream = _read_first(layout, file)
    at = stream.find(b"VP8 ")
    if at < 0:
        return {"lossless": True}
    return {"Q": quality.estimate_vp8_quality(stream[at + 8 :])}


def _read_first(layout: PixelLayout, file: BinaryIO) -> bytes:
    file.seek(layout.offsets[0])
    return file.read(MAX_HEAD_BYTES)


MAX_CLASSIC_TIFF_BYTES = (4 << 30) - (256 << 20)
"""What fits into a TIFF with offsets of 32 bits, with room for metadata."""


def greatest_tiff_bytes(header_size: tuple[int, int], pixel_bytes: int, options: Mapping[str, Any]) -> int:
    """Return how many bytes of pixels a TIFF can come to have: padded tiles, pyramid and growing compressions.

    Args:
        header_size: width and height.
        pixel_bytes: bytes of one pixel.
        options: of libvips' saver.
    """
    width, height = header_size
    if options.get("tile"):
        width, height = (
            -(-side // options[f"tile_{name}"]) * options[f"tile_{name}"]
            for side, name in ((width, "width"), (height, "height"))
        )
    growth = GROWTHS.get(options["compression"], 1.01)
    return int(width * height * pixel_bytes * growth * (4 / 3 if options.get("pyramid") else 1))


GROWTHS = {"lzw": 1.5, "packbits": 129 / 128, "jpeg": 1.5}
"""By how much compressed noise is larger: LZW's codes have up to 12 bits for 8."""

READERS: Mapping[str, Callable[[BinaryIO], Options]] = {
    "jpeg": _read_jpeg,
    "png": _read_png,
    "webp": _read_webp,
    "tiff": _read_tiff,
}

"""What the header of a photo says, by its content and never by its name, and how to write the same kind again."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyvips

from retint.errors import InvalidPhoto, OutOfMemory, RetintError
from retint_workers.imaging import profiles, tiff

FAIL_ON: Mapping[str, str] = {"jpeg": "truncated", "png": "error", "webp": "error", "tiff": "warning"}
"""What stops reading. TIFF: libvips calls what it cannot decode a warning. JPEG: see `ingest.whole`."""
SHORTEST_SIDE = 16
LONGEST_RATIO = 40
BLOB_BYTES = 8 << 20
"""More EXIF, XMP or IPTC than this is no description of a photo; it is left out, with a note."""
JPEG_XMP_BYTES = 65_000
"""What fits into one segment of a JPEG."""
TIFF_BYTES = 4_000_000_000
"""More pixels than this may not fit into a TIFF that is no BigTIFF."""

KNOWN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"%PDF", "a PDF"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (4, b"ftyp", "a HEIC, AVIF or video file"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1aE\xdf\xa3", "a video file"),
)
COMPRESSIONS = {
    1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 7: "jpeg", 32773: "packbits", 50000: "zstd", 50001: "webp",
}  # fmt: skip
LOSSY = {"jpeg", "webp"}
PREDICTORS = {1: "none", 2: "horizontal"}
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""Quantization of luminance at quality 50 (ITU-T T.81, table K.1)."""


@dataclass(frozen=True)
class Header:
    """What a photo's header says.

    Attributes:
        format: `jpeg`, `png`, `webp` or `tiff`.
        width: of the pixels as stored, before the orientation turns them.
        height: likewise.
        bits: 8 or 16 a sample.
        bands: 1 (gray) or 3 (RGB), transparency not counted.
        alpha: whether there is a transparency band.
        orientation: EXIF's, 1 to 8.
        profile: the color profile, if it can be used.
        profile_name: its name.
        encoding: options that make libvips write the same kind of file.
        lossy: whether that file's pixels differ from those written.
        notes: what was found wrong and passed over, one sentence each.
    """

    format: str
    width: int
    height: int
    bits: int
    bands: int
    alpha: bool
    orientation: int
    profile: bytes | None
    profile_name: str | None
    encoding: dict[str, Any]
    lossy: bool
    notes: list[str] = field(default_factory=list)

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the photo as it is looked at."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(path: Path, pixel_limit_mp: int) -> Header:
    """Look at a file's header; no pixel is decoded.

    Raises:
        InvalidPhoto: it is no photograph that can be restored.
    """
    with path.open("rb") as file:
        kind = sniff(file.read(64))
        encoding = {"jpeg": _jpeg, "png": _png, "webp": _webp, "tiff": _tiff}[kind](file)
    image = load(path, kind)
    _refuse_unfit(image, pixel_limit_mp)
    orientation = image.get("orientation") if image.get_typeof("orientation") else 1
    alpha = image.hasalpha()
    bands = image.bands - alpha
    notes = [
        f"The {name} was too large and is left out."
        for name in ("exif-data", "xmp-data", "iptc-data")
        if image.get_typeof(name) and len(image.get(name)) > BLOB_BYTES
    ]
    profile, name = None, None
    if image.get_typeof(profiles.ICC):
        profile = image.get(profiles.ICC)
        name = profiles.name_of(profile, bands)
        if name is None:
            profile = None
            notes.append("The color profile is damaged or of another kind; the photo is taken as sRGB without it.")
    if kind == "jpeg":
        full = bands == 1 or image.get("jpeg-chroma-subsample") != "4:2:0"
        encoding["subsample_mode"] = "off" if full else "on"
    lossy = kind == "jpeg" or (kind == "webp" and not encoding["lossless"]) or encoding.get("compression") in LOSSY
    bits = 8 if image.format == "uchar" else 16
    return Header(
        kind, image.width, image.height, bits, bands, alpha, orientation if 1 <= orientation <= 8 else 1,
        profile, name, encoding, lossy, notes,
    )  # fmt: skip


def sniff(head: bytes) -> str:
    """Tell the format from a file's first bytes.

    Raises:
        InvalidPhoto: empty, not an image, or of a format that is not restored.
    """
    if not head:
        raise InvalidPhoto("The file is empty: upload it again.", code="empty")
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    for at, mark, name in KNOWN:
        if head[at:].lower().startswith(mark.lower()):
            raise InvalidPhoto(f"The file is {name}: save it as JPEG, PNG, WebP or TIFF.", code="unsupported_format")
    raise InvalidPhoto(
        "The file is neither an image nor a film: upload a JPEG, PNG, WebP, TIFF, or a film.", code="not_an_image"
    )


def load(path: Path, kind: str, **options: Any) -> pyvips.Image:
    """Open a photo with the one loader for its format, for reading once from top to bottom.

    Raises:
        InvalidPhoto: its header cannot be read.
    """
    with path.open("rb") as file, translated():
        source = pyvips.Source.new_from_descriptor(file.fileno())  # no file name reaches libvips: it would parse it
        options = {"access": "sequential", "fail_on": FAIL_ON[kind], **options}
        return pyvips.Operation.call(f"{kind}load_source", source, **options)


class translated:  # noqa: N801  reads as a clause: `with translated():`
    """Turns what libvips says about a file into our errors."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pyvips.Error):
            raise meaning(error) from error


def meaning(error: pyvips.Error) -> RetintError:
    """Tell a file's fault from a want of memory."""
    told = str(error).lower()
    if "out of memory" in told or "unable to allocate" in told or "malloc" in told:
        return OutOfMemory("There was not enough memory to open the file.")
    if "premature end" in told:
        return incomplete()
    return InvalidPhoto("The file is damaged and cannot be read: save or scan it again.", code="damaged")


def incomplete() -> InvalidPhoto:
    """The refusal of a file that ends too early."""
    return InvalidPhoto("The file is incomplete: upload it again or scan it again.", code="truncated")


def _refuse_unfit(image: pyvips.Image, pixel_limit_mp: int) -> None:
    width, height = image.width, image.height
    if width * height > pixel_limit_mp * 1_000_000:
        raise InvalidPhoto(
            f"The picture has {width} × {height} pixels: at most {pixel_limit_mp} megapixels are restored.",
            code="too_many_pixels",
        )
    if min(width, height) < SHORTEST_SIDE or max(width, height) > LONGEST_RATIO * min(width, height):
        raise InvalidPhoto(
            f"The picture has {width} × {height} pixels: a photo needs {SHORTEST_SIDE} on its short side, "
            f"and the long side at most {LONGEST_RATIO} times that.",
            code="too_small",
        )
    if image.interpretation == "cmyk":
        raise InvalidPhoto("The picture is in CMYK for print: save it as RGB.", code="cmyk")
    if image.format not in ("uchar", "ushort"):
        raise InvalidPhoto(
            "The picture has floating-point or 32-bit values: save it with 8 or 16 bits.", code="unsupported_depth"
        )
    if image.interpretation not in ("b-w", "srgb", "grey16", "rgb16") or image.bands - image.hasalpha() not in (1, 3):
        raise InvalidPhoto("The picture is neither gray nor RGB: save it as RGB.", code="unsupported_color")


# --- what libvips does not tell ---------------------------------------------------------------------------------------


def _jpeg(file: BinaryIO) -> dict[str, Any]:
    """Quality, from the table that quantizes luminance (T.81, B.2.4.1)."""
    at, table = 2, 0
    while True:
        file.seek(at)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            break
        length = struct.unpack(">H", head[2:])[0]
        if head[1] == 0xDB:
            data = file.read(length - 2)
            if data and data[0] & 15 == 0:
                table = sum(struct.unpack_from(">64H", data, 1) if data[0] >> 4 else data[1:65])
        at += 2 + length
    return {"Q": quality_of(table) if table else 90}


def quality_of(total: int) -> int:
    """The quality from 1 to 100 whose luminance table adds up most nearly to this (libjpeg's scale)."""

    def total_at(quality: int) -> int:
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        return sum(min(max((step * scale + 50) // 100, 1), 255) for step in LUMINANCE)

    return min(range(100, 0, -1), key=lambda quality: abs(total_at(quality) - total))


def _png(file: BinaryIO) -> dict[str, Any]:
    """Walk over the chunks to the last; refuse animation (PNG, third edition, 11.3.6)."""
    at = 8
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            raise incomplete()
        if head[4:] == b"IEND":
            return {"compression": 6}
        if head[4:] == b"acTL":
            raise InvalidPhoto("The file is an animation: save one picture of it.", code="animated")
        at += 12 + struct.unpack(">I", head[:4])[0]


def _webp(file: BinaryIO) -> dict[str, Any]:
    """Lossless or not; refuse animation (RFC 9649, 2.7)."""
    file.seek(4)
    if 8 + struct.unpack("<I", file.read(4))[0] > file.seek(0, 2):
        raise incomplete()
    at = 12
    while True:
        file.seek(at)
        head = file.read(9)
        if len(head) < 9 or head[:4] in (b"VP8 ", b"VP8L"):
            return {"lossless": True} if head[:4] == b"VP8L" else {"lossless": False, "Q": 90}
        if head[:4] == b"VP8X" and head[8] & 2:
            raise InvalidPhoto("The file is an animation: save one picture of it.", code="animated")
        length = struct.unpack("<I", head[4:8])[0]
        at += 8 + length + length % 2


def _tiff(file: BinaryIO) -> dict[str, Any]:
    """Compression, tiling and size class; refuse several pages and raw files."""
    try:
        reader = tiff.Reader(file)
        pages = list(reader.directories())
    except ValueError as error:
        raise incomplete() from error
    if not pages:
        raise InvalidPhoto("The file is damaged and cannot be read: save or scan it again.", code="damaged")

    def number(page: tiff.Directory, tag: int, default: int) -> int:
        return (page[tag].numbers or (default,))[0] if tag in page else default

    first = pages[0]
    if any(reader.ends_within(first, *where) for where in ((273, 279), (324, 325))):  # strips, tiles
        raise incomplete()
    if any(not number(page, tiff.SUBFILE, 0) & 5 for page in pages[1:]):  # neither reduced nor a mask
        raise InvalidPhoto("The TIFF has several pages: save each as a file of its own.", code="several_pages")
    if number(first, tiff.PHOTOMETRIC, 1) in (32803, 34892):
        raise InvalidPhoto(
            "The file is a camera's raw data: develop it and save it as TIFF.", code="unsupported_format"
        )
    if number(first, tiff.PHOTOMETRIC, 1) in (8, 9, 10):
        raise InvalidPhoto("The picture is in Lab color: save it as RGB.", code="unsupported_color")
    compression = COMPRESSIONS.get(number(first, tiff.COMPRESSION, 1), "deflate")
    options: dict[str, Any] = {"compression": compression, "bigtiff": reader.is_big}
    if compression in ("lzw", "deflate", "zstd"):
        options["predictor"] = PREDICTORS.get(number(first, tiff.PREDICTOR, 1), "horizontal")
    if compression in LOSSY:
        options["Q"] = 90
    if tiff.TILE_WIDTH in first:
        options |= {
            "tile": True,
            "tile_width": number(first, tiff.TILE_WIDTH, 256),
            "tile_height": number(first, tiff.TILE_HEIGHT, 256),
            "pyramid": len(pages) > 1 and number(pages[1], tiff.WIDTH, 0) == number(first, tiff.WIDTH, 0) // 2,
        }
    return options

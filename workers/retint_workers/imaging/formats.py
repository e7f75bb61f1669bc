"""Tells the format of a photo by its content, never by its name, and reads its header."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyvips

from retint.errors import InvalidPhoto
from retint_workers.imaging import declarations
from retint_workers.imaging.encoding import LOSSY_COMPRESSIONS, read_encoding
from retint_workers.imaging.spaces import ColorSpace
from retint_workers.imaging.vips import open_image

SHORTEST_SIDE = 16
LONGEST_RATIO = 40

UNSUPPORTED: tuple[tuple[int, bytes, str], ...] = (
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
"""Formats that are recognized only to be refused by name: offset and bytes of the signature, name."""


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
        space: what the code values mean.
        encoding: options with which libvips writes the same kind of file.
        lossy: whether that file's pixels differ from those written.
        notes: one sentence for each problem that was passed over.
    """

    format: str
    width: int
    height: int
    bits: int
    bands: int
    alpha: bool
    orientation: int
    space: ColorSpace
    encoding: dict[str, Any]
    lossy: bool
    notes: list[str] = field(default_factory=list)

    @property
    def profile(self) -> bytes | None:
        """The embedded color profile, if it can be used."""
        return self.space.profile

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the upright photo."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(path: Path, pixel_limit_mp: int) -> Header:
    """Read a file's header without decoding pixels.

    Raises:
        InvalidPhoto: the file is not a photograph that can be restored.
    """
    with path.open("rb") as file:
        file_format = sniff(file.read(64))
        encoding = read_encoding(file, file_format)
    image = open_image(path, file_format)
    _refuse_unfit(image, pixel_limit_mp)
    orientation = image.get("orientation") if image.get_typeof("orientation") else 1
    alpha = image.hasalpha()
    bands = image.bands - alpha
    with path.open("rb") as file:
        space, notes = declarations.read_space(file, file_format, image, bands)
    if file_format == "jpeg":
        has_full_chroma = bands == 1 or image.get("jpeg-chroma-subsample") != "4:2:0"
        encoding["subsample_mode"] = "off" if has_full_chroma else "on"
    return Header(
        format=file_format,
        width=image.width,
        height=image.height,
        bits=8 if image.format == "uchar" else 16,
        bands=bands,
        alpha=alpha,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        space=space,
        encoding=encoding,
        lossy=_is_lossy(file_format, encoding),
        notes=notes,
    )


def _is_lossy(file_format: str, encoding: Mapping[str, Any]) -> bool:
    if file_format == "webp":
        return not encoding["lossless"]
    return file_format == "jpeg" or encoding.get("compression") in LOSSY_COMPRESSIONS


def sniff(head: bytes) -> str:
    """Tell the format from a file's first bytes.

    Raises:
        InvalidPhoto: the file is empty, not an image, or of a format that is not restored.
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
    for at, signature, name in UNSUPPORTED:
        if head[at:].lower().startswith(signature.lower()):
            raise InvalidPhoto(f"The file is {name}: save it as JPEG, PNG, WebP or TIFF.", code="unsupported_format")
    raise InvalidPhoto(
        "The file is neither an image nor a film: upload a JPEG, PNG, WebP, TIFF, or a film.", code="not_an_image"
    )


def _refuse_unfit(image: pyvips.Image, pixel_limit_mp: int) -> None:
    """Refuse pictures whose size, depth or color cannot be restored.

    Raises:
        InvalidPhoto: says why.
    """
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

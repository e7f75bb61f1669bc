"""Reads a photo's header: size, depth, color, and how it is encoded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyvips

from retint.errors import InvalidPhoto
from retint_workers.imaging.color import declarations
from retint_workers.imaging.color.spaces import ColorSpace
from retint_workers.imaging.decoding.encoding import LOSSY_COMPRESSIONS, read_encoding
from retint_workers.imaging.decoding.signatures import HEAD_BYTES, sniff
from retint_workers.imaging.vips import open_image

SHORTEST_SIDE = 16
LONGEST_RATIO = 40


@dataclass(frozen=True)
class Header:
    """What a photo's header says.

    Attributes:
        format: the original's, as `signatures.sniff` found it.
        result_format: the result's: `jpeg`, `png`, `webp` or `tiff`.
        pixels: the file whose pixels are read: the original, or a working copy of it (see `conversion`).
        coding: that file's format: `jpeg`, `png`, `webp` or `tiff`.
        width: of the pixels as stored, before the orientation turns them.
        height: likewise.
        bits: 8 or 16 a sample.
        bands: 1 (gray) or 3 (RGB).
        extras: channels beside the color, such as transparency and infrared, which the result gets unchanged.
        orientation: EXIF's, 1 to 8.
        space: what the code values mean.
        encoding: options with which libvips writes the result.
        lossy: whether the result's pixels differ from those written.
        notes: one sentence for each problem that was passed over.
    """

    format: str
    result_format: str
    pixels: Path
    coding: str
    width: int
    height: int
    bits: int
    bands: int
    extras: int
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
    file_format = sniff_file(path)
    with path.open("rb") as file:
        encoding = read_encoding(file, file_format)
    image = open_image(path, file_format)
    refuse_size(image.width, image.height, pixel_limit_mp)
    _refuse_color(image)
    orientation = image.get("orientation") if image.get_typeof("orientation") else 1
    bands = 3 if image.interpretation in ("srgb", "rgb16") else 1
    with path.open("rb") as file:
        space, notes = declarations.read_space(file, file_format, image, bands)
    return Header(
        format=file_format,
        result_format=file_format,
        pixels=path,
        coding=file_format,
        width=image.width,
        height=image.height,
        bits=8 if image.format == "uchar" else 16,
        bands=bands,
        extras=image.bands - bands,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        space=space,
        encoding=encoding,
        lossy=is_lossy(file_format, encoding),
        notes=notes,
    )


def sniff_file(path: Path) -> str:
    """Tell a file's format by its first bytes; see `signatures.sniff`."""
    with path.open("rb") as file:
        return sniff(file.read(HEAD_BYTES))


def is_lossy(file_format: str, encoding: Mapping[str, Any]) -> bool:
    """Whether a file of this format and with these options has other pixels than those written."""
    if file_format == "webp":
        return not encoding["lossless"]
    return file_format == "jpeg" or encoding.get("compression") in LOSSY_COMPRESSIONS


def refuse_size(width: int, height: int, pixel_limit_mp: int) -> None:
    """Refuse pictures that are too large or too small.

    Raises:
        InvalidPhoto: says why.
    """
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


def _refuse_color(image: pyvips.Image) -> None:
    """Refuse what is neither gray nor RGB of 8 or 16 bits, after conversion.

    Raises:
        InvalidPhoto: says so.
    """
    bands = 3 if image.interpretation in ("srgb", "rgb16") else 1
    is_known = image.interpretation in ("b-w", "srgb", "grey16", "rgb16") and image.bands >= bands
    if image.format not in ("uchar", "ushort") or not is_known:
        raise InvalidPhoto("The picture is neither gray nor RGB: save it as RGB.", code="unsupported_color")

"""The color space that a photo's file declares: by an ICC profile, by chunks of a PNG, or by EXIF alone."""

import io
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import pyvips

from retint.errors import InvalidPhoto
from retint_models.layers.color import srgb_to_linear
from retint_workers.containers import exif as exif_block
from retint_workers.containers import jpeg, png, tiff, webp
from retint_workers.imaging.color import icc, spaces
from retint_workers.imaging.color.profiles import ICC_FIELD, UnusableProfile
from retint_workers.imaging.color.spaces import ColorSpace

UNUSABLE = "The color profile is damaged or of another kind; the photo is taken as sRGB without it."
UNKNOWN = "EXIF says that the colors are not sRGB, but not what else they are; the photo is taken as sRGB."
PRIMARIES: Mapping[int, tuple[tuple[tuple[float, float], ...], tuple[float, float]]] = {
    1: (icc.REC709, icc.D65),
    4: (((0.67, 0.33), (0.21, 0.71), (0.14, 0.08)), (0.310, 0.316)),
    5: (((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)), icc.D65),
    6: (((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), icc.D65),
    7: (((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), icc.D65),
    8: (((0.681, 0.319), (0.243, 0.692), (0.145, 0.049)), (0.310, 0.316)),
    9: (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), icc.D65),
    11: (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), (0.314, 0.351)),
    12: (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), icc.D65),
    22: (((0.630, 0.340), (0.295, 0.605), (0.155, 0.077)), icc.D65),
}
"""ColourPrimaries (ITU-T H.273, table 2): x and y of red, green, blue, and of white."""
TRANSFERS: Mapping[int, Any] = {
    1: lambda codes: np.where(codes < 0.081, codes / 4.5, ((codes + 0.099) / 1.099) ** (1 / 0.45)),
    4: lambda codes: codes**2.2,
    5: lambda codes: codes**2.8,
    8: lambda codes: codes,
    13: srgb_to_linear,
}
"""TransferCharacteristics (ITU-T H.273, table 3): light of code values. 6, 14 and 15 are the same curve as 1."""
REC709_TRANSFERS = {6, 14, 15}
HDR = {16: "PQ", 18: "HLG"}
UNSPECIFIED = 2
MIN_GAMMA, MAX_GAMMA = 0.1, 10.0
"""A PNG's gamma outside of this is a slip."""
COLOR_SPACE, INTEROPERABILITY_INDEX = 0xA001, 1
"""EXIF tags (CIPA DC-008, 4.6.5 and 4.6.7)."""
SRGB_BY_EXIF, ADOBE_BY_EXIF, UNCALIBRATED = 1, 2, 0xFFFF


def read_space(file: BinaryIO, file_format: str, image: pyvips.Image, bands: int) -> tuple[ColorSpace, list[str]]:
    """Read the color space that a file declares.

    Args:
        file: the open file.
        file_format: `jpeg`, `png`, `webp` or `tiff`.
        image: the same file, opened by libvips.
        bands: 1 (gray) or 3 (RGB).

    Returns:
        The space, sRGB where nothing is declared, and a sentence for each declaration that was passed over.

    Raises:
        InvalidPhoto: the colors are coded in a way that is not understood.
    """
    notes = []
    embedded = None
    if image.get_typeof(ICC_FIELD):
        try:
            embedded = spaces.from_profile(image.get(ICC_FIELD), bands)
        except UnusableProfile:
            notes.append(UNUSABLE)
    elif _embeds_profile(file, file_format):  # libvips passes over what it cannot unpack or join
        notes.append(UNUSABLE)
    if file_format == "png":
        return _read_png(file, embedded), notes
    if embedded is not None:
        return embedded, notes
    space = _read_exif(file, file_format, image)
    return space or spaces.SRGB, [*notes, UNKNOWN] if space is None and not notes else notes


def _embeds_profile(file: BinaryIO, file_format: str) -> bool:
    """Whether a file has a place for a profile, whatever stands there."""
    match file_format:
        case "jpeg":
            segments = jpeg.read_segments(file)
            return any(each.data.startswith(jpeg.ICC) for each in segments)
        case "png":
            return any(chunk.kind == b"iCCP" for chunk in png.read_chunks(file))
        case "webp":
            return any(chunk.kind == b"ICCP" for chunk in webp.read_chunks(file))
    return False


def _read_png(file: BinaryIO, embedded: ColorSpace | None) -> ColorSpace:
    """Read the space of a PNG by the precedence of its chunks (PNG, third edition, 4.3, table 1).

    Raises:
        InvalidPhoto: the colors are coded in a way that is not understood.
    """
    chunks: dict[bytes, bytes] = {}
    for chunk in png.read_chunks(file):
        if chunk.kind == b"IDAT":
            break
        if chunk.kind in (b"cICP", b"sRGB", b"gAMA", b"cHRM") and chunk.length <= 32:
            chunks.setdefault(chunk.kind, chunk.read(file))
    if len(chunks.get(b"cICP", b"")) == 4 and UNSPECIFIED not in chunks[b"cICP"][:2]:
        space = from_code_points(*chunks[b"cICP"])
        return replace(space, profile=embedded.profile if embedded else None)
    if embedded is not None:
        return embedded
    if b"sRGB" in chunks:
        return spaces.SRGB
    return _from_gamma_and_primaries(chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b""))


def from_code_points(primaries: int, transfer: int, matrix: int = 0, full_range: int = 1) -> ColorSpace:
    """Return the space of code points (ITU-T H.273), as a PNG's cICP has them.

    Raises:
        InvalidPhoto: they mean another way of coding than ours: for HDR, in YCbCr, or with headroom.
    """
    name = f"code points {primaries}, {transfer}"
    if transfer in HDR:
        raise InvalidPhoto(
            f"The picture is coded for HDR screens ({HDR[transfer]}): save it for ordinary screens, with a color "
            "profile.",
            code="unsupported_transfer",
        )
    transfer = 1 if transfer in REC709_TRANSFERS else transfer
    if primaries not in PRIMARIES or transfer not in TRANSFERS or matrix != 0 or full_range != 1:
        raise InvalidPhoto(
            f"The picture's colors are coded in a way that is not understood ({name}, matrix {matrix}, range "
            f"{full_range}): save it as sRGB.",
            code="unsupported_transfer",
        )
    return spaces.from_primaries(name, TRANSFERS[transfer](icc.CODES), *PRIMARIES[primaries])


def _from_gamma_and_primaries(gamma: bytes, chromaticities: bytes) -> ColorSpace:
    """Return the space of a PNG's gAMA and cHRM; what is missing or senseless is sRGB's."""
    name, curve = "", srgb_to_linear(icc.CODES)
    if len(gamma) == 4:
        value = struct.unpack(">I", gamma)[0] / 100_000
        if MIN_GAMMA <= value <= MAX_GAMMA:
            name, curve = f"PNG with gamma {value:.5g}", icc.CODES ** (1 / value)
    primaries, white = icc.REC709, icc.D65
    if len(chromaticities) == 32:
        xy = np.frombuffer(chromaticities, ">u4").reshape(4, 2) / 100_000
        try:
            return spaces.from_primaries(f"{name or 'PNG'} and primaries", curve, xy[1:].tolist(), xy[0].tolist())
        except ValueError:
            pass
    return spaces.from_primaries(name, curve, primaries, white) if name else spaces.SRGB


def _read_exif(file: BinaryIO, file_format: str, image: pyvips.Image) -> ColorSpace | None:
    """Read the space that EXIF alone declares; None where it says that it is another one than sRGB, but not which."""
    if file_format != "tiff":
        data = image.get("exif-data") if image.get_typeof("exif-data") else b""
        file = io.BytesIO(data.removeprefix(exif_block.SIGNATURE))
    try:
        color_space, is_adobe = _read_color_tags(tiff.Reader(file))
    except ValueError:
        return spaces.SRGB
    if color_space == ADOBE_BY_EXIF or (color_space == UNCALIBRATED and is_adobe):
        return replace(spaces.adobe_rgb(), profile=None)
    return spaces.SRGB if color_space == SRGB_BY_EXIF else None


def _read_color_tags(reader: tiff.Reader) -> tuple[int, bool]:
    """Read EXIF's color space, and whether the rules for interoperability are those of Adobe RGB.

    Raises:
        ValueError: the directories are damaged.
    """
    first = next(reader.directories(), {})
    exif = _read_below(reader, first, tiff.EXIF)
    index = _read_below(reader, exif, tiff.INTEROPERABILITY).get(INTEROPERABILITY_INDEX)
    is_adobe = index is not None and index.data.startswith(b"R03")
    return tiff.first_number(exif, COLOR_SPACE, SRGB_BY_EXIF), is_adobe


def _read_below(reader: tiff.Reader, directory: tiff.Directory, tag: int) -> tiff.Directory:
    return next(iter(reader.nested(directory[tag])), {}) if tag in directory else {}

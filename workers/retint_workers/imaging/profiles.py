"""Color profiles: what a photo's numbers mean, and what a decision made in sRGB becomes in them."""

import io
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import ImageCms

from retint_models.layers.rendering import TONE_STEPS, colorize_proxy
from retint_models.layers.types import CB_SCALE, CR_SCALE, LUMA, ColorLayer

ICC = "icc-profile-data"
SPACES = {1: "GRAY", 3: "RGB "}
SRGB_D50 = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
"""Red, green and blue of Rec. 709 as XYZ, adapted to D50 (ICC's sRGB profile)."""
WHITE_D50 = (0.9642, 1.0, 0.8249)


def name_of(profile: bytes, bands: int) -> str | None:
    """The name of a profile that can be used for a photo with so many bands; else None."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        fits = opened.profile.xcolor_space == SPACES[bands]
        name = str(ImageCms.getProfileDescription(opened)).strip()
        to_srgb(pyvips.Image.black(2, 2, bands=bands), profile).avg()
    except (OSError, ImageCms.PyCMSError, pyvips.Error):
        return None
    return (name or "unnamed") if fits else None


def is_srgb(name: str | None) -> bool:
    """Whether a photo with a profile of this name, or with none, is coded as sRGB."""
    return name is None or "srgb" in name.lower()


def with_profile(image: pyvips.Image, profile: bytes) -> pyvips.Image:
    """The same pixels, said to be meant by this profile."""
    image = image.copy(interpretation=pixel_meaning(image))
    image.set_type(pyvips.GValue.blob_type, ICC, profile)
    return image


def pixel_meaning(image: pyvips.Image) -> str:
    """The interpretation that libvips gives to gray and RGB of 8 and 16 bits."""
    gray, color = ("b-w", "srgb") if image.format == "uchar" else ("grey16", "rgb16")
    return gray if image.bands == 1 else color


def to_srgb(image: pyvips.Image, profile: bytes | None, depth: int = 8) -> pyvips.Image:
    """Convert gray or RGB to sRGB with three bands, relative colorimetric."""
    if profile is None:
        image = image.copy(interpretation=pixel_meaning(image))
        return image.colourspace("srgb" if depth == 8 else "rgb16")
    return with_profile(image, profile).icc_transform(
        "srgb", embedded=True, intent="relative", black_point_compensation=True, depth=depth
    )


def for_color(gray_profile: bytes) -> bytes | None:
    """An RGB profile with the tone curve of a gray one and the primaries of Rec. 709; None where it has no curve.

    Gray values keep their meaning in it. Source: ICC.1:2001-04 (version 2.4), three-component matrix-based profiles.
    """
    curve = _tag(gray_profile, b"kTRC")
    if curve is None:
        return None
    name = b"Retint RGB with the tone of a gray profile"
    description = b"desc" + struct.pack(">II", 0, len(name) + 1) + name + b"\0" + bytes(78)
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0No copyright, use freely\0", b"wtpt": _xyz(WHITE_D50)}
    tags |= {tag: _xyz(xyz) for tag, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), SRGB_D50, strict=True)}
    table, body, offset = b"", b"", 128 + 4 + 12 * (len(tags) + 3)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    for tag in (b"rTRC", b"gTRC", b"bTRC"):  # one curve for the three
        table += tag + struct.pack(">II", offset + len(body), len(curve))
    body += curve + bytes(-len(curve) % 4)
    head = struct.pack(">I4sI4s4s4s", offset + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(WHITE_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags) + 3) + table + body


def chroma_in(layer: ColorLayer, profile: bytes) -> ColorLayer:
    """What a color layer, decided in sRGB, becomes in the numbers of an RGB profile."""
    gray = np.repeat((layer.luma.astype(np.float32).clip(0, 1) * 65535 + 0.5).astype(np.uint16)[..., None], 3, axis=-1)
    moved = _in_profile(colorize_proxy(gray, layer), profile)
    red, green, blue = moved.transpose(2, 0, 1)
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    chroma = np.stack([(blue - luma) / CB_SCALE, (red - luma) / CR_SCALE])
    return ColorLayer(chroma.astype(np.float16), luma.astype(np.float16), layer.confidence, layer.record)


def from_srgb(rgb: NDArray[np.uint8], profile: bytes | None, bands: int) -> NDArray[np.float32]:
    """What sRGB colors, uint8 (h, w, 3), are in a photo's own numbers: float32 (h, w, bands) in [0, 1]."""
    if profile is None:
        coded = (rgb / 255).astype(np.float32)
        return coded if bands == 3 else np.asarray(coded @ LUMA, np.float32)[..., None]
    return _in_profile(rgb.astype(np.uint16) * 257, profile).reshape(*rgb.shape[:2], bands)


def _in_profile(rgb: NDArray[np.uint16], profile: bytes) -> NDArray[np.float32]:
    """Convert sRGB, uint16 (h, w, 3), to the numbers of a profile, float32 in [0, 1]."""
    shown = pyvips.Image.new_from_array(rgb).copy(interpretation="rgb16")
    with TemporaryDirectory() as folder:
        path = Path(folder, "profile.icc")  # libvips takes an output profile by its file's name only
        path.write_bytes(profile)
        moved = shown.icc_transform(
            str(path), input_profile="srgb", intent="relative", black_point_compensation=True, depth=16
        )
        numbers: NDArray[np.float32] = moved.numpy().astype(np.float32) / 65535
    return numbers


def tone_of(profile: bytes, bands: int) -> NDArray[np.float32]:
    """The sRGB coding of a profile's gray values, spaced evenly over [0, 1]: float32 (65,537,), rising."""
    ramp = np.arange(TONE_STEPS, dtype=np.uint16).reshape(256, 256, 1).repeat(bands, axis=2)
    gray = to_srgb(pyvips.Image.new_from_array(ramp), profile, depth=16).numpy()[..., 1].ravel() / 65535.0
    return np.maximum.accumulate(np.append(gray, gray[-1])).astype(np.float32)


def _tag(profile: bytes, wanted: bytes) -> bytes | None:
    """One tag's data of an ICC profile."""
    (count,) = struct.unpack_from(">I", profile, 128)
    for i in range(min(count, 100)):
        tag, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if tag == wanted:
            return profile[offset : offset + size]
    return None


def _fixed(values: tuple[float, float, float]) -> bytes:
    return struct.pack(">3i", *(round(value * 65536) for value in values))


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)

"""Color profiles (ICC): conversion of pixels and of layers between a photo's profile and sRGB."""

import io
import struct

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import ImageCms

from retint_models.layers.color import CB_SCALE, CR_SCALE, LUMA
from retint_models.layers.rendering import TONE_STEPS, colorize_proxy
from retint_models.layers.types import ColorLayer
from retint_workers import scratch

ICC_FIELD = "icc-profile-data"
"""Libvips' name for the profile."""
ICC_COLOR_SPACES = {1: "GRAY", 3: "RGB "}
"""A profile's color space, for photos with so many bands."""
SRGB_D50 = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
"""Red, green and blue of Rec. 709 as XYZ, adapted to D50 (ICC's sRGB profile)."""
WHITE_D50 = (0.9642, 1.0, 0.8249)


def read_name(profile: bytes, bands: int) -> str | None:
    """Return the name of a profile; None where it cannot be used for a photo with so many bands."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        fits = opened.profile.xcolor_space == ICC_COLOR_SPACES[bands]
        name = str(ImageCms.getProfileDescription(opened)).strip()
        to_srgb(pyvips.Image.black(2, 2, bands=bands), profile).avg()
    except (OSError, ImageCms.PyCMSError, pyvips.Error):
        return None
    return (name or "unnamed") if fits else None


def is_srgb(name: str | None) -> bool:
    """Whether a photo with a profile of this name, or with none, is coded as sRGB."""
    return name is None or "srgb" in name.lower()


def attach_profile(image: pyvips.Image, profile: bytes) -> pyvips.Image:
    """Return the same pixels with this profile attached."""
    image = image.copy(interpretation=choose_interpretation(image))
    image.set_type(pyvips.GValue.blob_type, ICC_FIELD, profile)
    return image


def choose_interpretation(image: pyvips.Image) -> str:
    """Return libvips' interpretation for gray or RGB pixels of 8 or 16 bits."""
    gray, color = ("b-w", "srgb") if image.format == "uchar" else ("grey16", "rgb16")
    return gray if image.bands == 1 else color


def to_srgb(image: pyvips.Image, profile: bytes | None, depth: int = 8) -> pyvips.Image:
    """Convert gray or RGB to sRGB with three bands, relative colorimetric."""
    if profile is None:
        image = image.copy(interpretation=choose_interpretation(image))
        return image.colourspace("srgb" if depth == 8 else "rgb16")
    return attach_profile(image, profile).icc_transform(
        "srgb", embedded=True, intent="relative", black_point_compensation=True, depth=depth
    )


def make_rgb_profile(gray_profile: bytes) -> bytes | None:
    """Make an RGB profile with the tone curve of a gray one and the primaries of Rec. 709; None where it has no curve.

    Gray values look the same in both. Source: ICC.1:2001-04 (version 2.4), three-component matrix-based profiles.
    """
    curve = _read_tag(gray_profile, b"kTRC")
    if curve is None:
        return None
    name = b"Retint RGB with the tone of a gray profile"
    description = b"desc" + struct.pack(">II", 0, len(name) + 1) + name + b"\0" + bytes(78)
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0No copyright, use freely\0", b"wtpt": _pack_xyz(WHITE_D50)}
    tags |= {tag: _pack_xyz(xyz) for tag, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), SRGB_D50, strict=True)}
    table, body, offset = b"", b"", 128 + 4 + 12 * (len(tags) + 3)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    for tag in (b"rTRC", b"gTRC", b"bTRC"):  # all three share one curve
        table += tag + struct.pack(">II", offset + len(body), len(curve))
    body += curve + bytes(-len(curve) % 4)
    head = struct.pack(">I4sI4s4s4s", offset + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _pack_fixed(WHITE_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags) + 3) + table + body


def convert_color_layer(layer: ColorLayer, profile: bytes) -> ColorLayer:
    """Convert a color layer, decided in sRGB, to the code values of an RGB profile."""
    gray = np.repeat((layer.luma.astype(np.float32).clip(0, 1) * 65535 + 0.5).astype(np.uint16)[..., None], 3, axis=-1)
    converted = _convert_to_profile(colorize_proxy(gray, layer), profile)
    red, green, blue = converted.transpose(2, 0, 1)
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    chroma = np.stack([(blue - luma) / CB_SCALE, (red - luma) / CR_SCALE])
    return ColorLayer(
        chroma=chroma.astype(np.float16),
        luma=luma.astype(np.float16),
        confidence=layer.confidence,
        record=layer.record,
    )


def convert_from_srgb(rgb: NDArray[np.uint8], profile: bytes | None, bands: int) -> NDArray[np.float32]:
    """Convert sRGB colors, uint8 (h, w, 3), to a photo's code values, float32 (h, w, bands) in [0, 1]."""
    if profile is None:
        coded = (rgb / 255).astype(np.float32)
        return coded if bands == 3 else np.asarray(coded @ LUMA, np.float32)[..., None]
    return _convert_to_profile(rgb.astype(np.uint16) * 257, profile).reshape(*rgb.shape[:2], bands)


def _convert_to_profile(rgb: NDArray[np.uint16], profile: bytes) -> NDArray[np.float32]:
    """Convert sRGB, uint16 (h, w, 3), to the code values of a profile, float32 in [0, 1]."""
    image = pyvips.Image.new_from_array(rgb).copy(interpretation="rgb16")
    with scratch.open_folder() as folder:
        path = folder / "profile.icc"  # libvips takes an output profile only by file name
        path.write_bytes(profile)
        converted = image.icc_transform(
            str(path), input_profile="srgb", intent="relative", black_point_compensation=True, depth=16
        )
        numbers: NDArray[np.float32] = converted.numpy().astype(np.float32) / 65535
    return numbers


def measure_tone_curve(profile: bytes, bands: int) -> NDArray[np.float32]:
    """Return sRGB code values of a profile's gray values evenly spaced over [0, 1]: float32 (65,537,), rising."""
    ramp = np.arange(TONE_STEPS, dtype=np.uint16).reshape(256, 256, 1).repeat(bands, axis=2)
    gray = to_srgb(pyvips.Image.new_from_array(ramp), profile, depth=16).numpy()[..., 1].ravel() / 65535.0
    return np.maximum.accumulate(np.append(gray, gray[-1])).astype(np.float32)


def _read_tag(profile: bytes, wanted: bytes) -> bytes | None:
    """Return the data of one tag of an ICC profile; None where it is missing."""
    (count,) = struct.unpack_from(">I", profile, 128)
    for i in range(min(count, 100)):
        tag, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if tag == wanted:
            return profile[offset : offset + size]
    return None


def _pack_fixed(values: tuple[float, float, float]) -> bytes:
    """Encode numbers as ICC's s15Fixed16."""
    return struct.pack(">3i", *(round(value * 65536) for value in values))


def _pack_xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + _pack_fixed(values)

"""Conversion of pixels through ICC profiles, by libvips and lcms: relative colorimetric, black to black."""

import io
from functools import lru_cache
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import ImageCms

from retint_models.layers import lab
from retint_models.layers.encodings import Floats, to_unit_range
from retint_workers.imaging.color import icc

ICC_FIELD = "icc-profile-data"
"""Libvips' name for the profile."""
INTENTS = {
    "relative": ImageCms.Intent.RELATIVE_COLORIMETRIC,
    "perceptual": ImageCms.Intent.PERCEPTUAL,
    "saturation": ImageCms.Intent.SATURATION,
}
"""Libvips' names of the intents, the best first. Some profiles have tables for the others only."""


class UnusableProfile(ValueError):
    """A profile that says nothing about the pixels of a photo: damaged, or of another kind."""


def read_name(profile: bytes) -> str:
    """Return the name of a profile.

    Raises:
        UnusableProfile: lcms cannot open it.
    """
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return str(ImageCms.getProfileDescription(opened)).strip() or "unnamed"
    except (OSError, ImageCms.PyCMSError, ValueError) as error:
        raise UnusableProfile("not an ICC profile") from error


@lru_cache(maxsize=16)
def choose_intent(profile: bytes) -> str:
    """Return the best intent that a profile supports; for others, libvips would tacitly take the pixels as sRGB.

    Raises:
        UnusableProfile: it supports none.
    """
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        for name, intent in INTENTS.items():
            if ImageCms.isIntentSupported(opened, intent, ImageCms.Direction.INPUT) == 1:
                return name
    except (OSError, ImageCms.PyCMSError, ValueError) as error:
        raise UnusableProfile("not an ICC profile") from error
    raise UnusableProfile("a profile without an intent")


def _options(profile: bytes) -> dict[str, Any]:
    return {"intent": choose_intent(profile), "black_point_compensation": True}


def attach_profile(image: pyvips.Image, profile: bytes) -> pyvips.Image:
    """Return the same pixels with this profile attached; gray is repeated in three bands for an RGB profile."""
    if image.bands == 1 and profile[16:20] == icc.RGB.encode():
        image = image.bandjoin([image, image])
    image = image.copy(interpretation=choose_interpretation(image))
    image.set_type(pyvips.GValue.blob_type, ICC_FIELD, profile)
    return image


def choose_interpretation(image: pyvips.Image) -> str:
    """Return libvips' interpretation for gray or RGB pixels of 8 or 16 bits."""
    gray, color = ("b-w", "srgb") if image.format == "uchar" else ("grey16", "rgb16")
    return gray if image.bands == 1 else color


def to_srgb(image: pyvips.Image, profile: bytes | None, depth: int = 8) -> pyvips.Image:
    """Convert gray or RGB to sRGB with three bands."""
    if profile is None:
        image = image.copy(interpretation=choose_interpretation(image))
        return image.colourspace("srgb" if depth == 8 else "rgb16")
    return attach_profile(image, profile).icc_transform("srgb", embedded=True, depth=depth, **_options(profile))


def to_lab(codes: NDArray[Any], profile: bytes) -> Floats:
    """Convert code values, uint8 or uint16 (h, w) or (h, w, 3), to CIE Lab under D50, float32 (h, w, 3).

    Raises:
        UnusableProfile, pyvips.Error: the profile does not lead there.
    """
    image = attach_profile(pyvips.Image.new_from_array(codes), profile)
    colors: Floats = image.icc_import(embedded=True, pcs="lab", **_options(profile)).numpy()
    return colors


def from_lab(colors: NDArray[Any], profile: bytes) -> NDArray[np.uint16]:
    """Convert CIE Lab under D50 (h, w, 3) to code values, uint16 (h, w, 3).

    Raises:
        pyvips.Error: the profile has no way back.
    """
    image = pyvips.Image.new_from_array(colors.astype(np.float32)).copy(interpretation="lab")
    image.set_type(pyvips.GValue.blob_type, ICC_FIELD, profile)
    codes: NDArray[np.uint16] = image.icc_export(pcs="lab", depth=16, **_options(profile)).numpy()
    return codes


class Tables:
    """The coding of an RGB profile that lcms alone can follow, such as one of tables; see `encodings.Encoding`."""

    def __init__(self, profile: bytes) -> None:
        self._profile = profile

    def decode(self, codes: Floats) -> Floats:
        """Return the linear sRGB of code values."""
        fixed = (np.clip(codes, 0, 1) * 65535 + np.float32(0.5)).astype(np.uint16)
        return lab_to_linear(to_lab(fixed, self._profile))

    def encode(self, linear: Floats) -> Floats:
        """Return the code values of linear sRGB, or of the nearest color that has some."""
        return to_unit_range(from_lab(linear_to_lab(linear), self._profile))


TO_WHITE = icc.SRGB_D50 / np.array(icc.WHITE_D50)[:, None]
"""Linear sRGB to X, Y, Z under D50, each divided by the white's."""
FROM_WHITE = np.linalg.inv(TO_WHITE)


def lab_to_linear(colors: NDArray[Any]) -> Floats:
    """Convert CIE Lab under D50 (h, w, 3) to linear sRGB; what lies outside of sRGB lies outside [0, 1]."""
    return lab.lab_to_light(np.asarray(colors, np.float32), FROM_WHITE)


def linear_to_lab(linear: NDArray[Any]) -> Floats:
    """Convert linear sRGB (h, w, 3) to CIE Lab under D50."""
    return lab.light_to_lab(np.asarray(linear, np.float32), TO_WHITE)

"""Color spaces of photos: what code values mean, computed from curves, primaries and tables, never read off a name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint_models.layers.color import LUMA, linear_to_srgb, srgb_to_linear
from retint_models.layers.encodings import CurvesAndMatrix, Encoding, Floats, to_unit_range
from retint_workers.imaging.color import icc, profiles
from retint_workers.imaging.color.profiles import UnusableProfile
from retint_workers.imaging.vips import forget_error

DEVICE_CLASSES = {"scnr", "mntr", "prtr", "spac"}
"""Profiles that describe a device or a space; links, abstract and named-color profiles do not."""
SRGB_TOLERANCE = 1 / 255
"""What counts as sRGB: all colors differ from it by less than a code value of 8 bits. The sRGB profiles in use, which
approximate the curve by tables or a formula, differ by 0.1 of 255; a plain gamma of 2.2 by 8, in the shadows."""
MAX_CMM_DIFFERENCE = 1.0
"""ΔE*ab by which our arithmetic may differ from lcms before lcms converts the pixels instead."""
MAX_WAY_BACK = 2.0
"""ΔE*ab, on average, by which a color may move on its way to code values and back again."""
MAX_FALL = 0.002
"""Light by which a curve may fall back: half a code value of 8 bits."""
MIN_CONTRAST = 20.0
"""CIE L* between white and black, below which a profile is damaged."""
MAX_TINT = 40.0
"""Chroma in CIE Lab of equal code values, half of which have more where a profile is damaged."""
LAB_LIMIT = 120
"""Beyond this a* or b*, lcms clips in CIE Lab."""
ADOBE_PRIMARIES = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
ADOBE_GAMMA = 563 / 256
"""Adobe RGB (1998) Color Image Encoding, sections 4.3.1.1 and 4.3.4.2."""
ROMM_PRIMARIES, ROMM_WHITE = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), (0.3457, 0.3585)
ROMM_GAMMA = 1.8
"""ROMM RGB (ISO 22028-2), with the plain power that profiles called ProPhoto have."""
LATTICE = np.stack(np.meshgrid(*[np.linspace(0, 65535, 8)] * 3), -1).reshape(-1, 3)
NEUTRAL = np.repeat(np.linspace(0, 65535, 256)[:, None], 3, axis=1)
PROBES = np.concatenate([NEUTRAL, LATTICE]).astype(np.uint16)[None]
"""Code values of grays and colors with which profiles are examined: uint16 (1, n, 3)."""


@dataclass(frozen=True, eq=False)
class ColorSpace:
    """What the code values of a photo mean.

    Attributes:
        name: for people; None where the file says nothing.
        profile: the ICC profile that the file embeds, if it can be used.
        equivalent: an ICC profile that means the same, for libvips; None for sRGB.
        encoding: how code values become linear sRGB and back; None where they are coded as sRGB.
        has_way_back: whether colors can be converted to code values; input profiles of scanners lead one way only.
    """

    name: str | None = None
    profile: bytes | None = None
    equivalent: bytes | None = None
    encoding: Encoding | None = None
    has_way_back: bool = True

    def from_srgb(self, rgb: NDArray[np.uint8], bands: int) -> Floats:
        """Convert sRGB, uint8 (h, w, 3), to code values in [0, 1], float32 (h, w, bands): gray keeps luma."""
        coded = rgb / 255
        if bands == 1:
            coded = np.repeat((coded @ LUMA)[..., None], 3, axis=-1)
        codes = coded.astype(np.float32)
        if self.encoding is not None:
            codes = np.clip(self.encoding.encode(srgb_to_linear(coded).astype(np.float32)), 0, 1)
        return codes[..., :bands]

    def choose_for_result(self, bands: int, bits: int) -> tuple["ColorSpace", str | None]:
        """Choose the space of a result: this one, if it can hold it.

        Args:
            bands: of the result, 1 or 3.
            bits: of the result, 8 or 16.

        Returns:
            The space, and a sentence for people where the photo's own profile is left.
        """
        if not self.has_way_back:
            wide = romm_rgb() if bits == 16 else adobe_rgb()
            return wide, f"The profile “{self.name}” has no way back; the result has the profile “{wide.name}”."
        if bands == 3 and self.profile is not None and _is_gray(self.profile):
            if self.equivalent is not self.profile:
                return replace(self, profile=None), "The gray profile has no meaning in the result and is left out."
            return self._with_rgb_profile(), None
        return self, None

    def _with_rgb_profile(self) -> "ColorSpace":
        """Return the RGB space with a gray profile's tone and the primaries of sRGB: gray looks the same in both."""
        made = icc.build_rgb_profile("Retint RGB with the tone of a gray profile", _read_gray_tag(self.profile or b""))
        return ColorSpace(self.name, made, made, self.encoding)


def _read_gray_tag(profile: bytes) -> bytes:
    """Return the tag with a gray profile's curve, or one as it acts where it is none of light, or falls somewhere."""
    parsed = icc.parse(profile)
    tag = parsed.tags.get("kTRC", b"")
    try:
        if parsed.connection_space == "XYZ " and _rises(icc.sample_curve(tag)[None]):
            return tag
    except ValueError:
        pass  # a table instead of a curve
    return icc.pack_samples(measure_gray_curve(profile))


def _is_gray(profile: bytes) -> bool:
    return profile[16:20] == icc.GRAY.encode()


SRGB = ColorSpace()


@lru_cache(maxsize=8)
def from_profile(profile: bytes, bands: int) -> ColorSpace:
    """Compute the space of a photo with so many bands (1 or 3) from its ICC profile.

    Raises:
        UnusableProfile: it says nothing about such pixels.
    """
    try:
        parsed = icc.parse(profile)
        is_gray = parsed.color_space == icc.GRAY
        if parsed.device_class not in DEVICE_CLASSES or parsed.color_space not in (icc.GRAY, icc.RGB):
            raise UnusableProfile("a profile of another kind")
        if is_gray and bands == 3:
            raise UnusableProfile("a gray profile for color")
        name = profiles.read_name(profile)
        lab = profiles.to_lab(PROBES[..., 0] if is_gray else PROBES, profile)[0]
        profiles.to_srgb(pyvips.Image.black(2, 2, bands=1 if is_gray else 3), profile).avg()
    except UnicodeDecodeError as error:
        forget_error()
        raise UnusableProfile("a damaged profile") from error
    except (ValueError, pyvips.Error) as error:
        raise UnusableProfile(str(error)) from error
    _refuse_nonsense(lab[: len(NEUTRAL)])
    if is_gray:
        curve = measure_gray_curve(profile)[None]
        encoding = CurvesAndMatrix(curve, np.eye(3))
        if is_srgb(encoding):
            return ColorSpace(name, profile, profile)
        return ColorSpace(name, profile, profile, encoding, _rises(curve))
    return _from_rgb_profile(name, profile, parsed, lab)


def _from_rgb_profile(name: str, profile: bytes, parsed: icc.Profile, lab: Floats) -> ColorSpace:
    try:
        curves, primaries = icc.read_curves_and_primaries(parsed)
        encoding = from_curves(curves, primaries)
    except (ValueError, np.linalg.LinAlgError):
        encoding = None
    if encoding is not None and _differ(look := _look(encoding, _codes()), lab) <= MAX_CMM_DIFFERENCE:
        if is_srgb(encoding):
            return ColorSpace(name, profile, profile)
        back = np.clip(encoding.encode(encoding.decode(_codes())), 0, 1)
        has_way_back = _rises(curves) and _returns(_look(encoding, back), look)
        return ColorSpace(name, profile, profile, encoding, has_way_back)
    if np.abs(lab - _look_as_srgb()).max() < 0.01:
        raise UnusableProfile("a profile in whose place libvips took sRGB")
    tables = profiles.Tables(profile)
    try:
        codes = profiles.from_lab(lab[None], profile)
        has_way_back = _returns(profiles.to_lab(codes, profile)[0], lab)
    except pyvips.Error:
        has_way_back = False
    except UnicodeDecodeError:
        forget_error()
        has_way_back = False
    return ColorSpace(name, profile, profile, tables, has_way_back)


@cache
def _look_as_srgb() -> Floats:
    look: Floats = profiles.to_lab(PROBES, bytes(pyvips.Image.profile_load("srgb")))[0]
    return look


def from_curves(curves: NDArray[Any], primaries: NDArray[Any]) -> CurvesAndMatrix:
    """Return the coding with curves (1 or 3, n) and primaries under D50 (3, 3), white made exactly white.

    Raises:
        LinAlgError: the primaries lie on a line.
    """
    matrix = np.linalg.solve(icc.SRGB_D50, primaries)
    white = matrix.sum(axis=1)
    if np.abs(white - 1).max() < 0.01:  # rounded numbers, not another white
        matrix = matrix / white[:, None]
    return CurvesAndMatrix(curves, matrix)


def from_primaries(
    name: str, curve: NDArray[Any], primaries: Sequence[Sequence[float]], white: Sequence[float] = icc.D65
) -> ColorSpace:
    """Return the space with one curve, which has values at `icc.CODES`, and primaries and white by x and y.

    Raises:
        ValueError: these are no primaries.
    """
    adapted = icc.adapt_primaries(primaries, white)
    try:
        encoding = from_curves(curve[None], adapted)
    except np.linalg.LinAlgError as error:
        raise ValueError("primaries on a line") from error
    if is_srgb(encoding):
        return ColorSpace(name)
    return ColorSpace(name, None, icc.build_rgb_profile(name, icc.pack_samples(curve), adapted), encoding)


def convert(pixels: NDArray[Any], source: ColorSpace, target: ColorSpace) -> NDArray[Any]:
    """Convert code values, uint8 or uint16 (h, w) or (h, w, 3), to those of another space that is not sRGB."""
    if source.encoding is None or target.encoding is None:
        raise ValueError("expected spaces other than sRGB")
    full = np.float32(np.iinfo(pixels.dtype).max)
    codes = to_unit_range(np.atleast_3d(pixels))
    moved = np.clip(target.encoding.encode(source.encoding.decode(codes)), 0, 1) * full + np.float32(0.5)
    converted: NDArray[Any] = moved.astype(pixels.dtype)
    return converted if pixels.ndim == 3 else converted[..., 1]


def is_srgb(encoding: Encoding) -> bool:
    """Whether colors look the same when they are taken as sRGB."""
    codes = _codes()
    return bool(np.abs(linear_to_srgb(encoding.decode(codes)) - codes).max() < SRGB_TOLERANCE)


def measure_gray_curve(profile: bytes) -> NDArray[np.float64]:
    """Return the luminance of a gray profile's values at `icc.CODES`."""
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    light = icc.lightness_to_light(profiles.to_lab(ramp, profile)[..., 0].ravel().astype(np.float64))
    return np.interp(icc.CODES, np.linspace(0, 1, 65536), light)


def _rises(curves: NDArray[Any]) -> bool:
    """Whether curves (n, samples) never fall, so that light has one code value."""
    return bool((np.maximum.accumulate(curves, axis=1) - curves).max() < MAX_FALL)


def _codes() -> Floats:
    return to_unit_range(PROBES)


def _look(encoding: Encoding, codes: Floats) -> Floats:
    look: Floats = profiles.linear_to_lab(encoding.decode(codes))[0]
    return look


def _differ(one: Floats, two: Floats) -> float:
    """Return the largest ΔE*ab between two lists of colors, without those that Lab cannot hold."""
    is_held = np.abs(two[:, 1:]).max(axis=1) < LAB_LIMIT
    return float(np.sqrt(np.square(one - two).sum(axis=1))[is_held].max(initial=0))


def _returns(back: Floats, lab: Floats) -> bool:
    """Whether the probes' colors came back."""
    distance = np.sqrt(np.square(back - lab).sum(axis=1))
    return float(distance.mean()) <= MAX_WAY_BACK and float(distance[: len(NEUTRAL)].max()) <= MAX_WAY_BACK


def _refuse_nonsense(grays: Floats) -> None:
    """Refuse a profile in which gray code values, in CIE Lab, do not grow from black to white or are no grays.

    Raises:
        UnusableProfile: that one.
    """
    lightness, chroma = grays[:, 0], np.hypot(grays[:, 1], grays[:, 2])
    if not np.isfinite(grays).all() or lightness[-1] - lightness[0] < MIN_CONTRAST or np.diff(lightness).min() < -1:
        raise UnusableProfile("a profile without tone")
    if np.median(chroma) > MAX_TINT:
        raise UnusableProfile("a profile without gray")


@cache
def adobe_rgb() -> ColorSpace:
    """Return the space that EXIF calls Adobe RGB, with a profile that may be embedded."""
    return _from_gamma("Adobe RGB (1998) compatible", ADOBE_GAMMA, ADOBE_PRIMARIES, icc.D65)


@cache
def romm_rgb() -> ColorSpace:
    """Return the widest space in use, which steps too coarsely with 8 bits; with a profile that may be embedded."""
    return _from_gamma("ProPhoto RGB compatible", ROMM_GAMMA, ROMM_PRIMARIES, ROMM_WHITE)


def _from_gamma(name: str, gamma: float, primaries: Sequence[Sequence[float]], white: Sequence[float]) -> ColorSpace:
    adapted = icc.adapt_primaries(primaries, white)
    profile = icc.build_rgb_profile(name, icc.pack_gamma(gamma), adapted)
    return ColorSpace(name, profile, profile, from_curves(icc.CODES[None] ** gamma, adapted))

"""The stage ingest: refuses what is not a photograph, tells what the rest are, and makes the proxy."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image

from retint.digests import hash_file
from retint.errors import InvalidPhoto
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.types import CB_SCALE, CR_SCALE, LUMA
from retint_workers.imaging import formats, profiles
from retint_workers.sandbox import run_in_child

NEUTRAL, WEAK, ALONG, BESIDE_95, BESIDE_99 = 4.0, 9.0, 8.0, 2.8, 4.3
"""Chroma in code values of 255, for `kind_of`. Set on 204 color photographs (one taken for toned), 35 real old ones
(all 6 in color found, 27 of 29 monochrome ones) and 510 simulated prints (none missed)."""
LUMAS = 24
HARMLESS = ("extraneous bytes", "Invalid SOS parameters", "Inconsistent progression", "Unknown Adobe")
"""Words of libjpeg's warnings about files that it decodes wholly all the same."""


@dataclass(frozen=True)
class Ingested:
    """What ingest found out.

    Attributes:
        facts: JSON values: `format`, `width` and `height` (upright), `bits`, `bands`, `kind`, `orientation`,
            `profile` (its name or null), `sha256`, `size` in bytes, `dpi`, `notes` (sentences about what was wrong
            with the file and passed over).
        proxy: PNG, 8-bit RGB in sRGB, upright, at most the recipe's `proxy_side` long.
    """

    facts: dict[str, Any]
    proxy: bytes


def ingest(original: Path, recipe: Recipe, settings: Settings, beat: Callable[[], object] = lambda: None) -> Ingested:
    """Open an original in a child process.

    Raises:
        InvalidPhoto: it cannot be restored; the message says what to do.
        OutOfMemory, WorkerLost: the child did not come to an end.
    """
    return run_in_child(examine, settings, beat, original, recipe.proxy_side, settings.pixel_limit_mp)


def examine(original: Path, proxy_side: int, pixel_limit_mp: int) -> Ingested:
    """Read an original from its first byte to its last.

    Raises:
        InvalidPhoto: it cannot be restored.
    """
    header = formats.read_header(original, pixel_limit_mp)
    with formats.translated():
        if header.alpha and load_band(original, header).min() < (1 << header.bits) - 1:
            raise InvalidPhoto(
                "Parts of the picture are transparent: save it without transparency.", code="transparent"
            )
        proxy = whole(original, header, proxy_side)
        pixels = proxy.numpy()
        png = proxy.pngsave_buffer(compression=3, keep="none")
    width, height = header.upright
    resolution = formats.load(original, header.format).xres * 25.4
    facts = {
        "format": header.format,
        "width": width,
        "height": height,
        "bits": header.bits,
        "bands": header.bands,
        "kind": "neutral" if header.bands == 1 else kind_of(pixels),
        "orientation": header.orientation,
        "profile": header.profile_name,
        "sha256": hash_file(original),
        "size": original.stat().st_size,
        "dpi": round(resolution, 2),
        "notes": header.notes,
    }
    return Ingested(facts, png)


def load_band(original: Path, header: formats.Header) -> pyvips.Image:
    """The transparency of a photo that has it."""
    return formats.load(original, header.format)[header.bands]


def whole(original: Path, header: formats.Header, side: int) -> pyvips.Image:
    """The `picture` of a photo, if all of it can be decoded.

    A JPEG with a piece missing in the middle is only a warning to its decoder, and so is much that is harmless.
    """
    if header.format != "jpeg":
        return picture(original, header, side)
    try:
        return picture(original, header, side, fail_on="warning")
    except pyvips.Error as error:
        if not any(word in str(error) for word in HARMLESS):
            raise
    return picture(original, header, side)


def picture(original: Path, header: formats.Header, side: int, **options: Any) -> pyvips.Image:
    """A photo as it is looked at: upright, 8-bit sRGB with three bands, its long side at most `side`; in memory."""
    longest = max(header.width, header.height)
    if header.format == "jpeg":  # the decoder itself halves, which is fast; a factor of two is left for quality
        options["shrink"] = max((n for n in (1, 2, 4, 8) if longest / n >= 2 * side), default=1)
    image = formats.load(original, header.format, **options)
    if header.alpha:
        image = image.extract_band(0, n=header.bands)
    return looked_at(image, header, header.profile, side)


def looked_at(image: pyvips.Image, header: formats.Header, profile: bytes | None, side: int) -> pyvips.Image:
    """Bring pixels as stored in a photo, perhaps fewer, to the form in which it is looked at; see `picture`.

    Args:
        image: gray or RGB, 8 or 16 bits, meant by the profile.
        header: the photo's, for its size and orientation.
        profile: of these pixels.
        side: the most that the long side may have.
    """
    scale = min(1.0, side / max(header.width, header.height))
    width, height = (max(1, round(length * scale)) for length in (header.width, header.height))
    image = image.resize(width / image.width, vscale=height / image.height)
    return upright(profiles.to_srgb(image, profile).copy_memory(), header.orientation).copy_memory()


def upright(image: pyvips.Image, orientation: int) -> pyvips.Image:
    """Turn stored pixels the way that EXIF says."""
    image = image.copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image.autorot()


def kind_of(pixels: NDArray[np.uint8]) -> str:
    """Tell `neutral` (gray), `toned` (one hue, as sepia or cyanotype) and `color` apart, on a proxy (h, w, 3).

    In a toned print chroma follows from luma. What is left after the median chroma of each luma is taken away is
    small, and smaller still across the print's own hue, because stains and uneven toning run along it.
    """
    size = tuple(max(1, round(length * 96 / max(pixels.shape))) for length in pixels.shape[1::-1])
    rgb = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX), np.float64)
    down, across = (round(length / 20) for length in rgb.shape[:2])  # mounts and scanner beds lie at the rim
    rgb = rgb[down : len(rgb) - down, across : rgb.shape[1] - across].reshape(-1, 3)
    luma = rgb @ LUMA
    chroma = np.stack([(rgb[:, 2] - luma) / CB_SCALE, (rgb[:, 0] - luma) / CR_SCALE], -1)
    strength = np.percentile(np.hypot(*chroma.T), 99)
    if strength < NEUTRAL:
        return "neutral"
    left = chroma.copy()
    for alike in np.array_split(np.argsort(luma, kind="stable"), LUMAS):
        left[alike] -= np.median(chroma[alike], axis=0)
    hue = chroma.mean(axis=0) / max(np.hypot(*chroma.mean(axis=0)), 1e-6)
    beside = np.abs(left @ (-hue[1], hue[0]))
    along = np.percentile(np.hypot(*left.T), 95)
    is_single_hue = along < ALONG and np.percentile(beside, 95) < BESIDE_95 and np.percentile(beside, 99) < BESIDE_99
    return "toned" if strength < WEAK or is_single_hue else "color"

"""The stage ingest: refuses files that are not photographs, finds out about the others, and makes the proxy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from retint.digests import hash_file
from retint.recipes import Recipe
from retint.settings import Settings
from retint_workers import scratch
from retint_workers.beats import Beat, beat_for_nobody
from retint_workers.imaging.conversion import open_photo
from retint_workers.imaging.formats import Header
from retint_workers.imaging.kinds import detect_kind
from retint_workers.imaging.previews import load_display_picture
from retint_workers.imaging.vips import open_image, translate_errors
from retint_workers.sandbox.children import run_in_child

HARMLESS_WARNINGS = ("extraneous bytes", "Invalid SOS parameters", "Inconsistent progression", "Unknown Adobe")
"""Parts of libjpeg's warnings about files that it still decodes completely."""


@dataclass(frozen=True)
class Ingested:
    """What ingest found out.

    Attributes:
        facts: JSON values: `format`, `width` and `height` (upright), `bits`, `bands`, `kind`, `orientation`,
            `profile` (its name or null), `sha256`, `size` in bytes, `dpi`, `notes` (a sentence for each problem of the
            file that was passed over).
        proxy: PNG, 8-bit RGB in sRGB, upright, its long side at most the recipe's `proxy_side`.
    """

    facts: dict[str, Any]
    proxy: bytes


def ingest(original: Path, recipe: Recipe, settings: Settings, beat: Beat = beat_for_nobody) -> Ingested:
    """Examine an original in a child process.

    Args:
        original: the file as deposited.
        recipe: tells the size of the proxy.
        settings: limits.
        beat: called about once a second meanwhile.

    Raises:
        InvalidPhoto: it cannot be restored; the message says what to do.
        OutOfMemory, WorkerLost: the child did not finish.
    """
    return run_in_child(examine, settings, beat, original, recipe.proxy_side, settings.pixel_limit_mp)


def examine(original: Path, proxy_side: int, pixel_limit_mp: int) -> Ingested:
    """Read an original from its first byte to its last.

    Raises:
        InvalidPhoto: it cannot be restored.
    """
    with scratch.open_folder() as folder:
        header = open_photo(original, pixel_limit_mp, folder)
        with translate_errors():
            proxy = load_complete_picture(header, proxy_side)
            pixels = proxy.numpy()
            png = proxy.pngsave_buffer(compression=3, keep="none")
        resolution = open_image(header.pixels, header.coding).xres * 25.4
    width, height = header.upright_size
    facts = {
        "format": header.format,
        "width": width,
        "height": height,
        "bits": header.bits,
        "bands": header.bands,
        "kind": "neutral" if header.bands == 1 else detect_kind(pixels),
        "orientation": header.orientation,
        "profile": header.space.name,
        "sha256": hash_file(original),
        "size": original.stat().st_size,
        "dpi": round(resolution, 2),
        "notes": header.notes,
    }
    return Ingested(facts, png)


def load_complete_picture(header: Header, side: int) -> pyvips.Image:
    """Load a photo as a picture to look at, if all of it can be decoded.

    For a JPEG with a piece missing in the middle libjpeg only warns. It also warns of much that is harmless, so a
    photo with a harmless warning is decoded a second time.

    Raises:
        pyvips.Error: parts of it cannot be decoded.
    """
    if header.coding != "jpeg":
        return load_display_picture(header, side)
    try:
        return load_display_picture(header, side, fail_on="warning")
    except pyvips.Error as error:
        if not any(warning in str(error) for warning in HARMLESS_WARNINGS):
            raise
    return load_display_picture(header, side)

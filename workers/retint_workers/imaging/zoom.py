"""The zoom: a pyramid of tiles of a result, upright and in 8-bit sRGB, for looking at it closely."""

from pathlib import Path

import pyvips

from retint.pages import PHOTOGRAPH
from retint_workers import scratch
from retint_workers.imaging import pages
from retint_workers.imaging.color import profiles
from retint_workers.imaging.decoding.formats import Header, read_header
from retint_workers.imaging.previews import turn_upright
from retint_workers.imaging.vips import open_image, translate_errors

TILE_SIDE = 254
OVERLAP = 1
QUALITY = 85


def make_pyramid(result: Path, index: int, folder: Path, pixel_limit_mp: int) -> Path:
    """Write the zoom of a verified result, or of one page of it: DeepZoom tiles in an uncompressed zip (SZI).

    Args:
        result: as render wrote it.
        index: which of its photographs, from 0: pages of other kinds may have been left out of the result.
        folder: for the new file, and for what is needed meanwhile.
        pixel_limit_mp: limit of the size.

    Raises:
        InvalidPhoto: the result cannot be decoded.
        DiskUnavailable: there is no room.
    """
    path = folder / "zoom.szi"
    with scratch.translate_errors(), translate_errors():
        photographs = [
            page["number"] for page in pages.list_pages(result, pixel_limit_mp) if page["role"] == PHOTOGRAPH
        ]
        page, _ = pages.extract(result, photographs[index] if photographs else None, folder)
        header = read_header(page, pixel_limit_mp)
        image = open_image(header.pixels, header.coding, fail_on="error")  # metadata that was carried may be warned of
        if image.bands > header.bands:
            image = image.extract_band(0, n=header.bands)
        upright = _turn_upright(profiles.to_srgb(image, header.space.equivalent), header, folder)
        upright.dzsave(
            str(path),
            layout="dz",
            container="szi",
            suffix=f".jpg[Q={QUALITY}]",
            tile_size=TILE_SIDE,
            overlap=OVERLAP,
            keep="none",
        )
    return path


def _turn_upright(image: pyvips.Image, header: Header, folder: Path) -> pyvips.Image:
    """Turn a picture that is read once from top to bottom; where it has to be turned, a copy of it on disk is read."""
    if header.orientation == 1:
        return image
    stored = folder / "stored.v"  # on disk rather than in memory: turning needs the whole picture
    image.write_to_file(str(stored))
    return turn_upright(pyvips.Image.new_from_file(str(stored)), header.orientation)

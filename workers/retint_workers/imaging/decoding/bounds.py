"""How much memory a decoder needs for a picture, told by its header, and whether there is so much.

Most pictures are decoded in strips. What a format stores in another order is held by its decoder as a whole. The
numbers are bytes for each pixel and sample, measured with the libraries' present versions.
"""

import resource
from math import ceil
from pathlib import Path

from retint.errors import InvalidPhoto
from retint_workers.containers import jpeg, png, tiff, webp
from retint_workers.imaging.decoding.tiff_pages import choose_photograph
from retint_workers.sandbox.confinement import granted_bytes, used_bytes

MIB = 1 << 20
RESERVE_BYTES = 256 * MIB
"""For strips, previews and the encoder."""


def free_bytes() -> int | None:
    """Return how much more memory this process may use; None where nothing limits it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if limit == resource.RLIM_INFINITY else max(0, limit - used_bytes() - RESERVE_BYTES)


def can_reorder(samples: int) -> bool:
    """Whether a picture of so many samples may be read and written as a whole, as progressive and interlaced ones are.

    Told by what is granted, not by what is free, so that a result that is made again has the same order.
    """
    granted = granted_bytes()
    return granted is None or 2 * 2 * samples <= granted - 2 * RESERVE_BYTES


def refuse_beyond_memory(name: str, size: tuple[int, int], need: float, advice: str) -> None:
    """Refuse a picture whose decoder needs more memory than this process may use.

    Args:
        name: what the picture is, with its article: `A progressive JPEG`.
        size: width and height.
        need: bytes.
        advice: what to do: `save it as a baseline JPEG`.

    Raises:
        InvalidPhoto: says how much it needs.
    """
    free = free_bytes()
    if free is None or need <= free:
        return
    raise InvalidPhoto(
        f"{name} of {size[0] * size[1] / 1e6:,.0f} megapixels needs {need / MIB:,.0f} MiB of memory to be opened, and "
        f"{free / MIB:,.0f} are there: {advice}, or let an administrator raise the limit.",
        code="too_much_memory",
    )


def refuse_greedy(path: Path, file_format: str) -> None:
    """Refuse a photo that is read as it is and of whose format the decoder holds more than fits.

    Raises:
        InvalidPhoto: says how much it needs.
    """
    if check := {"jpeg": _check_jpeg, "png": _check_png, "webp": _check_webp, "tiff": _check_tiff}.get(file_format):
        check(path)


def _check_jpeg(path: Path) -> None:
    """A progressive JPEG: libjpeg holds all coefficients, two bytes each."""
    with path.open("rb") as file:
        frame = jpeg.read_frame(file)
    if frame is None or frame.marker not in jpeg.PROGRESSIVE:
        return
    most = [max(factor[i] for factor in frame.sampling) or 1 for i in (0, 1)]
    samples = sum(across * down for across, down in frame.sampling) / (most[0] * most[1])
    need = frame.width * frame.height * samples * 2
    size = (frame.width, frame.height)
    refuse_beyond_memory("A progressive JPEG", size, need, "save it as a baseline JPEG")


def _check_png(path: Path) -> None:
    """An interlaced PNG: the last pass may change any row."""
    with path.open("rb") as file:
        head = next((chunk.read(file, 13) for chunk in png.read_chunks(file)), b"")
    if len(head) != 13 or not head[12]:
        return
    width, height = (int.from_bytes(head[at : at + 4], "big") for at in (0, 4))
    pixel_bytes = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}.get(head[9], 4) * (2 if head[8] == 16 else 1)
    refuse_beyond_memory(
        "An interlaced PNG", (width, height), width * height * pixel_bytes, "save it without interlace"
    )


def _check_webp(path: Path) -> None:
    """A WebP: libwebp decodes it as a whole, beside its planes or its 32-bit pixels."""
    with path.open("rb") as file:
        size = webp.read_size(file)
    refuse_beyond_memory("A WebP", size, size[0] * size[1] * 12, "save it as TIFF or PNG")


def _check_tiff(path: Path) -> None:
    """A TIFF whose strips or tiles are large: one is decoded as a whole, in a row of tiles all of them."""
    with path.open("rb") as file:
        layout = choose_photograph(tiff.Reader(file)).page.layout
        counts = layout.true_counts(file.seek(0, 2))
    if layout.compression == 1:
        return
    across = ceil(layout.width / layout.tile[0]) if layout.tile else 1
    need = 2 * (layout.segment_bytes(0) * across + max(counts))
    size = (layout.width, layout.height)
    refuse_beyond_memory("A TIFF with so large strips or tiles", size, need, "save it with strips of some rows")

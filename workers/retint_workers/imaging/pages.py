"""The pages of a TIFF that has several: each is taken out as a file of its own, and put into the result again.

So a page is ingested, rendered and verified as any photo is, in the memory and on the disk of one.
"""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyvips

from retint.errors import InvalidPhoto
from retint.pages import PHOTOGRAPH
from retint_workers import scratch
from retint_workers.containers import tiff, tiff_copy
from retint_workers.containers.tiff_pixels import read_layout
from retint_workers.imaging.decoding.encoding import MAX_CLASSIC_TIFF_BYTES
from retint_workers.imaging.decoding.formats import sniff_file
from retint_workers.imaging.decoding.tiff_pages import SMALLER_COPY, Group, group_pages
from retint_workers.imaging.metadata.policy import Action, find_rule
from retint_workers.imaging.streams import measure_pixels
from retint_workers.imaging.vips import damaged_file, incomplete_file, open_image

MAX_PAGES = 200
OLD_JPEG = 6
PIECE_BYTES = 1 << 20
GROWTH = 2
"""By how much a page's pixels may be larger in the result: a pyramid's levels, and compressions that grow."""


def list_pages(original: Path, pixel_limit_mp: int) -> list[dict[str, Any]]:
    """List what the pages of a photo are; empty for a photo of one page.

    Returns:
        For each page `number` (from 1), `role` (see `retint.pages`), `width` and `height` as stored, and `bits`.

    Raises:
        InvalidPhoto: the file cannot be read, or has too many pages or pixels.
    """
    if sniff_file(original) != "tiff":
        return []
    with _open_pages(original) as (_, groups):
        pixels = sum(group.page.layout.width * group.page.layout.height for group in groups)
        listed = [
            {
                "number": group.number,
                "role": group.role,
                "width": group.page.layout.width,
                "height": group.page.layout.height,
                "bits": group.page.layout.bits[0],
            }
            for group in groups
        ]
    if len(listed) > MAX_PAGES:
        raise InvalidPhoto(
            f"The TIFF has more than {MAX_PAGES} pages: save it as several files.", code="too_many_pages"
        )
    if pixels > pixel_limit_mp * 1_000_000:
        raise InvalidPhoto(
            f"The pages together have {pixels / 1e6:,.0f} megapixels: at most {pixel_limit_mp} are restored at once. "
            "Save them as several files.",
            code="too_many_pixels",
        )
    return listed


@contextmanager
def name_page(number: int | None) -> Iterator[None]:
    """Let a refusal say which page it is about; None where the photo has one."""
    try:
        yield
    except InvalidPhoto as error:
        if number is None:
            raise
        raise InvalidPhoto(f"Page {number}: {error.message}", code=error.code) from error


def extract(original: Path, number: int | None, folder: Path) -> tuple[Path, list[str]]:
    """Write one page as a TIFF of its own; return it, and a sentence for each field that cannot be read.

    Args:
        original: the file as deposited.
        number: of the page; None for the only one of a photo, which is the original itself.
        folder: for the new file.

    Raises:
        InvalidPhoto: the page is not complete.
        DiskUnavailable: there is no room for it.
    """
    if number is None:
        return original, []
    with _open_pages(original) as (reader, groups), scratch.translate_errors():
        group = _find(groups, number)
        path = folder / "page.tif"
        tiff_copy.create(path, reader.order, is_big=reader.is_big)
        try:
            notes = tiff_copy.append_page(path, reader, _describe(reader, group, groups))
            for level in group.levels:
                tiff_copy.append_page(path, reader, level.directory)
        except (tiff_copy.Uncopyable, ValueError) as error:
            is_complete = group.page.layout.is_complete(reader.file.seek(0, 2))
            raise (damaged_file() if is_complete else incomplete_file()) from error
    has_copy_before = group is groups[0] and group.number > 1
    return path, [*notes, SMALLER_COPY] if has_copy_before else notes


def _describe(reader: tiff.Reader, group: Group, groups: list[Group]) -> tiff.Directory:
    """Return a page's fields for a file in which it is the only one.

    Where the first directory of the file is a smaller copy that is left out, the metadata stands there.
    """
    first = next(reader.directories())
    is_alone = [each.role for each in groups].count(PHOTOGRAPH) == 1 and group.role == PHOTOGRAPH
    inherited = {
        tag: each
        for tag, each in (first.items() if is_alone and group.at else ())
        if tag == tiff.ICC or (find_rule("tiff", tag).action is not Action.OWN and tag != tiff.SUB_DIRECTORIES)
    }
    return {**inherited, **tiff.without(group.page.directory, {tiff.SUBFILE, 255})}


# --- putting a result together ----------------------------------------------------------------------------------------


def append_rendered(result: Path, original: Path, number: int, rendered: Path) -> int:
    """Append a rendered page to a result, which is begun where it is not there; return its place in the chain.

    What the original says of the page's part in the file (NewSubfileType) is said again.
    """
    with _open_pages(original) as (reader, groups), rendered.open("rb") as file:
        _begin(result, reader, groups)
        own = _find(groups, number).page.directory
        said = {tag: own[tag] for tag in (tiff.SUBFILE, 255) if tag in own}
        at = count_directories(result)
        source = tiff.Reader(file)
        for index, directory in enumerate(source.directories()):
            tiff_copy.append_page(result, source, directory if index else {**directory, **said})
        return at


def append_copy(result: Path, original: Path, number: int) -> tuple[int | None, list[str]]:
    """Append a page of the original as it is: a mask, or an infrared picture.

    Returns:
        Its place in the chain, or None where it had to be left out; and a sentence for each thing that is left out.
    """
    with _open_pages(original) as (reader, groups):
        _begin(result, reader, groups)
        group = _find(groups, number)
        at, size = count_directories(result), result.stat().st_size
        try:
            if group.page.layout.compression == OLD_JPEG:
                raise tiff_copy.Uncopyable("its JPEG has the form that TIFF 6 had and later gave up")
            if reader.order == ">" and group.page.layout.bits[0] > 8:
                _prove_readable(original, group)
            return at, tiff_copy.append_page(result, reader, group.page.directory)
        except (tiff_copy.Uncopyable, ValueError) as error:
            os.truncate(result, size)
            reason = error if isinstance(error, tiff_copy.Uncopyable) else "it is damaged"
            return None, [f"The {group.role} picture is left out: {reason}."]


def _prove_readable(original: Path, group: Group) -> None:
    """Decode a page whose samples' bytes are to be swapped: only so can the copy be compared with it.

    Raises:
        Uncopyable: it cannot be decoded.
    """
    try:
        measure_page(original, group.at)
    except (pyvips.Error, InvalidPhoto) as error:
        raise tiff_copy.Uncopyable("it is damaged") from error


def _begin(result: Path, original: tiff.Reader, groups: list[Group]) -> None:
    """Create a result in libvips' byte order, as a BigTIFF where it may need to be one."""
    if result.exists():
        return
    layouts = [group.page.layout for group in groups]
    pixel_bytes = sum(
        each.width * each.height * max(3, each.samples) * -(-each.bits[0] // 8) * GROWTH for each in layouts
    )
    tiff_copy.create(result, "<", is_big=original.is_big or pixel_bytes > MAX_CLASSIC_TIFF_BYTES)


def count_directories(path: Path) -> int:
    """Return the number of directories in the chain of a file."""
    with path.open("rb") as file:
        return len(list(tiff.Reader(file).directories()))


def measure_page(path: Path, at: int, bands: int | None = None) -> int:
    """Return the CRC-32 of the decoded pixels at a place in the chain of a file.

    Args:
        path: the file.
        at: which directory.
        bands: how many bands count, the first ones; None for all.

    Raises:
        pyvips.Error, InvalidPhoto: it cannot be decoded.
    """
    image = open_image(path, "tiff", page=at, fail_on="error")  # fields that others wrote may be warned of
    if bands is not None and image.bands > bands:
        image = image.extract_band(0, n=bands)
    return measure_pixels(image)


def is_copied(result: Path, at: int, original: Path, number: int) -> bool:
    """Whether a page of a result that was copied has the pixels of the original's.

    Of a form that libvips does not read, such as a mask of one bit, the strips' bytes are compared.
    """
    with _open_pages(original) as (reader, groups):
        group = _find(groups, number)
        wanted = _measure_strips(reader, group.page.directory)
    with result.open("rb") as file:
        reader = tiff.Reader(file)
        found = _measure_strips(reader, list(reader.directories())[at])
    if found == wanted:
        return True
    try:
        return measure_page(result, at) == measure_page(original, group.at)
    except (pyvips.Error, InvalidPhoto):
        return False


def _measure_strips(reader: tiff.Reader, directory: tiff.Directory) -> int:
    """Return the CRC-32 of a picture's strips or tiles as they are stored; 0 without any."""
    layout = read_layout(directory)
    if layout is None:
        return 0
    checksum = 0
    counts = layout.true_counts(reader.file.seek(0, 2))
    for offset, count in zip(layout.offsets, counts, strict=True):
        reader.file.seek(offset)
        while piece := reader.file.read(min(count, PIECE_BYTES)):
            checksum = zlib.crc32(piece, checksum)
            count -= len(piece)
    return checksum


@contextmanager
def _open_pages(original: Path) -> Iterator[tuple[tiff.Reader, list[Group]]]:
    """Open a TIFF; provide its directories and its pages, none where it is one picture.

    Raises:
        InvalidPhoto: it ends inside a directory.
    """
    with original.open("rb") as file:
        try:
            reader = tiff.Reader(file)
            groups = group_pages(reader)
        except ValueError as error:
            raise incomplete_file() from error
        yield reader, groups


def _find(groups: list[Group], number: int) -> Group:
    return next(group for group in groups if group.number == number)

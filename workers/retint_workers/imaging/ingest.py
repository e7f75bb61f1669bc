"""The stage ingest: refuses files that are not photographs, finds out about the others, and makes the proxy."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from retint.digests import hash_file
from retint.pages import PHOTOGRAPH, find_entry, list_photographs, merge_sentences
from retint.recipes import Recipe
from retint.settings import Settings
from retint_workers import scratch
from retint_workers.beats import Beat, beat_for_nobody
from retint_workers.containers import png
from retint_workers.imaging.decoding.conversion import open_photo
from retint_workers.imaging.pages import extract, list_pages, name_page
from retint_workers.imaging.pictures import find_picture
from retint_workers.imaging.vips import open_image, read_resolution, translate_errors
from retint_workers.sandbox.children import run_in_child


@dataclass(frozen=True)
class Ingested:
    """What ingest found out.

    Attributes:
        facts: JSON values: `format`, `width` and `height` (upright), `bits`, `bands`, `kind`, `orientation`,
            `profile` (its name or null), `region` (see `retint.region`), `inverted` (where it is), `sha256`, `size` in
            bytes, `dpi` (see `read_dpi`), `notes` (a sentence for each problem of the file that was passed over, and
            for what is restored of it: these again as `picture_notes`). Of a photo of several pages all but the last
            three are those of the first photograph, and `pages` has an entry for each page: `number`, `role` (see
            `retint.pages`) and its own facts.
        proxy: of the first photograph, the picture in its region's bounds: PNG, 8-bit RGB in sRGB, upright, its long
            side at most what `recipes.choose_proxy_side` says.
        further: the proxies of further photographs, by name (see `Page.proxy_name`).
    """

    facts: dict[str, Any]
    proxy: bytes
    further: dict[str, Path] = field(default_factory=dict)


def ingest(
    original: Path, recipe: Recipe, settings: Settings, beat: Beat = beat_for_nobody, folder: Path | None = None
) -> Ingested:
    """Examine an original in a child process, page by page.

    Args:
        original: the file as deposited.
        recipe: tells the region, whether it is inverted, and the size of the proxy.
        settings: limits.
        beat: called about once a second meanwhile.
        folder: for the proxies of further pages; without it there are none.

    Raises:
        InvalidPhoto: it cannot be restored; the message says what to do.
        OutOfMemory, WorkerLost: the child did not finish.
    """
    how = (recipe, settings.pixel_limit_mp)
    first = run_in_child(examine, settings, beat, original, *how)
    facts, further = first.facts, {}
    said = {list_photographs(facts)[0].number: facts["notes"]}
    for page in list_photographs(facts)[1:]:
        examined = run_in_child(examine_page, settings, beat, original, page.number, *how)
        said[page.number] = examined.facts.pop("notes")
        find_entry(facts, page.number).update(examined.facts)
        if folder is not None:
            further[page.proxy_name] = folder / f"{page.proxy_name}.png"
            further[page.proxy_name].write_bytes(examined.proxy)
    return Ingested(facts | {"notes": merge_sentences(said)}, first.proxy, further)


def examine(original: Path, recipe: Recipe, pixel_limit_mp: int) -> Ingested:
    """Read an original of one page, or the first photograph of several pages.

    Raises:
        InvalidPhoto: it cannot be restored.
    """
    pages = list_pages(original, pixel_limit_mp)
    number = next((page["number"] for page in pages if page["role"] == PHOTOGRAPH), None)
    examined = examine_page(original, number, recipe, pixel_limit_mp)
    facts = examined.facts | {"sha256": hash_file(original), "size": original.stat().st_size}
    if pages:
        own = {name: value for name, value in examined.facts.items() if name != "notes"}
        facts["pages"] = [page | own if page["number"] == number else page for page in pages]
    return replace(examined, facts=facts)


def examine_page(original: Path, number: int | None, recipe: Recipe, pixel_limit_mp: int) -> Ingested:
    """Read a page from its first byte to its last; see `pages.extract`.

    Raises:
        InvalidPhoto: it cannot be restored.
    """
    with scratch.open_folder() as folder, name_page(number):
        page, left_out = extract(original, number, folder)
        header = open_photo(page, pixel_limit_mp, folder)
        with translate_errors():
            found = find_picture(header, recipe)
            png = found.proxy.pngsave_buffer(compression=3, keep="none")
        dpi = read_dpi(header.pixels, header.coding)
    width, height = header.upright_size
    facts = {
        "format": header.format,
        "width": width,
        "height": height,
        "bits": header.bits,
        "bands": header.bands,
        "kind": found.kind,
        "region": found.region.to_facts(),
        "picture_notes": found.notes,
        "orientation": header.orientation,
        "profile": header.space.name,
        "dpi": dpi,
        "notes": [*header.notes, *left_out, *found.notes],
    }
    return Ingested(facts | ({"inverted": True} if found.is_inverted else {}), png)


def read_dpi(path: Path, coding: str) -> float | None:
    """Read how many pixels an inch has across; None where the file states none, or no unit."""
    image = open_image(path, coding)
    resolution = read_resolution(image)
    if coding == "png":
        with path.open("rb") as file:
            resolution = (image.xres, image.yres) if png.states_resolution(file) else None
    return round(resolution[0] * 25.4, 2) if resolution else None


def describe(original: Path, pixel_limit_mp: int) -> str:
    """Describe a photo by its header: format, size and depth.

    Raises:
        InvalidPhoto: it is not a photograph that can be restored.
    """
    listed = list_pages(original, pixel_limit_mp)
    first = next((page["number"] for page in listed if page["role"] == PHOTOGRAPH), None)
    with scratch.open_folder() as folder:
        header = open_photo(extract(original, first, folder)[0], pixel_limit_mp, folder)
    width, height = header.upright_size
    described = f"{header.format.upper()}, {width} x {height}, {header.bits} bits"
    return f"{described}, {len(listed)} pages" if listed else described

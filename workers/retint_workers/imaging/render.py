"""The stage render: applies layers to the original at full size, then reads the result back (see `verify`).

The original streams through in strips: decoded, rendered, encoded. Memory is that of a few strips and one preview. Of
several pages each is a photo of its own, which is appended to the result as soon as it is verified.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyvips

from retint.digests import hash_file
from retint.errors import InvalidPhoto
from retint.filetypes import PHOTO_SUFFIXES
from retint.kinds import COLOR, UNTOUCHED
from retint.pages import (
    PHOTOGRAPH,
    PREVIEW_SIDE,
    THUMBNAIL,
    Page,
    find_entry,
    list_photographs,
    merge_sentences,
)
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.types import ColorLayer, DensityLayer, Layers
from retint_workers import scratch
from retint_workers.beats import Beat, beat_for_nobody
from retint_workers.imaging import appearance, metadata, pages, verify
from retint_workers.imaging.color import profiles
from retint_workers.imaging.decoding.conversion import open_photo
from retint_workers.imaging.decoding.encoding import MAX_CLASSIC_TIFF_BYTES, greatest_tiff_bytes
from retint_workers.imaging.decoding.formats import Header
from retint_workers.imaging.metadata.policy import THUMBNAILS
from retint_workers.imaging.previews import Downscaler, save_jpeg, to_display
from retint_workers.imaging.provenance import PICTURE_FACTS, Provenance, describe_picture
from retint_workers.imaging.stored_region import Picture
from retint_workers.imaging.streams import StripPipe, measure_extras, open_extras, read_strips
from retint_workers.imaging.strip_renderer import StripRenderer
from retint_workers.imaging.verify import Expected, NotVerified
from retint_workers.imaging.vips import translate_disk_errors
from retint_workers.sandbox.children import run_in_child


@dataclass(frozen=True)
class Rendered:
    """What render made.

    Attributes:
        files: `result`, `preview`, `before`, `thumb` and `provenance`. Further pages have previews of their own (see
            `Page.spell`).
        facts: JSON values: `format`, `size` and `sha256` of the result, `luma_drift` of the color alone (a fraction
            of full scale, at most 1/255, the largest of all pages; null without color), `colorless` (a sentence about
            a photo that color was asked for and that has no room for any; else null), `notes` (a sentence for each
            thing that ingest passed over or that is not as in the original); of several pages also `colorless_pages`,
            their numbers.
        timings: seconds of `render` and of `verify`.
    """

    files: dict[str, Path]
    facts: dict[str, Any]
    timings: dict[str, float]


RESULT_OF_PAGES = "result.tif"


@dataclass(frozen=True)
class RenderRequest:
    """A photo and what to do with it.

    Attributes:
        original: the file as deposited.
        folder: an empty folder for the files of the result.
        facts: what ingest found out.
        recipe: what was asked for; recorded in the result.
        color: the colorizer's decision, or none.
        density: the defader's decision, or none.
        read_layers: reads both decisions about a further page, when it is that page's turn.
    """

    original: Path
    folder: Path
    facts: dict[str, Any]
    recipe: Recipe
    color: ColorLayer | None
    density: DensityLayer | None
    read_layers: Callable[[Page], Layers] | None = None


def render(request: RenderRequest, settings: Settings, beat: Beat = beat_for_nobody) -> Rendered:
    """Apply layers to an original in a child process, page by page; write and verify all files of the result.

    Args:
        request: the photo and what to do with it.
        settings: limits.
        beat: called about once a second meanwhile.

    Raises:
        NotVerified: the result is not as it should be.
        OutOfMemory, DiskUnavailable, WorkerLost: the child did not finish.
        InvalidPhoto: the original is not what ingest saw, or is too small for the watermark.
    """
    alone = replace(request, read_layers=None)  # a function does not travel to a child
    if not request.facts.get("pages"):
        return run_in_child(render_and_verify, settings, beat, alone, settings.pixel_limit_mp)
    photographs = {page.number: page for page in list_photographs(request.facts)}
    layers: Layers = (None, None)
    networks: dict[str, dict[str, Any]] = {}
    parts = []
    for entry in request.facts["pages"]:
        page = photographs.get(entry["number"])
        if page is not None:  # a thumbnail gets the layers of the photograph before it
            layers = (request.color, request.density)
            if not page.is_first and request.read_layers:
                layers = request.read_layers(page)
            color, density = layers
            networks |= {page.spell("color"): color.record} if color else {}
            networks |= {page.spell("density"): density.record} if density else {}
        chosen = replace(alone, color=layers[0], density=layers[1])
        parts.append(run_in_child(render_part, settings, beat, chosen, entry["number"], settings.pixel_limit_mp))
    return run_in_child(finish, settings, beat, replace(alone, color=None, density=None), parts, networks)


@translate_disk_errors()
def render_and_verify(request: RenderRequest, pixel_limit_mp: int) -> Rendered:
    """Write the result, read it back, and collect the files; see `render`."""
    started = time.monotonic()
    with ThreadPoolExecutor(1, "retint-hash") as aside:
        digest = aside.submit(hash_file, request.original)
        try:
            with scratch.open_folder() as folder:
                header = open_photo(request.original, pixel_limit_mp, folder)
                return _render_and_verify(request, header, pixel_limit_mp, started)
        finally:
            if digest.result() != request.facts["sha256"]:
                raise NotVerified("The original is not the file that was deposited.", code="original_changed")


# --- photos of several pages ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One page of a result.

    Attributes:
        number: of the page in the original.
        at: where its directory stands in the result's chain; None where the page is left out.
        checksum: CRC-32 of its decoded pixels; None for a copy, which is compared with the original's page.
        rendered: its previews by name, its facts and timings; None for a copy and for a thumbnail.
        notes: a sentence for each thing that is left out with a copy or a thumbnail.
    """

    number: int
    at: int | None
    checksum: int | None
    rendered: Rendered | None
    notes: list[str]


@translate_disk_errors()
def render_part(request: RenderRequest, number: int, pixel_limit_mp: int) -> Part:
    """Append one page to the result: rendered with the layers of the request, or copied.

    Raises:
        InvalidPhoto, NotVerified: as `render`; the message says which page.
    """
    result = request.folder / RESULT_OF_PAGES
    entry = find_entry(request.facts, number)
    with scratch.open_folder() as folder, pages.name_page(number):
        if entry["role"] == PHOTOGRAPH:
            return _render_photograph(request, entry, result, folder, pixel_limit_mp)
        if entry["role"] == THUMBNAIL:
            return _render_thumbnail(request, entry, result, folder, pixel_limit_mp)
        at, notes = pages.append_copy(result, request.original, number)
        return Part(number, at, None, None, notes)


def _render_photograph(
    request: RenderRequest, entry: dict[str, Any], result: Path, folder: Path, pixel_limit_mp: int
) -> Part:
    number = entry["number"]
    rendered, checksum = _render_page(request, entry, folder, pixel_limit_mp)
    at = pages.append_rendered(result, request.original, number, rendered.files["result"])
    page = next(page for page in list_photographs(request.facts) if page.number == number)
    files = {}
    for name in ("preview", "before", "thumb"):
        path = rendered.files[name]
        files[page.spell(name)] = path.rename(request.folder / f"{page.spell(name)}{path.suffix}")
    return Part(number, at, checksum, replace(rendered, files=files), [])


def _render_thumbnail(
    request: RenderRequest, entry: dict[str, Any], result: Path, folder: Path, pixel_limit_mp: int
) -> Part:
    """Render a smaller copy of a photograph with its layers, which know no sizes, or leave it out."""
    number = entry["number"]
    before = [page for page in request.facts["pages"] if page["role"] == PHOTOGRAPH and page["number"] < number]
    try:
        rendered, checksum = _render_page(
            request, before[-1] | {"number": number, "role": THUMBNAIL}, folder, pixel_limit_mp
        )
    except (InvalidPhoto, NotVerified):
        return Part(number, None, None, None, [THUMBNAILS])
    at = pages.append_rendered(result, request.original, number, rendered.files["result"])
    return Part(number, at, checksum, None, [])


def _render_page(
    request: RenderRequest, facts: dict[str, Any], folder: Path, pixel_limit_mp: int
) -> tuple[Rendered, int]:
    """Render one page as a photo of its own; return it, its result in a scratch folder, and its pixels' CRC-32."""
    started = time.monotonic()
    source, left_out = pages.extract(request.original, facts["number"], folder)
    header = open_photo(source, pixel_limit_mp, folder)
    if facts["role"] == THUMBNAIL:
        _refuse_other_picture(header, facts)
    header.notes.extend(left_out)
    made = folder / "made"
    made.mkdir()
    found = {name: facts[name] for name in ("role", *PICTURE_FACTS) if name in facts}
    own = {"sha256": request.facts["sha256"]} | found
    alone = replace(request, original=source, folder=made, facts=own)
    rendered = _render_and_verify(alone, header, pixel_limit_mp, started)
    return rendered, pages.measure_page(rendered.files["result"], 0)


def _refuse_other_picture(header: Header, facts: dict[str, Any]) -> None:
    """Check that a thumbnail has the shape of the photograph whose layers it gets.

    Raises:
        InvalidPhoto: it has not.
    """
    (width, height), shape = header.upright_size, facts["width"] / facts["height"]
    if abs(width - height * shape) > 2 and abs(height - width / shape) > 2:  # sizes are rounded
        raise InvalidPhoto(THUMBNAILS, code="other_picture")


@translate_disk_errors()
def finish(request: RenderRequest, parts: list[Part], networks: dict[str, dict[str, Any]]) -> Rendered:
    """Read back a result of several pages, and collect what was found of each.

    Raises:
        NotVerified: a page is not as it was written; or the original is not what ingest saw.
    """
    started = time.monotonic()
    if hash_file(request.original) != request.facts["sha256"]:
        raise NotVerified("The original is not the file that was deposited.", code="original_changed")
    result = request.folder / RESULT_OF_PAGES
    for part in parts:
        if not _is_as_written(result, part, request.original):
            raise NotVerified(f"Page {part.number} of the result is not what was written.", code="pixels_differ")
    rendered = {part.number: part.rendered for part in parts if part.rendered}
    files = {name: path for each in rendered.values() for name, path in each.files.items()}
    files |= {"result": result, "provenance": request.folder / "provenance.json"}
    said = merge_sentences({number: each.facts["notes"] for number, each in rendered.items()})
    told = merge_sentences({part.number: part.notes for part in parts})
    notes = list(dict.fromkeys([*request.facts.get("notes", ()), *said, *told]))
    photographs = list_photographs(request.facts)
    pictures = {page.spell("picture"): found for page in photographs if (found := describe_picture(page.facts))}
    record = Provenance(request.facts["sha256"], request.recipe, networks, pictures)
    files["provenance"].write_bytes(record.to_json(notes))
    drifts = [each.facts["luma_drift"] for each in rendered.values() if each.facts["luma_drift"] is not None]
    colorless = merge_sentences(
        {number: [each.facts["colorless"]] if each.facts["colorless"] else [] for number, each in rendered.items()}
    )
    facts = {
        "format": "tiff",
        "size": result.stat().st_size,
        "sha256": hash_file(result),
        "luma_drift": max(drifts, default=None),
        "colorless": " ".join(colorless) or None,
        "colorless_pages": [number for number, each in rendered.items() if each.facts["colorless"]],
        "notes": notes,
    }
    seconds = {name: sum(each.timings[name] for each in rendered.values()) for name in ("render", "verify")}
    return Rendered(files, facts, seconds | {"verify": seconds["verify"] + time.monotonic() - started})


def _is_as_written(result: Path, part: Part, original: Path) -> bool:
    if part.at is None or part.checksum is None:
        return part.at is None or pages.is_copied(result, part.at, original, part.number)
    try:
        return pages.measure_page(result, part.at) == part.checksum
    except (InvalidPhoto, pyvips.Error):
        return False


# --- photos of one page -----------------------------------------------------------------------------------------------


def _render_and_verify(request: RenderRequest, header: Header, pixel_limit_mp: int, started: float) -> Rendered:
    facts, colorless = request.facts, None
    if not request.recipe.changes(facts["kind"]):
        request, colorless = replace(request, color=None, density=None), UNTOUCHED[facts["kind"]]
    record = Provenance.from_layers(facts["sha256"], request.recipe, request.color, request.density, facts)
    result = request.folder / f"result{PHOTO_SUFFIXES[header.result_format]}"
    with ThreadPoolExecutor(1, "retint-aside") as aside:
        expected, drift = write(request, header, record, result, aside)
        rendered = time.monotonic()
        digest = aside.submit(hash_file, result)
        try:
            files, chroma = verify.read_back(result, expected, pixel_limit_mp)
            # Whether it has too little color is asked of photographs only, not of their thumbnails.
            is_asked = facts["kind"] != COLOR and facts.get("role") != THUMBNAIL
            if request.color is not None and is_asked and chroma < verify.COLORLESS_CHROMA:
                colorless = verify.explain_colorless(header, expected.picture.region, request.color)
        except InvalidPhoto as error:
            raise NotVerified(f"The result cannot be read back. {error.message}", code="unreadable") from error
    before, provenance = request.folder / "before.jpg", request.folder / "provenance.json"
    files |= {"result": result, "before": before, "provenance": provenance}
    notes = list(dict.fromkeys([*request.facts.get("notes", ()), *header.notes]))
    files["provenance"].write_bytes(record.to_json(notes))
    facts = {
        "format": header.result_format,
        "size": result.stat().st_size,
        "sha256": digest.result(),
        "luma_drift": drift,
        "colorless": colorless,
        "notes": notes,
    }
    return Rendered(files, facts, {"render": rendered - started, "verify": time.monotonic() - rendered})


def write(
    request: RenderRequest, header: Header, record: Provenance, result: Path, aside: ThreadPoolExecutor
) -> tuple[Expected, float | None]:
    """Stream the original through its layers into the result; aside, write `before.jpg`.

    Returns:
        What reading back should find, and how far color alone changed luma (None without color).

    Raises:
        NotVerified: color alone changed luma.
        InvalidPhoto: the photo is too small for the watermark.
    """
    bands = 3 if request.color is not None else header.bands
    picture = Picture.from_facts(request.facts, header)
    layers = (request.color, request.density)
    space, note = header.space, None
    if any(layers) or picture.is_inverted or record.has_watermark:
        space, note = header.space.choose_for_result(bands, header.bits)
    header.notes.extend([note] if note else [])
    shape = (header.height, header.width, bands)
    renderer = StripRenderer(layers, header, space, bands, picture, has_watermark=record.has_watermark)
    before, after = Downscaler(header, aside), Downscaler(header, aside)
    save = partial(encode, request=request, header=header, profile=space.profile, record=record, result=result)
    with StripPipe(shape, header.bits, save) as pipe:
        for top, strip in read_strips(header, before.factor):
            rendered = renderer.render(strip, top)
            pipe.write(rendered)
            before.add(strip)
            after.add(rendered)
    verify.verify_luma_drift(renderer.drift)

    def look_before() -> appearance.Cells:
        save_jpeg(to_display(before.image(), header, PREVIEW_SIDE), request.folder / "before.jpg")
        return appearance.predict(before, header, picture, space, *layers)

    expected = Expected(
        header=replace(header, bands=bands, space=space),
        record=record,
        checksum=renderer.checksum,
        extras=measure_extras(header),
        cell_means=after.cell_means(),
        look=aside.submit(look_before),
        picture=picture,
        marked=renderer.marked_pixels(),
    )
    return expected, renderer.drift if request.color is not None else None


def encode(
    image: pyvips.Image,
    *,
    request: RenderRequest,
    header: Header,
    profile: bytes | None,
    record: Provenance,
    result: Path,
) -> None:
    """Write pixels as the same kind of file as the original, with metadata by the policy (see `metadata`)."""
    image = image.copy(interpretation=profiles.choose_interpretation(image))
    options = dict(header.encoding)
    if header.extras:
        image = image.bandjoin(open_extras(header))
    if header.result_format == "tiff":
        pixel_bytes = image.bands * header.bits // 8
        size = (image.width, image.height)
        options["bigtiff"] |= greatest_tiff_bytes(size, pixel_bytes, options) > MAX_CLASSIC_TIFF_BYTES
    pyvips.Operation.call(f"{header.result_format}save", image, str(result), keep="none", **options)
    header.notes.extend(metadata.carry(request.original, result, header, record=record, profile=profile))

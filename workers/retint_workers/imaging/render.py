"""The stage render: applies layers to the original at full size, then reads the result back (see `verify`).

The original streams through in strips: decoded, rendered, encoded. Memory is that of a few strips and one preview.
"""

import time
import zlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint.digests import hash_file
from retint.errors import InvalidPhoto
from retint.filetypes import PHOTO_SUFFIXES
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.rendering import Rendering, luma_drift
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers import scratch
from retint_workers.beats import Beat, beat_for_nobody
from retint_workers.imaging import appearance, metadata, profiles, spaces, verify
from retint_workers.imaging.conversion import open_photo
from retint_workers.imaging.encoding import MAX_CLASSIC_TIFF_BYTES, greatest_tiff_bytes
from retint_workers.imaging.formats import Header
from retint_workers.imaging.previews import PREVIEW_SIDE, Downscaler, save_jpeg, to_display
from retint_workers.imaging.provenance import Provenance
from retint_workers.imaging.spaces import ColorSpace
from retint_workers.imaging.streams import StripPipe, measure_extras, open_extras, read_strips
from retint_workers.imaging.verify import Expected, MarkedPixels, NotVerified
from retint_workers.imaging.vips import translate_disk_errors
from retint_workers.imaging.watermark import Watermark
from retint_workers.sandbox.children import run_in_child


@dataclass(frozen=True)
class Rendered:
    """What render made.

    Attributes:
        files: `result`, `preview`, `before`, `thumb`, `provenance`, and `zoom` where the result is larger than the
            preview.
        facts: JSON values: `format`, `size` and `sha256` of the result, `luma_drift` of the color alone (a fraction
            of full scale, at most 1/255; null without color), `colorless` (a sentence about a photo that color was
            asked for and that has no room for any; else null), `notes` (a sentence for each thing that ingest passed
            over or that is not as in the original).
        timings: seconds of `render` and of `verify`.
    """

    files: dict[str, Path]
    facts: dict[str, Any]
    timings: dict[str, float]


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
    """

    original: Path
    folder: Path
    facts: dict[str, Any]
    recipe: Recipe
    color: ColorLayer | None
    density: DensityLayer | None


def render(request: RenderRequest, settings: Settings, beat: Beat = beat_for_nobody) -> Rendered:
    """Apply layers to an original in a child process; write and verify all files of the result.

    Args:
        request: the photo and what to do with it.
        settings: limits.
        beat: called about once a second meanwhile.

    Raises:
        NotVerified: the result is not as it should be.
        OutOfMemory, DiskUnavailable, WorkerLost: the child did not finish.
        InvalidPhoto: the original is not what ingest saw, or is too small for the watermark.
    """
    return run_in_child(render_and_verify, settings, beat, request, settings.pixel_limit_mp)


@translate_disk_errors()
def render_and_verify(request: RenderRequest, pixel_limit_mp: int) -> Rendered:
    """Write the result, read it back, and collect the files; see `render`."""
    started = time.monotonic()
    if hash_file(request.original) != request.facts["sha256"]:
        raise NotVerified("The original is not the file that was deposited.", code="original_changed")
    with scratch.open_folder() as folder:
        header = open_photo(request.original, pixel_limit_mp, folder)
        return _render_and_verify(request, header, pixel_limit_mp, started)


def _render_and_verify(request: RenderRequest, header: Header, pixel_limit_mp: int, started: float) -> Rendered:
    record = Provenance.from_layers(request.facts["sha256"], request.recipe, request.color, request.density)
    result = request.folder / f"result{PHOTO_SUFFIXES[header.result_format]}"
    expected, drift = write(request, header, record, result)
    rendered = time.monotonic()
    colorless = None
    try:
        files, chroma = verify.read_back(result, expected, pixel_limit_mp)
        if request.color is not None and request.facts["kind"] != "color" and chroma < verify.COLORLESS_CHROMA:
            colorless = verify.explain_colorless(header, request.color)
    except InvalidPhoto as error:
        raise NotVerified(f"The result cannot be read back. {error.message}", code="unreadable") from error
    files |= {
        "result": result,
        "before": request.folder / "before.jpg",
        "provenance": request.folder / "provenance.json",
    }
    notes = list(dict.fromkeys([*request.facts.get("notes", ()), *header.notes]))
    files["provenance"].write_bytes(record.to_json(notes))
    facts = {
        "format": header.result_format,
        "size": result.stat().st_size,
        "sha256": hash_file(result),
        "luma_drift": drift,
        "colorless": colorless,
        "notes": notes,
    }
    return Rendered(files, facts, {"render": rendered - started, "verify": time.monotonic() - rendered})


def write(request: RenderRequest, header: Header, record: Provenance, result: Path) -> tuple[Expected, float | None]:
    """Stream the original through its layers into the result; also write `before.jpg`.

    Returns:
        What reading back should find, and how far color alone changed luma (None without color).

    Raises:
        NotVerified: color alone changed luma.
        InvalidPhoto: the photo is too small for the watermark.
    """
    bands = 3 if request.color is not None else header.bands
    space, note = header.space.choose_for_result(bands, header.bits)
    header.notes.extend([note] if note else [])
    shape = (header.height, header.width, bands)
    renderer = StripRenderer(request, header, space, shape)
    before, after = Downscaler(header), Downscaler(header)
    save = partial(encode, request=request, header=header, profile=space.profile, record=record, result=result)
    with StripPipe(shape, header.bits, save) as pipe:
        for top, strip in read_strips(header, before.factor):
            rendered = renderer.render(strip, top)
            before.add(strip)
            after.add(rendered)
            pipe.write(rendered)
    verify.verify_luma_drift(renderer.drift)
    save_jpeg(to_display(before.image(), header, PREVIEW_SIDE), request.folder / "before.jpg")
    expected = Expected(
        header=replace(header, bands=bands, space=space),
        record=record,
        checksum=renderer.checksum,
        extras=measure_extras(header),
        cell_means=after.cell_means(),
        look=appearance.predict(before, header, request.color, request.density),
        marked=renderer.marked_pixels(),
    )
    return expected, renderer.drift if request.color is not None else None


class StripRenderer:
    """Renders the strips of one photo in order, and measures what verification needs.

    Attributes:
        checksum: CRC-32 of the rendered pixels so far.
        drift: the largest change of luma by color alone so far, as a fraction of full scale.
    """

    def __init__(self, request: RenderRequest, header: Header, space: ColorSpace, shape: tuple[int, int, int]) -> None:
        self.checksum = 0
        self.drift = 0.0
        self._size = shape[:2]
        self._has_density = request.density is not None
        self._source, self._space = header.space, space
        self._layers, self._color_only = _prepare_layers(request, header, space)
        self._watermark = Watermark.fit(shape, header.orientation, space) if request.recipe.watermark else None
        self._bare: list[NDArray[Any]] = []
        self._marked: list[NDArray[Any]] = []

    def render(self, strip: NDArray[Any], top: int) -> NDArray[Any]:
        """Render the strip that begins with this row."""
        if not self._source.has_way_back:
            strip = spaces.convert(strip, self._source, self._space)
        rendered = self._layers.apply(strip, top, self._size)
        self._measure_drift(strip, top, rendered)
        if self._watermark is not None:
            self._bare.append(self._watermark.pixels_under(rendered, top).copy())
            self._watermark.draw_on(rendered, top)
            self._marked.append(self._watermark.pixels_under(rendered, top).copy())
        self.checksum = zlib.crc32(rendered.data, self.checksum)
        return rendered

    def _measure_drift(self, strip: NDArray[Any], top: int, rendered: NDArray[Any]) -> None:
        if self._color_only is None:
            return
        colorized = self._color_only.apply(strip, top, self._size) if self._has_density else rendered
        self.drift = max(self.drift, luma_drift(strip, colorized))
        if self._has_density:  # one strip is enough where it costs a second rendering
            self._color_only = None

    def marked_pixels(self) -> MarkedPixels | None:
        """Return the pixels under the watermark after the last strip; None without a watermark."""
        if self._watermark is None:
            return None
        return MarkedPixels(self._watermark, np.concatenate(self._bare), np.concatenate(self._marked))


def _prepare_layers(request: RenderRequest, header: Header, space: ColorSpace) -> tuple[Rendering, Rendering | None]:
    """Prepare the layers for the result's code values: all, and the color layer alone (None without color)."""
    prepare = partial(Rendering, orientation=header.orientation, encoding=space.encoding)
    layers = prepare(request.color, request.density)
    if request.density is None:
        return layers, layers if request.color else None
    return layers, prepare(request.color, None) if request.color else None


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

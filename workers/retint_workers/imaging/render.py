"""The stage render: applies layers to the original at full size, and believes the result only after reading it back.

The original streams through in strips: decoded, rendered, encoded. What was written is then decoded again; from those
very pixels come the preview and the zoomable picture. Memory is that of some strips and of one preview.
"""

import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint.digests import hash_file
from retint.errors import InvalidPhoto, Transient
from retint.filetypes import PHOTO_SUFFIXES
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.rendering import Rendering, luma_drift
from retint_models.layers.types import CB_SCALE, CR_SCALE, LUMA, ColorLayer, DensityLayer
from retint_workers.imaging import formats, profiles, provenance, tiff
from retint_workers.imaging.formats import Header
from retint_workers.imaging.ingest import looked_at, upright
from retint_workers.imaging.provenance import Provenance
from retint_workers.imaging.streams import Stream
from retint_workers.imaging.watermark import Watermark, is_there
from retint_workers.sandbox import run_in_child

PREVIEW_SIDE = 2048
THUMB_SIDE = 640
STRIP_BYTES = 8 << 20
LUMA_BOUND = 1 / 255
COLORLESS = 1.0
"""Chroma in code values of 255 that nearly no pixel (one in a hundred) exceeds in a picture that people call gray."""
FAIR = 8.0
"""Chroma in code values of 255 of modest color."""
CELL = 16
LOSSY_DRIFT = 3.0
LOSSY_DRIFT_WORST = 24.0
"""How far, in code values of 255, lossy encoding may move the means of cells of at least 16 pixels: on the average and
at worst. Saturated colors, stored at half the size, move single cells by more than six."""
CARRIED = ("exif-", "iptc-data", "photoshop-data", "orientation", "resolution-unit", "image-description", "png-comment")
"""Metadata that goes from the original into the result as it is."""
GRAFTED = ("iptc-data", "photoshop-data", "image-description")
"""What `tiff.keep_fields` brings into a TIFF instead of libvips."""


class NotVerified(Transient):
    """A result was read back and is not what it should be. Tried again, then kept apart with the reason."""

    code = "not_verified"


@dataclass(frozen=True)
class Rendered:
    """What render made.

    Attributes:
        files: `result`, `preview`, `before`, `thumb`, `provenance`, and `zoom` where the result is larger than the
            preview.
        facts: JSON values: `format`, `size` and `sha256` of the result, `luma_drift` of the color alone (a fraction
            of full scale, at most 1/255; null without color), `colorless` (a sentence about a photo that color was
            asked for and that has no room for any; else null), `notes`.
        timings: seconds of `render` and of `verify`.
    """

    files: dict[str, Path]
    facts: dict[str, Any]
    timings: dict[str, float]


def render(
    original: Path,
    folder: Path,
    facts: dict[str, Any],
    recipe: Recipe,
    color: ColorLayer | None,
    density: DensityLayer | None,
    settings: Settings,
    beat: Callable[[], object] = lambda: None,
) -> Rendered:
    """Apply layers to an original, in a child process; write and check all files of the result.

    Args:
        original: the file as deposited.
        folder: empty, where the files go.
        facts: what ingest found out.
        recipe: what was asked for; recorded.
        color: the colorizer's decision, or none.
        density: the defader's decision, or none.
        settings: limits.
        beat: called about once a second meanwhile.

    Raises:
        NotVerified: the result is not what it should be.
        OutOfMemory, WorkerLost: the child did not come to an end.
        InvalidPhoto: the original is not what ingest saw, or has no room for the watermark.
    """
    job = Job(original, folder, facts, recipe, color, density, settings.pixel_limit_mp)
    return run_in_child(make, settings, beat, job)


@dataclass(frozen=True)
class Job:
    """All that rendering one photo needs."""

    original: Path
    folder: Path
    facts: dict[str, Any]
    recipe: Recipe
    color: ColorLayer | None
    density: DensityLayer | None
    pixel_limit_mp: int


@dataclass(frozen=True)
class Written:
    """What the first pass wrote, to compare with what the second one reads."""

    header: Header
    profile: bytes | None
    checksum: int
    small: NDArray[Any]
    drift: float | None
    mark: "Mark | None"


@dataclass(frozen=True)
class Mark:
    """The watermark of a result, and the pixels under it without it and with it."""

    drawn: Watermark
    bare: NDArray[Any]
    marked: NDArray[Any]


def make(job: Job) -> Rendered:
    """Render, encode, read back, verify."""
    started = time.monotonic()
    if hash_file(job.original) != job.facts["sha256"]:
        raise NotVerified("The original is not the file that was deposited.", code="original_changed")
    header = formats.read_header(job.original, job.pixel_limit_mp)
    record = Provenance.of(job.facts["sha256"], job.recipe, job.color, job.density)
    result = job.folder / f"result{PHOTO_SUFFIXES[header.format]}"
    written = write(job, header, record, result)
    rendered = time.monotonic()
    try:
        files, colorless = read_back(job, written, record, result)
    except InvalidPhoto as error:
        raise NotVerified(f"The result cannot be read back. {error.message}", code="unreadable") from error
    files |= {"result": result, "before": job.folder / "before.jpg", "provenance": job.folder / "provenance.json"}
    files["provenance"].write_bytes(record.to_json())
    facts = {
        "format": header.format,
        "size": result.stat().st_size,
        "sha256": hash_file(result),
        "luma_drift": written.drift,
        "colorless": colorless,
        "notes": header.notes,
    }
    return Rendered(files, facts, {"render": rendered - started, "verify": time.monotonic() - rendered})


# --- the first pass: original to result -------------------------------------------------------------------------------


def write(job: Job, header: Header, record: Provenance, result: Path) -> Written:
    """Stream the original through its layers into the result; also write `before.jpg`.

    Raises:
        NotVerified: color alone moved luma.
        InvalidPhoto: the watermark that was asked for cannot be drawn.
    """
    profile = result_profile(header, job.color is not None)
    rendering, plain = renderings(job, header, profile)
    bands = 3 if job.color is not None else header.bands
    shape = (header.height, header.width, bands)
    before, after = Shrinking(header), Shrinking(header)
    drawn = Watermark.of((*shape[:2], bands), header.orientation, profile) if job.recipe.watermark else None
    bare, marked = [], []
    checksum, drift = 0, 0.0
    save = partial(encode, job=job, header=header, profile=profile, record=record, result=result)
    with Stream(shape, header.bits, save) as stream:
        for top, strip in strips(job.original, header, before.factor):
            shown = rendering.apply(strip, top, shape[:2])
            if plain is not None:
                drift = max(drift, luma_drift(strip, plain.apply(strip, top, shape[:2]) if job.density else shown))
                plain = plain if job.density is None else None  # one strip is enough where it costs a second rendering
            if drawn is not None:
                bare.append(drawn.cut(shown, top).copy())
                drawn.put(shown, top)
                marked.append(drawn.cut(shown, top).copy())
            checksum = zlib.crc32(shown.data, checksum)
            before.add(strip)
            after.add(shown)
            stream.write(shown)
    if drift > LUMA_BOUND:
        raise NotVerified(f"Color alone changed luma by {drift * 255:.2f} of 255.", code="luma_changed")
    save_jpeg(looked_at(before.image(), header, header.profile, PREVIEW_SIDE), job.folder / "before.jpg")
    mark = Mark(drawn, np.concatenate(bare), np.concatenate(marked)) if drawn is not None else None
    seen = drift if job.color is not None else None
    return Written(replace(header, bands=bands), profile, checksum, after.small(), seen, mark)


def strips(path: Path, header: Header, multiple: int = 1) -> Iterator[tuple[int, NDArray[Any]]]:
    """Decode a photo from top to bottom: first row and pixels (rows, width) or (rows, width, 3) of each strip."""
    with formats.translated():
        image = formats.load(path, header.format)
        if image.bands > header.bands:
            image = image.extract_band(0, n=header.bands)
        dtype = np.dtype(np.uint8 if header.bits == 8 else np.uint16)
        rows = max(16, STRIP_BYTES // (header.width * header.bands * dtype.itemsize)) // multiple * multiple or multiple
        region = pyvips.Region.new(image)
        for top in range(0, header.height, rows):
            taken = min(rows, header.height - top)
            data = region.fetch(0, top, header.width, taken)
            shape = (taken, header.width) if header.bands == 1 else (taken, header.width, header.bands)
            yield top, np.frombuffer(data, dtype).reshape(shape)


def result_profile(header: Header, has_color: bool) -> bytes | None:
    """The profile of the result: the original's, or one for RGB with the tone of a gray one."""
    if header.profile is None or header.bands == 3 or not has_color:
        return header.profile
    profile = profiles.for_color(header.profile)
    if profile is None:
        header.notes.append("The gray profile has no tone curve; the result is taken as sRGB without it.")
    return profile


def renderings(job: Job, header: Header, profile: bytes | None) -> tuple[Rendering, Rendering | None]:
    """The layers made ready for the original's own numbers: all of them, and the color alone."""
    color, tone = job.color, None
    if profile is not None and not profiles.is_srgb(header.profile_name):
        color = profiles.chroma_in(color, profile) if color else None
        tone = profiles.tone_of(profile, 3 if color else header.bands) if job.density else None
    prepared = Rendering(color, job.density, orientation=header.orientation, tone=tone)
    if job.density is None:
        return prepared, prepared if color else None
    return prepared, Rendering(color, None, orientation=header.orientation) if color else None


def encode(
    image: pyvips.Image, *, job: Job, header: Header, profile: bytes | None, record: Provenance, result: Path
) -> None:
    """Write pixels as the same kind of file as the original, with what the original says about itself and our mark."""
    original = formats.load(job.original, header.format)
    image = image.copy(xres=original.xres, yres=original.yres, interpretation=profiles.pixel_meaning(image))
    former = None
    for name in original.get_fields():
        value = original.get(name) if name.startswith(CARRIED) or name == "xmp-data" else None
        if isinstance(value, bytes) and len(value) > formats.BLOB_BYTES:
            continue
        if name == "xmp-data":
            former = value
        elif value is not None and not (header.format == "tiff" and name in GRAFTED):
            image.set_type(original.get_typeof(name), name, value)
    xmp = record.to_xmp(former)
    if header.format == "jpeg" and len(xmp) > formats.JPEG_XMP_BYTES:
        xmp = record.to_xmp()
        header.notes.append("The original's XMP has no room in the result beside ours and is left out.")
    image.set_type(pyvips.GValue.blob_type, "xmp-data", xmp)
    if profile is not None:
        image.set_type(pyvips.GValue.blob_type, profiles.ICC, profile)
    options = dict(header.encoding)
    if header.format == "tiff":
        options["bigtiff"] |= image.width * image.height * image.bands * header.bits // 8 > formats.TIFF_BYTES
    pyvips.Operation.call(f"{header.format}save", image, str(result), **options)
    if header.format == "tiff":
        tiff.keep_fields(job.original, result)


# --- the second pass: what was really written -------------------------------------------------------------------------


def read_back(job: Job, written: Written, record: Provenance, result: Path) -> tuple[dict[str, Path], str | None]:
    """Decode the result once more; verify it, and make preview, thumbnail and zoom from what is read.

    Returns:
        The files, and what to say where the photo took no color.

    Raises:
        NotVerified: it is not what it should be.
    """
    expected = written.header
    header = formats.read_header(result, job.pixel_limit_mp)
    verify_header(header, expected, written.profile, result)
    verify_mark(record, formats.load(result, header.format))
    shrinking, checksum, under = Shrinking(header), 0, []
    files = {"preview": job.folder / "preview.jpg", "thumb": job.folder / "thumb.jpg"}
    zoom = None
    if max(header.width, header.height) > PREVIEW_SIDE:
        files["zoom"] = job.folder / "zoom.szi"
        save = partial(save_zoom, header=header, path=files["zoom"])
        zoom = Stream((header.height, header.width, header.bands), header.bits, save)
    try:
        for top, strip in strips(result, header, shrinking.factor):
            checksum = zlib.crc32(strip.data, checksum)
            if written.mark:
                under.append(written.mark.drawn.cut(strip, top).copy())
            shrinking.add(strip)
            if zoom:
                zoom.write(strip)
    finally:
        if zoom:
            zoom.close()
    small = shrinking.small()
    if not header.lossy and checksum != written.checksum:
        raise NotVerified("The pixels that were read back are not those that were written.", code="pixels_differ")
    full = 255 if header.bits == 8 else 65535
    drift = np.abs(small - written.small) * 255 / full
    if drift.mean() > LOSSY_DRIFT or drift.max() > LOSSY_DRIFT_WORST:
        raise NotVerified("The result does not look like what was rendered.", code="pixels_differ")
    if written.mark and not is_there(np.concatenate(under), written.mark.bare, written.mark.marked):
        raise NotVerified("The watermark cannot be seen in the result.", code="watermark_differs")
    scale = 1 / (shrinking.factor * shrinking.cell)
    box = written.mark.drawn.box_in(scale, scale) if written.mark else (0, 0, 0, 0)
    shown = apart_from(box, small) * (255 / full)
    colorless = None
    if job.color is not None and job.facts["kind"] != "color" and chroma_of(shown) < COLORLESS:
        colorless = why_colorless(job, job.color)
    preview = looked_at(shrinking.image(), header, written.profile, PREVIEW_SIDE)
    xmp = record.to_xmp()
    save_jpeg(preview, files["preview"], xmp)
    save_jpeg(preview.resize(min(1, THUMB_SIDE / max(preview.width, preview.height))), files["thumb"], xmp)
    return files, colorless


def verify_header(header: Header, expected: Header, profile: bytes | None, result: Path) -> None:
    """Compare what the result's header says with what it should say.

    Raises:
        NotVerified: names the first thing that differs.
    """
    for name in ("format", "width", "height", "bits", "bands", "orientation", "profile"):
        wanted = profile if name == "profile" else getattr(expected, name)
        if getattr(header, name) != wanted:
            raise NotVerified(f"The result's {name} is not the original's.", code=f"{name}_differs")


def said_by(path: Path) -> dict[str, str]:
    """What a picture says of how it was made; empty where it is no result."""
    try:
        with path.open("rb") as file:
            kind = formats.sniff(file.read(64))
        image = formats.load(path, kind)
        return provenance.read(image.get("xmp-data")) if image.get_typeof("xmp-data") else {}
    except (OSError, InvalidPhoto, pyvips.Error):
        return {}


def verify_mark(record: Provenance, image: pyvips.Image) -> None:
    """Look for our mark in the result.

    Raises:
        NotVerified: it is not there, or says something else.
    """
    said = provenance.read(image.get("xmp-data")) if image.get_typeof("xmp-data") else {}
    if said.get("OriginalSHA256") != record.original or said.get(provenance.SOURCE_TYPE) != record.source_type:
        raise NotVerified("The result does not say what made it.", code="unmarked")


def chroma_of(pixels: NDArray[Any]) -> float:
    """The chroma that one pixel in a hundred exceeds, in the unit of the pixels (h, w, 3)."""
    if pixels.ndim == 2:
        return 0.0
    luma = pixels @ np.array(LUMA)
    return float(np.percentile(np.hypot((pixels[..., 2] - luma) / CB_SCALE, (pixels[..., 0] - luma) / CR_SCALE), 99))


def apart_from(box: tuple[int, int, int, int], small: NDArray[Any]) -> NDArray[Any]:
    """The pixels of a small picture in one row, without those of a box: left, top, right and bottom."""
    left, top, right, bottom = box
    kept = np.ones(small.shape[:2], bool)
    kept[top:bottom, left:right] = False
    row: NDArray[Any] = small[kept][None]
    return row


def why_colorless(job: Job, color: ColorLayer) -> str:
    """Say why a result shows no color: because the photo, nearly all black or white, has no room for any.

    Raises:
        NotVerified: there is room; so the network decided for gray, or its decision got lost.
    """
    decided = 255 * float(np.percentile(np.hypot(*color.chroma.astype(np.float32)), 99))
    is_gray = decided < COLORLESS
    fair = FAIR if is_gray else min(decided, FAIR)
    if room_for(fair, job) < fair / 2:  # wherever there is a picture and not a drawing, nearly every pixel has room
        return "The photo is black and white with hardly any gray between: there is no room for color in it."
    if is_gray:
        raise NotVerified("The network gave this photo no color.", code="colorless")
    raise NotVerified("The result came out without color.", code="colorless")


def room_for(chroma: float, job: Job) -> float:
    """The chroma that one place in a hundred of a photo could show, on the average of its pixels, if all were to.

    At luma Y' no hue can have more than min(Y', 1 - Y') / 1.8556 without losing some of it.
    """
    header = formats.read_header(job.original, job.pixel_limit_mp)
    full = 255 if header.bits == 8 else 65535
    codes = np.arange(full + 1, dtype=np.float32) * (255 / full)
    room = np.minimum(np.minimum(codes, 255 - codes) / CB_SCALE, chroma)
    table = (room * (full / 255)).astype(np.uint8 if header.bits == 8 else np.uint16)
    shrinking = Shrinking(header)
    for _, strip in strips(job.original, header, shrinking.factor):
        shrinking.add(table[strip if strip.ndim == 2 else strip[..., 1]])  # green is nearly luma
    return float(np.percentile(shrinking.small() * (255 / full), 99))


# --- small pictures ---------------------------------------------------------------------------------------------------


class Shrinking:
    """Gathers strips into a picture that is a whole number of times smaller, at least as large as the preview."""

    def __init__(self, header: Header) -> None:
        longest = max(header.width, header.height)
        self.factor = max(1, longest // PREVIEW_SIDE)
        self.cell = max(CELL, ceil(ceil(longest / self.factor) / 64))
        self._rows: list[NDArray[Any]] = []

    def add(self, strip: NDArray[Any]) -> None:
        """Add the next rows: a multiple of `factor`, or the last ones."""
        image = pyvips.Image.new_from_array(strip)
        shrunk = image.shrink(self.factor, self.factor, ceil=True) if self.factor > 1 else image
        self._rows.append(shrunk.numpy().copy())

    def image(self) -> pyvips.Image:
        """The picture so far."""
        return pyvips.Image.new_from_array(np.concatenate(self._rows))

    def small(self) -> NDArray[np.float64]:
        """The means of cells of at least 16 pixels, at most 64 along the picture: float (h, w) or (h, w, 3)."""
        image = self.image().cast("float")
        return np.asarray(image.shrink(self.cell, self.cell, ceil=True).numpy(), np.float64)


def save_jpeg(image: pyvips.Image, path: Path, xmp: bytes | None = None) -> None:
    """Write an 8-bit sRGB picture for looking at."""
    image = image.copy()
    if xmp is not None:
        image.set_type(pyvips.GValue.blob_type, "xmp-data", xmp)
    image.jpegsave(str(path), Q=88, keep="xmp" if xmp is not None else "none")


def save_zoom(image: pyvips.Image, *, header: Header, path: Path) -> None:
    """Write a DeepZoom pyramid of JPEG tiles in sRGB, upright, in an uncompressed zip."""
    image = profiles.to_srgb(image, header.profile)
    if header.orientation != 1:
        turned = path.with_suffix(".v")  # rows become columns: that needs all of it, on disk rather than in memory
        image.write_to_file(str(turned))
        image = upright(pyvips.Image.new_from_file(str(turned)), header.orientation)
    image.dzsave(str(path), layout="dz", container="szi", suffix=".jpg[Q=85]", tile_size=254, overlap=1, keep="none")
    if header.orientation != 1:
        turned.unlink()

"""The stage render for films: applies layers to every frame, and believes the result only after reading it back.

Frames are decoded, rendered and encoded one by one, in reels; the reels are bound together with the original's sound.
What was written is then decoded again and compared, frame by frame, with what was rendered.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint.errors import InvalidPhoto
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.rendering import Rendering, luma_drift
from retint_models.layers.types import CB_SCALE, LUMA, ColorLayer, DensityLayer
from retint_workers.films import encoder
from retint_workers.films.decide import density_at, density_starts
from retint_workers.films.decoder import Film, Look, Reader
from retint_workers.films.encoder import Binding, Inks, Reel
from retint_workers.films.ingest import TOLD, Progress, bytes_of, outcome, silent, timed
from retint_workers.imaging import provenance
from retint_workers.imaging.provenance import Provenance
from retint_workers.imaging.render import (
    COLORLESS,
    FAIR,
    LOSSY_DRIFT,
    LOSSY_DRIFT_WORST,
    LUMA_BOUND,
    THUMB_SIDE,
    Mark,
    NotVerified,
    Rendered,
    apart_from,
    chroma_of,
    save_jpeg,
)
from retint_workers.imaging.watermark import Watermark, is_there
from retint_workers.sandbox import iterate_in_child

T = TypeVar("T")

PICTURE_REEL = 240
"""Frames that are rendered anew, at most, after an interruption."""
QUALITY, LOOK_QUALITY = 17, 21
"""CRF of H.264 for results, and for what pages show."""
PREVIEW_SIDE = 1280
GLANCE = (16, 12)
"""Size at which what was read back is compared with what was rendered."""


@dataclass(frozen=True)
class Job:
    """All that rendering one film needs."""

    original: Path
    folder: Path
    facts: Mapping[str, Any]
    recipe: Recipe
    color: Path | None
    density: Path | None

    def provenance(self) -> Provenance:
        """What the result is to say of itself."""
        records = {}
        if self.color is not None:
            records["color"] = encoder.color_record(self.color)
        if self.density is not None:
            starts = density_starts(self.density)
            records["density"] = density_at(self.density, min(starts)).record | {"scenes": len(starts)}
        return Provenance(self.facts["sha256"], self.recipe, records)


def render(
    original: Path,
    folder: Path,
    facts: Mapping[str, Any],
    recipe: Recipe,
    color: Path | None,
    density: Path | None,
    settings: Settings,
    tell: Progress = silent,
    *,
    looks: bool = True,
) -> Rendered:
    """Apply layers to a film; write, read back and check the result, all in child processes.

    Args:
        original: the file as deposited.
        folder: where the work goes.
        facts: what ingest found out.
        recipe: what was asked for; recorded.
        color: what `colorize` wrote.
        density: what `defade` wrote.
        settings: limits.
        tell: called every few frames.
        looks: also make `preview`, `before` and `thumb`, for pages.

    Raises:
        NotVerified: the result is not what it should be.
        OutOfMemory, WorkerLost: the child did not come to an end.
        InvalidPhoto: the original is not what ingest saw.
    """
    job = Job(original, folder, facts, recipe, color, density)
    started = time.monotonic()
    done = len(encoder.complete(folder, "picture")) * PICTURE_REEL

    def run(work: Callable[..., Iterator[Any]], phase: str, kind: type[T], *more: Any) -> T:
        steps = iterate_in_child(work, settings, lambda: tell(phase, done), job, *more)
        try:
            return outcome(steps, lambda frames: tell(phase, frames), kind)
        except NotVerified:
            encoder.discard(folder, "picture")  # they may be why: another try begins afresh
            raise

    notes = run(_expose, "Rendering", list)
    rendered = time.monotonic()
    checked = run(_check, "Checking", dict)
    files = {"result": folder / checked.pop("name"), "provenance": folder / "provenance.json"}
    files["provenance"].write_bytes(job.provenance().to_json())
    if looks:
        files["preview"] = run(_preview, "Making the preview", Path, files["result"], folder / "preview.mp4")
        files["before"] = run(_preview, "Making the preview", Path, original, folder / "before.mp4")
        files["thumb"] = folder / "thumb.jpg"
    figures = encoder.color_record(color)["smoothing"] if color else {}
    result = {"film": True, "notes": notes, "frames": facts["frames"]} | figures | checked | bytes_of(files["result"])
    return Rendered(files, result, {"render": rendered - started, "verify": time.monotonic() - rendered})


def _expose(job: Job) -> Iterator[int | list[str]]:
    """Render all frames that are not rendered yet, and bind them; tell what could not be kept."""
    if bytes_of(job.original)["sha256"] != job.facts["sha256"]:
        raise NotVerified("The original is not the file that was deposited.", code="original_changed")
    number = min(
        len(encoder.complete(job.folder, "picture")) * PICTURE_REEL, job.facts["frames"]
    )  # the last is shorter
    with Film(job.original) as film:
        frames = film.frames()
        layers = encoder.color_layers(job.color) if job.color else iter(lambda: None, 0)
        pairs = islice(zip(frames, layers, strict=False), number, None)
        exposure = None
        while some := next(pairs, None):
            exposure = exposure or Exposure(job, film, Look.of(some[0], film.stream), number)
            with Reel(job.folder / f"picture-{number:08}.nut", exposure.coding) as reel:
                glances: list[NDArray[np.uint8]] = []
                under: dict[str, Any] = {}
                drift = 0.0
                while some:
                    frame, moved = exposure.expose(*some, number)
                    reel.write(frame)
                    if exposure.mark and not glances:  # the first of every reel is looked at again
                        under = {"bare": exposure.mark.bare, "marked": exposure.mark.marked}
                    glances.append(exposure.glance(frame))
                    drift, number = max(drift, moved), number + 1
                    if number % TOLD == 0:
                        yield number
                    some = next(pairs, None) if number % PICTURE_REEL else None
                encoder.keep(
                    reel.path.with_suffix(".npz"), {"glances": np.array(glances), "drift": np.array(drift)} | under
                )
            if drift > LUMA_BOUND:
                raise NotVerified(f"Color alone changed luma by {drift * 255:.2f} of 255.", code="luma_changed")
    if number != job.facts["frames"]:
        raise NotVerified("The film gave other frames than the first time.", code="frames_differ")
    yield _bind(job)


def _bind(job: Job) -> list[str]:
    """Put the reels together with the original's sound; tell what could not be kept."""
    with Film(job.original) as film:
        look = Look.of(next(film.frames()), film.stream)
    with Film(job.original) as film:
        kind = encoder.container_for(film)
        record = job.provenance()
        comment = " ".join(filter(None, [record.statement, f"Made by {record.to_dict()['software']}."]))
        binding = Binding(kind, look.turn, job.facts["last_duration"], comment, record.to_xmp())
        return encoder.bind(
            film, encoder.complete(job.folder, "picture"), job.folder / f"result{encoder.SUFFIXES[kind]}", binding
        )


class Exposure:
    """Renders frames of one film."""

    def __init__(self, job: Job, film: Film, look: Look, first: int) -> None:
        self.coding = encoder.h264(film, look, quality=QUALITY, preset="fast")
        self._look = look
        self._reader = Reader(look)
        self._inks = Inks(look, self.coding.pixels, film.time_base)
        self._starts = density_starts(job.density)
        self._density_path = job.density
        self._density = (
            self._density_of(max(start for start in self._starts if start <= first)) if self._starts else None
        )
        self._is_marked = job.recipe.watermark
        self.mark: Mark | None = None
        """The watermark of the last frame, where one is wanted."""

    def expose(self, frame: Any, color: ColorLayer | None, number: int) -> tuple[Any, float]:
        """Give a frame as it is to be encoded, and how far color alone moved its luma, as a fraction of full scale."""
        is_new = number in self._starts
        if is_new:
            self._density = self._density_of(number)
        pixels = self._reader.pixels(frame)
        size = pixels.shape[:2]
        shown = Rendering(color, self._density, orientation=self._look.orientation).apply(pixels, 0, size)
        drift = 0.0
        if color is not None and self._density is None:
            drift = luma_drift(pixels, shown)
        elif color is not None and is_new:  # once a scene is enough where it costs a second rendering
            plain = Rendering(color, None, orientation=self._look.orientation)
            drift = luma_drift(pixels, plain.apply(pixels, 0, size))
        if self._is_marked:
            drawn = self.mark.drawn if self.mark else _watermark(shown, self._look)
            bare = drawn.cut(shown, 0).copy()
            drawn.put(shown, 0)
            self.mark = Mark(drawn, bare, drawn.cut(shown, 0).copy())
        return self._inks.frame(shown, frame.pts, frame.duration), drift

    def _density_of(self, start: int) -> DensityLayer | None:
        return density_at(self._density_path, start) if self._density_path else None

    def glance(self, frame: Any) -> NDArray[np.uint8]:
        """The frame at a glance: uint8 (12, 16, 3)."""
        return self._reader.glance(frame, *GLANCE)


# --- reading back -----------------------------------------------------------------------------------------------------


def _check(job: Job) -> Iterator[int | dict[str, Any]]:
    """Decode the result and compare it with what it should be; also make the thumbnail."""
    (result,) = (path for path in job.folder.glob("result.*") if path.suffix in encoder.SUFFIXES.values())
    drifts = [float(np.load(reel.with_suffix(".npz"))["drift"]) for reel in encoder.complete(job.folder, "picture")]
    expected = _glances(job)
    record = job.provenance()
    timing = frames = 0
    chroma, box = 0.0, (0, 0, 0, 0)
    with Film(result) as film, Film(job.original) as original:
        _verify_mark(record, encoder.xmp_of(result, film.container))
        ticks = film.time_base / original.time_base
        for frame in film.frames():
            if frames == 0:
                look = Look.of(frame, film.stream)
                reader = Reader(look)
            seen, meant = reader.glance(frame, *GLANCE).astype(np.float64), next(expected, None)
            if meant is None:
                raise NotVerified("The result has more frames than the original.", code="frames_differ")
            drift = np.abs(seen - meant)
            if drift.mean() > LOSSY_DRIFT or drift.max() > LOSSY_DRIFT_WORST:
                raise NotVerified("The result does not look like what was rendered.", code="pixels_differ")
            if job.recipe.watermark and frames % PICTURE_REEL == 0:
                pixels = reader.pixels(frame)
                drawn = _watermark(pixels, look)
                box = drawn.box_in(GLANCE[0] / pixels.shape[1], GLANCE[1] / pixels.shape[0])
                with np.load(job.folder / f"picture-{frames:08}.npz") as kept:
                    if not is_there(drawn.cut(pixels, 0), kept["bare"], kept["marked"]):
                        raise NotVerified("The watermark cannot be seen in the result.", code="watermark_differs")
            chroma = max(chroma, chroma_of(apart_from(box, seen)))
            timing = timed(timing, round((frame.pts or 0) * ticks))
            if frames == job.facts["poster"]:
                thumb = pyvips.Image.new_from_array(reader.proxy(frame, THUMB_SIDE))
                save_jpeg(thumb, job.folder / "thumb.jpg", record.to_xmp())
            frames += 1
            if frames % TOLD == 0:
                yield frames
    if frames != job.facts["frames"] or timing != job.facts["timing"]:
        raise NotVerified("The result's frames are not at the original's times.", code="frames_differ")
    if look.upright != (job.facts["width"], job.facts["height"]):
        raise NotVerified("The result's frames have not the original's size.", code="size_differs")
    colorless = None
    if job.color is not None and job.facts["kind"] != "color" and chroma < COLORLESS:
        colorless = _why_colorless(job)
    yield {
        "name": result.name,
        "format": film.kind,
        "luma_drift": max(drifts) if job.color is not None else None,
        "colorless": colorless,
    }


def _why_colorless(job: Job) -> str:
    """Say why a result shows no color: because the film, all black or white, has no room for any.

    Raises:
        NotVerified: there is room; so the network decided for gray, or its decision got lost.
    """
    lumas = (glance @ np.array(LUMA) for glance in _glances(job))
    room = max(float(np.percentile(np.minimum(luma, 255 - luma), 99)) / CB_SCALE for luma in lumas)
    if room < FAIR / 2:
        return "The film is black and white with hardly any gray between: there is no room for color in it."
    raise NotVerified("The result came out without color.", code="colorless")


def _watermark(pixels: NDArray[Any], look: Look) -> Watermark:
    """The watermark as it is to lie on a frame's pixels, (h, w, 3), or lies there."""
    return Watermark.of((pixels.shape[0], pixels.shape[1], 3), look.orientation, None)


def _glances(job: Job) -> Iterator[NDArray[np.uint8]]:
    for reel in encoder.complete(job.folder, "picture"):
        yield from np.load(reel.with_suffix(".npz"))["glances"]


def suffix_for(original: Path) -> str:
    """The suffix that a film's result will have.

    Raises:
        InvalidPhoto: it is no film that can be read.
    """
    with Film(original) as film:
        return encoder.SUFFIXES[encoder.container_for(film)]


def said_by(path: Path) -> dict[str, str]:
    """What a film says of how it was made; empty where it is no result."""
    try:
        with Film(path) as film:
            return provenance.read(encoder.xmp_of(path, film.container))
    except (OSError, InvalidPhoto):
        return {}


def _verify_mark(record: Provenance, xmp: bytes) -> None:
    said = provenance.read(xmp) if xmp else {}
    if said.get("OriginalSHA256") != record.original or said.get(provenance.SOURCE_TYPE) != record.source_type:
        raise NotVerified("The result does not say what made it.", code="unmarked")


def _preview(job: Job, path: Path, output: Path) -> Iterator[int | Path]:
    """Make a film that any browser plays: at most 1280 pixels, 8 bits, 4:2:0; the sound is the original's."""
    reel_path = output.with_suffix(".nut")
    with Film(path) as film:
        frames = film.frames()
        first = next(frames)
        meant = Look.of(first, film.stream)
        look, reader = meant.for_browsers(PREVIEW_SIDE), Reader(meant)
        with Reel(reel_path, encoder.h264(film, look, quality=LOOK_QUALITY, preset="veryfast")) as reel:
            for number, frame in enumerate(chain([first], frames), 1):
                reel.write(reader.resized(frame, look))
                if number % TOLD == 0:
                    yield number
    with Film(path) as film:
        binding = Binding("mp4", look.turn, job.facts["last_duration"], for_browsers=True)
        encoder.bind(film, [reel_path], output, binding)
    yield output

"""Applies layers to a film's frames and encodes them, segment by segment.

Beside each segment lie arrays for the check of the result: `glances` (thumbnails of the frames as rendered), `times`
(of the frames), `checksums` (of their pixels, where the result is lossless), `drift` (how far color alone moved luma),
and `bare` and `marked` (the first frame's pixels below the watermark, without it and with it).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint.recipes import Recipe
from retint_models.layers.rendering import Rendering, luma_drift
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.films import color_film, density_zip, encoder, segments
from retint_workers.films.codecs import choose_result
from retint_workers.films.decoder import Film
from retint_workers.films.frame_format import FrameFormat
from retint_workers.films.frames import FrameBuilder, FrameConverter, checksum_planes
from retint_workers.films.ingest import PROGRESS_FRAMES, checksum_and_size
from retint_workers.films.segments import SegmentWriter
from retint_workers.imaging.provenance import Provenance
from retint_workers.imaging.verify import MarkedPixels, NotVerified, verify_luma_drift
from retint_workers.imaging.watermark import Watermark

SEGMENT_FRAMES = 240
"""Frames of a segment: the most that are rendered again after an interruption."""
SEGMENT_NAME = "picture"
BT_709 = 1
THUMBNAIL_SIZE = (16, 12)
"""Width and height at which the decoded result is compared with what was rendered."""


@dataclass(frozen=True)
class RenderRequest:
    """All that rendering one film needs."""

    original: Path
    folder: Path
    facts: Mapping[str, Any]
    recipe: Recipe
    color: Path | None
    density: Path | None

    def provenance(self) -> Provenance:
        """Return what the result is to say of its making."""
        records = {}
        if self.color is not None:
            records["color"] = color_film.read_record(self.color)
        if self.density is not None:
            starts = density_zip.read_starts(self.density)
            records["density"] = density_zip.read_layer(self.density, min(starts)).record | {"scenes": len(starts)}
        return Provenance(self.facts["sha256"], self.recipe, records)


def count_rendered(request: RenderRequest) -> int:
    """Return how many frames are rendered already."""
    done = len(segments.list_complete(request.folder, SEGMENT_NAME)) * SEGMENT_FRAMES
    return min(done, int(request.facts["frames"]))  # the last segment may be shorter


def read_format(request: RenderRequest, frame: Any, film: Film) -> FrameFormat:
    """Return the format of a film's frames by its first frame, and by what ingest saw of all.

    A gray film that names no matrix gets BT.709's: with it, constant luma is a luma plane that stays as it is.
    """
    frame_format = FrameFormat.read(frame, film.stream)
    is_free = request.facts["kind"] == "neutral" and not frame_format.is_matrix_said
    return replace(
        frame_format,
        matrix=BT_709 if is_free else frame_format.matrix,
        field_order=request.facts.get("field_order") or frame_format.field_order,
    )


def read_numbers(request: RenderRequest, name: str) -> Iterator[int]:
    """Read the `times` of all rendered frames, in the original's time base, or their `checksums`, if there are any."""
    for segment in segments.list_complete(request.folder, SEGMENT_NAME):
        yield from map(int, np.load(segments.arrays_path(segment))[name])


def read_thumbnails(request: RenderRequest) -> Iterator[NDArray[np.uint8]]:
    """Read the thumbnails of all rendered frames, uint8 (12, 16, 3)."""
    for segment in segments.list_complete(request.folder, SEGMENT_NAME):
        yield from np.load(segments.arrays_path(segment))["glances"]


def fit_watermark(pixels: NDArray[Any], frame_format: FrameFormat) -> Watermark:
    """Return the watermark for a frame's pixels, (h, w, 3)."""
    return Watermark.fit((0, 0, pixels.shape[1], pixels.shape[0]), 3, frame_format.orientation)


def render_frames(request: RenderRequest) -> Iterator[int]:
    """Render and encode all frames that are not rendered yet; yield the number of finished frames now and then.

    Raises:
        NotVerified: color alone moved luma, or the original is not what ingest saw.
    """
    if checksum_and_size(request.original)["sha256"] != request.facts["sha256"]:
        raise NotVerified("The original is not the file that was deposited.", code="original_changed")
    done = count_rendered(request)
    with Film(request.original) as film:
        colors = color_film.read_layers(request.color) if request.color else repeat(None)
        inputs = enumerate(islice(zip(film.frames(), colors, strict=False), done, None), done)
        renderer = None
        for number, (frame, color) in inputs:
            renderer = renderer or FrameRenderer(request, film, read_format(request, frame, film), number)
            segment = chain([(number, (frame, color))], islice(inputs, SEGMENT_FRAMES - 1))
            for done in renderer.write_segment(segment, number):
                if done % PROGRESS_FRAMES == 0:
                    yield done
    if done != request.facts["frames"]:
        raise NotVerified("The film gave other frames than the first time.", code="frames_differ")


class FrameRenderer:
    """Renders the frames of one film."""

    def __init__(self, request: RenderRequest, film: Film, frame_format: FrameFormat, first: int) -> None:
        self._request = request
        self._format = frame_format
        self._result = choose_result(film, frame_format)
        self._encoder = encoder.for_result(film, self._result)
        is_deep = frame_format.bits > 8 or (self._result.is_master and not frame_format.is_rgb)
        self._converter = FrameConverter(frame_format, is_deep=is_deep)
        self._builder = FrameBuilder(self._converter, self._result.frames, keep_beyond=self._result.is_master)
        self._can_keep = not request.recipe.watermark and frame_format.is_rgb == self._result.frames.is_rgb
        self._thumbnails = FrameConverter(self._result.frames)
        self._scene_starts = density_zip.read_starts(request.density)
        started = [start for start in self._scene_starts if start <= first]
        self._density = self._read_density(max(started)) if started else None
        self._marked: MarkedPixels | None = None
        """The watermark of the last frame, where one is wanted."""

    def _read_density(self, start: int) -> DensityLayer | None:
        return density_zip.read_layer(self._request.density, start) if self._request.density else None

    def write_segment(self, inputs: Iterable[tuple[int, tuple[Any, ColorLayer | None]]], first: int) -> Iterator[int]:
        """Render and encode one segment; yield after each frame how many frames of the film are done.

        Raises:
            NotVerified: color alone moved luma.
        """
        thumbnails: list[NDArray[np.uint8]] = []
        times: list[int] = []
        checksums: list[int] = []
        marks: dict[str, Any] = {}
        drift = 0.0
        path = segments.segment_path(self._request.folder, SEGMENT_NAME, first)
        with SegmentWriter(path, self._encoder) as writer:
            for number, (frame, color) in inputs:
                rendered, frame_drift = self._render(frame, color, number)
                writer.write(rendered)
                if self._marked and not thumbnails:  # the check looks at the first frame of each segment
                    marks = {"bare": self._marked.bare, "marked": self._marked.marked}
                thumbnails.append(self._thumbnails.to_thumbnail(rendered, *THUMBNAIL_SIZE))
                times.append(frame.pts)
                if self._result.is_lossless:
                    checksums.append(checksum_planes(rendered))
                drift = max(drift, frame_drift)
                yield number + 1
            numbers = {"times": np.array(times, np.int64), "checksums": np.array(checksums, np.int64)}
            arrays = {"glances": np.array(thumbnails), "drift": np.array(drift)} | numbers | marks
            segments.save_arrays(segments.arrays_path(path), arrays)
        verify_luma_drift(drift)

    def _render(self, frame: Any, color: ColorLayer | None, number: int) -> tuple[Any, float]:
        """Return the frame to encode, and how far color alone moved its luma, as a fraction of full scale."""
        is_new_scene = number in self._scene_starts
        if is_new_scene:
            self._density = self._read_density(number)
        if self._can_keep and color is None and self._density is None:
            return self._builder.keep(frame), 0.0
        pixels = self._converter.to_rgb(frame)
        size, orientation = pixels.shape[:2], self._format.orientation
        layers = Rendering(color, self._density, orientation=orientation)
        rendered = layers.apply(pixels, 0, size)
        drift = 0.0
        if color is not None and self._density is None:
            drift = luma_drift(pixels, rendered)
        elif color is not None and is_new_scene:  # once per scene, because it costs two more renderings
            drift = layers.measure_color_drift(pixels, 0, size)
        if self._request.recipe.watermark:
            self._draw_watermark(rendered)
        return self._builder.build(rendered, frame), drift

    def _draw_watermark(self, pixels: NDArray[Any]) -> None:
        """Draw the watermark into pixels, and remember those below it."""
        watermark = self._marked.watermark if self._marked else fit_watermark(pixels, self._format)
        bare = watermark.pixels_under(pixels, 0).copy()
        watermark.draw_on(pixels, 0)
        self._marked = MarkedPixels(watermark, bare, watermark.pixels_under(pixels, 0).copy())

"""Verification of a film's result: it is decoded again and compared, frame by frame, with what was rendered."""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyvips

from retint.filetypes import FILM_SUFFIXES
from retint_models.layers.color import CB_SCALE, LUMA
from retint_workers.films import color_film, muxing, segments
from retint_workers.films.codecs import ResultFormat, choose_container, choose_result
from retint_workers.films.decoder import Film
from retint_workers.films.fields import read_field_order
from retint_workers.films.frame_format import FrameFormat
from retint_workers.films.frame_renderer import (
    SEGMENT_FRAMES,
    SEGMENT_NAME,
    THUMBNAIL_SIZE,
    RenderRequest,
    fit_watermark,
    read_format,
    read_numbers,
    read_thumbnails,
)
from retint_workers.films.frames import FrameConverter, checksum_planes
from retint_workers.films.ingest import PROGRESS_FRAMES, add_to_timing, checksum_and_size
from retint_workers.imaging import provenance
from retint_workers.imaging.previews import THUMB_SIDE, save_jpeg
from retint_workers.imaging.provenance import Provenance
from retint_workers.imaging.verify import (
    COLORLESS_CHROMA,
    MODEST_CHROMA,
    NotVerified,
    measure_chroma,
    select_outside,
    verify_likeness,
    verify_record,
    verify_watermark,
)


def verify(request: RenderRequest) -> Iterator[int | dict[str, Any]]:
    """Decode the result and compare it with what was rendered; also write the thumbnail.

    Yields:
        The number of verified frames now and then; last the facts `name`, `format`, `luma_drift`,
        `colorless`, `sha256` and `size`.

    Raises:
        NotVerified: the result is not what it should be.
    """
    record = request.provenance()
    with Film(request.original) as original:
        container = choose_container(original)
        first = next(original.frames())
        expected = choose_result(original, read_format(request, first, original))
        orders = {read_field_order(first), expected.frames.field_order}  # some codecs keep progressive frames apart
        time_base = original.time_base
    result = request.folder / f"result{FILM_SUFFIXES[container]}"
    with Film(result) as film:
        verify_record(provenance.read_xmp(muxing.read_xmp(result, film.container)), record)
        check = ResultCheck(request, record, film, Wanted(expected, orders, time_base))
        for frame in film.frames():
            check.add(frame)
            if check.frames % PROGRESS_FRAMES == 0:
                yield check.frames
        check.finish()
        yield {
            "name": result.name,
            "format": film.container_format,
            "luma_drift": _read_luma_drift(request),
            "colorless": check.explain_missing_color(),
        } | checksum_and_size(result)


def _read_luma_drift(request: RenderRequest) -> float | None:
    """Return how far color alone moved luma at most, as a fraction of full scale; None without color."""
    if request.color is None:
        return None
    complete = segments.list_complete(request.folder, SEGMENT_NAME)
    return max(float(np.load(segments.arrays_path(segment))["drift"]) for segment in complete)


@dataclass(frozen=True)
class Wanted:
    """What a result should be.

    Attributes:
        result: how it was coded.
        field_orders: that its first frame may have.
        time_base: of the original.
    """

    result: ResultFormat
    field_orders: Set[str | None]
    time_base: Fraction


class ResultCheck:
    """Compares the frames of a result with the thumbnails of what was rendered."""

    def __init__(self, request: RenderRequest, record: Provenance, film: Film, wanted: Wanted) -> None:
        self.frames = 0
        self._request, self._record, self._film, self._wanted = request, record, film, wanted
        self._expected = read_thumbnails(request)
        self._checksums, self._times = read_numbers(request, "checksums"), read_numbers(request, "times")
        self._timing = 0
        self._chroma = 0.0
        self._watermark_box = (0, 0, 0, 0)
        self._format: FrameFormat | None = None

    def add(self, frame: Any) -> None:
        """Check the next frame.

        Raises:
            NotVerified: it does not look as rendered.
        """
        if self._format is None:
            self._format = FrameFormat.read(frame, self._film.stream)
            self._converter = FrameConverter(self._format)
            self._verify_format(self._format)
        decoded = self._converter.to_thumbnail(frame, *THUMBNAIL_SIZE).astype(np.float64)
        expected = next(self._expected, None)
        if expected is None:
            raise NotVerified("The result has more frames than the original.", code="frames_differ")
        verify_likeness(decoded, expected)
        if self._wanted.result.is_lossless and checksum_planes(frame) != next(self._checksums, None):
            raise NotVerified("The pixels that were read back are not those that were written.", code="pixels_differ")
        if self._request.recipe.watermark and self.frames % SEGMENT_FRAMES == 0:
            self._verify_watermark(frame, self._format)
        is_outside = select_outside(self._watermark_box, decoded.shape)
        self._chroma = max(self._chroma, measure_chroma(decoded[is_outside][None]))
        self._verify_time(frame.pts or 0, next(self._times, 0))
        if self.frames == self._request.facts["poster"]:
            thumb = pyvips.Image.new_from_array(self._converter.to_proxy(frame, THUMB_SIDE))
            save_jpeg(thumb, self._request.folder / "thumb.jpg", self._record.to_xmp())
        self.frames += 1

    def _verify_time(self, time: int, original: int) -> None:
        """Check a frame's time, which Matroska rounds to milliseconds."""
        if abs(time * self._film.time_base - original * self._wanted.time_base) > self._film.time_base / 2:
            raise NotVerified("The result's frames are not at the original's times.", code="frames_differ")
        self._timing = add_to_timing(self._timing, original)

    def _verify_format(self, found: FrameFormat) -> None:
        """Check what the result says of its pixels, and how a player is to show them."""
        expected = self._wanted.result.frames
        if found.orientation != expected.orientation:
            raise NotVerified("The result is not turned or mirrored as the original.", code="orientation_differs")
        if found.field_order not in self._wanted.field_orders:
            raise NotVerified("The result's fields are not the original's.", code="fields_differ")
        if found.bits < expected.bits or found.sampling != expected.sampling:
            raise NotVerified("The result's frames are not as deep as those that were written.", code="depth_differs")

    def _verify_watermark(self, frame: Any, frame_format: FrameFormat) -> None:
        segment = segments.segment_path(self._request.folder, SEGMENT_NAME, self.frames)
        width, height = THUMBNAIL_SIZE
        with np.load(segments.arrays_path(segment)) as arrays:
            pixels = FrameConverter(frame_format, is_deep=arrays["bare"].dtype == np.uint16).to_rgb(frame)
            watermark = fit_watermark(pixels, frame_format)
            self._watermark_box = watermark.scale_box(width / pixels.shape[1], height / pixels.shape[0])
            verify_watermark(watermark.pixels_under(pixels, 0), arrays["bare"], arrays["marked"])

    def finish(self) -> None:
        """Check what only the whole film shows: number, times and size of the frames.

        Raises:
            NotVerified: they differ from the original's.
        """
        facts = self._request.facts
        if self._format is None or self.frames != facts["frames"] or self._timing != facts["timing"]:
            raise NotVerified("The result's frames are not at the original's times.", code="frames_differ")
        if self._format.upright_size != (facts["width"], facts["height"]):
            raise NotVerified("The result's frames differ in size from the original's.", code="size_differs")

    def explain_missing_color(self) -> str | None:
        """Return why a result that was colorized shows no color; None where it shows some, or none was wanted.

        Raises:
            NotVerified: the film has room for color, and the network decided for some. So its decision got lost.
        """
        request = self._request
        if request.color is None or request.facts["kind"] == "color" or self._chroma >= COLORLESS_CHROMA:
            return None
        lumas = (thumbnail @ np.array(LUMA) for thumbnail in read_thumbnails(request))
        room = max(float(np.percentile(np.minimum(luma, 255 - luma), 99)) / CB_SCALE for luma in lumas)
        if room < MODEST_CHROMA / 2:
            return "The film is black and white with hardly any gray between: there is no room for color in it."
        layers = color_film.read_layers(request.color)
        decided = max(float(np.percentile(np.hypot(*layer.chroma.astype(np.float32)), 99)) for layer in layers)
        if 255 * decided < COLORLESS_CHROMA:
            return "The network found no color to give this film: it stayed black and white."
        raise NotVerified("The result came out without color.", code="colorless")

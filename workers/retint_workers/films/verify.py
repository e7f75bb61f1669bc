"""Verification of a film's result: it is decoded again and compared, frame by frame, with what was rendered."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyvips

from retint.filetypes import FILM_SUFFIXES
from retint_models.layers.color import CB_SCALE, LUMA
from retint_workers.films import muxing, segments
from retint_workers.films.decoder import Film
from retint_workers.films.frame_renderer import (
    SEGMENT_FRAMES,
    SEGMENT_NAME,
    THUMBNAIL_SIZE,
    RenderRequest,
    fit_watermark,
    read_thumbnails,
)
from retint_workers.films.frames import FrameConverter, FrameFormat
from retint_workers.films.ingest import PROGRESS_FRAMES, add_to_timing, checksum_and_size
from retint_workers.imaging import provenance
from retint_workers.imaging.previews import THUMB_SIDE, save_jpeg
from retint_workers.imaging.provenance import Provenance
from retint_workers.imaging.verify import (
    COLORLESS_CHROMA,
    MODEST_CHROMA,
    NotVerified,
    measure_chroma,
    pixels_outside,
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
    (result,) = (path for path in request.folder.glob("result.*") if path.suffix in FILM_SUFFIXES.values())
    record = request.provenance()
    with Film(result) as film, Film(request.original) as original:
        verify_record(provenance.read_xmp(muxing.read_xmp(result, film.container)), record)
        check = ResultCheck(request, record, film, original)
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


class ResultCheck:
    """Compares the frames of a result with the thumbnails of what was rendered."""

    def __init__(self, request: RenderRequest, record: Provenance, film: Film, original: Film) -> None:
        self.frames = 0
        self._request, self._record, self._film = request, record, film
        self._expected = read_thumbnails(request)
        self._ticks = film.time_base / original.time_base
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
        decoded = self._converter.to_thumbnail(frame, *THUMBNAIL_SIZE).astype(np.float64)
        expected = next(self._expected, None)
        if expected is None:
            raise NotVerified("The result has more frames than the original.", code="frames_differ")
        verify_likeness(decoded, expected)
        if self._request.recipe.watermark and self.frames % SEGMENT_FRAMES == 0:
            self._verify_watermark(frame, self._format)
        self._chroma = max(self._chroma, measure_chroma(pixels_outside(self._watermark_box, decoded)))
        self._timing = add_to_timing(self._timing, round((frame.pts or 0) * self._ticks))
        if self.frames == self._request.facts["poster"]:
            thumb = pyvips.Image.new_from_array(self._converter.to_proxy(frame, THUMB_SIDE))
            save_jpeg(thumb, self._request.folder / "thumb.jpg", self._record.to_xmp())
        self.frames += 1

    def _verify_watermark(self, frame: Any, frame_format: FrameFormat) -> None:
        pixels = self._converter.to_rgb(frame)
        watermark = fit_watermark(pixels, frame_format)
        width, height = THUMBNAIL_SIZE
        self._watermark_box = watermark.scale_box(width / pixels.shape[1], height / pixels.shape[0])
        segment = segments.segment_path(self._request.folder, SEGMENT_NAME, self.frames)
        with np.load(segments.arrays_path(segment)) as arrays:
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
            NotVerified: the film has room for color; so the network decided for gray, or its decision got lost.
        """
        request = self._request
        if request.color is None or request.facts["kind"] == "color" or self._chroma >= COLORLESS_CHROMA:
            return None
        lumas = (thumbnail @ np.array(LUMA) for thumbnail in read_thumbnails(request))
        room = max(float(np.percentile(np.minimum(luma, 255 - luma), 99)) / CB_SCALE for luma in lumas)
        if room < MODEST_CHROMA / 2:
            return "The film is black and white with hardly any gray between: there is no room for color in it."
        raise NotVerified("The result came out without color.", code="colorless")

"""The stage render for films: applies layers to every frame, and trusts the result only after reading it back.

Frames are decoded, rendered and encoded one by one, in segments; the segments are muxed with the original's sound.
The result is then decoded again and compared with what was rendered.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from retint.errors import InvalidPhoto
from retint.filetypes import FILM_SUFFIXES
from retint.settings import Settings
from retint_workers.films import codecs, color_film, encoder, muxing, segments
from retint_workers.films.decoder import Film
from retint_workers.films.frame_format import FrameFormat
from retint_workers.films.frame_renderer import SEGMENT_NAME, RenderRequest, count_rendered, read_format, render_frames
from retint_workers.films.frames import FrameConverter
from retint_workers.films.ingest import (
    PROGRESS_FRAMES,
    ReportProgress,
    ignore_progress,
    report_and_go_on,
    run_to_result,
)
from retint_workers.films.muxing import MuxSettings
from retint_workers.films.segments import SegmentWriter
from retint_workers.films.verify import verify
from retint_workers.imaging import provenance
from retint_workers.imaging.render import Rendered
from retint_workers.imaging.verify import NotVerified
from retint_workers.sandbox.children import iterate_in_child

T = TypeVar("T")

PREVIEW_CRF = 21
PREVIEW_SIDE = 1280


def render(
    request: RenderRequest,
    settings: Settings,
    report_progress: ReportProgress = ignore_progress,
    *,
    with_previews: bool = True,
) -> Rendered:
    """Apply layers to a film; write, read back and verify the result, all in sandboxed child processes.

    Args:
        request: the film and what to do with it.
        settings: limits.
        report_progress: called every few frames.
        with_previews: also make `preview`, `before` and `thumb`, for pages.

    Raises:
        NotVerified: the result is not what it should be.
        OutOfMemory, WorkerLost: a child process did not finish.
        InvalidPhoto: the original is not what ingest saw.
    """
    started, done = time.monotonic(), count_rendered(request)

    def run(step: Callable[..., Iterator[Any]], phase: str, kind: type[T], *more: Any) -> T:
        beat = partial(report_and_go_on, report_progress, phase, done)
        steps = iterate_in_child(step, settings, beat, request, *more)
        try:
            return run_to_result(steps, lambda frames: report_progress(phase, frames), kind)
        except NotVerified:
            segments.delete_all(request.folder, SEGMENT_NAME)  # they may be the reason: the next attempt starts afresh
            raise

    notes = [*request.facts["notes"], *run(_render_and_mux, "Rendering", list)]
    rendered = time.monotonic()
    checked = run(verify, "Checking", dict)
    result = request.folder / Path(checked.pop("name")).name
    files = {"result": result, "provenance": request.folder / "provenance.json"}
    files["provenance"].write_bytes(request.provenance().to_json(notes))
    if with_previews:
        preview, before = request.folder / "preview.mp4", request.folder / "before.mp4"
        files["preview"] = run(_make_preview, "Making the preview", Path, files["result"], preview)
        files["before"] = run(_make_preview, "Making the preview", Path, request.original, before)
        files["thumb"] = request.folder / "thumb.jpg"
    figures = color_film.read_record(request.color)["smoothing"] if request.color else {}
    facts = {"film": True, "notes": notes, "frames": request.facts["frames"]}
    timings = {"render": rendered - started, "verify": time.monotonic() - rendered}
    return Rendered(files, facts | figures | checked, timings)


def _render_and_mux(request: RenderRequest) -> Iterator[int | list[str]]:
    """Render all frames and mux the result; yield progress, last the sentences about what could not be kept."""
    yield from render_frames(request)
    with Film(request.original) as film:
        result = codecs.choose_result(film, read_format(request, next(film.frames()), film))
    with Film(request.original) as film:
        record = request.provenance()
        comment = " ".join(filter(None, [record.statement, f"Made by {record.to_dict()['software']}."]))
        yield muxing.mux(
            film,
            segments.list_complete(request.folder, SEGMENT_NAME),
            request.folder / f"result{FILM_SUFFIXES[result.container]}",
            MuxSettings(
                result.container,
                result.frames,
                film.to_seconds(request.facts["last_duration"]),
                comment=comment,
                xmp=record.to_xmp(),
            ),
        )


def _make_preview(request: RenderRequest, path: Path, output: Path) -> Iterator[int | Path]:
    """Make a film that any browser plays: at most 1280 pixels, 8 bits, 4:2:0, with the original's sound."""
    segment = output.with_suffix(segments.SUFFIX)
    with Film(path) as film:
        frames = film.frames()
        first = next(frames)
        source = FrameFormat.read(first, film.stream)
        target, converter = source.for_browsers(PREVIEW_SIDE), FrameConverter(source)
        with SegmentWriter(segment, encoder.for_browsers(film, target, PREVIEW_CRF)) as writer:
            for number, frame in enumerate(chain([first], frames), 1):
                writer.write(converter.to_format(frame, target))
                if number % PROGRESS_FRAMES == 0:
                    yield number
    with Film(request.original) as film:
        last_duration_s = film.to_seconds(request.facts["last_duration"])
    with Film(path) as film:
        muxing.mux(film, [segment], output, MuxSettings("mp4", target, last_duration_s, for_browsers=True))
    yield output


def result_suffix(original: Path) -> str:
    """Return the suffix that a film's result will have.

    Raises:
        InvalidPhoto: the file is not a film that can be read.
    """
    with Film(original) as film:
        return FILM_SUFFIXES[codecs.choose_container(film)]


def read_provenance(path: Path) -> dict[str, str]:
    """Read what a film says of its making; empty if it is not a result."""
    try:
        with Film(path) as film:
            return provenance.read_xmp(muxing.read_xmp(path, film.container))
    except (OSError, InvalidPhoto):
        return {}

"""The stage ingest for films: reads a film from its first frame to its last, finds its facts, and makes the proxy.

Foreign films are decoded in a sandboxed child process; only facts and the proxy leave it.
"""

import io
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retint.digests import hash_file
from retint.errors import InvalidPhoto, WorkerLost
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers import temporal
from retint_workers.films.codecs import choose_result, describe_changes
from retint_workers.films.decoder import Film, translate_ffmpeg_errors
from retint_workers.films.fields import read_field_order
from retint_workers.films.frame_format import LONGEST_RATIO, SHORTEST_SIDE, FrameFormat
from retint_workers.films.frames import FrameConverter
from retint_workers.imaging.ingest import Ingested
from retint_workers.imaging.kinds import detect_kind
from retint_workers.sandbox.children import iterate_in_child

T = TypeVar("T")
ReportProgress = Callable[[str, int], object]
"""Called every few frames with the current phase and how many frames it has done; in a worker it extends the lease."""

PROGRESS_FRAMES = 10
"""Frames between two reports of progress."""
SAMPLES = 16
"""Evenly spaced frames by which the kind of a film is judged, at most."""
LUMA_SIZE = 96, 72
"""Width and height at which scenes are told apart."""
MIN_COUNTED_PIXELS = 100_000
"""A frame costs at least as much as one of so many pixels, however small it is."""
MOST_FRAMES_PER_SECOND = 1000
"""More frames than any film shows; its times are damaged."""
TOLERANCE_S, TOLERANCE = Fraction(1, 2), Fraction(1, 50)
"""How much earlier than its header says a film may end: seconds, or a share of its length if that is more."""


def ignore_progress(_: str, __: int) -> None:
    """Report progress to nobody."""


def report_and_go_on(report_progress: ReportProgress, phase: str, frames: int) -> bool:
    """Report progress, and that there is time left: a film that was begun is finished. A beat, but for the phase."""
    report_progress(phase, frames)
    return True


def ingest(
    original: Path,
    recipe: Recipe,
    settings: Settings,
    report_progress: ReportProgress = ignore_progress,
    limit_gp: int | None = None,
) -> Ingested:
    """Decode a whole film in a sandboxed child process.

    The facts are those of a photo, and: `film` (true), `frames`, `rate` (average frames per second), `duration_s`,
    `audio` (number of audio streams), `scenes` (numbers of the frames that start one), `poster` (number of the
    proxy's frame), `timing` (a checksum of all frames' times), `last_duration`, `field_order` (`tff` or `bff` if
    frames are interlaced). The proxy is the sampled frame with the most contrast.

    Raises:
        InvalidPhoto: the film cannot be restored, or has more gigapixels in all its frames than `limit_gp`.
        OutOfMemory, WorkerLost: the child process did not finish.
    """
    beat = partial(report_and_go_on, report_progress, "Looking", 0)
    steps = iterate_in_child(_examine, settings, beat, original, recipe.proxy_side, limit_gp)
    ingested = run_to_result(steps, lambda frames: report_progress("Looking", frames), Ingested)
    if recipe.invert or recipe.region not in ("auto", "whole"):
        ingested.facts["notes"].append("A film is restored as a whole and not inverted, whatever its recipe says.")
    return ingested


def _examine(original: Path, proxy_side: int, limit_gp: int | None) -> Iterator[int | Ingested]:
    with Film(original) as film:
        examination = Examination(film, proxy_side, limit_gp)
        for frame in film.frames():
            examination.add(frame)
            if examination.frames % PROGRESS_FRAMES == 0:
                yield examination.frames
        facts = examination.facts() | checksum_and_size(original)
        if film.damaged:
            facts["notes"].append(f"{film.damaged} damaged parts of the film could not be decoded correctly.")
    index = _read_index(original)
    _refuse_incomplete(index, facts)
    yield Ingested(facts | {"audio": index.audio_streams}, examination.poster())


class Examination:
    """Facts about a film, gathered frame by frame."""

    def __init__(self, film: Film, proxy_side: int, limit_gp: int | None) -> None:
        self.frames = 0
        self._film, self._side, self._limit_gp = film, proxy_side, limit_gp
        self._scenes = temporal.SceneDetector()
        self._samples: list[tuple[int, NDArray[np.uint8]]] = []
        self._stride = 1
        self._timing = self._first = self._last = self._last_duration = 0
        self._format: FrameFormat | None = None
        self._field_order: str | None = None
        self._has_captions = False

    def add(self, frame: Any) -> None:
        """Examine the next frame.

        Raises:
            InvalidPhoto: the film cannot be restored.
        """
        if self._format is None:
            self._format = FrameFormat.read(frame, self._film.stream)
            self._converter = FrameConverter(self._format)
            self._first = frame.pts
            promised_s = (self._film.container.duration or 0) / 1_000_000
            _refuse_unfit(self._format, round(float(promised_s * self._film.frame_rate)), self._limit_gp)
        if self._field_order is None:
            self._field_order = read_field_order(frame)
        self._scenes.add(self._converter.to_luma(frame, *LUMA_SIZE))
        if self.frames % self._stride == 0:
            self._has_captions |= any(data.type.name == "A53_CC" for data in frame.side_data)
            self._samples.append((self.frames, self._converter.to_proxy(frame, self._side)))
            if len(self._samples) > SAMPLES:
                self._samples = self._samples[::2]
                self._stride *= 2
        self._timing = add_to_timing(self._timing, frame.pts)
        self._last, self._last_duration = frame.pts, frame.duration
        self.frames += 1
        if self.frames % 1000 == 0:
            _refuse_unfit(self._format, self.frames, self._limit_gp)

    def facts(self) -> dict[str, Any]:
        """Return all facts, after the last frame.

        Raises:
            InvalidPhoto: there was no frame, or the film is too long.
        """
        if self._format is None:
            raise InvalidPhoto("The film has no frame that can be decoded: upload it again.", code="no_frames")
        _refuse_unfit(self._format, self.frames, self._limit_gp)
        if (self._last - self._first) * self._film.time_base * MOST_FRAMES_PER_SECOND < self.frames - 1:
            raise InvalidPhoto("The film's times are damaged: upload it again, or save it anew.", code="damaged")
        film, (width, height) = self._film, self._format.upright_size
        step = self._last_duration or max(1, round(1 / film.frame_rate / film.time_base))
        kinds = [detect_kind(proxy) for _, proxy in self._samples]
        return {
            "film": True,
            "format": film.container_format,
            "width": width,
            "height": height,
            "bits": self._format.bits,
            "bands": 3,
            "kind": max(("neutral", "toned", "color"), key=kinds.count),
            "orientation": self._format.orientation,
            "profile": None,
            "frames": self.frames,
            "rate": round(float(film.frame_rate), 3),
            "duration_s": round(float((self._last - self._first + step) * film.time_base), 3),
            "scenes": self._scenes.starts,
            "poster": self._best_sample()[0],
            "timing": self._timing,
            "last_duration": step,
            "field_order": self._field_order,
            "notes": self._notes(self._format),
        }

    def _notes(self, frame_format: FrameFormat) -> list[str]:
        """Return sentences about what the result cannot keep, or keeps in another way."""
        film = self._film
        result = choose_result(film, replace(frame_format, field_order=self._field_order))
        notes = describe_changes(film, frame_format, result, self.frames, film.path.stat().st_size)
        if film.had_alpha:
            notes.append("The film's alpha channel, opaque throughout, is left out.")
        if self._has_captions:
            notes.append("The closed captions inside the film's picture are left out.")
        return notes

    def _best_sample(self) -> tuple[int, NDArray[np.uint8]]:
        """Return number and proxy of the sampled frame with the most contrast."""
        return max(self._samples, key=lambda sample: float(sample[1].std()))

    def poster(self) -> bytes:
        """Return the best sample as PNG."""
        buffer = io.BytesIO()
        Image.fromarray(self._best_sample()[1]).save(buffer, "PNG", compress_level=3)
        return buffer.getvalue()


def _refuse_unfit(frame_format: FrameFormat, frames: int, limit_gp: int | None) -> None:
    """Refuse frames of an unfit size, and a film that is too long; `frames` may be the header's promise."""
    width, height = frame_format.width, frame_format.height
    if min(width, height) < SHORTEST_SIDE or max(width, height) > LONGEST_RATIO * min(width, height):
        raise InvalidPhoto(
            f"The film's frames have {width} × {height} pixels: the short side needs at least {SHORTEST_SIDE}, "
            f"and the long side may have at most {LONGEST_RATIO} times as many.",
            code="too_small",
        )
    gigapixels = frames * max(width * height, MIN_COUNTED_PIXELS) / 1e9
    if limit_gp is not None and gigapixels > limit_gp:
        raise InvalidPhoto(
            f"The film has {frames:,} frames of {width} × {height} pixels, {gigapixels:.2f} gigapixels in all: at "
            f"most {limit_gp} are restored here. Cut it, or use `retint restore`.",
            code="too_long",
        )


@dataclass(frozen=True)
class PacketIndex:
    """What a film's packets say of its length.

    Attributes:
        end_s: when the last packet of any stream ends.
        promised_s: when the film should end by its header; None where the header does not say.
        missing: video packets that the index lists and that are not there.
        audio_streams: number of audio streams.
    """

    end_s: Fraction
    promised_s: Fraction | None
    missing: int
    audio_streams: int


def _read_index(original: Path) -> PacketIndex:
    """Read all packets without decoding them."""
    with Film(original) as film, translate_ffmpeg_errors():
        end, packets = Fraction(0), 0
        for packet in film.container.demux():
            if packet.size and packet.pts is not None:
                packets += packet.stream.index == film.stream.index
                end = max(end, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base or 1))
        listed = len(film.stream.index_entries) if film.demuxer == "mov" else 0
        duration = film.container.duration if film.demuxer in ("mov", "matroska", "avi") else None
        promised = Fraction(duration + min(0, film.container.start_time or 0), 1_000_000) if duration else None
        return PacketIndex(
            end_s=end,
            promised_s=promised,
            missing=max(0, listed - packets),
            audio_streams=len(film.container.streams.audio),
        )


def _refuse_incomplete(index: PacketIndex, facts: Mapping[str, Any]) -> None:
    """Refuse a film that was cut off: half a film is not what was deposited, and nothing is lost silently."""
    tolerance = max(TOLERANCE_S, (index.promised_s or 0) * TOLERANCE)
    is_short = index.promised_s is not None and index.end_s + tolerance < index.promised_s
    if index.missing or is_short:
        promised = f" of {float(index.promised_s):.1f}" if index.promised_s else ""
        raise InvalidPhoto(
            f"The film is incomplete: it ends after {facts['frames']} frames, {float(index.end_s):.1f}{promised} "
            "seconds. Upload it again.",
            code="truncated",
        )


def run_to_result(steps: Generator[Any, None, None], report_progress: Callable[[int], object], kind: type[T]) -> T:
    """Run a child's steps to the end: numbers are progress in frames, the value of the given type is the result."""
    result: T | None = None
    with closing(steps):
        for step in steps:
            if isinstance(step, int):
                report_progress(step)
            elif isinstance(step, kind):
                result = step
    if result is None:
        raise WorkerLost("The process that worked on the film ended before it was done.")
    return result


def add_to_timing(timing: int, time: int) -> int:
    """Add a frame's time to the checksum (CRC-32) of all frames' times."""
    return zlib.crc32(time.to_bytes(8, "little", signed=True), timing)


def checksum_and_size(path: Path) -> dict[str, Any]:
    """Return a file's SHA-256 and size in bytes, as facts."""
    return {"sha256": hash_file(path), "size": path.stat().st_size}

"""The stage ingest for films: from the first frame to the last, what there is to know about one.

Foreign films are decoded in a child process; only facts and the proxy leave it.
"""

import hashlib
import io
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retint.errors import InvalidPhoto, WorkerLost
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers import temporal
from retint_workers.films.decoder import LONGEST_RATIO, SHORTEST_SIDE, Film, Look, Reader, is_transparent, translated
from retint_workers.imaging.ingest import Ingested, kind_of
from retint_workers.sandbox import iterate_in_child

T = TypeVar("T")
Progress = Callable[[str, int], object]
"""Called every few frames with what is done and how many frames of it are; in a worker it keeps the lease."""

TOLD = 10
"""Frames between two words of progress."""
SAMPLES = 16
"""Frames, spaced evenly, by which the kind of a film is judged."""
LEAST_PIXELS = 100_000
"""A frame costs as much as one of so many pixels, however small it is."""
INCOMPLETE_S, INCOMPLETE = Fraction(1, 2), Fraction(1, 50)
"""How much earlier than its header says a film may end: seconds, or a share of its length if that is more."""


def silent(_: str, __: int) -> None:
    """Nobody wants to know."""


def ingest(
    original: Path, recipe: Recipe, settings: Settings, tell: Progress = silent, limit_gp: int | None = None
) -> Ingested:
    """Decode a film from its first frame to its last, in a child process.

    The facts are those of a photo, and: `film` (true), `frames`, `rate` (a second, on the average), `duration_s`,
    `audio` (how many streams), `scenes` (the numbers of the frames that begin one), `poster` (the frame of the proxy),
    `timing` (a checksum of all frames' times), `last_duration`. The proxy is a frame that shows something.

    Raises:
        InvalidPhoto: it cannot be restored, or has more gigapixels in all its frames than `limit_gp`.
        OutOfMemory, WorkerLost: the child did not come to an end.
    """
    steps = iterate_in_child(_examine, settings, lambda: tell("Looking", 0), original, recipe.proxy_side, limit_gp)
    return outcome(steps, lambda frames: tell("Looking", frames), Ingested)


def _examine(original: Path, proxy_side: int, limit_gp: int | None) -> Iterator[int | Ingested]:
    with Film(original) as film:
        examination = Examination(proxy_side, limit_gp)
        for frame in film.frames():
            examination.add(frame, film)
            if examination.frames % TOLD == 0:
                yield examination.frames
        facts = examination.facts(film) | bytes_of(original)
        if film.damaged:
            facts["notes"].append(f"{film.damaged} damaged parts of the film could not be read as they were meant.")
    reached = _reached(original)
    _refuse_incomplete(reached, facts)
    yield Ingested(facts | {"audio": reached.audio}, examination.poster())


class Examination:
    """What is found out about a film on the way through it."""

    def __init__(self, proxy_side: int, limit_gp: int | None) -> None:
        self.frames = 0
        self._side, self._limit_gp = proxy_side, limit_gp
        self._scenes = temporal.Scenes()
        self._samples: list[tuple[int, NDArray[np.uint8]]] = []
        self._stride = 1
        self._timing = self._first = self._last = self._last_duration = 0
        self.look: Look | None = None
        self._stored = (0, 0)

    def add(self, frame: Any, film: Film) -> None:
        """Look at the next frame."""
        if self.look is None:
            self.look = Look.of(frame, film.stream)
            self._stored = frame.width, frame.height
            self._reader = Reader(self.look)
            self._first = frame.pts
            self._refuse_unfit(round(float((film.container.duration or 0) / 1_000_000 * film.rate)))
        if is_transparent(frame):
            raise InvalidPhoto("Parts of the film are transparent: save it without transparency.", code="transparent")
        self._scenes.add(self._reader.luma(frame, 96, 72))
        if self.frames % self._stride == 0:
            self._samples.append((self.frames, self._reader.proxy(frame, self._side)))
            if len(self._samples) > SAMPLES:
                self._samples = self._samples[::2]
                self._stride *= 2
        self._timing = timed(self._timing, frame.pts)
        self._last, self._last_duration = frame.pts, frame.duration
        self.frames += 1
        if self.frames % 1000 == 0:
            self._refuse_unfit(self.frames)

    def _refuse_unfit(self, frames: int) -> None:
        width, height = self._stored
        if min(width, height) < SHORTEST_SIDE or max(width, height) > LONGEST_RATIO * min(width, height):
            raise InvalidPhoto(
                f"The film's frames have {width} × {height} pixels: they need {SHORTEST_SIDE} on the short side, and "
                f"the long side at most {LONGEST_RATIO} times that.",
                code="too_small",
            )
        gigapixels = frames * max(width * height, LEAST_PIXELS) / 1e9
        if self._limit_gp is not None and gigapixels > self._limit_gp:
            raise InvalidPhoto(
                f"The film has {frames:,} frames of {width} × {height} pixels, {gigapixels:.2f} gigapixels in all: at "
                f"most {self._limit_gp} are restored here. Cut it, or use `retint restore`.",
                code="too_long",
            )

    def facts(self, film: Film) -> dict[str, Any]:
        """Tell all, at the end."""
        if self.look is None:
            raise InvalidPhoto("The film holds no frame that can be read: upload it again.", code="no_frames")
        self._refuse_unfit(self.frames)
        width, height = self.look.upright
        step = self._last_duration or max(1, round(1 / film.rate / film.time_base))
        kinds = [kind_of(proxy) for _, proxy in self._samples]
        return {
            "film": True,
            "format": film.kind,
            "width": width,
            "height": height,
            "bits": self.look.bits,
            "bands": 3,
            "kind": max(("neutral", "toned", "color"), key=kinds.count),
            "orientation": self.look.orientation,
            "profile": None,
            "frames": self.frames,
            "rate": round(float(film.rate), 3),
            "duration_s": round(float((self._last - self._first + step) * film.time_base), 3),
            "scenes": self._scenes.starts,
            "poster": self._best()[0],
            "timing": self._timing,
            "last_duration": step,
            "notes": [],
        }

    def _best(self) -> tuple[int, NDArray[np.uint8]]:
        """The sample with the most to see."""
        return max(self._samples, key=lambda sample: float(sample[1].std()))

    def poster(self) -> bytes:
        """The best sample as PNG."""
        return _png(self._best()[1])


@dataclass(frozen=True)
class Reached:
    """How far a film goes, by its packets.

    Attributes:
        end_s: when the last of any stream ends.
        promised_s: when it should, by the header; none where that does not say.
        missing: packets of pictures that the index names and that are not there.
        audio: how many streams of sound there are.
    """

    end_s: Fraction
    promised_s: Fraction | None
    missing: int
    audio: int


def _reached(original: Path) -> Reached:
    """Read all packets."""
    with Film(original) as film, translated():
        end, packets = Fraction(0), 0
        for packet in film.container.demux():
            if packet.size and packet.pts is not None:
                packets += packet.stream.index == film.stream.index
                end = max(end, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base or 1))
        indexed = len(film.stream.index_entries) if film.format == "mov" else 0
        duration = film.container.duration if film.format in ("mov", "matroska", "avi") else None
        promised = Fraction(duration + min(0, film.container.start_time or 0), 1_000_000) if duration else None
        return Reached(end, promised, max(0, indexed - packets), len(film.container.streams.audio))


def _refuse_incomplete(reached: Reached, facts: Mapping[str, Any]) -> None:
    """Refuse a film that was cut off: half a film is not what was deposited, and nothing here is lost in silence."""
    slack = max(INCOMPLETE_S, (reached.promised_s or 0) * INCOMPLETE)
    is_short = reached.promised_s is not None and reached.end_s + slack < reached.promised_s
    if reached.missing or is_short:
        promised = f" of {float(reached.promised_s):.1f}" if reached.promised_s else ""
        raise InvalidPhoto(
            f"The film is incomplete: it ends after {facts['frames']} frames, {float(reached.end_s):.1f}{promised} "
            "seconds. Upload it again.",
            code="truncated",
        )


def outcome(steps: Generator[Any, None, None], tell: Callable[[int], object], kind: type[T]) -> T:
    """Follow the steps of a child to the last, which is what came of it."""
    outcome: T | None = None
    with closing(steps):
        for step in steps:
            if isinstance(step, int):
                tell(step)
            elif isinstance(step, kind):
                outcome = step
    if outcome is None:
        raise WorkerLost("The film was not finished.")
    return outcome


def timed(timing: int, time: int) -> int:
    """Go on with the checksum of all frames' times."""
    return zlib.crc32(time.to_bytes(8, "little", signed=True), timing)


def bytes_of(path: Path) -> dict[str, Any]:
    """A file's checksum and size, as facts."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()

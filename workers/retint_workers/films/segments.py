"""Segments: encoded films in pieces of some seconds, so that interrupted work resumes at the next segment.

A segment is a file of the encoder's choice of container, in the film's own time base, that gets its name when it is
complete. A file of arrays beside it holds what the next segment, or the check of the result, needs.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import av
import av.container
import numpy as np
from av.codec.context import Flags

from retint_workers.films.decoder import translate_ffmpeg_errors
from retint_workers.films.encoder import EncoderSettings

if TYPE_CHECKING:
    Packet = av.Packet[Any]
else:
    Packet = av.Packet  # is generic for type checkers only

SUFFIX = ".segment"
OWN_FILE = "A segment of the film"
"""How errors call a segment."""


def exact_times(container: str, time_base: Fraction) -> dict[str, str]:
    """Return a muxer's options by which times are written exactly, where it must be told."""
    if container not in ("mp4", "mov"):
        return {}
    scale = str(time_base.denominator)
    return {"video_track_timescale": scale, "movie_timescale": scale}


def segment_path(folder: Path, name: str, first_frame: int) -> Path:
    """Return the path of the segment of a stream that starts with a frame."""
    return folder / f"{name}-{first_frame:08}{SUFFIX}"


def arrays_path(segment: Path) -> Path:
    """Return the path of the arrays that belong to a segment."""
    return segment.with_suffix(".npz")


class SegmentWriter:
    """Encodes frames into one segment. A context manager: the segment exists after it ends without an error."""

    def __init__(self, path: Path, settings: EncoderSettings) -> None:
        self.path, self._part = path, path.with_suffix(".part")
        with translate_ffmpeg_errors(OWN_FILE):
            self._container = av.open(
                str(self._part.resolve()),
                "w",
                format=settings.container,
                container_options=exact_times(settings.container, settings.time_base),
            )
        rate = settings.frame_rate.limit_denominator(1 << 20)
        self._stream: Any = self._container.add_stream(settings.codec, rate=rate, options=dict(settings.options))
        context: Any = self._stream.codec_context
        context.width, context.height = settings.size
        context.pix_fmt = settings.pixel_format
        context.time_base = self._stream.time_base = settings.time_base
        for name, value in settings.context.items():
            setattr(context, name, value)
        if settings.is_interlaced:
            context.flags |= Flags.interlaced_dct

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with translate_ffmpeg_errors(OWN_FILE):
            if error is None:
                self._container.mux(self._stream.encode())
            self._container.close()
        if error is None:
            self._part.replace(self.path)

    def write(self, frame: av.VideoFrame) -> None:
        """Encode a frame, which has its time and the pixel format of the settings."""
        frame.pict_type = 0
        with translate_ffmpeg_errors(OWN_FILE):
            self._container.mux(self._stream.encode(frame))


def list_complete(folder: Path, name: str) -> list[Path]:
    """List the complete segments of a stream, in their order."""
    return sorted(folder.glob(f"{name}-*{SUFFIX}"))


def open_segment(path: Path) -> av.container.InputContainer:
    """Open a segment for reading."""
    return av.open(str(path.resolve()))


def delete_all(folder: Path, name: str) -> None:
    """Delete the segments of a stream."""
    for segment in list_complete(folder, name):
        segment.unlink()


def read_packets(segments: Sequence[Path], last_duration_s: Fraction | None = None) -> Iterator[Packet]:
    """Read the packets of all segments in order; each lasts until the next one.

    Args:
        segments: of one stream, in order.
        last_duration_s: of the last packet; without it the packet keeps its own.
    """
    previous: Packet | None = None
    for segment in segments:
        with open_segment(segment) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size == 0 or packet.pts is None:
                    continue
                packet.dts = packet.pts
                if previous is not None:
                    previous.duration = packet.pts - (previous.pts or 0)
                    yield previous
                previous = packet
    if previous is not None:
        if last_duration_s and previous.time_base:
            previous.duration = max(1, round(last_duration_s / previous.time_base))
        yield previous


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is complete or absent, whenever the process dies."""
    part = path.with_suffix(".half")
    part.write_bytes(content)
    part.replace(path)


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as one .npz file, atomically."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())

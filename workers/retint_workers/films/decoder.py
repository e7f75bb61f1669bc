"""Opening deposited films: the container is recognised by its content, then frames are decoded one by one.

Only this room uses FFmpeg (through PyAV). Foreign films are decoded in sandboxed child processes only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import av.error
from av.stream import Disposition

from retint.errors import InvalidPhoto, OutOfMemory, RetintError, Transient
from retint_workers import scratch
from retint_workers.films.normalization import FrameNormalizer

SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (8, b"AVI ", "avi"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (4, b"ftyp", "mov"),
    (0, b"\0\0\1\xba", "mpeg"),
    (0, b"\0\0\1\xb3", "mpegvideo"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"FLV\1", "flv"),
    (0, b"OggS", "ogg"),
    (0, b"\6\x0e\x2b\x34", "mxf"),
    (0, b"\x1f\7\0", "dv"),
    (0, b"YUV4MPEG2 ", "yuv4mpegpipe"),
)
"""Offset, magic bytes, FFmpeg's demuxer. FFmpeg never guesses: a playlist is no film."""
STILL_BRANDS = {b"heic", b"heix", b"mif1", b"avif", b"crx ", b"jp2 ", b"jpx "}
"""`ftyp` brands of still pictures, which use the same container as films."""
TRANSPORT_PACKETS = (188, 0), (192, 4)
"""MPEG transport streams: length of a packet in bytes, and offset of its sync byte 0x47."""
RUNNING_CLOCKS = {"mpegts", "mpeg"}
"""Demuxers of formats whose clock does not start with the film; its start time is subtracted."""
THREADS = 4
"""Threads that decode or encode in one process, at most: each holds frames. The output does not depend on it."""
LARGEST_RATE = 500
"""Frames per second that are believed."""
FRAME_LIMIT_MP = 36
"""Megapixels of the largest frames that are accepted: 8K."""


def find_demuxer(path: Path) -> str | None:
    """Return FFmpeg's demuxer for a file, found by its first bytes; None if the file is not a film."""
    with path.open("rb") as file:
        head = file.read(1024)
    if head[4:8] == b"ftyp" and head[8:12] in STILL_BRANDS:
        return None
    for offset, signature, name in SIGNATURES:
        if head[offset:].startswith(signature):
            return name
    for length, offset in TRANSPORT_PACKETS:
        if len(head) > 4 * length and all(head[offset + length * n] == 0x47 for n in range(4)):
            return "mpegts"
    return None


def is_film(path: Path) -> bool:
    """Whether a file's content, whatever its name, is that of a film."""
    return find_demuxer(path) is not None


class Film:
    """A film being read. A context manager.

    Attributes:
        path: the file.
        demuxer: FFmpeg's demuxer; empty if the file is not a film.
        container: PyAV's open container.
        stream: the first video stream that is not a cover picture.
        damaged: corrupt packets and frames so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.demuxer = find_demuxer(path) or ""
        self.damaged = 0

    def __enter__(self) -> Self:
        if not self.demuxer:
            raise InvalidPhoto("The file is not a film.", code="not_a_film")
        with translate_ffmpeg_errors(), _refuse_greedy_headers():
            self.container = av.open(
                str(self.path.absolute()),  # a link's own name, which is always text
                format=self.demuxer,
                options={"protocol_whitelist": "file"},
                metadata_errors="replace",
            )
            try:
                self.stream = self._find_video_stream()
            except BaseException:
                self.container.close()
                raise
        self.stream.thread_type = "AUTO"
        self.stream.thread_count = THREADS
        self._normalizer = FrameNormalizer(self.stream)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.container.close()

    def _find_video_stream(self) -> av.VideoStream:
        videos = [each for each in self.container.streams.video if not each.disposition & Disposition.attached_pic]
        if not videos:
            raise InvalidPhoto("The film has no video stream, only sound or data.", code="no_video")
        stream = videos[0]
        if stream.codec_context is None:
            raise _unknown_codec()
        width, height = stream.width, stream.height
        if width * height > FRAME_LIMIT_MP * 1_000_000:
            raise InvalidPhoto(
                f"The film's frames have {width} × {height} pixels; at most {FRAME_LIMIT_MP} megapixels are accepted.",
                code="too_many_pixels",
            )
        return stream

    @property
    def container_format(self) -> str:
        """What people call the file type: `mp4`, `mov` (QuickTime), or the demuxer's name."""
        if self.demuxer != "mov":
            return self.demuxer
        return "mov" if self.container.metadata.get("major_brand", "qt").startswith("qt") else "mp4"

    @property
    def had_alpha(self) -> bool:
        """Whether frames so far had an alpha channel, which is opaque and left out."""
        return self._normalizer.had_alpha

    @property
    def timecode(self) -> str | None:
        """The timecode of the first frame, as `01:00:00:00`, wherever the container keeps it."""
        streams = (self.stream, *self.container.streams)
        said = [*(stream.metadata for stream in streams), self.container.metadata]
        found = (value for tags in said for name, value in tags.items() if name.lower() == "timecode")
        return next(found, None)

    @property
    def time_base(self) -> Fraction:
        """Seconds of one unit of time: 1 over a whole number."""
        return Fraction(1, self._stored_time_base.denominator)

    @property
    def _stored_time_base(self) -> Fraction:
        return Fraction(self.stream.time_base or Fraction(1, 1000))

    @property
    def frame_rate(self) -> Fraction:
        """Average number of frames per second; short films of some formats claim nonsense."""
        rates = (self.stream.average_rate, self.stream.guessed_rate, self.stream.codec_context.framerate)
        return next((Fraction(rate) for rate in rates if rate and rate <= LARGEST_RATE), Fraction(25))

    @property
    def start_time_s(self) -> Fraction:
        """Clock time of the film's start, in seconds, for formats whose clock runs already; else 0."""
        start = self.container.start_time if self.demuxer in RUNNING_CLOCKS else None
        return Fraction(start or 0, av.time_base)

    def to_seconds(self, duration: int) -> Fraction:
        """Return a frame's duration in seconds: exactly that of the frame rate, where the container rounded it."""
        rounded, exact = duration * self.time_base, 1 / self.frame_rate
        return exact if abs(rounded - exact) < self.time_base else rounded

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decode all frames in display order, normalized; their times (`pts`, in `time_base`) increase strictly.

        Parts that cannot be decoded are skipped and counted in `damaged`.

        Raises:
            InvalidPhoto: the frame size changes, or parts of a frame are transparent.
        """
        size, last = None, None
        start = round(self.start_time_s / self.time_base)
        step = max(1, round(1 / self.frame_rate / self.time_base))
        for frame in self._decode():
            if size not in (None, (frame.width, frame.height)):
                raise InvalidPhoto("The film's frame size changes within the film.", code="size_changes")
            size = frame.width, frame.height
            time = (last or 0) + step if frame.pts is None else frame.pts * self._stored_time_base.numerator - start
            frame.pts = last = time if last is None else max(time, last + 1)
            frame.duration *= self._stored_time_base.numerator
            frame.time_base = self.time_base
            self.damaged += frame.is_corrupt
            yield self._normalizer.normalize(frame)

    def _decode(self) -> Iterator[av.VideoFrame]:
        with translate_ffmpeg_errors():
            packets = self.container.demux(self.stream)
            while (packet := next(packets, None)) is not None:
                try:
                    yield from packet.decode()
                except (av.error.InvalidDataError, av.error.PatchWelcomeError):
                    self.damaged += 1


@contextmanager
def _refuse_greedy_headers() -> Iterator[None]:
    """Refuse a film whose header alone asks for more memory than any true one needs: it counts what is not there.

    Raises:
        InvalidPhoto: it does.
    """
    try:
        yield
    except av.error.MemoryError as error:
        raise _damaged_film() from error


@contextmanager
def translate_ffmpeg_errors(own_file: str | None = None) -> Iterator[None]:
    """Raise FFmpeg's errors as Retint's.

    Args:
        own_file: what is read or written, if it is a file of Retint's; by default the deposited film.

    Raises:
        InvalidPhoto: the film is at fault.
        Transient: it is not.
    """
    try:
        yield
    except av.error.MemoryError as error:
        raise OutOfMemory("There was not enough memory to open the film.") from error
    except av.error.FFmpegError as error:
        raise _to_retint_error(error, own_file) from error


def _to_retint_error(error: av.error.FFmpegError, own_file: str | None) -> RetintError:
    if isinstance(error, OSError) and (fault := scratch.explain(error)):
        return fault
    if own_file:
        log: Any = error.log
        said = str(log[2]).strip() if log else error.strerror
        return Transient(f"{own_file} cannot be read or written: FFmpeg says “{said}”.", code="ffmpeg")
    if isinstance(error, av.error.DecoderNotFoundError | av.error.PatchWelcomeError):
        return _unknown_codec()
    return _damaged_film()


def _damaged_film() -> InvalidPhoto:
    return InvalidPhoto("The film is damaged or incomplete and cannot be read: upload it again.", code="damaged")


def _unknown_codec() -> InvalidPhoto:
    return InvalidPhoto(
        "The film's video codec is not supported: convert the film, for example to H.264.", code="unknown_codec"
    )

"""Films as they are deposited: told by their content, opened with the one demuxer for it, decoded frame by frame.

Only this file and `reels.py` know FFmpeg (through PyAV). What is here runs in child processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import av.error
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from retint.errors import InvalidPhoto, OutOfMemory, RetintError

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
)
"""Where, what, and the demuxer for it. FFmpeg never guesses: playlists, which name other files, are no films here."""
STILLS = {b"heic", b"heix", b"mif1", b"avif", b"crx ", b"jp2 ", b"jpx "}
"""Brands of pictures in the same container as films."""
PACKETS = (188, 0), (192, 4)
"""MPEG transport streams: length of a packet, and where in it the mark 0x47 lies."""
RUNNING = {"mpegts", "mpeg"}
"""Formats whose clock does not begin with the film: theirs is set to 0."""
THREADS = 4
"""The most that decode, or encode, in one process: each holds frames, and the outcome is the same each time."""
FRAME_LIMIT_MP = 36
"""Megapixels of the largest frames: 8K."""
SHORTEST_SIDE = 16
LONGEST_RATIO = 40
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""Matrices of Y'CbCr that are understood (ITU-T H.273, MatrixCoefficients), and what libswscale calls them."""
FULL_RANGE = 2
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
"""With these flags, gray survives the way to R'G'B' and back without a change."""
ORIENTATIONS = {0: 1, 90: 8, 180: 3, 270: 6}
"""EXIF's word for a turn, in degrees against the clock, that makes pixels upright."""


def demuxer(path: Path) -> str | None:
    """Tell by a file's first bytes how to open it as a film; none where it is no film."""
    with path.open("rb") as file:
        head = file.read(1024)
    if head[4:8] == b"ftyp" and head[8:12] in STILLS:
        return None
    for at, mark, name in SIGNATURES:
        if head[at:].startswith(mark):
            return name
    for length, at in PACKETS:
        if len(head) > 4 * length and all(head[at + length * n] == 0x47 for n in range(4)):
            return "mpegts"
    return None


def is_film(path: Path) -> bool:
    """Whether a file's content, whatever its name, is that of a film."""
    return demuxer(path) is not None


@dataclass(frozen=True)
class Look:
    """How the pixels of a film are meant, and how they are written again.

    Attributes:
        width: of the frames as stored, before they are turned.
        height: likewise.
        bits: 8, or 10 for all that is deeper.
        pixels: FFmpeg's name of the format that is written: 4:2:0, unless there is finer color or a side is odd.
        matrix: see `MATRICES`.
        is_full: whether code values go from 0 to 255 rather than from 16 to 235.
        primaries: ITU-T H.273, ColourPrimaries; as in the original.
        transfer: ITU-T H.273, TransferCharacteristics; as in the original.
        turn: degrees against the clock that make frames upright: 0, 90, 180, 270.
        aspect: width of a pixel over its height.
        fields: `tff` or `bff` where frames are two interlaced fields.
    """

    width: int
    height: int
    bits: int
    pixels: str
    matrix: int
    is_full: bool
    primaries: int
    transfer: int
    turn: int
    aspect: Fraction
    fields: str | None

    @classmethod
    def of(cls, frame: av.VideoFrame, stream: av.VideoStream) -> Self:
        """Read it from a film's first frame."""
        kind = frame.format
        colors = [part for part in kind.components if not part.is_alpha]
        bits = 8 if max(part.bits for part in colors) <= 8 else 10
        is_fine = kind.is_rgb or (len(colors) > 1 and kind.chroma_height(16) == 16)
        sampling = "444" if is_fine and kind.chroma_width(16) == 16 else "422" if is_fine else "420"
        if frame.width % 2 or (frame.height % 2 and sampling == "420"):
            sampling = "444"
        matrix = frame.colorspace if frame.colorspace in MATRICES else 1 if frame.height >= 720 else 6
        fields = "bff" if stream.codec_context.field_order in (3, 5) else "tff"
        return cls(
            width=frame.width,
            height=frame.height,
            bits=bits,
            pixels=f"yuv{sampling}p" + ("10le" if bits == 10 else ""),
            matrix=matrix,
            is_full=len(colors) == 3 and not kind.is_rgb and (frame.color_range == FULL_RANGE or "yuvj" in kind.name),
            primaries=frame.color_primaries,
            transfer=frame.color_trc,
            turn=round(frame.rotation / 90) * 90 % 360,
            aspect=Fraction(stream.sample_aspect_ratio or 1) or Fraction(1),
            fields=fields if frame.interlaced_frame else None,
        )

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height as the film is looked at, in whole pixels of the frame's own height."""
        width = max(1, round(self.width * min(max(self.aspect, Fraction(1, 4)), Fraction(4))))
        return (self.height, width) if self.turn in (90, 270) else (width, self.height)

    def for_browsers(self, side: int) -> Self:
        """The look of a film that any browser plays: no side longer than this, and even."""
        scale = min(1.0, side / max(self.width, self.height))
        width, height = (max(2, round(length * scale / 2) * 2) for length in (self.width, self.height))
        return replace(self, width=width, height=height, bits=8, pixels="yuv420p", is_full=False, fields=None)

    @property
    def orientation(self) -> int:
        """The turn as EXIF says it."""
        return ORIENTATIONS[self.turn]


class Film:
    """A film being read. A context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.format = demuxer(path) or ""
        self.damaged = 0

    def __enter__(self) -> Self:
        if not self.format:
            raise InvalidPhoto("The file is not a film.", code="not_a_film")
        with translated():
            self.container = av.open(
                str(self.path.resolve()),
                format=self.format,
                options={"protocol_whitelist": "file"},
                metadata_errors="replace",
            )
            try:
                self.stream = self._stream()
            except BaseException:
                self.container.close()
                raise
        self.stream.thread_type = "AUTO"
        self.stream.thread_count = THREADS
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.container.close()

    def _stream(self) -> av.VideoStream:
        videos = [each for each in self.container.streams.video if not each.disposition & Disposition.attached_pic]
        if not videos:
            raise InvalidPhoto("The film has no pictures, only sound or data.", code="no_video")
        stream = videos[0]
        if stream.codec_context is None:
            raise InvalidPhoto("The film's pictures are coded in a way that is not known here.", code="unknown_codec")
        width, height = stream.width, stream.height
        if width * height > FRAME_LIMIT_MP * 1_000_000:
            raise InvalidPhoto(
                f"The film's frames have {width} × {height} pixels: at most {FRAME_LIMIT_MP} megapixels are restored.",
                code="too_many_pixels",
            )
        return stream

    @property
    def kind(self) -> str:
        """What people call the file: `mp4`, `mov` (QuickTime), or the demuxer's name."""
        if self.format != "mov":
            return self.format
        return "mov" if self.container.metadata.get("major_brand", "qt").startswith("qt") else "mp4"

    @property
    def time_base(self) -> Fraction:
        """Seconds of one unit of time: 1 over a whole number."""
        return Fraction(1, self._tick.denominator)

    @property
    def _tick(self) -> Fraction:
        return Fraction(self.stream.time_base or Fraction(1, 1000))

    @property
    def rate(self) -> Fraction:
        """Frames a second, on the average."""
        return Fraction(self.stream.average_rate or self.stream.guessed_rate or 25)

    @property
    def origin_s(self) -> Fraction:
        """What the film's clock says when it begins, in seconds, where that is not meant."""
        started = self.container.start_time if self.format in RUNNING else None
        return Fraction(started or 0, av.time_base)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decode all frames, in the order in which they are shown; their times (`pts`, in `time_base`) rise.

        What cannot be decoded is left out and counted in `damaged`.

        Raises:
            InvalidPhoto: the frames change their size.
        """
        size, last = None, None
        origin = round(self.origin_s / self.time_base)
        step = max(1, round(1 / self.rate / self.time_base))
        for frame in self._decoded():
            if size not in (None, (frame.width, frame.height)):
                raise InvalidPhoto("The film's frames change their size on the way.", code="size_changes")
            size = frame.width, frame.height
            time = (last or 0) + step if frame.pts is None else frame.pts * self._tick.numerator - origin
            frame.pts = last = time if last is None else max(time, last + 1)
            frame.duration *= self._tick.numerator
            frame.time_base = self.time_base
            self.damaged += frame.is_corrupt
            yield frame

    def _decoded(self) -> Iterator[av.VideoFrame]:
        with translated():
            packets = self.container.demux(self.stream)
            while (packet := next(packets, None)) is not None:
                try:
                    yield from packet.decode()
                except (av.error.InvalidDataError, av.error.PatchWelcomeError):
                    self.damaged += 1


class Reader:
    """Turns frames into arrays: exact R'G'B' for rendering, small pictures for networks."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self._exact, self._small, self._thumbnail = VideoReformatter(), VideoReformatter(), VideoReformatter()
        matrix = MATRICES[look.matrix]
        self._meaning: dict[str, Any] = {
            "src_colorspace": matrix,
            "src_color_range": FULL_RANGE if look.is_full else 1,
            "dst_color_range": FULL_RANGE,
            "threads": 1,
        }

    def _convert(self, reformatter: VideoReformatter, frame: av.VideoFrame, **options: Any) -> av.VideoFrame:
        meaning = self._meaning | options
        if frame.format.is_rgb or len(frame.format.components) < 3:
            del meaning["src_colorspace"]
            meaning["src_color_range"] = FULL_RANGE
        return reformatter.reformat(frame, **meaning)

    def _whole(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A frame that is made smaller as one picture; libswscale would do so field by field."""
        if not frame.interlaced_frame:
            return frame
        pixels = self.pixels(frame)
        whole = av.VideoFrame.from_ndarray(pixels, "rgb24" if pixels.dtype == np.uint8 else "rgb48le")
        whole.color_range = FULL_RANGE
        return whole

    def pixels(self, frame: av.VideoFrame) -> NDArray[Any]:
        """R'G'B' as stored: uint8 (h, w, 3), or uint16 where there are more than 8 bits."""
        wanted = "rgb24" if self.look.bits == 8 else "rgb48le"
        return self._convert(self._exact, frame, format=wanted, interpolation=EXACT).to_ndarray()

    def proxy(self, frame: av.VideoFrame, side: int) -> NDArray[np.uint8]:
        """What networks see: uint8 (h, w, 3), upright, square pixels, the long side at most `side`."""
        upright = self.look.upright
        scale = min(1.0, side / max(upright))
        width, height = (max(1, round(length * scale)) for length in upright)
        if self.look.turn in (90, 270):
            width, height = height, width
        options = {"width": width, "height": height, "format": "rgb24"}
        small = self._convert(self._small, self._whole(frame), interpolation=Interpolation.AREA, **options)
        return np.ascontiguousarray(np.rot90(small.to_ndarray(), self.look.turn // 90))

    def glance(self, frame: av.VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        """The whole frame, very small, as stored: uint8 (h, w, 3)."""
        options = {"width": width, "height": height, "format": "rgb24"}
        small = self._convert(self._small, self._whole(frame), interpolation=Interpolation.AREA, **options)
        return np.asarray(small.to_ndarray(), np.uint8)

    def resized(self, frame: av.VideoFrame, look: Look) -> av.VideoFrame:
        """The frame as another look wants it."""
        options = {"width": look.width, "height": look.height, "format": look.pixels}
        meaning = {"dst_colorspace": MATRICES[look.matrix], "dst_color_range": FULL_RANGE if look.is_full else 1}
        resized = self._convert(self._exact, self._whole(frame), interpolation=Interpolation.AREA, **options, **meaning)
        resized.pts, resized.duration, resized.time_base = frame.pts, frame.duration, frame.time_base
        resized.colorspace = look.matrix
        return resized

    def luma(self, frame: av.VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        """Luma at a small size, as stored: uint8 (h, w)."""
        options: dict[str, Any] = {"width": width, "height": height, "interpolation": Interpolation.AREA, "threads": 1}
        small = self._thumbnail.reformat(self._whole(frame), format="gray", **options)
        return np.asarray(small.to_ndarray(), np.uint8)


def is_transparent(frame: av.VideoFrame) -> bool:
    """Whether any pixel lets something through."""
    if not any(part.is_alpha for part in frame.format.components):
        return False
    return bool(frame.reformat(format="rgba").to_ndarray()[..., 3].min() < 255)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what FFmpeg says about a film into our errors."""
    try:
        yield
    except av.error.MemoryError as error:
        raise OutOfMemory("There was not enough memory to open the film.") from error
    except av.error.FFmpegError as error:
        raise meaning(error) from error


def meaning(error: av.error.FFmpegError) -> RetintError:
    """Say what is wrong with a film."""
    if isinstance(error, av.error.DecoderNotFoundError | av.error.PatchWelcomeError):
        return InvalidPhoto("The film's pictures are coded in a way that is not known here.", code="unknown_codec")
    return InvalidPhoto("The film is damaged or incomplete and cannot be read: upload it again.", code="damaged")

"""Frames and pixels: what a film's pixels mean, and the conversions from frames to arrays and back."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

SHORTEST_SIDE = 16
LONGEST_RATIO = 40
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""Supported Y'CbCr matrices: MatrixCoefficients of ITU-T H.273, and libswscale's number for each."""
LIMITED_RANGE, FULL_RANGE = 1, 2
"""FFmpeg's color ranges: luma from 16 to 235, or from 0 to 255."""
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
"""With these flags, gray survives the conversion to R'G'B' and back without a change."""
ORIENTATIONS = {0: 1, 90: 8, 180: 3, 270: 6}
"""EXIF orientation of a rotation, in degrees counterclockwise, that makes pixels upright."""


@dataclass(frozen=True)
class FrameFormat:
    """How a film's pixels are to be interpreted, and how they are written again.

    Attributes:
        width: of the frames as stored, before rotation.
        height: likewise.
        bits: 8, or 10 for all that is deeper.
        pixel_format: FFmpeg's name of the format that is written: 4:2:0, unless chroma is finer or a side is odd.
        matrix: see `MATRICES`.
        is_full_range: whether luma goes from 0 to 255 rather than from 16 to 235.
        primaries: ITU-T H.273, ColourPrimaries; as in the original.
        transfer: ITU-T H.273, TransferCharacteristics; as in the original.
        rotation: degrees counterclockwise that make frames upright: 0, 90, 180, 270.
        pixel_aspect: width of a pixel over its height.
        field_order: `tff` or `bff` where frames are two interlaced fields, else None.
    """

    width: int
    height: int
    bits: int
    pixel_format: str
    matrix: int
    is_full_range: bool
    primaries: int
    transfer: int
    rotation: int
    pixel_aspect: Fraction
    field_order: str | None

    @classmethod
    def read(cls, frame: av.VideoFrame, stream: av.VideoStream) -> Self:
        """Read the format from a film's first frame."""
        source = frame.format
        channels = [channel for channel in source.components if not channel.is_alpha]
        bits = 8 if max(channel.bits for channel in channels) <= 8 else 10
        field_order = "bff" if stream.codec_context.field_order in (3, 5) else "tff"
        is_full_range = frame.color_range == FULL_RANGE or "yuvj" in source.name
        default_matrix = 1 if frame.height >= 720 else 6
        return cls(
            width=frame.width,
            height=frame.height,
            bits=bits,
            pixel_format=f"yuv{_chroma_sampling(frame)}p" + ("10le" if bits == 10 else ""),
            matrix=frame.colorspace if frame.colorspace in MATRICES else default_matrix,
            is_full_range=len(channels) == 3 and not source.is_rgb and is_full_range,
            primaries=frame.color_primaries,
            transfer=frame.color_trc,
            rotation=round(frame.rotation / 90) * 90 % 360,
            pixel_aspect=Fraction(stream.sample_aspect_ratio or 1) or Fraction(1),
            field_order=field_order if frame.interlaced_frame else None,
        )

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as displayed: rotated, with square pixels of the frame's own height."""
        width = max(1, round(self.width * min(max(self.pixel_aspect, Fraction(1, 4)), Fraction(4))))
        return (self.height, width) if self.rotation in (90, 270) else (width, self.height)

    def for_browsers(self, longest_side: int) -> Self:
        """Return a format that any browser plays: 8 bits, 4:2:0, even sides of at most `longest_side` pixels."""
        scale = min(1.0, longest_side / max(self.width, self.height))
        width, height = (max(2, round(length * scale / 2) * 2) for length in (self.width, self.height))
        return replace(
            self,
            width=width,
            height=height,
            bits=8,
            pixel_format="yuv420p",
            is_full_range=False,
            field_order=None,
        )

    @property
    def color_range(self) -> int:
        """FFmpeg's number of the color range."""
        return FULL_RANGE if self.is_full_range else LIMITED_RANGE

    @property
    def orientation(self) -> int:
        """The rotation as an EXIF orientation."""
        return ORIENTATIONS[self.rotation]


def _chroma_sampling(frame: av.VideoFrame) -> str:
    """Choose the chroma subsampling to write: `420`, `422` or `444`."""
    source = frame.format
    has_chroma = sum(not channel.is_alpha for channel in source.components) > 1
    is_finer = source.is_rgb or (has_chroma and source.chroma_height(16) == 16)
    sampling = "444" if is_finer and source.chroma_width(16) == 16 else "422" if is_finer else "420"
    if frame.width % 2 or (frame.height % 2 and sampling == "420"):
        return "444"
    return sampling


class FrameConverter:
    """Converts decoded frames into arrays: exact R'G'B' for rendering, small pictures for networks."""

    def __init__(self, frame_format: FrameFormat) -> None:
        self.format = frame_format
        self._exact, self._small, self._gray = VideoReformatter(), VideoReformatter(), VideoReformatter()
        self._options: dict[str, Any] = {
            "src_colorspace": MATRICES[frame_format.matrix],
            "src_color_range": frame_format.color_range,
            "dst_color_range": FULL_RANGE,
            "threads": 1,
        }

    def _convert(self, reformatter: VideoReformatter, frame: av.VideoFrame, **options: Any) -> av.VideoFrame:
        options = self._options | options
        if frame.format.is_rgb or len(frame.format.components) < 3:
            del options["src_colorspace"]
            options["src_color_range"] = FULL_RANGE
        return reformatter.reformat(frame, **options)

    def _join_fields(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return an interlaced frame as one progressive picture: libswscale would scale it field by field."""
        if not frame.interlaced_frame:
            return frame
        pixels = self.to_rgb(frame)
        progressive = av.VideoFrame.from_ndarray(pixels, "rgb24" if pixels.dtype == np.uint8 else "rgb48le")
        progressive.color_range = FULL_RANGE
        return progressive

    def to_rgb(self, frame: av.VideoFrame) -> NDArray[Any]:
        """R'G'B' as stored: uint8 (h, w, 3), or uint16 for more than 8 bits."""
        pixel_format = "rgb24" if self.format.bits == 8 else "rgb48le"
        return self._convert(self._exact, frame, format=pixel_format, interpolation=EXACT).to_ndarray()

    def to_proxy(self, frame: av.VideoFrame, side: int) -> NDArray[np.uint8]:
        """The picture for networks: uint8 (h, w, 3), upright, square pixels, the long side at most `side`."""
        upright = self.format.upright_size
        scale = min(1.0, side / max(upright))
        width, height = (max(1, round(length * scale)) for length in upright)
        if self.format.rotation in (90, 270):
            width, height = height, width
        small = self.to_thumbnail(frame, width, height)
        return np.ascontiguousarray(np.rot90(small, self.format.rotation // 90))

    def to_thumbnail(self, frame: av.VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        """The frame scaled to a size, not rotated: uint8 (height, width, 3)."""
        size = {"width": width, "height": height}
        joined = self._join_fields(frame)
        small = self._convert(self._small, joined, format="rgb24", interpolation=Interpolation.AREA, **size)
        return np.asarray(small.to_ndarray(), np.uint8)

    def to_format(self, frame: av.VideoFrame, target: FrameFormat) -> av.VideoFrame:
        """Scale and convert a frame to another format."""
        converted = self._convert(
            self._exact,
            self._join_fields(frame),
            width=target.width,
            height=target.height,
            format=target.pixel_format,
            interpolation=Interpolation.AREA,
            dst_colorspace=MATRICES[target.matrix],
            dst_color_range=target.color_range,
        )
        converted.pts, converted.duration, converted.time_base = frame.pts, frame.duration, frame.time_base
        converted.colorspace = target.matrix
        return converted

    def to_luma(self, frame: av.VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        """Luma scaled to a size, not rotated: uint8 (height, width)."""
        options: dict[str, Any] = {"width": width, "height": height, "interpolation": Interpolation.AREA, "threads": 1}
        small = self._gray.reformat(self._join_fields(frame), format="gray", **options)
        return np.asarray(small.to_ndarray(), np.uint8)


class FrameBuilder:
    """Converts exact R'G'B' arrays into frames for an encoder."""

    def __init__(self, frame_format: FrameFormat, pixel_format: str, time_base: Fraction) -> None:
        self._format, self._pixel_format, self._time_base = frame_format, pixel_format, time_base
        self._reformatter = VideoReformatter()

    def build(self, pixels: NDArray[Any], time: int, duration: int) -> av.VideoFrame:
        """Make a frame of uint8 or uint16 (h, w, 3); time and duration are in the film's time base."""
        source = "rgb24" if pixels.dtype == np.uint8 else "rgb48le"
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), source),
            format=self._pixel_format,
            src_color_range=FULL_RANGE,
            dst_colorspace=MATRICES[self._format.matrix],
            dst_color_range=self._format.color_range,
            interpolation=EXACT,
            threads=1,
        )
        frame.colorspace = self._format.matrix
        frame.pts, frame.duration, frame.time_base = time, duration, self._time_base
        return frame


def is_transparent(frame: av.VideoFrame) -> bool:
    """Whether any pixel of a frame is not fully opaque."""
    if not any(channel.is_alpha for channel in frame.format.components):
        return False
    return bool(frame.reformat(format="rgba").to_ndarray()[..., 3].min() < 255)

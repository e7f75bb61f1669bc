"""Conversions from frames to arrays and back: exact R'G'B' for rendering, small pictures for networks."""

import zlib
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from retint_workers.films.fields import FieldMarker
from retint_workers.films.frame_format import FULL_RANGE, MATRICES, FrameFormat
from retint_workers.films.orientation import to_upright

EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
"""With these flags, gray survives the conversion to R'G'B' and back without a change."""
AREA = Interpolation.AREA | Interpolation.FULL_CHR_H_INT
"""Means of areas. Without the second flag, R'G'B' gets chroma of half the width, however small it is."""


class FrameConverter:
    """Converts frames of one format into arrays.

    Args:
        frame_format: of the frames.
        is_deep: whether R'G'B' has 16 bits; by default where frames have more than 8.
    """

    def __init__(self, frame_format: FrameFormat, *, is_deep: bool | None = None) -> None:
        self.format = frame_format
        self._rgb = "rgb48le" if (frame_format.bits > 8 if is_deep is None else is_deep) else "rgb24"
        self._exact, self._small, self._gray = VideoReformatter(), VideoReformatter(), VideoReformatter()
        self._options: dict[str, Any] = {
            "src_color_range": FULL_RANGE if frame_format.is_rgb else frame_format.color_range,
            "dst_color_range": FULL_RANGE,
            "threads": 1,
        }
        if not frame_format.is_rgb:
            self._options["src_colorspace"] = MATRICES[frame_format.matrix]

    def _join_fields(self, frame: av.VideoFrame) -> tuple[av.VideoFrame, dict[str, Any]]:
        """Return a frame to scale, and the options for it: libswscale would scale a frame of fields field by field."""
        if not frame.interlaced_frame:
            return frame, self._options
        progressive = av.VideoFrame.from_ndarray(self.to_rgb(frame), self._rgb)
        return progressive, {"src_color_range": FULL_RANGE, "dst_color_range": FULL_RANGE, "threads": 1}

    def to_rgb(self, frame: av.VideoFrame) -> NDArray[Any]:
        """R'G'B' as stored: uint8 or uint16 (h, w, 3)."""
        return self._exact.reformat(frame, format=self._rgb, interpolation=EXACT, **self._options).to_ndarray()

    def to_proxy(self, frame: av.VideoFrame, side: int) -> NDArray[np.uint8]:
        """The picture for networks: uint8 (h, w, 3), upright, square pixels, the long side at most `side`."""
        upright = self.format.upright_size
        scale = min(1.0, side / max(upright))
        width, height = (max(1, round(length * scale)) for length in upright)
        if self.format.orientation >= 5:
            width, height = height, width
        return to_upright(self.to_thumbnail(frame, width, height), self.format.orientation)

    def to_thumbnail(self, frame: av.VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        """The frame scaled to a size, not turned: uint8 (height, width, 3)."""
        joined, options = self._join_fields(frame)
        small = self._small.reformat(joined, width, height, "rgb24", interpolation=AREA, **options)
        return np.asarray(small.to_ndarray(), np.uint8)

    def to_format(self, frame: av.VideoFrame, target: FrameFormat) -> av.VideoFrame:
        """Scale, turn and convert a frame to another format, of planes of 8 bits, which is upright."""
        joined, options = self._join_fields(frame)
        is_turned = self.format.orientation >= 5
        converted = self._exact.reformat(
            joined,
            target.height if is_turned else target.width,
            target.width if is_turned else target.height,
            target.pixel_format,
            interpolation=AREA,
            **options | {"dst_colorspace": MATRICES[target.matrix], "dst_color_range": target.color_range},
        )
        if self.format.orientation != 1:
            converted = _turn_planes(converted, self.format.orientation)
        converted.pts, converted.duration, converted.time_base = frame.pts, frame.duration, frame.time_base
        converted.colorspace = target.matrix
        return converted

    def to_luma(self, frame: av.VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        """Luma scaled to a size, not turned: uint8 (height, width)."""
        joined, _ = self._join_fields(frame)
        small = self._gray.reformat(joined, width, height, "gray", interpolation=Interpolation.AREA, threads=1)
        return np.asarray(small.to_ndarray(), np.uint8)


def _turn_planes(frame: av.VideoFrame, orientation: int) -> av.VideoFrame:
    """Turn and mirror a frame of planes of 8 bits."""
    planes = [to_upright(plane, orientation) for plane in read_planes(frame)]
    turned = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], frame.format.name)
    for plane, pixels in zip(read_planes(turned), planes, strict=True):
        plane[:] = pixels
    turned.color_range = frame.color_range
    return turned


def read_planes(frame: av.VideoFrame) -> list[NDArray[Any]]:
    """Return a frame's samples, plane by plane without padding: views, uint8 or uint16 (height, samples in a row)."""
    planes: Any = frame.planes
    kind = np.dtype(np.uint8 if frame.format.components[0].bits <= 8 else np.uint16)
    samples = 1 if frame.format.is_planar else frame.format.padded_bits_per_pixel // (8 * kind.itemsize)
    rows = (np.frombuffer(plane, kind).reshape(plane.height, -1) for plane in planes)
    return [row[:, : plane.width * samples] for row, plane in zip(rows, planes, strict=True)]


def checksum_planes(frame: av.VideoFrame) -> int:
    """Return a CRC-32 of a frame's samples, without the byte that fills up packed R'G'B'."""
    checksum, channels = 0, len(frame.format.components)
    for plane in read_planes(frame):
        samples = plane
        if plane.shape[1] > frame.width * channels:
            samples = plane.reshape(frame.height, frame.width, -1)[..., :channels]
        checksum = zlib.crc32(samples.tobytes(), checksum)
    return checksum


class FrameBuilder:
    """Converts rendered R'G'B' into frames for an encoder.

    Args:
        converter: made the R'G'B'.
        target: the format to build.
        keep_beyond: add what rendering changed to the original's own code values, so that rounding, and what R'G'B'
            cannot hold (blacker than black, whiter than white, chroma out of gamut), stays in the picture.
    """

    def __init__(self, converter: FrameConverter, target: FrameFormat, *, keep_beyond: bool) -> None:
        self._converter, self._target, self._keep_beyond = converter, target, keep_beyond
        self._reformatter, self._layout = VideoReformatter(), VideoReformatter()
        self._marker = FieldMarker(target.field_order) if target.field_order else None

    def build(self, pixels: NDArray[Any], frame: av.VideoFrame) -> av.VideoFrame:
        """Make a frame of the rendered pixels of a frame, uint8 or uint16 (h, w, 3); time and fields stay."""
        built = self._encode(pixels, frame)
        if self._keep_beyond:
            self._add_difference(built, self._encode(self._converter.to_rgb(frame), frame), self.keep(frame))
        return built

    def keep(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return a frame that was not rendered in the target format; its code values stay where the depth does."""
        original, target = self._converter.format, self._target
        same = {"threads": 1, "interpolation": EXACT}
        if not original.is_rgb:
            matrix = MATRICES[original.matrix]
            same |= {"src_colorspace": matrix, "dst_colorspace": matrix}
            same |= {"src_color_range": original.color_range, "dst_color_range": original.color_range}
        kept = self._layout.reformat(frame, format=target.pixel_format, **same)
        return self._describe(kept, frame)

    def _encode(self, pixels: NDArray[Any], frame: av.VideoFrame) -> av.VideoFrame:
        source = "rgb24" if pixels.dtype == np.uint8 else "rgb48le"
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), source)
        if self._marker and frame.interlaced_frame:  # chroma is then halved within each field
            rgb = self._marker.mark(rgb)
        target = self._target
        matrix = {} if target.is_rgb else {"dst_colorspace": MATRICES[target.matrix]}
        built = self._reformatter.reformat(
            rgb,
            format=target.pixel_format,
            src_color_range=FULL_RANGE,
            dst_color_range=FULL_RANGE if target.is_rgb else target.color_range,
            interpolation=EXACT,
            threads=1,
            **matrix,
        )
        return self._describe(built, frame)

    def _describe(self, built: av.VideoFrame, frame: av.VideoFrame) -> av.VideoFrame:
        built.colorspace = 0 if self._target.is_rgb else self._target.matrix
        built.color_range = FULL_RANGE if self._target.is_rgb else self._target.color_range
        built.pts, built.duration, built.time_base = frame.pts, frame.duration, frame.time_base
        return built

    def _add_difference(self, built: av.VideoFrame, bare: av.VideoFrame, kept: av.VideoFrame) -> None:
        """Make `built` what it differs by from `bare`, added to `kept`."""
        largest = (1 << self._target.bits) - 1
        for samples, before, own in zip(*map(read_planes, (built, bare, kept)), strict=True):
            samples[:] = np.clip(own + (samples.astype(np.int32) - before), 0, largest)

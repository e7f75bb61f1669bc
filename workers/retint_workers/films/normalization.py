"""Frames as decoders give them, brought to planar Y'CbCr or R'G'B' without alpha, with true field flags.

Depth, chroma and code values stay. Ordinary frames pass untouched.
"""

from typing import Any

import av
from av.video.reformatter import Interpolation, VideoReformatter

from retint.errors import InvalidPhoto
from retint_workers.films import codecs
from retint_workers.films.fields import FIELD_ORDERS, FieldMarker
from retint_workers.films.frame_format import FULL_RANGE, LIMITED_RANGE, SAMPLINGS
from retint_workers.films.frames import read_planes

DEPTHS = (8, 9, 10, 12, 14, 16)
"""Bits of a sample for which FFmpeg has planar formats."""


class FrameNormalizer:
    """Normalizes the frames of one film.

    Attributes:
        had_alpha: whether a frame had an alpha channel, which was opaque.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        self.had_alpha = False
        self._reformatter, self._chroma = VideoReformatter(), VideoReformatter()
        context = stream.codec_context
        self._is_gray_full_range = codecs.is_master(context.codec)
        order = FIELD_ORDERS.get(context.field_order)
        self._marker = FieldMarker(order) if order and codecs.is_master(context.codec) else None
        """These codecs rarely know of fields; then the container does."""

    def normalize(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame, or a new one with the same picture.

        Raises:
            InvalidPhoto: parts of it are transparent.
        """
        source = frame.format
        if any(channel.bits > max(DEPTHS) for channel in source.components):
            return frame  # is refused, see `FrameFormat.read`
        if source.has_palette or any(channel.is_alpha for channel in source.components):
            self._refuse_transparency(frame)
        target = _planar_format(source)
        if len(source.components) <= 2 and not source.has_palette:  # gray
            frame = self._add_chroma(frame, target)
        elif target not in (source.name, source.name.replace("yuvj", "yuv")):
            frame = self._repack(frame, target)
        if self._marker and not frame.interlaced_frame:
            frame = self._marker.mark(frame)
        return frame

    def _refuse_transparency(self, frame: av.VideoFrame) -> None:
        if frame.reformat(format="rgba").to_ndarray()[..., 3].min() < 255:
            raise InvalidPhoto("Parts of the film are transparent: save it without transparency.", code="transparent")
        self.had_alpha |= not frame.format.has_palette

    def _repack(self, frame: av.VideoFrame, target: str) -> av.VideoFrame:
        """Change how samples are laid out, not what they say."""
        ranges = {"src_color_range": frame.color_range, "dst_color_range": frame.color_range}
        repacked = self._reformatter.reformat(
            frame,
            format=target,
            src_colorspace=frame.colorspace,
            dst_colorspace=frame.colorspace,
            interpolation=Interpolation.ACCURATE_RND,
            threads=1,
            **(ranges if frame.color_range else {}),
        )
        return repacked

    def _add_chroma(self, frame: av.VideoFrame, target: str) -> av.VideoFrame:
        """Make a gray frame one of Y'CbCr with the same luma, which libswscale would scale."""
        bits = max(8, frame.format.components[0].bits)
        gray = self._reformatter.reformat(frame, format="gray" if bits == 8 else f"gray{bits}le", threads=1)
        colored = self._chroma.reformat(gray, format=target, threads=1)  # with all that is said of the frame
        luma, *chroma = read_planes(colored)
        luma[:] = read_planes(gray)[0]
        for plane in chroma:
            plane[:] = 1 << (bits - 1)
        is_full_range = frame.color_range == FULL_RANGE or (not frame.color_range and self._is_gray_full_range)
        colored.color_range = FULL_RANGE if is_full_range else LIMITED_RANGE
        return colored


def _planar_format(source: Any) -> str:
    """Name the format without alpha that holds a format's samples: planar, or packed R'G'B'; of gray: 4:4:4."""
    color = [channel for channel in source.components if not channel.is_alpha]
    bits = max(channel.bits for channel in color)
    if source.has_palette:
        return "rgb24"
    if source.name.startswith("xyz"):
        return str(source.name)  # is refused, too
    bits = next(depth for depth in DEPTHS if depth >= bits)
    depth = "" if bits == 8 else f"{bits}le"
    if source.is_bayer:
        return "rgb24" if bits == 8 else "rgb48le"
    if source.is_rgb:
        is_ready = bits in {channel.bits for channel in color} and len(color) == len(source.components)
        return str(source.name) if is_ready and not source.is_big_endian else "rgb24" if bits == 8 else f"gbrp{depth}"
    sampling = SAMPLINGS.get((source.chroma_width(16), source.chroma_height(16)), "444")
    return f"yuv{sampling}p{depth}"

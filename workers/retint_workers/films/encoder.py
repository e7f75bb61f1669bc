"""Encoder settings of the films that Retint writes: H.264 for results and previews, FFV1 for color films.

H.264 is written without B-frames: decoding order is display order, and every segment starts with a key frame, so
joining segments needs no new encoding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from retint_workers.films.decoder import THREADS, Film
from retint_workers.films.frames import FULL_RANGE, FrameFormat


@dataclass(frozen=True)
class EncoderSettings:
    """How a video stream is encoded.

    Attributes:
        codec: FFmpeg's name of the encoder.
        pixel_format: FFmpeg's name of the pixel format.
        options: the encoder's own options.
        size: width and height of the frames.
        time_base: seconds of one unit of time.
        frame_rate: average number of frames per second.
        context: attributes of the codec context that describe the pixels.
    """

    codec: str
    pixel_format: str
    options: Mapping[str, str]
    size: tuple[int, int]
    time_base: Fraction
    frame_rate: Fraction
    context: Mapping[str, Any]


def h264(film: Film, frame_format: FrameFormat, *, crf: int, preset: str) -> EncoderSettings:
    """Return settings for H.264 in the film's own time base; the lower the CRF, the better the quality."""
    options = {"crf": str(crf), "preset": preset, "bf": "0", "threads": str(THREADS)}
    if frame_format.field_order and frame_format.height % 4 == 0:
        options["x264-params"] = f"{frame_format.field_order}=1"
    return EncoderSettings(
        codec="libx264",
        pixel_format=frame_format.pixel_format,
        options=options,
        size=(frame_format.width, frame_format.height),
        time_base=film.time_base,
        frame_rate=film.frame_rate,
        context={
            "colorspace": frame_format.matrix,
            "color_range": frame_format.color_range,
            "color_primaries": frame_format.primaries,
            "color_trc": frame_format.transfer,
            "sample_aspect_ratio": frame_format.pixel_aspect,
        },
    )


def ffv1(width: int, height: int, frame_rate: Fraction) -> EncoderSettings:
    """Return settings for FFV1: lossless, 10 bits, key frames only (RFC 9043)."""
    return EncoderSettings(
        codec="ffv1",
        pixel_format="yuv444p10le",
        options={"level": "3", "slicecrc": "1", "slices": "4", "g": "1"},
        size=(width, height),
        time_base=1 / frame_rate,
        frame_rate=frame_rate,
        context={"colorspace": 1, "color_range": FULL_RANGE},
    )

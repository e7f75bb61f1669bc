"""Encoder settings of the films that Retint writes: results, previews, color films.

Every segment starts with a key frame, and decoding order is display order (H.264 has no B-frames), so joining segments
needs no new encoding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from retint_workers.films.codecs import FFV1_OPTIONS, ResultFormat
from retint_workers.films.decoder import THREADS, Film
from retint_workers.films.fields import STORED_ORDERS
from retint_workers.films.frame_format import FULL_RANGE, FrameFormat


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
        is_interlaced: whether fields are coded as fields.
        container: of the segments; NUT keeps any time, but few codecs.
    """

    codec: str
    pixel_format: str
    options: Mapping[str, str]
    size: tuple[int, int]
    time_base: Fraction
    frame_rate: Fraction
    context: Mapping[str, Any]
    is_interlaced: bool = False
    container: str = "nut"


def for_result(film: Film, result: ResultFormat) -> EncoderSettings:
    """Return settings for a result, in the film's own time base."""
    options = {"threads": str(THREADS)} if result.encoder == "libx264" else {}
    if result.encoder == "libx264" and result.frames.field_order:
        options["x264-params"] = f"{result.frames.field_order}=1"  # for the first frame; then x264 looks at each
    return EncoderSettings(
        codec=result.encoder,
        pixel_format=result.packing or result.frames.pixel_format,
        options={**result.options, **options},
        size=(result.frames.width, result.frames.height),
        time_base=film.time_base,
        frame_rate=film.frame_rate,
        context=describe_pixels(result.frames),
        is_interlaced=result.frames.field_order is not None,
        container="nut" if result.encoder in ("libx264", "ffv1") else "mov",
    )


def for_browsers(film: Film, frames: FrameFormat, crf: int) -> EncoderSettings:
    """Return settings for H.264 that any browser plays."""
    return EncoderSettings(
        codec="libx264",
        pixel_format=frames.pixel_format,
        options={"crf": str(crf), "preset": "veryfast", "bf": "0", "threads": str(THREADS)},
        size=(frames.width, frames.height),
        time_base=film.time_base,
        frame_rate=film.frame_rate,
        context=describe_pixels(frames),
    )


def describe_pixels(frames: FrameFormat) -> dict[str, Any]:
    """Return the attributes of a codec context that say what pixels mean, for encoders and for containers."""
    return {
        "colorspace": 0 if frames.is_rgb else frames.matrix,
        "color_range": FULL_RANGE if frames.is_rgb else frames.color_range,
        "color_primaries": frames.primaries,
        "color_trc": frames.transfer,
        "sample_aspect_ratio": frames.pixel_aspect,
    } | ({"field_order": STORED_ORDERS[frames.field_order]} if frames.field_order else {})


def ffv1(width: int, height: int, frame_rate: Fraction) -> EncoderSettings:
    """Return settings for FFV1 of a color film: lossless, 10 bits."""
    return EncoderSettings(
        codec="ffv1",
        pixel_format="yuv444p10le",
        options=FFV1_OPTIONS,
        size=(width, height),
        time_base=1 / frame_rate,
        frame_rate=frame_rate,
        context={"colorspace": 1, "color_range": FULL_RANGE},
    )

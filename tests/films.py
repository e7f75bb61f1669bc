"""Films for tests, made of real photographs: pans, cuts, sound, uneven frame times, rotation."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import skimage.data
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from PIL import Image

from retint_models.layers.color import LUMA

RATE = 24
TICKS = 24000
"""Units of time in a second; a frame of 24 lasts 1000."""
SOUND_HZ = 44100


def gray_photo(name: str) -> NDArray[np.uint8]:
    """Return a photograph of scikit-image in black and white, uint8 (h, w, 3)."""
    picture = Image.fromarray(getattr(skimage.data, name)()).convert("L")
    return np.repeat(np.asarray(picture)[..., None], 3, 2)


def pan(picture: NDArray[np.uint8], count: int, size: tuple[int, int] = (128, 96)) -> Iterator[NDArray[np.uint8]]:
    """Yield frames of a camera that pans over a photograph and zooms in, uint8 (h, w, 3); size is width and height."""
    height, width = picture.shape[:2]
    image = Image.fromarray(picture)
    for number in range(count):
        share = number / max(1, count - 1)
        window = min(width, height * size[0] / size[1]) * (0.75 - 0.1 * share)
        left, top = (width - window) * 0.4 * share, (height - window * size[1] / size[0]) * 0.3 * share
        box = (left, top, left + window, top + window * size[1] / size[0])
        yield np.asarray(image.resize(size, Image.Resampling.BILINEAR, box))


def two_scenes(count: int, size: tuple[int, int] = (128, 96)) -> list[NDArray[np.uint8]]:
    """Return frames of two scenes: a pan over the astronaut, then, from the middle on, a pan over the coffee."""
    first = count // 2
    return [*pan(gray_photo("astronaut"), first, size), *pan(gray_photo("coffee"), count - first, size)]


def uneven_times(count: int) -> list[int]:
    """Return unevenly spaced times of frames, in ticks."""
    return [1000 * number + (250 * (number % 3) if number else 0) for number in range(count)]


def write(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: str | None = "aac",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    turn: int = 0,
    **context: Any,
) -> Path:
    """Write a film; `context` are attributes of the encoder: `colorspace`, `color_range`, `flags` …"""
    frames = list(frames)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        video: Any = container.add_stream(codec, rate=RATE, options=options or {})
        video.height, video.width = frames[0].shape[:2] if frames else (96, 128)
        video.pix_fmt = pixels
        video.codec_context.time_base = Fraction(1, TICKS if times is not None else RATE)
        for name, value in context.items():
            setattr(video.codec_context, name, value)
        if turn:
            video.set_display_rotation(turn)
        audio: Any = container.add_stream(sound, rate=SOUND_HZ) if sound else None
        if not frames:
            container.start_encoding()
        for number, picture in enumerate(frames):
            kind = {3: "rgb24", 4: "rgba"}[picture.shape[2]]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), kind).reformat(
                format=pixels,
                dst_colorspace=context.get("colorspace"),
                dst_color_range=context.get("color_range"),
                interpolation="ACCURATE_RND",
            )
            frame.pts, frame.time_base = (times[number], Fraction(1, TICKS)) if times else (number, Fraction(1, RATE))
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio:
            write_tone(container, audio, len(frames) / RATE)
    return path


def write_tone(container: Any, audio: Any, seconds: float) -> None:
    """Write a sine tone of 440 Hz."""
    resampler = av.AudioResampler(audio.codec_context.format, audio.codec_context.layout, SOUND_HZ)
    size = audio.codec_context.frame_size or 1024
    for start in range(0, int(seconds * SOUND_HZ), size):
        wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(start, start + size) / SOUND_HZ)
        frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], "fltp", "mono")
        frame.sample_rate, frame.pts = SOUND_HZ, start
        for part in resampler.resample(frame):
            container.mux(audio.encode(part))
    container.mux(audio.encode())


def decode(path: Path) -> tuple[list[Fraction], list[Any]]:
    """Return the frames' times in seconds, and the decoded frames."""
    with av.open(str(path)) as container:
        frames: list[Any] = list(container.decode(video=0))
        return [frame.pts * Fraction(frame.time_base) for frame in frames], frames


def read_packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Return time and bytes of every packet of the streams of a kind."""
    with av.open(str(path)) as container:
        found: Any = container.demux([stream for stream in container.streams if stream.type == kind])
        return [(packet.pts * Fraction(packet.time_base), bytes(packet)) for packet in found if packet.size]


def to_rgb(frame: Any) -> NDArray[np.float64]:
    """Convert a decoded frame to R'G'B' as it is shown, (h, w, 3) in [0, 255]."""
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    shown = frame.reformat(format="rgb48le", interpolation=exact, dst_color_range=2)
    return np.asarray(shown.to_ndarray(), np.float64) / 257


def luma(frame: Any) -> NDArray[np.float64]:
    """Return the luma (Rec. 709) of a decoded frame as it is shown, in [0, 255]."""
    return np.asarray(to_rgb(frame) @ np.array(LUMA))

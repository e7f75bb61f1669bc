"""Films for tests, made of real photographs: pans, cuts, sound, uneven frame times, rotation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import skimage.data
from av.codec.context import Flags
from av.filter import Graph
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from PIL import Image

from retint_models.layers.color import LUMA
from retint_workers.films.fields import read_field_order

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


def interlaced(frames: Sequence[NDArray[np.uint8]], order: str) -> Iterator[NDArray[np.uint8]]:
    """Yield frames of two fields, each a moment of its own; `order` (`tff`, `bff`) says which field is the earlier."""
    first = 0 if order == "tff" else 1
    for early, late in zip(frames[::2], frames[1::2], strict=True):
        woven = late.copy()
        woven[first::2] = early[first::2]
        yield woven


def mark_fields(frame: Any, order: str) -> Any:
    """Return a frame with the flags of an interlaced one."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, RATE))
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def field_orders(path: Path) -> list[str | None]:
    """Return `tff`, `bff` or None for each frame."""
    return [read_field_order(frame) for frame in decode(path)[1]]


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
    matrix: Sequence[int] | None = None,
    fields: str | None = None,
    rate: Fraction | int = RATE,
    **context: Any,
) -> Path:
    """Write a film; `context` are attributes of the encoder: `colorspace`, `color_range`, `flags` …

    Its suffix names the container. Frames are uint8 (h, w, 3), or with alpha (h, w, 4), at `times` in ticks, or evenly
    spaced. `turn` is in degrees counterclockwise; `matrix` the whole display matrix; `fields` `tff` or `bff`.
    """
    frames = list(frames)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        video: Any = container.add_stream(codec, rate=rate, options=options or {})
        video.height, video.width = frames[0].shape[:2] if frames else (96, 128)
        video.pix_fmt = pixels
        video.codec_context.time_base = Fraction(1, TICKS) if times is not None else 1 / Fraction(rate)
        describe_stream(video, context, turn, matrix, fields)
        audio: Any = container.add_stream(sound, rate=SOUND_HZ) if sound else None
        if not frames:
            container.start_encoding()
        for number, picture in enumerate(frames):
            frame = to_frame(picture, pixels, fields, context)
            frame.pts, frame.time_base = (times[number], Fraction(1, TICKS)) if times else (number, 1 / Fraction(rate))
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio:
            write_tone(container, audio, float(len(frames) / rate))
    return path


def describe_stream(
    video: Any, context: Mapping[str, Any], turn: int, matrix: Sequence[int] | None, fields: str | None
) -> None:
    """Set what a stream says of its frames; the arguments are those of `write`."""
    for name, value in context.items():
        setattr(video.codec_context, name, value)
    if turn:
        video.set_display_rotation(turn)
    if matrix:
        video.set_display_matrix(matrix)
    if fields:
        video.codec_context.flags |= Flags.interlaced_dct
        video.codec_context.field_order = {"tff": 2, "bff": 3}[fields]


def to_frame(picture: NDArray[np.uint8], pixels: str, fields: str | None, context: Mapping[str, Any]) -> Any:
    """Return a picture as a frame to encode; the arguments are those of `write`."""
    kind = {3: "rgb24", 4: "rgba"}[picture.shape[2]]
    whole = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), kind)
    return (mark_fields(whole, fields) if fields else whole).reformat(
        format=pixels,
        dst_colorspace=context.get("colorspace"),
        dst_color_range=context.get("color_range"),
        interpolation="ACCURATE_RND",
    )


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

"""Writing films: pictures in reels of some seconds, which are spliced at the end, with the original's sound.

A reel is a file of its own (NUT: any time base, no index), complete or not there; so work that was interrupted goes on
with the next one. H.264 is written without frames that refer to later ones: decoding order is showing order, and
every reel begins anew, so splicing is copying.
"""

import heapq
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from retint_models.layers.types import ColorLayer
from retint_workers.films.decoder import EXACT, FULL_RANGE, MATRICES, THREADS, Film, Look, translated

if TYPE_CHECKING:
    Packet = av.Packet[Any]
else:
    Packet = av.Packet  # is generic for type checkers only

SUFFIXES: Mapping[str, str] = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv"}
BROWSERS_HEAR = {"aac", "mp3"}
XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The box of XMP in MP4 and QuickTime: XMP specification part 3 (2020), 2.3.3.1."""
THEIRS = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration", "xmp", "digital_source_type"}
"""Tags of the original that say something of its container, or that we write ourselves."""
COLOR_BITS = 10
FULL = (1 << COLOR_BITS) - 1


@dataclass(frozen=True)
class Coding:
    """What a reel holds, and how.

    Attributes:
        codec: FFmpeg's name of the encoder.
        pixels: its name of the pixel format.
        options: the encoder's own.
        size: width and height of the frames.
        time_base: seconds of one unit of time.
        rate: frames a second, on the average.
        meaning: what the encoder is to say of the pixels: attributes of its context.
    """

    codec: str
    pixels: str
    options: Mapping[str, str]
    size: tuple[int, int]
    time_base: Fraction
    rate: Fraction
    meaning: Mapping[str, Any]


def h264(film: Film, look: Look, *, quality: int, preset: str) -> Coding:
    """H.264 in the film's own size; the lower the quality's number (CRF), the better."""
    options = {"crf": str(quality), "preset": preset, "bf": "0", "threads": str(THREADS)}
    if look.fields and look.height % 4 == 0:
        options["x264-params"] = f"{look.fields}=1"
    meaning = {
        "colorspace": look.matrix,
        "color_range": FULL_RANGE if look.is_full else 1,
        "color_primaries": look.primaries,
        "color_trc": look.transfer,
        "sample_aspect_ratio": look.aspect,
    }
    return Coding("libx264", look.pixels, options, (look.width, look.height), film.time_base, film.rate, meaning)


def ffv1(width: int, height: int, rate: Fraction) -> Coding:
    """FFV1, lossless, 10 bits, every frame by itself (RFC 9043)."""
    options = {"level": "3", "slicecrc": "1", "slices": "4", "g": "1"}
    meaning = {"colorspace": 1, "color_range": FULL_RANGE}
    return Coding("ffv1", "yuv444p10le", options, (width, height), 1 / rate, rate, meaning)


class Reel:
    """A reel being written. It gets its name when it is complete. A context manager."""

    def __init__(self, path: Path, coding: Coding) -> None:
        self.path, self._part = path, path.with_suffix(".part")
        self._container = av.open(str(self._part.resolve()), "w", format="nut")
        rate = coding.rate.limit_denominator(1 << 20)
        self._stream: Any = self._container.add_stream(coding.codec, rate=rate, options=dict(coding.options))
        context: Any = self._stream.codec_context
        context.width, context.height = coding.size
        context.pix_fmt = coding.pixels
        context.time_base = self._stream.time_base = coding.time_base
        for name, value in coding.meaning.items():
            setattr(context, name, value)
        if "x264-params" in coding.options:
            context.flags |= Flags.interlaced_dct

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._container.mux(self._stream.encode())
        self._container.close()
        if error is None:
            self._part.replace(self.path)

    def write(self, frame: av.VideoFrame) -> None:
        """Add a frame; it has its time and the pixel format of the coding."""
        frame.pict_type = 0
        self._container.mux(self._stream.encode(frame))


class Inks:
    """Turns exact R'G'B' into the frames that a look wants."""

    def __init__(self, look: Look, pixels: str, time_base: Fraction) -> None:
        self._look, self._pixels, self._time_base = look, pixels, time_base
        self._reformatter = VideoReformatter()

    def frame(self, pixels: NDArray[Any], time: int, duration: int) -> av.VideoFrame:
        """Make a frame of uint8 or uint16 (h, w, 3)."""
        kind = "rgb24" if pixels.dtype == np.uint8 else "rgb48le"
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), kind),
            format=self._pixels,
            src_color_range=FULL_RANGE,
            dst_colorspace=MATRICES[self._look.matrix],
            dst_color_range=FULL_RANGE if self._look.is_full else 1,
            interpolation=EXACT,
            threads=1,
        )
        frame.colorspace = self._look.matrix
        frame.pts, frame.duration, frame.time_base = time, duration, self._time_base
        return frame


# --- splicing ---------------------------------------------------------------------------------------------------------


def spliced(reels: Sequence[Path], last_duration: int | None = None) -> Iterator[Packet]:
    """The packets of reels, one after the other; each lasts until the next one."""
    before: Packet | None = None
    for reel in reels:
        with av.open(str(reel.resolve()), format="nut") as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size == 0 or packet.pts is None:
                    continue
                packet.dts = packet.pts
                if before is not None:
                    before.duration = packet.pts - (before.pts or 0)
                    yield before
                before = packet
    if before is not None:
        if last_duration:
            before.duration = last_duration
        yield before


def splice(reels: Sequence[Path], output: Path, metadata: Mapping[str, str]) -> None:
    """Write the reels of a color film as one Matroska file."""
    with (
        av.open(str(reels[0].resolve()), format="nut") as first,
        av.open(str(output.resolve()), "w", format="matroska") as out,
    ):
        out.metadata.update(metadata)
        stream = out.add_stream_from_template(first.streams.video[0], opaque=True)
        context: Any = stream.codec_context
        context.colorspace, context.color_range = 1, FULL_RANGE  # which neither FFV1 nor NUT says
        for packet in spliced(reels):
            packet.stream = stream
            out.mux(packet)


@dataclass(frozen=True)
class Binding:
    """How a film is put together.

    Attributes:
        kind: `mp4`, `mov` or `matroska`.
        turn: as in `Look`.
        last_duration: how long the last frame is shown, in the film's time base.
        comment: what a person must know; added to the original's comment.
        xmp: the same for programs.
        for_browsers: leave out what they do not play.
    """

    kind: str
    turn: int
    last_duration: int
    comment: str = ""
    xmp: bytes = b""
    for_browsers: bool = False


def container_for(film: Film) -> str:
    """Choose a result's container: Matroska and QuickTime stay what they are; else MP4, or QuickTime for PCM sound."""
    names = [stream.codec_context.name for stream in film.container.streams.audio if stream.codec_context]
    if film.kind == "mp4" or film.kind not in SUFFIXES:
        return "mov" if any(name.startswith("pcm_") for name in names) else "mp4"
    return film.kind


def bind(film: Film, reels: Sequence[Path], output: Path, binding: Binding) -> list[str]:
    """Put reels together with the film's sound, subtitles and chapters; tell what could not be kept.

    Packets are copied where the container can hold them. Sound that it cannot hold is coded anew as AAC.
    """
    scale = str(film.time_base.denominator)
    options = {} if binding.kind == "matroska" else {
        "movflags": "+faststart", "video_track_timescale": scale, "movie_timescale": scale,
    }  # fmt: skip
    with (
        translated(),
        av.open(str(reels[0].resolve()), format="nut") as first,
        av.open(str(output.resolve()), "w", format=binding.kind, container_options=options) as out,
    ):
        pictures = out.add_stream_from_template(first.streams.video[0], opaque=True)
        pictures.metadata.update(_said(film.stream.metadata))
        if binding.turn:
            pictures.set_display_rotation(binding.turn)
        notes, takers = _others(film, out, binding)
        out.metadata.update(_said(film.container.metadata) if not binding.for_browsers else {})
        if binding.comment:
            former = out.metadata.pop("COMMENT", out.metadata.get("comment"))  # Matroska shouts
            out.metadata["comment"] = " ".join(filter(None, [former, binding.comment]))
        if binding.xmp and binding.kind == "matroska":
            out.metadata["XMP"] = binding.xmp.decode()
        if not binding.for_browsers and film.container.chapters():
            out.set_chapters(film.container.chapters())
        video = _on(pictures, spliced(reels, binding.last_duration))
        others = _copied(film, takers) if takers else iter(())
        for packet in heapq.merge(video, others, key=_second):
            out.mux(packet)
    if binding.xmp and binding.kind != "matroska":
        with output.open("ab") as file:
            file.write((len(binding.xmp) + 24).to_bytes(4) + b"uuid" + XMP_BOX + binding.xmp)
    return notes


Taker = Callable[[Packet | None], Iterable[Packet]]
"""What becomes of a packet in another film; none is the end."""


def _others(film: Film, out: av.container.OutputContainer, binding: Binding) -> tuple[list[str], dict[int, Taker]]:
    """Make the streams beside the pictures: what is left out, and what to do with the packets of the rest."""
    notes: list[str] = []
    takers: dict[int, Taker] = {}
    held = BROWSERS_HEAR if binding.for_browsers else out.supported_codecs
    for stream in film.container.streams:
        name = stream.codec_context.codec.canonical_name if stream.codec_context else ""
        if stream.index == film.stream.index or (binding.for_browsers and stream.type != "audio"):
            continue
        if stream.type in ("audio", "subtitle") and name in held:
            takers[stream.index] = _copy(film, stream, out)
        elif stream.type == "audio" and stream.codec_context:
            takers[stream.index] = _recode(film, stream, out)
            notes.append(f"The sound was coded anew as AAC, because {binding.kind} cannot hold {name}.")
        elif stream.type == "attachment" and binding.kind == "matroska":
            out.add_stream_from_template(stream)
        else:
            notes.append(f"A stream of {stream.type} {name or '(unknown)'} has no place in the result and is left out.")
    return ([] if binding.for_browsers else notes), takers


def _copy(film: Film, stream: Any, out: av.container.OutputContainer) -> Taker:
    copied = out.add_stream_from_template(stream, opaque=True)
    copied.metadata.update(_said(stream.metadata))
    copied.disposition = stream.disposition
    origin = round(film.origin_s / Fraction(stream.time_base or 1))
    last: int | None = None
    step = 0 if out.format.name == "matroska" else 1  # two subtitles may begin at one time there

    def take(packet: Packet | None) -> Iterable[Packet]:
        nonlocal last
        if packet is None:
            return ()
        shown, read = (None if at is None else at - origin for at in (packet.pts, packet.dts))
        if last is not None and (read is None or read < last + step):  # damaged; containers want time to go on
            read = last + step
        packet.pts, packet.dts = (shown if shown is None or read is None else max(shown, read)), read
        packet.stream, last = copied, read
        return (packet,)

    return take


def _recode(film: Film, stream: Any, out: av.container.OutputContainer) -> Taker:
    context = stream.codec_context
    coded = out.add_stream("aac", rate=context.sample_rate)
    layout = "mono" if context.layout.nb_channels == 1 else "stereo"
    coded.codec_context.layout = layout
    coded.metadata.update(_said(stream.metadata))
    resampler = av.AudioResampler("fltp", layout, context.sample_rate, frame_size=1024)
    origin = round(film.origin_s * context.sample_rate)

    def take(packet: Packet | None) -> Iterator[Packet]:
        for frame in stream.decode(packet) if packet else [None]:
            for part in resampler.resample(frame):
                if part.pts is not None:
                    part.pts -= origin
                yield from coded.encode(part)
        if packet is None:
            yield from coded.encode(None)

    return take


def _copied(film: Film, takers: Mapping[int, Taker]) -> Iterator[Packet]:
    """Take all packets beside the pictures, in the original's order."""
    for packet in film.container.demux([film.container.streams[index] for index in takers]):
        if packet.size:
            packet.dts = packet.pts if packet.dts is None else packet.dts
            yield from takers[packet.stream.index](packet)
    for taker in takers.values():
        yield from taker(None)


def _on(stream: Any, packets: Iterable[Packet]) -> Iterator[Packet]:
    for packet in packets:
        packet.stream = stream
        yield packet


def _second(packet: Packet) -> Fraction:
    return (packet.dts or 0) * Fraction(packet.time_base or 1)


def _said(metadata: Mapping[str, str]) -> dict[str, str]:
    """What an original says of itself that is still true of its result."""
    return {name: value for name, value in metadata.items() if name.lower() not in THEIRS}


def xmp_of(path: Path, container: av.container.InputContainer) -> bytes:
    """Read the XMP of a film that `bind` wrote; empty where there is none."""
    if "XMP" in container.metadata:
        return container.metadata["XMP"].encode()
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind, begin = int.from_bytes(head[:4]), head[4:], 8
            if size == 1:
                size, begin = int.from_bytes(file.read(8)), 16
            if kind == b"uuid" and file.read(16) == XMP_BOX:
                return file.read(size - 24)
            if size < begin:
                break
            file.seek(size - begin - (16 if kind == b"uuid" else 0), 1)
    return b""


# --- the color layer of a film ----------------------------------------------------------------------------------------


def color_frame(layer: ColorLayer, number: int, rate: Fraction) -> av.VideoFrame:
    """A color layer as a frame of a color film: Y', Cb, Cr of Rec. 709, full range, 10 bits."""
    height, width = layer.luma.shape
    frame = av.VideoFrame(width, height, "yuv444p10le")
    middle = (FULL + 1) // 2
    values = [layer.luma.astype(np.float32) * FULL, *(layer.chroma.astype(np.float32) * FULL + middle)]
    for plane, value in zip(frame.planes, values, strict=True):
        padded = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        padded[:, :width] = np.clip(np.rint(value), 0, FULL)
        plane.update(padded.tobytes())
    frame.pts, frame.time_base = number, 1 / rate
    frame.colorspace, frame.color_range = 1, FULL_RANGE
    return frame


def color_layers(path: Path) -> Iterator[ColorLayer]:
    """The layers of a color film, frame by frame; confidence is not kept."""
    with av.open(str(path.resolve()), format="matroska") as container:
        record = json.loads(container.metadata["RETINT"])
        for frame in container.decode(container.streams.video[0]):
            planes = [
                np.frombuffer(memoryview(plane), np.uint16)
                .reshape(plane.height, -1)[:, : plane.width]
                .astype(np.float32)
                for plane in frame.planes
            ]
            chroma = (np.stack(planes[1:]) - (FULL + 1) // 2) / FULL
            luma = (planes[0] / FULL).astype(np.float16)
            yield ColorLayer(
                np.clip(chroma, -0.5, 0.5).astype(np.float16), luma, np.zeros(luma.shape, np.uint8), record
            )


def color_record(path: Path) -> dict[str, Any]:
    """What made a color film."""
    with av.open(str(path.resolve()), format="matroska") as container:
        record: dict[str, Any] = json.loads(container.metadata["RETINT"])
        return record


def complete(folder: Path, name: str) -> list[Path]:
    """The reels that are complete, in their order."""
    return sorted(folder.glob(f"{name}-*.nut"))


def discard(folder: Path, name: str) -> None:
    """Throw reels away."""
    for reel in complete(folder, name):
        reel.unlink()


def whole(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there."""
    part = path.with_suffix(".half")
    part.write_bytes(content)
    part.replace(path)


def keep(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as one file, which is whole or not there."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    whole(path, buffer.getvalue())

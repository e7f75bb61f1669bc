"""Muxing: joins encoded segments with the original's sound, subtitles, chapters and tags in one container."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container

from retint.filetypes import FILM_SUFFIXES
from retint_workers.films import segments
from retint_workers.films.decoder import Film, translate_ffmpeg_errors
from retint_workers.films.segments import Packet

"""Containers that Retint writes."""
BROWSER_AUDIO = {"aac", "mp3"}
"""Audio codecs that any browser plays."""
XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""UUID of the box for XMP in MP4 and QuickTime: XMP specification part 3 (2020), 2.3.3.1."""
NOT_INHERITED = {
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
    "duration",
    "xmp",
    "digital_source_type",
}
"""Tags of the original that describe its container, or that Retint writes itself."""

PacketMapper = Callable[[Packet | None], Iterable[Packet]]
"""Turns a packet of the original into packets of the output; None means the end of the stream."""


@dataclass(frozen=True)
class MuxSettings:
    """How a film is put together.

    Attributes:
        container: `mp4`, `mov` or `matroska`.
        rotation: as in `FrameFormat`.
        last_duration: how long the last frame is shown, in the film's time base.
        comment: what a person must know; appended to the original's comment.
        xmp: the same for programs.
        for_browsers: leave out all that browsers do not play.
    """

    container: str
    rotation: int
    last_duration: int
    comment: str = ""
    xmp: bytes = b""
    for_browsers: bool = False

    def container_options(self, film: Film) -> dict[str, str]:
        """Return FFmpeg's options: index in front, and exact time scales."""
        if self.container == "matroska":
            return {}
        scale = str(film.time_base.denominator)
        return {"movflags": "+faststart", "video_track_timescale": scale, "movie_timescale": scale}


def choose_container(film: Film) -> str:
    """Choose a result's container: Matroska and QuickTime stay; all else becomes MP4, or QuickTime for PCM sound."""
    codecs = [stream.codec_context.name for stream in film.container.streams.audio if stream.codec_context]
    if film.container_format == "mp4" or film.container_format not in FILM_SUFFIXES:
        return "mov" if any(name.startswith("pcm_") for name in codecs) else "mp4"
    return film.container_format


def mux(film: Film, paths: Sequence[Path], output: Path, settings: MuxSettings) -> list[str]:
    """Join video segments with the film's sound, subtitles and chapters.

    Packets are copied if the container supports their codec. Other sound is re-encoded as AAC.

    Returns:
        Sentences about what could not be kept as it is.
    """
    with (
        translate_ffmpeg_errors(),
        av.open(str(paths[0].resolve()), format="nut") as first,
        av.open(
            str(output.resolve()), "w", format=settings.container, container_options=settings.container_options(film)
        ) as out,
    ):
        video = out.add_stream_from_template(first.streams.video[0], opaque=True)
        video.metadata.update(_inherited_tags(film.stream.metadata))
        if settings.rotation:
            video.set_display_rotation(settings.rotation)
        notes, mappers = _add_other_streams(film, out, settings)
        _write_tags(film, out, settings)
        video_packets = _assign_to(video, segments.read_packets(paths, settings.last_duration))
        other_packets = _map_packets(film, mappers) if mappers else iter(())
        for packet in heapq.merge(video_packets, other_packets, key=_decoding_time_s):
            out.mux(packet)
    if settings.xmp and settings.container != "matroska":
        with output.open("ab") as file:
            file.write((len(settings.xmp) + 24).to_bytes(4) + b"uuid" + XMP_BOX + settings.xmp)
    return notes


def _write_tags(film: Film, out: av.container.OutputContainer, settings: MuxSettings) -> None:
    if not settings.for_browsers:
        out.metadata.update(_inherited_tags(film.container.metadata))
    if settings.comment:
        former = out.metadata.pop("COMMENT", out.metadata.get("comment"))  # Matroska's tags are in capitals
        out.metadata["comment"] = " ".join(filter(None, [former, settings.comment]))
    if settings.xmp and settings.container == "matroska":
        out.metadata["XMP"] = settings.xmp.decode()
    if not settings.for_browsers and film.container.chapters():
        out.set_chapters(film.container.chapters())


def _add_other_streams(
    film: Film, out: av.container.OutputContainer, settings: MuxSettings
) -> tuple[list[str], dict[int, PacketMapper]]:
    """Add the streams beside the video.

    Returns:
        Sentences about what is left out or re-encoded, and for each kept stream's index what maps its packets.
    """
    notes: list[str] = []
    mappers: dict[int, PacketMapper] = {}
    supported = BROWSER_AUDIO if settings.for_browsers else out.supported_codecs
    for stream in film.container.streams:
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else ""
        if stream.index == film.stream.index or (settings.for_browsers and stream.type != "audio"):
            continue
        if stream.type in ("audio", "subtitle") and codec in supported:
            mappers[stream.index] = _copy_stream(film, stream, out)
        elif stream.type == "audio" and stream.codec_context:
            mappers[stream.index] = _reencode_audio(film, stream, out)
            notes.append(f"The sound was re-encoded as AAC, because {settings.container} cannot hold {codec}.")
        elif stream.type == "attachment" and settings.container == "matroska":
            out.add_stream_from_template(stream)
        else:
            name = f"{stream.type} {codec or '(unknown)'}"
            notes.append(f"A stream of {name} is left out, because {settings.container} cannot hold it.")
    return ([] if settings.for_browsers else notes), mappers


def _copy_stream(film: Film, stream: Any, out: av.container.OutputContainer) -> PacketMapper:
    """Add a stream whose packets are copied, with decoding times that increase even where the original's do not."""
    copied = out.add_stream_from_template(stream, opaque=True)
    copied.metadata.update(_inherited_tags(stream.metadata))
    copied.disposition = stream.disposition
    start = round(film.start_time_s / Fraction(stream.time_base or 1))
    last: int | None = None
    step = 0 if out.format.name == "matroska" else 1  # Matroska allows two subtitles at one time

    def copy(packet: Packet | None) -> Iterable[Packet]:
        nonlocal last
        if packet is None:
            return ()
        pts, dts = (None if time is None else time - start for time in (packet.pts, packet.dts))
        if last is not None and (dts is None or dts < last + step):  # damaged; muxers refuse times that go back
            dts = last + step
        packet.pts, packet.dts = (pts if pts is None or dts is None else max(pts, dts)), dts
        packet.stream, last = copied, dts
        return (packet,)

    return copy


def _reencode_audio(film: Film, stream: Any, out: av.container.OutputContainer) -> PacketMapper:
    """Add an AAC stream, mono or stereo, of an audio stream."""
    context = stream.codec_context
    encoded = out.add_stream("aac", rate=context.sample_rate)
    layout = "mono" if context.layout.nb_channels == 1 else "stereo"
    encoded.codec_context.layout = layout
    encoded.metadata.update(_inherited_tags(stream.metadata))
    resampler = av.AudioResampler("fltp", layout, context.sample_rate, frame_size=1024)
    start = round(film.start_time_s * context.sample_rate)

    def reencode(packet: Packet | None) -> Iterator[Packet]:
        for frame in stream.decode(packet) if packet else [None]:
            for part in resampler.resample(frame):
                if part.pts is not None:
                    part.pts -= start
                yield from encoded.encode(part)
        if packet is None:
            yield from encoded.encode(None)

    return reencode


def _map_packets(film: Film, mappers: Mapping[int, PacketMapper]) -> Iterator[Packet]:
    """Map all packets beside the video, in the original's order."""
    for packet in film.container.demux([film.container.streams[index] for index in mappers]):
        if packet.size:
            packet.dts = packet.pts if packet.dts is None else packet.dts
            yield from mappers[packet.stream.index](packet)
    for mapper in mappers.values():
        yield from mapper(None)


def _assign_to(stream: Any, packets: Iterable[Packet]) -> Iterator[Packet]:
    for packet in packets:
        packet.stream = stream
        yield packet


def _decoding_time_s(packet: Packet) -> Fraction:
    return (packet.dts or 0) * Fraction(packet.time_base or 1)


def _inherited_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the original's tags that are still true of its result."""
    return {name: value for name, value in metadata.items() if name.lower() not in NOT_INHERITED}


def read_xmp(path: Path, container: av.container.InputContainer) -> bytes:
    """Read the XMP of a film that `mux` wrote; empty if it has none."""
    if "XMP" in container.metadata:
        return container.metadata["XMP"].encode()
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            size, kind, header_size = int.from_bytes(header[:4]), header[4:], 8
            if size == 1:
                size, header_size = int.from_bytes(file.read(8)), 16
            if kind == b"uuid" and file.read(16) == XMP_BOX:
                return file.read(size - 24)
            if size < header_size:
                break
            file.seek(size - header_size - (16 if kind == b"uuid" else 0), 1)
    return b""

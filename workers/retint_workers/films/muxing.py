"""Muxing: joins encoded segments with the original's sound, subtitles, chapters and tags in one container."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container

from retint_workers.films import segments
from retint_workers.films.decoder import Film, translate_ffmpeg_errors
from retint_workers.films.encoder import describe_pixels
from retint_workers.films.fields import FIELD_ORDERS, PROGRESSIVE
from retint_workers.films.frame_format import FrameFormat
from retint_workers.films.other_streams import add_other_streams, map_packets
from retint_workers.films.segments import Packet, exact_times
from retint_workers.films.tags import inherited_tags, name_lost_tags

XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""UUID of the box for XMP in MP4 and QuickTime: XMP specification part 3 (2020), 2.3.3.1."""


@dataclass(frozen=True)
class MuxSettings:
    """How a film is put together.

    Attributes:
        container: `mp4`, `mov` or `matroska`.
        frames: the format of the encoded frames.
        last_duration_s: how long the last frame is shown.
        comment: what a person must know; appended to the original's comment.
        xmp: the same for programs.
        for_browsers: leave out all that browsers do not play.
    """

    container: str
    frames: FrameFormat
    last_duration_s: Fraction
    comment: str = ""
    xmp: bytes = b""
    for_browsers: bool = False

    def container_options(self, film: Film) -> dict[str, str]:
        """Return FFmpeg's options: index in front, all tags, exact times."""
        if self.container == "matroska":
            return {}
        return {"movflags": "+faststart"} | exact_times(self.container, film.time_base)


def mux(film: Film, paths: Sequence[Path], output: Path, settings: MuxSettings) -> list[str]:
    """Join video segments with the film's sound, subtitles and chapters; the file appears when it is complete.

    Packets are copied if the container supports their codec. Other sound is re-encoded as AAC.

    Returns:
        Sentences about what could not be kept as it is.
    """
    part = output.with_name(f"{output.name}.part")
    with (
        translate_ffmpeg_errors("The result"),
        segments.open_segment(paths[0]) as first,
        av.open(
            str(part.resolve()), "w", format=settings.container, container_options=settings.container_options(film)
        ) as out,
    ):
        template = first.streams.video[0]
        video = out.add_stream_from_template(template, opaque=True)
        if template.codec_context.name == "prores":  # its profile is the tag
            video.codec_context.codec_tag = template.codec_context.codec_tag
        _describe_video(film, video, settings)
        notes, mappers = add_other_streams(film, out, for_browsers=settings.for_browsers)
        _write_tags(film, out, settings)
        video_packets = _assign_to(video, segments.read_packets(paths, settings.last_duration_s))
        other_packets = map_packets(film, mappers) if mappers else iter(())
        for packet in heapq.merge(video_packets, other_packets, key=_decoding_time_s):
            out.mux(packet)
    if settings.xmp and settings.container != "matroska":
        with part.open("ab") as file:
            file.write((len(settings.xmp) + 24).to_bytes(4) + b"uuid" + XMP_BOX + settings.xmp)
    if not settings.for_browsers:
        notes += name_lost_tags(film, part, settings.container)
    part.replace(output)
    return notes


def _describe_video(film: Film, video: Any, settings: MuxSettings) -> None:
    """Write what the container says of the video: its rate, pixels, fields, orientation, timecode and tags."""
    context, frames = video.codec_context, settings.frames
    for name, value in describe_pixels(frames).items():  # segments do not store all of it
        setattr(context, name, value)
    context.framerate = film.frame_rate.limit_denominator(1 << 20)
    stored_order = film.stream.codec_context.field_order
    if not frames.field_order:
        context.field_order = PROGRESSIVE
    elif FIELD_ORDERS.get(stored_order) == frames.field_order:
        context.field_order = stored_order
    if frames.display_matrix:
        video.set_display_matrix(frames.display_matrix)
    if not settings.for_browsers:
        video.metadata.update(inherited_tags(film.stream.metadata))
        if film.timecode:
            video.metadata["timecode"] = film.timecode


def _write_tags(film: Film, out: av.container.OutputContainer, settings: MuxSettings) -> None:
    if not settings.for_browsers:
        out.metadata.update(inherited_tags(film.container.metadata))
    if settings.comment:
        former = out.metadata.pop("COMMENT", out.metadata.get("comment"))  # Matroska's tags are in capitals
        out.metadata["comment"] = " ".join(filter(None, [former, settings.comment]))
    if settings.xmp and settings.container == "matroska":
        out.metadata["XMP"] = settings.xmp.decode()
    if not settings.for_browsers and film.container.chapters():
        out.set_chapters(film.container.chapters())


def _assign_to(stream: Any, packets: Iterable[Packet]) -> Iterator[Packet]:
    for packet in packets:
        packet.stream = stream
        yield packet


def _decoding_time_s(packet: Packet) -> Fraction:
    return (packet.dts or 0) * Fraction(packet.time_base or 1)


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

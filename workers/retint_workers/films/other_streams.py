"""What a film has beside its picture: sound, subtitles, attachments. It is copied where the new container holds it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
import av.container
import av.error

from retint_workers.films.decoder import Film, translate_ffmpeg_errors
from retint_workers.films.segments import Packet
from retint_workers.films.tags import inherited_tags

BROWSER_AUDIO = {"aac", "mp3"}
"""Audio codecs that any browser plays."""
PacketMapper = Callable[[Packet | None], Iterable[Packet]]
"""Turns a packet of the original into packets of the output; None means the end of the stream."""


def add_other_streams(
    film: Film, out: av.container.OutputContainer, *, for_browsers: bool
) -> tuple[list[str], dict[int, PacketMapper]]:
    """Add the streams beside the video.

    Returns:
        Sentences about what is left out or re-encoded, and for each kept stream's index what maps its packets.
    """
    notes: list[str] = []
    mappers: dict[int, PacketMapper] = {}
    container = out.format.name
    supported = BROWSER_AUDIO if for_browsers else out.supported_codecs
    for stream in film.container.streams:
        context: Any = stream.codec_context
        codec = context.codec.canonical_name if context else ""
        if stream.index == film.stream.index or (for_browsers and stream.type != "audio"):
            continue
        if stream.type in ("audio", "subtitle") and codec in supported:
            mappers[stream.index] = _copy_stream(film, stream, out)
        elif stream.type == "audio" and context:
            target = "flac" if container == "matroska" else "aac"
            mappers[stream.index] = _reencode_audio(film, stream, out, target)
            name = target.upper() + (" in stereo" if target == "aac" and context.layout.nb_channels > 2 else "")
            notes.append(f"The sound was re-encoded as {name}, because {container} cannot hold {codec}.")
        elif stream.type == "attachment" and container == "matroska":
            out.add_stream_from_template(stream)
        elif stream.type != "data" or "timecode" not in stream.metadata:  # timecode is written anew, see `muxing`
            name = f"{stream.type} {codec or '(unknown)'}"
            notes.append(f"A stream of {name} is left out, because {container} cannot hold it.")
    return ([] if for_browsers else notes), mappers


def _copy_stream(film: Film, stream: Any, out: av.container.OutputContainer) -> PacketMapper:
    """Add a stream whose packets are copied, with decoding times that increase even where the original's do not."""
    copied = out.add_stream_from_template(stream, opaque=True)
    copied.metadata.update(inherited_tags(stream.metadata))
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


def _reencode_audio(film: Film, stream: Any, out: av.container.OutputContainer, codec: str) -> PacketMapper:
    """Add a stream of FLAC, without loss, or of AAC, mono or stereo, of an audio stream."""
    context = stream.codec_context
    encoded: Any = out.add_stream(codec, rate=context.sample_rate)
    if codec == "flac":
        layout, sample_format = context.layout.name, "s16" if context.format.bits <= 16 else "s32"
    else:
        layout, sample_format = "mono" if context.layout.nb_channels == 1 else "stereo", "fltp"
    encoded.codec_context.layout, encoded.codec_context.format = layout, sample_format
    encoded.metadata.update(inherited_tags(stream.metadata))
    resampler = av.AudioResampler(sample_format, layout, context.sample_rate, frame_size=1024)
    start = round(film.start_time_s * context.sample_rate)

    def reencode(packet: Packet | None) -> Iterator[Packet]:
        for frame in _decode_sound(stream, packet):
            for part in resampler.resample(frame):
                if part.pts is not None:
                    part.pts -= start
                yield from encoded.encode(part)
        if packet is None:
            yield from encoded.encode(None)

    return reencode


def _decode_sound(stream: Any, packet: Packet | None) -> Iterable[Any]:
    """Decode a packet of sound, nothing where it is damaged; at the end of the stream give None, which flushes."""
    if packet is None:
        return [None]
    with suppress(av.error.InvalidDataError):
        return list(stream.decode(packet))
    return []


def map_packets(film: Film, mappers: Mapping[int, PacketMapper]) -> Iterator[Packet]:
    """Map all packets beside the video, in the original's order.

    Raises:
        InvalidPhoto: the film is damaged.
    """
    packets = film.container.demux([film.container.streams[index] for index in mappers])
    while True:
        with translate_ffmpeg_errors():
            packet = next(packets, None)
        if packet is None:
            break
        if packet.size:
            packet.dts = packet.pts if packet.dts is None else packet.dts
            yield from mappers[packet.stream.index](packet)
    for mapper in mappers.values():
        yield from mapper(None)

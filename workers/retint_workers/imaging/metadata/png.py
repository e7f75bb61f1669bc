"""Carries metadata from a PNG into a PNG."""

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from retint_workers.containers import png, xmp
from retint_workers.imaging.metadata import blocks
from retint_workers.imaging.metadata.blocks import Change
from retint_workers.imaging.metadata.policy import DEFAULTS, Action, find_rule

XMP_BEGIN = b"iTXt" + png.XMP_KEYWORD + b"\0"
Pieces = list[tuple[bytes, bytes]]
"""Types and data of chunks."""


@dataclass
class Carried:
    """The chunks of the result, before and behind its pixels, and the XMP that was found."""

    before: Pieces = field(default_factory=list)
    after: Pieces = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)


def carry(original: Path, result: Path, change: Change) -> None:
    """Put metadata into a result; see `metadata.carry`."""
    with original.open("rb") as file, result.open("rb") as source:
        samples = Samples(file, png.read_image_header(file), png.read_image_header(source))
        carried = _choose(file, samples, change)
        tree = blocks.make_xmp(carried.packets, change)
        # Before all else: readers stop at some number of texts.
        carried.before.insert(0, (b"iTXt", png.pack_xmp(xmp.serialize(tree))))
        if change.profile is not None:
            carried.before.insert(0, (b"iCCP", _find_profile(file, change.profile) or png.pack_profile(change.profile)))
        beside = result.with_name(f"{result.name}.metadata")
        with beside.open("wb") as target:
            png.replace_metadata(source, target, carried.before, carried.after)
    beside.replace(result)


def _choose(file: BinaryIO, samples: "Samples", change: Change) -> Carried:
    carried = Carried()
    pieces = carried.before
    for chunk in png.read_chunks(file):
        if chunk.kind == b"IDAT":
            pieces = carried.after
        if chunk.kind == b"IEND":
            change.note_trailer(file, chunk.at + chunk.length + 4)
        if chunk.kind in png.CODING:
            continue
        name = f"The PNG's chunk {chunk.kind.decode('latin-1')}"
        if change.is_oversized(name, chunk.length):
            continue
        data = chunk.read(file)
        packet = _read_xmp(chunk.kind, data, change)
        if packet is not None:
            carried.packets.append(packet)
        elif (updated := _update(chunk, data, samples, change)) is not None:
            pieces.append((chunk.kind, updated))
    return carried


def _read_xmp(kind: bytes, data: bytes, change: Change) -> bytes | None:
    if not (kind + data).startswith(XMP_BEGIN):
        return None
    try:
        packet = png.unpack_xmp(data, xmp.MAX_BYTES)
    except ValueError:
        packet = None
    if packet is None:
        change.note("The XMP cannot be unpacked, or is too long, and is left out.")
    return packet or b""


def _update(chunk: png.PngChunk, data: bytes, samples: "Samples", change: Change) -> bytes | None:
    """Return a chunk's data for the result; None where it is left out."""
    rule = find_rule("png", chunk.kind + data)
    if rule is DEFAULTS["png"] and not (chunk.is_ancillary and chunk.is_safe_to_copy):
        name = chunk.kind.decode("latin-1")
        change.note(f"The PNG's chunk {name} is left out: it is private, and belongs to the original's pixels.")
        return None
    if change.leaves_out(rule):
        return None
    if rule.action is Action.REWRITE:
        if chunk.kind == b"eXIf":
            return blocks.update_exif(data, change)
        values = samples.convert_bits(data) if chunk.kind == b"sBIT" else samples.convert_background(data)
        if values is None:
            change.note(f"The PNG's chunk {chunk.kind.decode()} is damaged and is left out.")
        return values
    return data


def _find_profile(file: BinaryIO, profile: bytes) -> bytes | None:
    """Return the data of the original's iCCP if it holds this profile."""
    for chunk in png.read_chunks(file):
        if chunk.kind == b"iCCP":
            data = chunk.read(file)
            try:
                unpacked = zlib.decompressobj().decompress(data.partition(b"\0")[2][1:], len(profile) + 1)
            except zlib.error:
                return None
            return data if unpacked == profile else None
    return None


class Samples:
    """Converts what is said of samples from the original's color type and depth to the result's.

    Source: PNG, third edition, 11.3.2.7 and 11.3.4.1.

    Args:
        file: the original, for its palette.
        original: its header.
        result: the result's header.
    """

    def __init__(self, file: BinaryIO, original: png.ImageHeader, result: png.ImageHeader) -> None:
        self._file = file
        self._original = original
        self._result = result

    def convert_bits(self, data: bytes) -> bytes | None:
        """Return the significant bits of each of the result's channels; None where the data is damaged."""
        if len(data) != self._original.channels:
            return None
        has_alpha = self._original.color_type in (png.GRAY_ALPHA, png.RGB_ALPHA)
        color = list(data[:-1] if has_alpha else data)
        alpha = data[-1] if has_alpha else self._result.bits
        color = color * 3 if len(color) == 1 and self._is_colored else color
        return bytes([*color, alpha] if self._result.color_type in (png.GRAY_ALPHA, png.RGB_ALPHA) else color)

    def convert_background(self, data: bytes) -> bytes | None:
        """Return the background as a color of the result; None where the data is damaged."""
        if self._original.color_type == png.PALETTE:
            palette = next((each.read(self._file) for each in png.read_chunks(self._file) if each.kind == b"PLTE"), b"")
            color = list(palette[data[0] * 3 : data[0] * 3 + 3]) if data else []
            depth = 8
        else:
            color = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
            depth = self._original.bits
        if len(color) not in (1, 3) or max(color) >= 1 << depth:
            return None
        if len(color) == 1 and self._is_colored:
            color = color * 3
        if len(color) != (3 if self._is_colored else 1):
            return None
        scaled = (round(value * ((1 << self._result.bits) - 1) / ((1 << depth) - 1)) for value in color)
        return b"".join(value.to_bytes(2, "big") for value in scaled)

    @property
    def _is_colored(self) -> bool:
        return self._result.color_type in (png.RGB, png.RGB_ALPHA)

"""Carries metadata from a WebP into a WebP."""

from pathlib import Path

from retint_workers.containers import webp, xmp
from retint_workers.imaging.metadata import blocks
from retint_workers.imaging.metadata.blocks import Change
from retint_workers.imaging.metadata.policy import find_rule


def carry(original: Path, result: Path, change: Change) -> None:
    """Put metadata into a result; see `metadata.carry`."""
    pieces: list[tuple[bytes, bytes]] = []
    packets: list[bytes] = []
    with original.open("rb") as file:
        for chunk in webp.read_chunks(file):
            if chunk.kind in webp.CODING:
                continue
            name = f"The WebP's chunk {chunk.kind.decode('latin-1').strip()}"
            if change.is_oversized(name, chunk.length):
                continue
            if change.leaves_out(find_rule("webp", chunk.kind)):
                continue
            data = chunk.read(file)
            if chunk.kind == b"XMP ":
                packets.append(data)
            else:
                pieces.append((chunk.kind, blocks.update_exif(data, change) if chunk.kind == b"EXIF" else data))
    packet = xmp.serialize(blocks.make_xmp(packets, change))
    # EXIF and XMP stand before what readers do not know (RFC 9649, 2.7).
    metadata = sorted([*pieces, (b"XMP ", packet)], key=lambda piece: piece[0] not in (b"EXIF", b"XMP "))
    beside = result.with_name(f"{result.name}.metadata")
    with result.open("rb") as source, beside.open("w+b") as target:
        webp.replace_metadata(source, target, change.size, change.profile, metadata)
    beside.replace(result)

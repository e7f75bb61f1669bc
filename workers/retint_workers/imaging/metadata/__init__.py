"""Carries metadata from an original into its result, by the one policy (see `policy`).

Libvips writes pixels only. Metadata moves between the containers themselves, since every library's fields are narrower
than the formats: what the policy keeps is kept byte for byte.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from retint_workers.imaging.decoding.formats import Header
from retint_workers.imaging.metadata import converted, jpeg, png, tiff, webp
from retint_workers.imaging.metadata.blocks import Change
from retint_workers.imaging.provenance import Provenance

CARRIERS: Mapping[str, Callable[[Path, Path, Change], None]] = {
    "jpeg": jpeg.carry,
    "png": png.carry,
    "webp": webp.carry,
    "tiff": tiff.carry,
}


def carry(original: Path, result: Path, header: Header, *, record: Provenance, profile: bytes | None) -> list[str]:
    """Put the original's metadata, the record and the profile into a result.

    Args:
        original: the file as deposited.
        result: the rendered pixels without metadata, in the same format or converted to TIFF; it is changed.
        header: the original's.
        record: what made the result.
        profile: the result's color profile.

    Returns:
        A sentence for each thing that is left out or changed.
    """
    change = Change(
        bands=header.bands,
        bits=header.bits,
        size=(header.width, header.height),
        former_profile=header.profile,
        profile=profile,
        record=record,
        format=header.format,
        is_converted=header.format != header.result_format,
    )
    if header.format == header.result_format:
        CARRIERS[header.result_format](original, result, change)
    else:
        converted.carry_into_tiff(original, header.pixels, result, change)
    return change.notes

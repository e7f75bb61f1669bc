"""The policy for metadata: what the result takes over from the original, and in which way.

`POLICY` is the only table. Metadata without a rule is dropped.
"""

from dataclasses import dataclass
from enum import Enum

import pyvips

from retint_workers.containers import tiff
from retint_workers.imaging import profiles
from retint_workers.imaging.provenance import Provenance

MAX_BYTES = 8 << 20
"""Larger EXIF, XMP or IPTC does not describe a photo; it is left out."""
JPEG_XMP_BYTES = 65_000
"""What fits into one segment of a JPEG."""
XMP_FIELD = "xmp-data"


class Action(Enum):
    """What happens to metadata."""

    KEEP = "The result gets the original's, unchanged."
    MERGE = "The result gets the original's with the record of what made it (`Provenance.to_xmp`)."
    REPLACE = "The result gets its own."


@dataclass(frozen=True)
class Rule:
    """The policy for one kind of metadata.

    Attributes:
        name: for people.
        action: what happens to it.
        vips_prefix: begin of the names under which libvips reads and writes it; empty where it does not.
        tiff_tags: fields of a TIFF that hold it and that libvips drops or writes wrongly. They are copied from the
            original's first directory (`tiff.copy_fields`), unless libvips has written them.
        is_left_to_tiff_tags: whether libvips is not to write it into a TIFF.
        noted_field: libvips' name of the part whose loss, when it is larger than `MAX_BYTES`, is noted.
    """

    name: str
    action: Action
    vips_prefix: str = ""
    tiff_tags: tuple[int, ...] = ()
    is_left_to_tiff_tags: bool = False
    noted_field: str = ""


POLICY = (
    Rule("EXIF", Action.KEEP, "exif-", (tiff.EXIF, tiff.GPS), noted_field="exif-data"),
    Rule("IPTC", Action.KEEP, "iptc-data", (33723,), is_left_to_tiff_tags=True, noted_field="iptc-data"),
    Rule("Photoshop resources", Action.KEEP, "photoshop-data", (34377,), is_left_to_tiff_tags=True),
    Rule("description", Action.KEEP, "image-description", (270,), is_left_to_tiff_tags=True),
    Rule("names of document and page", Action.KEEP, tiff_tags=(269, 285)),
    Rule("make and model", Action.KEEP, tiff_tags=(271, 272)),
    Rule("software, date, artist, host computer", Action.KEEP, tiff_tags=(305, 306, 315, 316)),
    Rule("copyright", Action.KEEP, tiff_tags=(33432,)),
    Rule("orientation", Action.KEEP, "orientation"),
    Rule("unit of the resolution", Action.KEEP, "resolution-unit"),
    Rule("PNG comments", Action.KEEP, "png-comment"),
    Rule("XMP", Action.MERGE, XMP_FIELD, noted_field=XMP_FIELD),
    Rule("color profile", Action.REPLACE, profiles.ICC_FIELD),
)
TIFF_TAGS = frozenset(tag for rule in POLICY for tag in rule.tiff_tags)


def find_rule(vips_field: str) -> Rule | None:
    """Return the rule for metadata under libvips' name for it; None where there is none."""
    return next((rule for rule in POLICY if rule.vips_prefix and vips_field.startswith(rule.vips_prefix)), None)


def note_oversized(image: pyvips.Image) -> list[str]:
    """Return a sentence for each kind of metadata that is too large to be taken over."""
    return [
        f"The {rule.name} metadata is too large and is left out."
        for rule in POLICY
        if rule.noted_field and image.get_typeof(rule.noted_field) and len(image.get(rule.noted_field)) > MAX_BYTES
    ]


def transfer(
    original: pyvips.Image, result: pyvips.Image, *, record: Provenance, profile: bytes | None, file_format: str
) -> list[str]:
    """Set a result's metadata by the policy, before it is encoded; a TIFF also needs `tiff.copy_fields` afterwards.

    Args:
        original: as opened.
        result: a copy that may be changed.
        record: what made the result.
        profile: the result's own.
        file_format: of both.

    Returns:
        A sentence for each piece that had to be left out.
    """
    for name in original.get_fields():
        rule = find_rule(name)
        if rule is None or rule.action is not Action.KEEP or (file_format == "tiff" and rule.is_left_to_tiff_tags):
            continue
        value = original.get(name)
        if not (isinstance(value, bytes) and len(value) > MAX_BYTES):
            result.set_type(original.get_typeof(name), name, value)
    xmp, notes = _merge_xmp(original, record, file_format)
    result.set_type(pyvips.GValue.blob_type, XMP_FIELD, xmp)
    if profile is not None:
        result.set_type(pyvips.GValue.blob_type, profiles.ICC_FIELD, profile)
    return notes


def _merge_xmp(original: pyvips.Image, record: Provenance, file_format: str) -> tuple[bytes, list[str]]:
    """Add a record to the original's XMP; leave the original's out where both together are too large."""
    present = original.get(XMP_FIELD) if original.get_typeof(XMP_FIELD) else None
    xmp = record.to_xmp(present if present is None or len(present) <= MAX_BYTES else None)
    if file_format != "jpeg" or len(xmp) <= JPEG_XMP_BYTES:
        return xmp, []
    return record.to_xmp(), ["The original's XMP has no room in the result beside ours and is left out."]

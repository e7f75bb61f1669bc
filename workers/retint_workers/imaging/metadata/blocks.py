"""The blocks that several formats carry, brought up to date for a result: EXIF, XMP, Photoshop's resources."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from lxml import etree

from retint_workers.containers import exif, photoshop, tiff, xmp
from retint_workers.imaging.color import profiles
from retint_workers.imaging.metadata.policy import (
    MAX_ALL_BYTES,
    MAX_BYTES,
    NS,
    POLICY,
    THUMBNAILS,
    Action,
    Rule,
    find_rule,
)
from retint_workers.imaging.provenance import IPTC, RETINT, SOURCE_TYPE, Provenance

PHOTOSHOP_NS, TIFF_NS, MEDIA_NS = NS + "photoshop/1.0/", NS + "tiff/1.0/", NS + "xap/1.0/mm/"
REFERENCE_NS = NS + "xap/1.0/sType/ResourceRef#"
DUBLIN_CORE = "http://purl.org/dc/elements/1.1/"
CREDENTIALS_NS = "http://purl.org/dc/terms/"
KEPT_IN_MAIN_PACKET = frozenset({RETINT, xmp.NOTE, f"{{{IPTC}}}{SOURCE_TYPE}"})
"""What readers look for first: what made the result."""
GRAY_INTERPRETATION, RGB_INTERPRETATION, CMYK_INTERPRETATION = 1, 2, 5
"""TIFF's numbers."""
RGB_CODINGS = (2, 6)
"""TIFF's numbers for RGB: as it is, and as luma and chroma."""
GRAY_MODE, RGB_MODE = 1, 3
"""Photoshop's numbers."""


@dataclass
class Change:
    """What differs between an original and its result.

    Attributes:
        bands: of the original: 1 (gray) or 3 (RGB).
        bits: of a sample.
        size: width and height as stored.
        former_profile: the original's color profile, if it could be used.
        profile: the result's.
        record: what made the result.
        format: of the original.
        is_converted: whether the result is of another format: a TIFF.
        notes: a sentence for each thing that is left out or changed, each once.
        carried_bytes: of metadata so far.
    """

    bands: int
    bits: int
    size: tuple[int, int]
    former_profile: bytes | None
    profile: bytes | None
    record: Provenance
    format: str = ""
    is_converted: bool = False
    notes: list[str] = field(default_factory=list)
    carried_bytes: int = 0

    @property
    def becomes_colored(self) -> bool:
        """Whether the original is gray and the result is not."""
        return self.bands == 1 and self.record.is_colored

    @property
    def result_bands(self) -> int:
        """1 (gray) or 3 (RGB)."""
        return 3 if self.record.is_colored else self.bands

    def note(self, sentence: str) -> None:
        """Say something of the result, if it is not said yet."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def note_trailer(self, file: BinaryIO, end: int) -> None:
        """Note what follows the picture, which ends there: programs append pictures, films and archives."""
        file.seek(end)
        size, is_padding = 0, True
        while part := file.read(1 << 20):
            size += len(part)
            is_padding = is_padding and not part.strip(b"\0\xff \r\n")
        if not is_padding:
            self.note(f"{size:,} bytes that follow the picture in the file are left out.")

    def leaves_out(self, rule: Rule) -> bool:
        """Whether a rule leaves metadata out; then it is noted."""
        if rule.action is Action.DROP or (rule.action is Action.KEEP_UNLESS_COLORED and self.becomes_colored):
            self.note(rule.reason)
            return True
        return rule.action is Action.OWN

    def is_oversized(self, name: str, size: int) -> bool:
        """Whether a piece of metadata, or all together with it, is too large to be carried; then it is noted."""
        if size > MAX_BYTES:
            self.note(f"{name} of {size >> 20} MiB is left out: at most {MAX_BYTES >> 20} MiB are carried.")
            return True
        self.carried_bytes += size
        if self.carried_bytes > MAX_ALL_BYTES:
            self.note(f"What is beyond {MAX_ALL_BYTES >> 20} MiB of metadata is left out.")
        return self.carried_bytes > MAX_ALL_BYTES


# --- EXIF -------------------------------------------------------------------------------------------------------------


def update_exif(data: bytes, change: Change) -> bytes:
    """Return an EXIF block, with or without its signature, without thumbnail; a damaged one as it is."""
    signature, block = exif.split_signature(data)
    with suppress(ValueError):
        cut = exif.cut_thumbnail(block)
        if cut != block:
            change.note(THUMBNAILS)
        block = _update_exif_samples(cut, change)
    return signature + block


def _update_exif_samples(block: bytes, change: Change) -> bytes:
    """Correct what is said of color and samples, where it is said.

    Raises:
        ValueError: the block is damaged.
    """
    said = Samples.parse(exif.find_number(block, tiff.PHOTOMETRIC), exif.find_number(block, tiff.SAMPLES))
    wanted = said.correct(change.result_bands)
    if wanted.interpretation != said.interpretation:
        block = exif.set_numbers(block, tiff.PHOTOMETRIC, [wanted.interpretation])
    if wanted.count != said.count:
        block = exif.set_numbers(block, tiff.SAMPLES, [wanted.count])
    if wanted != said or exif.find_number(block, tiff.BITS) not in (None, change.bits):
        block = exif.set_numbers(block, tiff.BITS, [change.bits] * max(wanted.count, change.result_bands))
    return block


@dataclass(frozen=True)
class Samples:
    """What a file says of its samples: TIFF's photometric interpretation, and their number; 0 where it does not say."""

    interpretation: int
    count: int

    @classmethod
    def parse(cls, interpretation: object, count: object) -> "Samples":
        """Read the numbers from texts or numbers, or from what is none."""
        return cls(*(int(str(value)) if str(value).isdecimal() else 0 for value in (interpretation, count)))

    def correct(self, bands: int) -> "Samples":
        """Return what must be said of a result in gray (1 band) or RGB (3); channels beside the color stay."""
        if bands == 1:
            return Samples(self.interpretation if self.interpretation in (0, 1) else GRAY_INTERPRETATION, self.count)
        lacking = {1: 2, 2: 2, 4: -1 if self.interpretation == CMYK_INTERPRETATION else 0}.get(self.count, 0)
        interpretation = self.interpretation if self.interpretation in RGB_CODINGS else RGB_INTERPRETATION
        return Samples(interpretation, self.count + lacking)


# --- XMP --------------------------------------------------------------------------------------------------------------


def make_xmp(packets: Iterable[bytes], change: Change, extension: bytes | None = None) -> xmp.Tree:
    """Return the tree of the result's XMP: the original's, brought up to date, with the record of what made the result.

    Args:
        packets: the original's; all but the first are left out, and noted where they say something else.
        change: what else is different.
        extension: the second part of a JPEG's packet.
    """
    different = list({packet.strip(b"\0 \r\n\t"): packet for packet in reversed(list(packets))}.values())[::-1]
    if len(different) > 1:
        change.note("The file has XMP in several places; what does not stand in the first is left out.")
    root = _parse(different[0], change) if different else None
    root = root if root is not None else xmp.make_empty()
    if extension is not None:
        added = _parse(extension, change)
        if added is not None:
            xmp.merge_extension(root, added)
    xmp.remove(root, xmp.NOTE, "HasExtendedXMP")
    _update_xmp(root, change)
    change.record.add_to(root)
    return root


def find_extension(packet: bytes) -> str | None:
    """Return the GUID of the second part that a JPEG's XMP names; None where it names none."""
    try:
        return xmp.find(xmp.parse(packet)[0], xmp.NOTE, "HasExtendedXMP")
    except xmp.Unreadable:
        return None


def stays_as_it_is(extension: bytes, change: Change) -> bool:
    """Whether nothing in the second part of a JPEG's packet has to be brought up to date."""
    try:
        root, is_mended = xmp.parse(extension)
    except xmp.Unreadable:
        return False
    before = xmp.serialize(root)
    _update_xmp(root, replace(change, notes=[]))
    xmp.remove(root, IPTC, SOURCE_TYPE)
    return not is_mended and not xmp.remove_namespace(root, RETINT) and xmp.serialize(root) == before


def _parse(packet: bytes, change: Change) -> xmp.Tree | None:
    try:
        root, is_mended = xmp.parse(packet)
    except xmp.Unreadable as error:
        change.note(f"The XMP cannot be read ({error}) and is left out.")
        return None
    if is_mended:
        change.note("The XMP is not well-formed; it was mended, and its text is kept.")
    return root


def _update_xmp(root: xmp.Tree, change: Change) -> None:
    """Bring up to date what speaks of the file, as far as it is there."""
    for rule in POLICY:
        if rule.container == "xmp" and rule.action is Action.DROP:
            for key in rule.keys:
                namespace, _, name = str(key).partition(" ")
                found = xmp.remove(root, namespace, name) if name else xmp.remove_namespace(root, namespace)
                if found:
                    change.note(rule.reason)
    if (xmp.find(root, CREDENTIALS_NS, "provenance") or "").startswith("self#jumbf"):
        xmp.remove(root, CREDENTIALS_NS, "provenance")
    _update_samples(root, change)
    if change.is_converted:
        xmp.replace_text(root, DUBLIN_CORE, "format", "image/tiff")
    if change.profile != change.former_profile:
        if change.profile is None:
            xmp.remove(root, PHOTOSHOP_NS, "ICCProfile")
        else:
            xmp.replace_text(root, PHOTOSHOP_NS, "ICCProfile", profiles.read_name(change.profile))
    _set_identity(root, change)


def _update_samples(root: xmp.Tree, change: Change) -> None:
    """Correct what is said of color and samples, where it is said."""
    xmp.replace_text(root, PHOTOSHOP_NS, "ColorMode", str(RGB_MODE if change.result_bands == 3 else GRAY_MODE))
    said = Samples.parse(*(xmp.find(root, TIFF_NS, name) for name in ("PhotometricInterpretation", "SamplesPerPixel")))
    wanted = said.correct(change.result_bands)
    xmp.replace_text(root, TIFF_NS, "PhotometricInterpretation", str(wanted.interpretation))
    xmp.replace_text(root, TIFF_NS, "SamplesPerPixel", str(wanted.count))
    bits = [str(change.bits)] * max(wanted.count, change.result_bands)
    if (
        wanted != said
        or xmp.find_items(root, TIFF_NS, "BitsPerSample")[: change.result_bands] != bits[: change.result_bands]
    ):
        xmp.replace_items(root, "tiff", TIFF_NS, "BitsPerSample", bits)


def _set_identity(root: xmp.Tree, change: Change) -> None:
    """Give the result an identifier of its own, and name the original as what it is made from (XMP part 2, 2.2)."""
    names = ("documentID", "instanceID", "originalDocumentID")
    former = {name: xmp.find(root, MEDIA_NS, name[0].upper() + name[1:]) for name in names}
    if not former["documentID"] and not former["instanceID"]:
        return
    xmp.remove(root, MEDIA_NS, "InstanceID")
    xmp.remove(root, MEDIA_NS, "DerivedFrom")
    xmp.add(root, "xmpMM", MEDIA_NS, "InstanceID").text = f"xmp.iid:{change.record.derive_uuid()}"
    derived = xmp.add(root, "xmpMM", MEDIA_NS, "DerivedFrom")
    derived.set(f"{{{xmp.RDF}}}parseType", "Resource")
    for name, identifier in former.items():
        if identifier:
            etree.SubElement(derived, f"{{{REFERENCE_NS}}}{name}", nsmap={"stRef": REFERENCE_NS}).text = identifier


# --- Photoshop's resources --------------------------------------------------------------------------------------------


def find_photoshop_xmp(data: bytes) -> list[bytes]:
    """Return the XMP packets in Photoshop's resources."""
    return [resource.data for resource in photoshop.read(data)[0] if resource.number == photoshop.XMP]


def update_photoshop(data: bytes, change: Change) -> bytes:
    """Return Photoshop's resources without what shows or describes the original's pixels; the rest byte for byte."""
    resources, rest = photoshop.read(data)
    kept = [updated for resource in resources if (updated := _update_resource(resource, change)) is not None]
    return photoshop.write(kept, rest)


def _update_resource(resource: photoshop.Resource, change: Change) -> photoshop.Resource | None:
    number = resource.number
    if change.leaves_out(find_rule("photoshop", number)) or number == photoshop.XMP:
        return None
    if number == photoshop.UNTAGGED and change.profile is not None:
        return None
    if number == photoshop.ICC and resource.data != change.profile:
        return resource.replace(change.profile) if change.profile is not None else None
    if number in (photoshop.EXIF, photoshop.EXIF_MORE):
        updated = update_exif(resource.data, change)
        return resource if updated == resource.data else resource.replace(updated)
    return resource

"""The blocks that several formats carry, brought up to date for a result: EXIF, XMP, Photoshop's resources."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from lxml import etree

from retint_workers.containers import exif, photoshop, tiff, xmp
from retint_workers.imaging import profiles
from retint_workers.imaging.metadata.policy import MAX_BYTES, NS, POLICY, THUMBNAILS, Action, Rule, find_rule
from retint_workers.imaging.provenance import IPTC, RETINT, SOURCE_TYPE, Provenance

PHOTOSHOP_NS, TIFF_NS, MEDIA_NS = NS + "photoshop/1.0/", NS + "tiff/1.0/", NS + "xap/1.0/mm/"
REFERENCE_NS = NS + "xap/1.0/sType/ResourceRef#"
CREDENTIALS_NS = "http://purl.org/dc/terms/"
KEPT_IN_MAIN_PACKET = frozenset({RETINT, xmp.NOTE, f"{{{IPTC}}}{SOURCE_TYPE}"})
"""What readers look for first: what made the result."""
RGB_INTERPRETATION, RGB_MODE = 2, 3
"""TIFF's and Photoshop's numbers for RGB."""


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
        notes: a sentence for each thing that is left out or changed, each once.
    """

    bands: int
    bits: int
    size: tuple[int, int]
    former_profile: bytes | None
    profile: bytes | None
    record: Provenance
    notes: list[str] = field(default_factory=list)

    @property
    def becomes_colored(self) -> bool:
        """Whether the original is gray and the result is not."""
        return self.bands == 1 and self.record.is_colored

    def note(self, sentence: str) -> None:
        """Say something of the result, if it is not said yet."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def leaves_out(self, rule: Rule) -> bool:
        """Whether a rule leaves metadata out; then it is noted."""
        if rule.action is Action.DROP or (rule.action is Action.KEEP_UNLESS_COLORED and self.becomes_colored):
            self.note(rule.reason)
            return True
        return rule.action is Action.OWN

    def is_oversized(self, name: str, size: int) -> bool:
        """Whether metadata is too large to be carried; then it is noted."""
        if size > MAX_BYTES:
            self.note(f"{name} of {size >> 20} MiB is left out: at most {MAX_BYTES >> 20} MiB are carried.")
        return size > MAX_BYTES


# --- EXIF -------------------------------------------------------------------------------------------------------------


def update_exif(data: bytes, change: Change) -> bytes:
    """Return an EXIF block, with or without its signature, without thumbnail; a damaged one as it is."""
    signature, block = exif.split_signature(data)
    with suppress(ValueError):
        cut = exif.cut_thumbnail(block)
        if cut != block:
            change.note(THUMBNAILS)
        if change.becomes_colored:
            cut = exif.set_numbers(cut, tiff.PHOTOMETRIC, [RGB_INTERPRETATION])
            cut = exif.set_numbers(cut, tiff.SAMPLES, [3])
            cut = exif.set_numbers(cut, tiff.BITS, [change.bits] * 3)
        block = cut
    return signature + block


# --- XMP --------------------------------------------------------------------------------------------------------------


def make_xmp(packets: Iterable[bytes], change: Change, extension: bytes | None = None) -> xmp.Tree:
    """Return the tree of the result's XMP: the original's, brought up to date, with the record of what made the result.

    Args:
        packets: the original's; all but the first are left out, and noted where they say something else.
        change: what else is different.
        extension: the second part of a JPEG's packet.
    """
    different = list(dict.fromkeys(packet.strip(b"\0 \r\n\t") for packet in packets))
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
    if change.becomes_colored:
        xmp.replace_text(root, PHOTOSHOP_NS, "ColorMode", str(RGB_MODE))
        xmp.replace_text(root, TIFF_NS, "SamplesPerPixel", "3")
        xmp.replace_text(root, TIFF_NS, "PhotometricInterpretation", str(RGB_INTERPRETATION))
        _set_bits(root, change.bits)
    if change.profile != change.former_profile:
        if change.profile is None:
            xmp.remove(root, PHOTOSHOP_NS, "ICCProfile")
        else:
            xmp.replace_text(root, PHOTOSHOP_NS, "ICCProfile", profiles.read_name(change.profile))
    _set_identity(root, change)


def _set_bits(root: xmp.Tree, bits: int) -> None:
    if xmp.remove(root, TIFF_NS, "BitsPerSample"):
        sequence = etree.SubElement(xmp.add(root, "tiff", TIFF_NS, "BitsPerSample"), f"{{{xmp.RDF}}}Seq")
        for _ in range(3):
            etree.SubElement(sequence, f"{{{xmp.RDF}}}li").text = str(bits)


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

"""XMP packets: parsing them as they are found, their properties, and the two parts in which JPEG holds long ones.

Sources: XMP specification part 1 (ISO 16684-1:2019), and part 3 (Adobe, 2020), 1.1.3.
"""

import copy
import hashlib
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lxml import etree

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
META = "adobe:ns:meta/"
NOTE = "http://ns.adobe.com/xmp/note/"
EMPTY = f'<x:xmpmeta xmlns:x="{META}"><rdf:RDF xmlns:rdf="{RDF}"/></x:xmpmeta>'.encode()
MAX_BYTES = 16 << 20
"""A longer packet is not parsed."""
JPEG_SIGNATURE = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
JPEG_PACKET_BYTES = 65_502
"""The longest packet that fits into a segment of a JPEG."""
EXTENSION_PART_BYTES = 65_400
XML = "http://www.w3.org/XML/1998/namespace"

Tree = Any
"""lxml's element of a whole packet."""

BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)")
FORBIDDEN = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]|&#(?:x0*1?[0-9a-f]|0*[12]?[0-9]|0*3[01]);", re.I
)
"""Characters that XML does not allow, and references to them."""
ALLOWED = {"&#9;", "&#10;", "&#13;", "&#x9;", "&#xa;", "&#xd;"}


class Unreadable(ValueError):
    """A packet that cannot be parsed, or that declares entities."""


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, encoding="utf-8")


def make_empty() -> Tree:
    """Return a packet without properties."""
    return etree.fromstring(EMPTY, _parser())


def parse(packet: bytes) -> tuple[Tree, bool]:
    """Parse a packet.

    Returns:
        The tree, and whether it had to be mended: its text is not in the encoding that it should be in, or it has
        bare ampersands or control characters. Nothing else is lost.

    Raises:
        Unreadable: it is damaged beyond that, is too long, declares entities, or has no RDF.
    """
    if len(packet) > MAX_BYTES:
        raise Unreadable("too long")
    text, is_mended = _decode(packet)
    text = re.sub(r"^<\?xml\s.*?\?>\s*", "", text, count=1, flags=re.S)
    try:
        root = etree.fromstring(text.encode(), _parser())
    except (etree.XMLSyntaxError, UnicodeEncodeError):
        text = FORBIDDEN.sub(_replace_forbidden, BARE_AMPERSAND.sub("&amp;", text))
        is_mended = True
        try:
            root = etree.fromstring(text.encode(), _parser())
        except etree.XMLSyntaxError as error:
            raise Unreadable("not well-formed") from error
    if root.getroottree().docinfo.doctype:
        raise Unreadable("declares entities")
    if root.tag != f"{{{RDF}}}RDF" and root.find(f"{{{RDF}}}RDF") is None:
        raise Unreadable("no RDF")
    return root, is_mended


def _replace_forbidden(match: re.Match[str]) -> str:
    return match[0] if match[0].lower() in ALLOWED else "\ufffd"


def _decode(packet: bytes) -> tuple[str, bool]:
    """Return the text of a packet without padding, and whether it is not in one of XMP's encodings."""
    for bom, encoding in ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
                          (b"\xfe\xff", "utf-16"), (b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"),
                          (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be")):  # fmt: skip
        if packet.startswith(bom):
            return packet.decode(encoding, "replace").strip("\0 \r\n\t\ufeff"), False
    try:
        return packet.decode("utf-8-sig").strip("\0 \r\n\t\ufeff"), False
    except UnicodeDecodeError:
        return _decode_mixed(packet).strip("\0 \r\n\t\ufeff"), True


def _decode_mixed(packet: bytes) -> str:
    """Decode what is UTF-8 as UTF-8, and single other bytes as Windows' Western code page."""
    text = packet.decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda lone: bytes([ord(lone[0]) - 0xDC00]).decode("cp1252", "replace"), text)


def serialize(root: Tree) -> bytes:
    """Return a tree as a packet in UTF-8."""
    body = etree.tostring(root, encoding="unicode")
    return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{body}<?xpacket end="w"?>'.encode()


# --- properties -------------------------------------------------------------------------------------------------------


def find_rdf(root: Tree) -> Tree:
    """Return the element that holds the descriptions."""
    return root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")


def descriptions(root: Tree) -> Iterator[Tree]:
    """Yield the elements that hold the properties of the file."""
    yield from find_rdf(root).findall(f"{{{RDF}}}Description")


def find(root: Tree, namespace: str, name: str) -> str | None:
    """Return the text of a property, written as an element or as an attribute; None where it is missing."""
    tag = f"{{{namespace}}}{name}"
    for description in descriptions(root):
        if tag in description.attrib:
            return str(description.attrib[tag])
        element = description.find(tag)
        if element is not None:
            return str(element.text or element.get(f"{{{RDF}}}resource") or "")
    return None


def remove(root: Tree, namespace: str, name: str) -> bool:
    """Remove a property wherever it stands; return whether it stood anywhere."""
    tag, found = f"{{{namespace}}}{name}", False
    for description in descriptions(root):
        found |= description.attrib.pop(tag, None) is not None
        for element in description.findall(tag):
            description.remove(element)
            found = True
    return found


def remove_namespace(root: Tree, namespace: str) -> bool:
    """Remove all properties of a namespace; return whether there were any."""
    names = {etree.QName(tag).localname for tag in _property_tags(root) if etree.QName(tag).namespace == namespace}
    for name in names:
        remove(root, namespace, name)
    return bool(names)


def _property_tags(root: Tree) -> Iterator[str]:
    for description in descriptions(root):
        yield from description.attrib
        yield from (child.tag for child in description if isinstance(child.tag, str))


def add(root: Tree, prefix: str, namespace: str, name: str) -> Tree:
    """Add an empty property; return its element, to be filled."""
    description = next(descriptions(root), None)
    if description is None:
        description = etree.SubElement(find_rdf(root), f"{{{RDF}}}Description")
        description.set(f"{{{RDF}}}about", "")
    return etree.SubElement(description, f"{{{namespace}}}{name}", nsmap={prefix: namespace})


def replace_text(root: Tree, namespace: str, name: str, text: str) -> bool:
    """Give a property another text, if it is there; return whether it is."""
    tag, found = f"{{{namespace}}}{name}", False
    for description in descriptions(root):
        if tag in description.attrib:
            description.set(tag, text)
            found = True
        for element in description.findall(tag):
            element.text, found = text, True
            for child in list(element):
                element.remove(child)
    return found


def find_items(root: Tree, namespace: str, name: str) -> list[str]:
    """Return the texts of a property's list, or its one text; none where it is missing."""
    element = next((found for each in descriptions(root) for found in each.findall(f"{{{namespace}}}{name}")), None)
    if element is not None and len(element):
        return [item.text or "" for item in element.iter(f"{{{RDF}}}li")]
    text = find(root, namespace, name)
    return [] if text is None else [text]


def replace_items(root: Tree, prefix: str, namespace: str, name: str, texts: Sequence[str]) -> None:
    """Give a property a list of texts in their order, if it is there."""
    if remove(root, namespace, name):
        items = etree.SubElement(add(root, prefix, namespace, name), f"{{{RDF}}}Seq")
        for text in texts:
            etree.SubElement(items, f"{{{RDF}}}li").text = text


# --- the two parts of a long packet in a JPEG -------------------------------------------------------------------------


def join_extension(segments: Iterable[bytes], guid: str) -> bytes | None:
    """Return the extension with a GUID from the data of its segments; None where parts are missing or damaged."""
    parts: dict[int, bytes] = {}
    length = 0
    head = len(JPEG_EXTENSION)
    for data in segments:
        if data[head : head + 32].decode("latin-1").upper() == guid.upper() and len(data) >= head + 40:
            length, at = struct.unpack_from(">II", data, head + 32)
            parts[at] = data[head + 40 :]
    whole = b"".join(part for _, part in sorted(parts.items()))
    is_whole = len(whole) == length and compute_guid(whole) == guid.upper()
    return whole if is_whole and length else None


def merge_extension(root: Tree, extension: Tree) -> None:
    """Add the properties of an extension to the main packet's tree."""
    for description in descriptions(extension):
        find_rdf(root).append(copy.deepcopy(description))


def compute_guid(extension: bytes) -> str:
    """Return the GUID of an extension: its digest."""
    return hashlib.md5(extension, usedforsecurity=False).hexdigest().upper()


def belongs_to(segment: bytes, extension: bytes) -> bool:
    """Whether the data of a segment is a part of this extension."""
    guid = segment[len(JPEG_EXTENSION) : len(JPEG_EXTENSION) + 32]
    return guid.decode("latin-1").upper() == compute_guid(extension)


def name_extension(root: Tree, extension: bytes) -> bytes:
    """Return a packet that names its extension."""
    add(root, "xmpNote", NOTE, "HasExtendedXMP").text = compute_guid(extension)
    return serialize(root)


def split_for_jpeg(root: Tree, kept: frozenset[str]) -> list[bytes]:
    """Return the data of the segments that hold a packet: one, or the main packet and the parts of its extension.

    Args:
        root: the packet; it is changed where it is too long.
        kept: properties that stay in the main packet: namespaces, and lxml's tags of single ones.

    Raises:
        Unreadable: what cannot move is too long.
    """
    remove(root, NOTE, "HasExtendedXMP")
    packet = serialize(root)
    if len(packet) <= JPEG_PACKET_BYTES:
        return [JPEG_SIGNATURE + packet]
    moved = make_empty()
    excess = len(packet) - JPEG_PACKET_BYTES + 512  # room for the note that names the extension
    for size, element in sorted(_movable(root, kept), key=lambda item: -item[0]):
        if excess <= 0:
            break
        target = etree.SubElement(find_rdf(moved), f"{{{RDF}}}Description")
        target.set(f"{{{RDF}}}about", element.getparent().get(f"{{{RDF}}}about") or "")
        target.append(element)
        excess -= size
    extension = etree.tostring(moved, encoding="utf-8")
    packet = name_extension(root, extension)
    if len(packet) > JPEG_PACKET_BYTES:
        raise Unreadable("too long outside of its properties")
    head = JPEG_EXTENSION + compute_guid(extension).encode() + struct.pack(">I", len(extension))
    parts = range(0, len(extension), EXTENSION_PART_BYTES)
    return [
        JPEG_SIGNATURE + packet,
        *(head + struct.pack(">I", at) + extension[at : at + EXTENSION_PART_BYTES] for at in parts),
    ]


def _movable(root: Tree, kept: frozenset[str]) -> Iterator[tuple[int, Tree]]:
    """Yield the size and the element of each property that may move; attributes become elements."""
    for description in list(descriptions(root)):
        for tag, text in description.attrib.items():
            if etree.QName(tag).namespace not in (RDF, XML, None) and not _is_kept(tag, kept):
                etree.SubElement(description, tag).text = text
                del description.attrib[tag]
        for element in description:
            if isinstance(element.tag, str) and not _is_kept(element.tag, kept):
                yield len(etree.tostring(element, encoding="utf-8", with_tail=False)), element


def _is_kept(tag: str, kept: frozenset[str]) -> bool:
    return tag in kept or etree.QName(tag).namespace in kept

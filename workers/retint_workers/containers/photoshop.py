"""Photoshop's image resources, as JPEG and TIFF carry them.

Source: Adobe Photoshop File Formats Specification (2019), "Image Resources Section".
"""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

SIGNATURE = b"Photoshop 3.0\0"
"""What stands before the resources in each segment of a JPEG."""
TYPES = (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR")
THUMBNAILS = (0x0409, 0x040C)
ICC, UNTAGGED, XMP, EXIF, EXIF_MORE, IPTC = 0x040F, 0x0411, 0x0424, 0x0422, 0x0423, 0x0404
LAYERS = re.compile(rb"8BIM(?:Layr|Lr16|Lr32)|MIB8(?:ryaL|61rL|23rL)")
"""Begin of the blocks that hold layers, in TIFF's field for Photoshop documents, in both byte orders."""


@dataclass(frozen=True)
class Resource:
    """One resource: its number, its data, and all of its bytes as they are stored."""

    number: int
    data: bytes
    stored: bytes

    def replace(self, data: bytes) -> "Resource":
        """Return the resource with other data."""
        name_at = 6
        name_size = self.stored[name_at] + 1
        head = self.stored[: name_at + name_size + name_size % 2]
        stored = head + struct.pack(">I", len(data)) + data + bytes(len(data) % 2)
        return Resource(self.number, data, stored)


def read(data: bytes) -> tuple[list[Resource], bytes]:
    """Return the resources, and what follows the last one that can be read."""
    found, at = [], 0
    while data[at : at + 4] in TYPES and at + 7 <= len(data):
        (number,) = struct.unpack_from(">H", data, at + 4)
        name_size = data[at + 6] + 1
        size_at = at + 6 + name_size + name_size % 2
        size = int.from_bytes(data[size_at : size_at + 4], "big")
        end = size_at + 4 + size
        if size_at + 4 > len(data) or end > len(data):
            break
        found.append(Resource(number, data[size_at + 4 : end], data[at : end + size % 2]))
        at = end + size % 2
    return found, data[at:]


def write(resources: Iterable[Resource], rest: bytes = b"") -> bytes:
    """Return resources one after the other, and the rest."""
    return b"".join(resource.stored for resource in resources) + rest


def has_layers(document: bytes) -> bool:
    """Whether a TIFF's field for a Photoshop document holds layers with pixels."""
    return LAYERS.search(document) is not None

"""The policy for metadata: what becomes of every tag, chunk, segment and resource of an original.

`POLICY` is the only table. What it does not name is unknown, and kept (`DEFAULTS`), as far as a format lets
one copy what one does not understand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from retint_workers.containers import tiff

MAX_BYTES = 64 << 20
"""A larger piece of metadata is left out, with a note: it would be held in memory."""
MAX_ALL_BYTES = 256 << 20
"""Of all pieces together: hostile files point to the same bytes many times."""

THUMBNAILS = "Small previews inside the file (thumbnails) are left out: they show the original."
CREDENTIALS = "Content Credentials (C2PA) are left out: they vouch for the original's pixels, not for the result's."
OTHER_PICTURES = "Further pictures behind the photograph are left out, and the index of them."
GAIN_MAP = "A gain map for bright displays is left out: it belongs to the original's pixels."
GRAY_VALUES = "is left out: it describes gray values, and the result is in color."


class Action(Enum):
    """What happens to metadata."""

    KEEP = "The result gets the original's, byte for byte."
    REWRITE = "The result gets the original's, changed."
    DROP = "It is left out, and a note says so."
    KEEP_UNLESS_COLORED = "Kept; where a gray original becomes a result in color it is left out, and a note says so."
    OWN = "It belongs to the coding of the pixels, or to the container: the result has its own."


Key = bytes | int | str
"""Tells metadata in a container: the begin of a JPEG segment (marker and data) or of a PNG chunk (type and data), the
type of a WebP chunk, a TIFF tag, the number of a Photoshop resource, an XMP property as `namespace name`, or a whole
namespace."""


@dataclass(frozen=True)
class Rule:
    """The policy for one kind of metadata.

    Attributes:
        container: `jpeg`, `png`, `webp`, `tiff`, `photoshop` or `xmp`.
        keys: what it is about.
        action: what happens to it.
        reason: why; the note, where it is left out.
    """

    container: str
    keys: tuple[Key, ...]
    action: Action
    reason: str = ""


KEEP, REWRITE, DROP, OWN = Action.KEEP, Action.REWRITE, Action.DROP, Action.OWN
UNLESS_COLORED = Action.KEEP_UNLESS_COLORED
NS = "http://ns.adobe.com/"

_JPEG = (
    Rule("jpeg", (b"\xfe",), KEEP, "comments"),
    Rule("jpeg", (b"\xe0JFIF\0",), REWRITE, "density and unit stay; its thumbnail does not show the result"),
    Rule("jpeg", (b"\xe0JFXX\0",), DROP, THUMBNAILS),
    Rule("jpeg", (b"\xe1Exif\0",), REWRITE, "its thumbnail does not show the result; it may speak of gray samples"),
    Rule("jpeg", (b"\xe1" + NS.encode() + b"xap/1.0/\0",), REWRITE, "holds the record; speaks of the file"),
    Rule("jpeg", (b"\xe1" + NS.encode() + b"xmp/extension/\0",), REWRITE, "one packet with the one before"),
    Rule("jpeg", (b"\xe2ICC_PROFILE\0",), OWN, "the profile goes with the pixels"),
    Rule("jpeg", (b"\xe2MPF\0",), DROP, OTHER_PICTURES),
    Rule("jpeg", (b"\xe2urn:iso:std:iso:ts:21496",), DROP, GAIN_MAP),
    Rule("jpeg", (b"\xe8SPIFF\0",), OWN, "a file header: size, color and coding"),
    Rule("jpeg", (b"\xebHDR_RI",), DROP, GAIN_MAP),
    Rule("jpeg", (b"\xedPhotoshop 3.0\0",), REWRITE, "its thumbnail and profile do not show the result"),
    Rule("jpeg", (b"\xeeAdobe",), REWRITE, "tells how the result's color is coded; its version and flags stay"),
)

_PNG = (
    Rule("png", (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"), OWN, "the pixels"),
    Rule("png", (b"iCCP",), OWN, "the profile goes with the pixels"),
    Rule("png", (b"iDOT", b"CgBI"), OWN, "where Apple's decoder finds the pixels"),
    Rule("png", (b"iTXtXML:com.adobe.xmp\0",), REWRITE, "holds the record; speaks of the file"),
    Rule("png", (b"eXIf",), REWRITE, "its thumbnail does not show the result; it may speak of gray samples"),
    Rule("png", (b"sBIT", b"bKGD"), REWRITE, "one value a channel"),
    Rule(
        "png", (b"hIST",), DROP, "The PNG's histogram of its palette is left out: the result has no palette."
    ),
    Rule("png", (b"pCAL",), UNLESS_COLORED, f"The PNG's calibration of pixel values {GRAY_VALUES}"),
    Rule(
        "png", (b"zTXtRaw profile type icc\0", b"zTXtRaw profile type icm\0"), UNLESS_COLORED,
        "A color profile in the PNG's text is left out: it is one for gray, and the result is in color.",
    ),
    Rule("png", (b"dSIG",), DROP, "The PNG's digital signature is left out: it vouches for the original's pixels."),
    Rule("png", (b"caBX",), DROP, CREDENTIALS),
    Rule("png", (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"sPLT", b"oFFs", b"sCAL", b"sTER"), KEEP),
    Rule("png", (b"gAMA", b"cHRM", b"sRGB", b"cICP"), KEEP, "the result is coded so"),
    Rule("png", (b"mDCV", b"cLLI", b"mDCv", b"cLLi"), KEEP, "the result is shown so"),
    Rule("png", (b"gIFg", b"gIFx", b"vpAg", b"caNv", b"orNT"), KEEP),
)  # fmt: skip

_WEBP = (
    Rule("webp", (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP"), OWN, "the pixels and their profile"),
    Rule("webp", (b"EXIF",), REWRITE, "its thumbnail does not show the result; it may speak of gray samples"),
    Rule("webp", (b"XMP ",), REWRITE, "holds the record; speaks of the file"),
    Rule("webp", (b"C2PA",), DROP, CREDENTIALS),
)

_TIFF = (
    # How the pixels are coded: size and depth, strips and tiles, compression, palette, inks.
    Rule("tiff", (254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 284, 288, 289), OWN),
    Rule("tiff", (292, 293, 317, 320, 322, 323, 324, 325, 326, 327, 328, 332, 333, 334, 336, 339), OWN),
    Rule("tiff", (347, *range(512, 522), 529, 530, 531, 532, 559, 32996, 32997, 34675), OWN),
    Rule("tiff", (tiff.SUB_DIRECTORIES,), REWRITE, "pictures below are left out, other directories stay"),
    Rule("tiff", (tiff.EXIF, tiff.GPS, tiff.INTEROPERABILITY), KEEP, "moved; makers' notes with offsets follow"),
    Rule("tiff", (tiff.XMP,), REWRITE, "holds the record; speaks of the file"),
    Rule("tiff", (tiff.PHOTOSHOP,), REWRITE, "its thumbnail and profile do not show the result"),
    Rule("tiff", (338,), KEEP, "the channels beside the color are the original's: transparency, infrared, or unnamed"),
    Rule("tiff", (282, 283, 296, 274, 297, tiff.IPTC), KEEP, "said only where the original says it"),
    Rule("tiff", (280, 281), UNLESS_COLORED, f"The range of gray values in use (Min/MaxSampleValue) {GRAY_VALUES}"),
    Rule("tiff", (340, 341), UNLESS_COLORED, f"The range of gray values in use (SMin/SMaxSampleValue) {GRAY_VALUES}"),
    Rule("tiff", (290, 291), UNLESS_COLORED, f"The gray response curve {GRAY_VALUES}"),
    Rule("tiff", (321,), UNLESS_COLORED, f"The halftone hint {GRAY_VALUES}"),
    # The original's color space may need them, and the result is in the same; but a gray original has no primaries.
    Rule("tiff", (319,), UNLESS_COLORED, "The primaries in the TIFF are left out: the original has no color."),
    Rule("tiff", (301, 318, 342), KEEP, "white and tone are the same for gray and for color"),
    Rule("tiff", (52545,), DROP, CREDENTIALS),
)

_PHOTOSHOP = (
    Rule("photoshop", (0x0409, 0x040C), DROP, THUMBNAILS),
    Rule("photoshop", (0x040F, 0x0411), REWRITE, "the profile of the result, if the original's was there"),
    Rule("photoshop", (0x0424,), REWRITE, "XMP stands in its own place"),
    Rule("photoshop", (0x0422, 0x0423), REWRITE, "EXIF, as everywhere"),
    Rule("photoshop", (0x03E8,), UNLESS_COLORED, f"Photoshop's record of the color mode {GRAY_VALUES}"),
)

_XMP = (
    Rule("xmp", (NS + "photoshop/1.0/ ColorMode",), REWRITE, "3 is RGB"),
    Rule("xmp", (NS + "photoshop/1.0/ ICCProfile",), REWRITE, "the name of the result's profile"),
    Rule("xmp", (NS + "tiff/1.0/ SamplesPerPixel", NS + "tiff/1.0/ BitsPerSample"), REWRITE, "those of the result"),
    Rule("xmp", (NS + "tiff/1.0/ PhotometricInterpretation",), REWRITE, "2 is RGB"),
    Rule("xmp", (NS + "xap/1.0/mm/ InstanceID", NS + "xap/1.0/mm/ DerivedFrom"), REWRITE, "another file, made from it"),
    Rule("xmp", ("http://purl.org/dc/elements/1.1/ format",), REWRITE, "where the result is of another format"),
    Rule("xmp", (NS + "xap/1.0/ Thumbnails",), DROP, THUMBNAILS),
    Rule("xmp", (NS + "xap/1.0/g/img/",), DROP, THUMBNAILS),
    Rule("xmp", (NS + "hdr-gain-map/1.0/",), DROP, GAIN_MAP),
    Rule("xmp", ("http://ns.google.com/photos/1.0/container/",), DROP, OTHER_PICTURES),
    Rule("xmp", ("http://ns.google.com/photos/1.0/image/",), DROP, OTHER_PICTURES),
    Rule("xmp", tuple(
        f"http://ns.google.com/photos/1.0/camera/ {name}"
        for name in ("MotionPhoto", "MotionPhotoVersion", "MotionPhotoPresentationTimestampUs", "MicroVideo",
                     "MicroVideoVersion", "MicroVideoOffset", "MicroVideoPresentationTimestampUs")
    ), DROP, OTHER_PICTURES),
)  # fmt: skip

POLICY = (*_JPEG, *_PNG, *_WEBP, *_TIFF, *_PHOTOSHOP, *_XMP)

DEFAULTS: Mapping[str, Rule] = {
    "jpeg": Rule("jpeg", (), KEEP, "applications' segments stand for themselves"),
    "png": Rule("png", (), KEEP, "chunks that are safe to copy; others are left out with a note (PNG, 14.2)"),
    "webp": Rule("webp", (), KEEP, "readers pass unknown chunks over (RFC 9649, 2.3)"),
    "tiff": Rule("tiff", (), KEEP, "private and new tags, GeoTIFF, Windows' titles: size and place of the pixels stay"),
    "photoshop": Rule("photoshop", (), KEEP, "paths, captions, IPTC and its digest, resolution, names of channels"),
    "xmp": Rule("xmp", (), KEEP, "what people wrote"),
}


def find_rule(container: str, key: Key) -> Rule:
    """Return the rule for metadata, by its key or by bytes that begin with it; the default where none is about it."""
    for rule in POLICY:
        if rule.container == container and any(_is_about(known, key) for known in rule.keys):
            return rule
    return DEFAULTS[container]


def _is_about(known: Key, key: Key) -> bool:
    if isinstance(known, bytes) and isinstance(key, bytes):
        return key.startswith(known)
    return known == key

"""Tells the format of a file by its first bytes, never by its name."""

from retint.errors import InvalidPhoto
from retint_workers.imaging.decoding.tiff_pages import raw_file

HEAD_BYTES = 160
"""How much of a file `sniff` wants to see."""
RAW: tuple[tuple[int, bytes], ...] = (
    (0, b"IIRO"),
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"IIU\0"),
    (0, b"FUJIFILMCCD-RAW"),
    (0, b"FOVb"),
    (0, b"\0MRM"),
    (6, b"HEAPCCDR"),
    (8, b"CR\2\0"),
    (8, b"IIII"),
    (8, b"MMMM"),
    (4, b"ftypcrx "),
)
"""Offset and signature of cameras' raw data: Olympus, Panasonic, Fujifilm, Sigma, Minolta, Canon, Phase One, Canon."""
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
FORMATS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (8, b"WEBP", "webp"),
    *((0, signature, "tiff") for signature in TIFF),
    (0, b"\0\0\0\x0cjP  ", "jp2"),
    (0, b"\xff\x4f\xff\x51", "jp2"),
    (0, b"GIF8", "gif"),
    (0, b"BM", "bmp"),
)
"""Offset, signature and format."""
HEIF_BRANDS: tuple[tuple[bytes, str], ...] = ((b"avif", "avif"), (b"heic", "heic"), (b"heix", "heic"))
"""Brands of still pictures in an ISO file, and the format (ISO/IEC 23008-12, AV1 Image File Format)."""
ANIMATED_BRANDS = (b"avis", b"hevc", b"hevx")
REFUSED: tuple[tuple[int, bytes, str], ...] = (
    (0, b"8BPS", "a Photoshop document"),
    (0, b"%PDF", "a PDF"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (0, b"II\xbc\x01", "a JPEG XR"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"v/1\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance picture"),
    (0, b"SDPX", "a DPX film frame"),
    (0, b"XPDS", "a DPX film frame"),
    *((0, b"\x0a" + version + b"\x01", "a PCX") for version in (b"\0", b"\x02", b"\x03", b"\x05")),
    *((0, b"P%c%c" % (kind, space), "a PNM picture") for kind in b"123456" for space in b" \t\r\n"),
    *((0, b"P%c\n" % kind, "a PNM picture") for kind in b"7F"),
    (0, b"\0\0\x01\0", "an icon"),
    (0, b"gimp xcf", "a GIMP document"),
    (0, b"Paint Shop Pro", "a Paint Shop Pro document"),
    (0, b"\xd0\xcf\x11\xe0", "a FlashPix or Office document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (0, b"SIMPLE  =", "a FITS picture"),
    (128, b"DICM", "a DICOM picture"),
    (0, b"\x01\xda\0", "an SGI picture"),
    (0, b"\x01\xda\x01", "an SGI picture"),
    (0, b"\x59\xa6\x6a\x95", "a Sun raster"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (0, b"\x8aMNG", "an MNG"),
    (0, b"\x8bJNG", "a JNG"),
    (0, b"qoif", "a QOI"),
    (0, b"BPG\xfb", "a BPG"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<!doctype html", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x1aE\xdf\xa3", "a video file"),
)
"""Formats that are recognized only to be refused by name: offset and bytes of the signature, name."""


def sniff(head: bytes) -> str:
    """Tell the format from a file's first bytes.

    Returns:
        `jpeg`, `png`, `webp`, `tiff`, which are read as they are; `jp2`, `avif`, `heic`, `bmp`, `gif`, which are
        converted.

    Raises:
        InvalidPhoto: the file is empty, not an image, or of a format that is not restored.
    """
    if not head:
        raise InvalidPhoto("The file is empty: upload it again.", code="empty")
    if any(head[at:].startswith(signature) for at, signature in RAW):
        raise raw_file()
    for at, signature, name in FORMATS:
        if head[at:].startswith(signature):
            return name
    if head[4:8] == b"ftyp":
        return _sniff_iso(head)
    for at, signature, name in REFUSED:
        if head[at:].lower().startswith(signature.lower()):
            raise InvalidPhoto(f"The file is {name}: save it as TIFF, JPEG or PNG.", code="unsupported_format")
    raise InvalidPhoto(
        "The file is neither an image nor a film: upload a JPEG, TIFF, PNG, WebP, JPEG 2000, or a film.",
        code="not_an_image",
    )


def _sniff_iso(head: bytes) -> str:
    """Tell AVIF and HEIC by the major brand, then by the compatible ones.

    Raises:
        InvalidPhoto: it is neither.
    """
    size = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)) - 3, 4))]
    if brands[0] in ANIMATED_BRANDS:
        raise InvalidPhoto("The file is an animation: save one picture of it.", code="animated")
    for brand, name in HEIF_BRANDS:
        if brand in brands:
            return name
    raise InvalidPhoto(
        "The file is neither HEIC nor AVIF but another picture or film of that family: save it as TIFF or JPEG.",
        code="unsupported_format",
    )

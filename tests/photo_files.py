"""Photo files for tests: a photograph in every format that archives hold, odd files, and hostile ones.

They are written with other libraries than those that read them, where there are any.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms
from tests import photographs

Pixels = NDArray[Any]
Writer = Callable[[Path, Pixels], None]
XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/print">
 <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Harbor, 1911</rdf:li></rdf:Alt></dc:title></rdf:Description>
 </rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PROPHOTO_PRIMARIES = ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249))
ADOBE_PRIMARIES = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def make_icc_profile(name: str, gamma: float, primaries: tuple[tuple[float, ...], ...] | None = None) -> bytes:
    """A gray profile, or with primaries (XYZ under D50) an RGB one, with a power curve."""

    def fixed(values: tuple[float, ...]) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256))
    tags = {b"desc": b"desc" + struct.pack(">II", 0, len(name) + 1) + name.encode() + b"\0" + bytes(78)}
    tags |= {b"cprt": b"text\0\0\0\0none\0", b"wtpt": fixed((0.9642, 1.0, 0.8249))}
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {tag: fixed(xyz) for tag, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    space = b"GRAY" if primaries is None else b"RGB "
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed((0.9642, 1.0, 0.8249))[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def make_exif(orientation: int = 1, **more: str) -> bytes:
    """EXIF with an orientation, a maker, an artist and a date."""
    data = Image.Exif()
    data[274], data[271], data[315] = orientation, "Voigtlaender", more.get("artist", "A. Photographer")
    data.get_ifd(34665)[36867] = "1911:05:04 10:00:00"
    return data.tobytes()


def pillow_writer(kind: str, **options: Any) -> Writer:
    """Return a function that writes pixels with Pillow."""
    return lambda path, pixels: Image.fromarray(pixels).save(path, kind, **options)


def tifffile_writer(**options: Any) -> Writer:
    """Return a function that writes pixels with tifffile."""

    def write(path: Path, pixels: Pixels) -> None:
        photometric = options.get("photometric", "rgb" if pixels.ndim == 3 else "minisblack")
        tifffile.imwrite(path, pixels, metadata=None, **{**options, "photometric": photometric})

    return write


def vips_writer(kind: str, **options: Any) -> Writer:
    """Return a function that writes pixels with libvips, for what the others cannot write."""

    def write(path: Path, pixels: Pixels) -> None:
        image = pyvips.Image.new_from_array(pixels)
        image = image.copy(interpretation={1: "grey16", 3: "rgb16"}[image.bands]) if pixels.itemsize == 2 else image
        pyvips.Operation.call(f"{kind}save", image, str(path), **options)

    return write


# name: (bits, writer). Each writer takes gray or RGB of that depth, unless the name says which.
FORMATS: Mapping[str, tuple[int, Writer]] = {
    "plain.jpg": (8, pillow_writer("JPEG", quality=85)),
    "fine 444.jpg": (8, pillow_writer("JPEG", quality=95, subsampling=0)),
    "poor.jpg": (8, pillow_writer("JPEG", quality=30)),
    "progressive.jpg": (8, pillow_writer("JPEG", quality=80, progressive=True)),
    "plain.png": (8, pillow_writer("PNG")),
    "16.png": (16, vips_writer("png")),
    "interlaced.png": (8, vips_writer("png", interlace=True)),
    "lossy.webp": (8, pillow_writer("WEBP", quality=80)),
    "lossless.webp": (8, pillow_writer("WEBP", lossless=True)),
    "plain.tif": (8, tifffile_writer()),
    "16.tif": (16, tifffile_writer()),
    "big-endian 16.tif": (16, tifffile_writer(byteorder=">")),
    "tiled.tif": (8, tifffile_writer(tile=(64, 128))),
    "tiled deflate 16.tif": (16, tifffile_writer(tile=(64, 64), compression="zlib", predictor=True)),
    "bigtiff.tif": (8, tifffile_writer(bigtiff=True)),
    "bigtiff 16 tiled.tif": (16, tifffile_writer(bigtiff=True, tile=(128, 64))),
    "lzw.tif": (8, vips_writer("tiff", compression="lzw", predictor="horizontal")),
    "lzw 16.tif": (16, vips_writer("tiff", compression="lzw", predictor="none")),
    "packbits.tif": (8, vips_writer("tiff", compression="packbits")),
    "jpeg inside.tif": (8, vips_writer("tiff", compression="jpeg", Q=90)),
    "pyramid.tif": (8, vips_writer("tiff", tile=True, pyramid=True)),
    "one strip.tif": (8, tifffile_writer(rowsperstrip=10_000)),
}


def pillow_metadata(profile: bytes | None, orientation: int) -> dict[str, Any]:
    """Metadata as a scanner's software writes it: options of Pillow's writers."""
    options = {"exif": make_exif(orientation), "xmp": XMP, "dpi": (600, 600)}
    return options | ({"icc_profile": profile} if profile else {})


# --- odd and hostile files --------------------------------------------------------------------------------------------


def encode_photo(kind: str, pixels: Pixels | None = None, mode: str | None = None, **options: Any) -> bytes:
    """A small real photograph, written by Pillow."""
    picture = Image.fromarray(photographs.color_photo(0, 128) if pixels is None else pixels)
    buffer = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def encode_tiff(*pages: Pixels, **options: Any) -> bytes:
    """A TIFF of these pages, written by tifffile."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in pages:
            writer.write(page, metadata=None, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header claims a size, whatever follows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(data or bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def png_with(*chunks: tuple[bytes, bytes], pixels: Pixels | None = None) -> bytes:
    """A PNG with these chunks before its pixels."""
    data = encode_photo("PNG", pixels)
    added = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + added + data[33:]


def png_with_gamma(gamma: float, pixels: Pixels | None = None) -> bytes:
    """A PNG whose gAMA says so."""
    return png_with((b"gAMA", struct.pack(">I", round(gamma * 100_000))), pixels=pixels)


def jpeg_claiming(width: int, height: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    data = bytearray(encode_photo("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def encode_animation(kind: str) -> bytes:
    frames = [Image.fromarray(photographs.color_photo(number, 64)) for number in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=50)
    return buffer.getvalue()


def encode_looping_tiff() -> bytes:
    """A TIFF whose only directory names itself as the next one."""
    data = bytearray(encode_tiff(photographs.color_photo(0, 64)))
    first = struct.unpack_from("<I", data, 4)[0]
    fields = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * fields, first)
    return bytes(data)


def encode_corrupt_tiff(compression: str, *, tile: bool) -> bytes:
    """A TIFF with nonsense in the middle of its compressed data."""
    image = pyvips.Image.new_from_array(photographs.color_photo(0, 512))
    data = bytearray(image.tiffsave_buffer(compression=compression, tile=tile))
    middle = len(data) // 2
    data[middle : middle + 2000] = b"Z" * 2000
    return bytes(data)


def encode_unknown_tags() -> bytes:
    """A TIFF with unknown fields, one of them malformed."""
    tags = [(50_123, 3, 2, (7, 8), True), (305, 2, 9, b"Scan\0\0me\0", True), (65_000, 7, 4, b"abcd", True)]
    return encode_tiff(photographs.color_photo(0, 128), photometric="rgb", extratags=tags)


def encode_jpeg_with_hole() -> bytes:
    """A JPEG with a piece missing in the middle."""
    return encode_photo("JPEG", photographs.color_photo(0, 512))[:20_000] + encode_photo("JPEG")[-9000:]


def gray_photo() -> Pixels:
    return photographs.to_gray(photographs.color_photo(0, 128))


def long_photo() -> Pixels:
    return np.asarray(Image.fromarray(photographs.color_photo(0)).resize((1200, 40)))


def photo_as(dtype: type[np.generic]) -> Pixels:
    return photographs.color_photo(0, 64).astype(dtype)


def float_photo_with_nan() -> Pixels:
    pixels = (photographs.color_photo(0, 64) / 255).astype(np.float32)
    pixels[3, 3] = np.nan
    return pixels


def half_transparent_photo() -> Pixels:
    rgb = photographs.color_photo(0, 64)
    alpha = np.full((64, 64, 1), 255, np.uint8)
    alpha[:20] = 90
    return np.concatenate([rgb, alpha], axis=2)


# name: (the code of the refusal, a function that returns the bytes)
HOSTILE: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "empty.jpg": ("empty", lambda: b""),
    "one byte.jpg": ("not_an_image", lambda: b"\xff"),
    "text.jpg": ("not_an_image", lambda: b"Dear Sir, enclosed please find the photographs.\n" * 50),
    "zeros.tif": ("not_an_image", lambda: bytes(5000)),
    "page.png": ("unsupported_format", lambda: b"<!doctype html><script>alert(1)</script>"),
    "half.jpg": ("truncated", lambda: encode_photo("JPEG")[:3000]),
    "almost.jpg": ("truncated", lambda: encode_photo("JPEG")[:-400]),
    "half.png": ("truncated", lambda: encode_photo("PNG")[:9000]),
    "half.webp": ("truncated", lambda: encode_photo("WEBP")[:1500]),
    "half.tif": ("truncated", lambda: encode_tiff(photographs.color_photo(0, 128))[:20_000]),
    "hole.jpg": (
        "truncated",
        lambda: encode_photo("JPEG", photographs.color_photo(0, 512))[:20_000] + encode_photo("JPEG")[-9000:],
    ),
    "corrupt deflate.tif": ("damaged", lambda: encode_corrupt_tiff("deflate", tile=False)),
    "corrupt lzw tiles.tif": ("damaged", lambda: encode_corrupt_tiff("lzw", tile=True)),
    "header only.jpg": ("truncated", lambda: encode_photo("JPEG")[:20]),
    "header only.tif": ("truncated", lambda: b"II*\0\x08\0\0\0"),
    "broken.png": ("damaged", lambda: encode_photo("PNG").replace(b"IDATx", b"IDATy", 1)),
    "layers.psd": ("unsupported_format", lambda: b"8BPS\0\x01" + bytes(100)),
    "drawing.svg": ("unsupported_format", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    "paper.pdf": ("unsupported_format", lambda: b"%PDF-1.7\n" + bytes(100)),
    "phone.heic": ("damaged", lambda: b"\0\0\0\x18ftypheic" + bytes(100)),
    "moving.gif": ("animated", lambda: encode_animation("GIF")),
    "moving.webp": ("animated", lambda: encode_animation("WEBP")),
    "moving.png": ("animated", lambda: encode_animation("PNG")),
    "float.tif": ("unsupported_depth", lambda: encode_tiff(float_photo_with_nan(), photometric="rgb")),
    "bomb.png": ("too_many_pixels", lambda: png_claiming(50_000, 50_000)),
    "bomb.jpg": ("too_many_pixels", lambda: jpeg_claiming(50_000, 50_000)),
    "one pixel.png": ("too_small", lambda: encode_photo("PNG", np.zeros((1, 1, 3), np.uint8))),
    "thread.png": ("too_small", lambda: encode_photo("PNG", np.zeros((3, 20_000, 3), np.uint8))),
    "ribbon.png": ("too_small", lambda: encode_photo("PNG", np.zeros((20, 2000, 3), np.uint8))),
    "claims more.jpg": ("truncated", lambda: jpeg_claiming(2000, 2000)),
    "claims more.png": ("damaged", lambda: png_claiming(2000, 2000)),
}


def encode_huge_exif() -> bytes:
    """A PNG with 20 MB of EXIF."""
    return encode_photo("PNG", exif=make_exif(artist="x" * 20_000_000))


def encode_broken_profile() -> bytes:
    return encode_photo("JPEG", icc_profile=b"\0\0\1\0lcms\2\x40\0\0mntrRGB XYZ " + bytes(range(232)))


# Odd files that are photographs: they are restored.
ODD: Mapping[str, Callable[[], bytes]] = {
    "huge exif.png": encode_huge_exif,
    "broken profile.jpg": encode_broken_profile,
    "gray profile on color.jpg": lambda: encode_photo("JPEG", icc_profile=make_icc_profile("gray", 2.2)),
    "photo and archive.jpg": lambda: encode_photo("JPEG") + b"PK\x03\x04" + bytes(1000) + b"<script>alert(1)</script>",
    "really a png.jpg": lambda: encode_photo("PNG"),
    "no name at all": lambda: encode_photo("JPEG"),
    "opaque.png": lambda: encode_photo("PNG", mode="RGBA"),
    "palette.png": lambda: encode_photo("PNG", mode="P"),
    "bilevel.tif": lambda: encode_photo("TIFF", mode="1"),
    "white is zero.tif": lambda: encode_tiff(
        255 - photographs.to_gray(photographs.color_photo(0, 128)), photometric="miniswhite"
    ),
    "unknown fields.tif": encode_unknown_tags,
    "looping.tif": encode_looping_tiff,
    "32 bit.tif": lambda: encode_tiff(photo_as(np.uint32), photometric="rgb"),
    "signed.tif": lambda: encode_tiff(photo_as(np.int16), photometric="rgb"),
    "print.jpg": lambda: encode_photo("JPEG", mode="CMYK"),
    "print.tif": lambda: encode_photo("TIFF", mode="CMYK"),
    "lab.tif": lambda: encode_photo("TIFF", mode="LAB"),
    "bitmap.bmp": lambda: encode_photo("BMP"),
    "really a gif.jpg": lambda: encode_photo("GIF", mode="P"),
    "album.tif": lambda: encode_tiff(photographs.color_photo(0, 64), photographs.color_photo(1, 64)),
    "transparent.png": lambda: encode_photo("PNG", half_transparent_photo()),
    "transparent.webp": lambda: encode_photo("WEBP", half_transparent_photo(), lossless=True),
    "bytes after the end.jpg": lambda: encode_photo("JPEG")[:-2] + bytes(9) + b"\xff\xd9",
    "long.jpg": lambda: encode_photo(
        "JPEG", np.asarray(Image.fromarray(photographs.color_photo(0)).resize((1200, 40)))
    ),
    "…/..\n\u202egpj.\U0001f4f7[page=1].jpg".replace("/", "∕"): lambda: encode_photo("JPEG"),
}


def convert_to_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an sRGB picture into another RGB profile, with Little CMS itself."""
    moved = ImageCms.profileToProfile(
        image,
        ImageCms.createProfile("sRGB"),
        io.BytesIO(profile),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert moved is not None
    return moved

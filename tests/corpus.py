"""Files for tests: one photograph in every form that archives hold, and files that no archive should be hurt by.

Written with other libraries than the ones that read them, as far as there are any.
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

from retint_models.layers.types import CB_SCALE, CR_SCALE, LUMA, ColorLayer, DensityLayer

Pixels = NDArray[Any]
Maker = Callable[[Path, Pixels], None]
XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/print">
 <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Harbor, 1911</rdf:li></rdf:Alt></dc:title></rdf:Description>
 </rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PROPHOTO = ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249))
ADOBE = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def icc(name: str, gamma: float, primaries: tuple[tuple[float, ...], ...] | None = None) -> bytes:
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


def exif(orientation: int = 1, **more: str) -> bytes:
    """EXIF with an orientation, a maker, an artist and a date."""
    data = Image.Exif()
    data[274], data[271], data[315] = orientation, "Voigtlaender", more.get("artist", "A. Photographer")
    data.get_ifd(34665)[36867] = "1911:05:04 10:00:00"
    return data.tobytes()


def gray_of(rgb: Pixels) -> Pixels:
    """Rounded luma, uint8 (h, w)."""
    return np.asarray(rgb @ np.array(LUMA) + 0.5, np.uint8)


def wide(pixels: Pixels) -> Pixels:
    """The same picture with 16 bits, and something in the low ones."""
    noise = np.random.default_rng(5).integers(0, 257, pixels.shape)
    return np.asarray(np.minimum(pixels.astype(np.uint32) * 257 + noise, 65535), np.uint16)


def sepia(gray: Pixels) -> Pixels:
    """A print toned brown, uint8 (h, w, 3)."""
    return np.asarray((gray[..., None] / 255) ** np.array([0.8, 1.0, 1.3]) * 255 + 0.5, np.uint8)


def pillow(kind: str, **options: Any) -> Maker:
    """Write with Pillow."""
    return lambda path, pixels: Image.fromarray(pixels).save(path, kind, **options)


def tiff(**options: Any) -> Maker:
    """Write with tifffile."""

    def write(path: Path, pixels: Pixels) -> None:
        photometric = options.get("photometric", "rgb" if pixels.ndim == 3 else "minisblack")
        tifffile.imwrite(path, pixels, metadata=None, **{**options, "photometric": photometric})

    return write


def vips(kind: str, **options: Any) -> Maker:
    """Write with libvips, for what the others cannot."""

    def write(path: Path, pixels: Pixels) -> None:
        image = pyvips.Image.new_from_array(pixels)
        image = image.copy(interpretation={1: "grey16", 3: "rgb16"}[image.bands]) if pixels.itemsize == 2 else image
        pyvips.Operation.call(f"{kind}save", image, str(path), **options)

    return write


# name: (bits, who writes it). Each takes gray or RGB of that depth, unless its name says which.
GOOD: Mapping[str, tuple[int, Maker]] = {
    "plain.jpg": (8, pillow("JPEG", quality=85)),
    "fine 444.jpg": (8, pillow("JPEG", quality=95, subsampling=0)),
    "poor.jpg": (8, pillow("JPEG", quality=30)),
    "progressive.jpg": (8, pillow("JPEG", quality=80, progressive=True)),
    "plain.png": (8, pillow("PNG")),
    "16.png": (16, vips("png")),
    "interlaced.png": (8, vips("png", interlace=True)),
    "lossy.webp": (8, pillow("WEBP", quality=80)),
    "lossless.webp": (8, pillow("WEBP", lossless=True)),
    "plain.tif": (8, tiff()),
    "16.tif": (16, tiff()),
    "big-endian 16.tif": (16, tiff(byteorder=">")),
    "tiled.tif": (8, tiff(tile=(64, 128))),
    "tiled deflate 16.tif": (16, tiff(tile=(64, 64), compression="zlib", predictor=True)),
    "bigtiff.tif": (8, tiff(bigtiff=True)),
    "bigtiff 16 tiled.tif": (16, tiff(bigtiff=True, tile=(128, 64))),
    "lzw.tif": (8, vips("tiff", compression="lzw", predictor="horizontal")),
    "lzw 16.tif": (16, vips("tiff", compression="lzw", predictor="none")),
    "packbits.tif": (8, vips("tiff", compression="packbits")),
    "jpeg inside.tif": (8, vips("tiff", compression="jpeg", Q=90)),
    "pyramid.tif": (8, vips("tiff", tile=True, pyramid=True)),
    "one strip.tif": (8, tiff(rowsperstrip=10_000)),
}


def metadata_of(profile: bytes | None, orientation: int) -> dict[str, Any]:
    """What a scanner's software says about a photo: options of Pillow's writers."""
    said = {"exif": exif(orientation), "xmp": XMP, "dpi": (600, 600)}
    return said | ({"icc_profile": profile} if profile else {})


def color_layer(rgb: Pixels) -> ColorLayer:
    """The layer of a colorizer that knew the truth, from an sRGB proxy uint8 (h, w, 3)."""
    values = rgb / 255
    luma = values @ np.array(LUMA)
    chroma = np.stack([(values[..., 2] - luma) / CB_SCALE, (values[..., 0] - luma) / CR_SCALE])
    record = {"network": "truth", "weights": "0" * 64, "settings": {}, "decided_at": "2026-01-02T03:04:05+00:00"}
    confidence = np.full(luma.shape, 255, np.uint8)
    return ColorLayer(chroma.astype(np.float16), luma.astype(np.float16), confidence, record)


def density_layer(*, change: float = 0.15, gate: float = 1.0, seed: int = 0) -> DensityLayer:
    """A layer that repairs something everywhere, differently in every channel and corner."""
    rng = np.random.default_rng(seed)
    knots = np.linspace(0, 2.6, 9)
    curves = np.maximum.accumulate(knots * (1 + change) + rng.normal(0, change / 10, (3, 9)), axis=1)
    return DensityLayer(
        (np.eye(3) + rng.normal(0, change / 5, (3, 3))).astype(np.float32),
        rng.normal(0, change / 5, 3).astype(np.float32),
        curves.astype(np.float32),
        rng.normal(0, change / 2, (6, 8, 16, 16)).astype(np.float32),
        gate,
        1.0,
        {"network": "repair", "weights": "1" * 64, "settings": {}, "decided_at": "2026-01-02T03:05:06+00:00"},
    )


# --- hostile ----------------------------------------------------------------------------------------------------------


def encoded(kind: str, pixels: Pixels | None = None, mode: str | None = None, **options: Any) -> bytes:
    """A small real photograph, written by Pillow."""
    picture = Image.fromarray(photographs.color(0, 128) if pixels is None else pixels)
    buffer = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff_bytes(*pages: Pixels, **options: Any) -> bytes:
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


def jpeg_claiming(width: int, height: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    data = bytearray(encoded("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def animated(kind: str) -> bytes:
    frames = [Image.fromarray(photographs.color(number, 64)) for number in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=50)
    return buffer.getvalue()


def looping_tiff() -> bytes:
    """A TIFF whose one directory says that it is followed by itself."""
    data = bytearray(tiff_bytes(photographs.color(0, 64)))
    first = struct.unpack_from("<I", data, 4)[0]
    fields = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * fields, first)
    return bytes(data)


def corrupted(compression: str, *, tile: bool) -> bytes:
    """A TIFF with nonsense in the middle of its compressed data."""
    image = pyvips.Image.new_from_array(photographs.color(0, 512))
    data = bytearray(image.tiffsave_buffer(compression=compression, tile=tile))
    middle = len(data) // 2
    data[middle : middle + 2000] = b"Z" * 2000
    return bytes(data)


def extra_tags() -> bytes:
    """A TIFF with fields that nobody knows, one of them badly formed."""
    tags = [(50_123, 3, 2, (7, 8), True), (305, 2, 9, b"Scan\0\0me\0", True), (65_000, 7, 4, b"abcd", True)]
    return tiff_bytes(photographs.color(0, 128), photometric="rgb", extratags=tags)


def as_type(dtype: type[np.generic]) -> Pixels:
    return photographs.color(0, 64).astype(dtype)


def floats_with_nan() -> Pixels:
    pixels = (photographs.color(0, 64) / 255).astype(np.float32)
    pixels[3, 3] = np.nan
    return pixels


def half_transparent() -> Pixels:
    rgb = photographs.color(0, 64)
    alpha = np.full((64, 64, 1), 255, np.uint8)
    alpha[:20] = 90
    return np.concatenate([rgb, alpha], axis=2)


# name: (the code that ingest refuses it with, its bytes)
HOSTILE: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "empty.jpg": ("empty", lambda: b""),
    "one byte.jpg": ("not_an_image", lambda: b"\xff"),
    "text.jpg": ("not_an_image", lambda: b"Dear Sir, enclosed please find the photographs.\n" * 50),
    "zeros.tif": ("not_an_image", lambda: bytes(5000)),
    "page.png": ("not_an_image", lambda: b"<!doctype html><script>alert(1)</script>"),
    "half.jpg": ("truncated", lambda: encoded("JPEG")[:3000]),
    "almost.jpg": ("truncated", lambda: encoded("JPEG")[:-400]),
    "half.png": ("truncated", lambda: encoded("PNG")[:9000]),
    "half.webp": ("truncated", lambda: encoded("WEBP")[:1500]),
    "half.tif": ("truncated", lambda: tiff_bytes(photographs.color(0, 128))[:20_000]),
    "hole.jpg": ("truncated", lambda: encoded("JPEG", photographs.color(0, 512))[:20_000] + encoded("JPEG")[-9000:]),
    "corrupt deflate.tif": ("damaged", lambda: corrupted("deflate", tile=False)),
    "corrupt lzw tiles.tif": ("damaged", lambda: corrupted("lzw", tile=True)),
    "bites its tail.tif": ("damaged", looping_tiff),
    "header only.jpg": ("truncated", lambda: encoded("JPEG")[:20]),
    "header only.tif": ("truncated", lambda: b"II*\0\x08\0\0\0"),
    "broken.png": ("damaged", lambda: encoded("PNG").replace(b"IDATx", b"IDATy", 1)),
    "moving.gif": ("unsupported_format", lambda: animated("GIF")),
    "really a gif.jpg": ("unsupported_format", lambda: encoded("GIF", mode="P")),
    "bitmap.bmp": ("unsupported_format", lambda: encoded("BMP")),
    "layers.psd": ("unsupported_format", lambda: b"8BPS\0\x01" + bytes(100)),
    "drawing.svg": ("unsupported_format", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    "paper.pdf": ("unsupported_format", lambda: b"%PDF-1.7\n" + bytes(100)),
    "phone.heic": ("unsupported_format", lambda: b"\0\0\0\x18ftypheic" + bytes(100)),
    "moving.webp": ("animated", lambda: animated("WEBP")),
    "moving.png": ("animated", lambda: animated("PNG")),
    "print.jpg": ("cmyk", lambda: encoded("JPEG", mode="CMYK")),
    "print.tif": ("cmyk", lambda: encoded("TIFF", mode="CMYK")),
    "lab.tif": ("unsupported_color", lambda: encoded("TIFF", mode="LAB")),
    "float.tif": ("unsupported_depth", lambda: tiff_bytes(floats_with_nan(), photometric="rgb")),
    "32 bit.tif": (
        "unsupported_depth",
        lambda: tiff_bytes(as_type(np.uint32), photometric="rgb"),
    ),
    "signed.tif": (
        "unsupported_depth",
        lambda: tiff_bytes(as_type(np.int16), photometric="rgb"),
    ),
    "album.tif": ("several_pages", lambda: tiff_bytes(photographs.color(0, 64), photographs.color(1, 64))),
    "see-through.png": ("transparent", lambda: encoded("PNG", half_transparent())),
    "see-through.webp": ("transparent", lambda: encoded("WEBP", half_transparent(), lossless=True)),
    "bomb.png": ("too_many_pixels", lambda: png_claiming(50_000, 50_000)),
    "bomb.jpg": ("too_many_pixels", lambda: jpeg_claiming(50_000, 50_000)),
    "one pixel.png": ("too_small", lambda: encoded("PNG", np.zeros((1, 1, 3), np.uint8))),
    "thread.png": ("too_small", lambda: encoded("PNG", np.zeros((3, 20_000, 3), np.uint8))),
    "ribbon.png": ("too_small", lambda: encoded("PNG", np.zeros((20, 2000, 3), np.uint8))),
    "claims more.jpg": ("truncated", lambda: jpeg_claiming(2000, 2000)),
    "claims more.png": ("damaged", lambda: png_claiming(2000, 2000)),
}


def huge_exif() -> bytes:
    """A PNG with 20 MB of EXIF."""
    return encoded("PNG", exif=exif(artist="x" * 20_000_000))


def with_broken_profile() -> bytes:
    return encoded("JPEG", icc_profile=b"\0\0\1\0lcms\2\x40\0\0mntrRGB XYZ " + bytes(range(232)))


# Odd, but photographs: they are restored.
ODD: Mapping[str, Callable[[], bytes]] = {
    "huge exif.png": huge_exif,
    "broken profile.jpg": with_broken_profile,
    "gray profile on color.jpg": lambda: encoded("JPEG", icc_profile=icc("gray", 2.2)),
    "photo and archive.jpg": lambda: encoded("JPEG") + b"PK\x03\x04" + bytes(1000) + b"<script>alert(1)</script>",
    "really a png.jpg": lambda: encoded("PNG"),
    "no name at all": lambda: encoded("JPEG"),
    "opaque.png": lambda: encoded("PNG", mode="RGBA"),
    "palette.png": lambda: encoded("PNG", mode="P"),
    "bilevel.tif": lambda: encoded("TIFF", mode="1"),
    "white is zero.tif": lambda: tiff_bytes(255 - gray_of(photographs.color(0, 128)), photometric="miniswhite"),
    "unknown fields.tif": extra_tags,
    "bytes after the end.jpg": lambda: encoded("JPEG")[:-2] + bytes(9) + b"\xff\xd9",
    "long.jpg": lambda: encoded("JPEG", np.asarray(Image.fromarray(photographs.color(0)).resize((1200, 40)))),
    "…/..\n\u202egpj.\U0001f4f7[page=1].jpg".replace("/", "∕"): lambda: encoded("JPEG"),
}


def into_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an sRGB picture into another RGB profile, with Little CMS itself."""
    moved = ImageCms.profileToProfile(
        image,
        ImageCms.createProfile("sRGB"),
        io.BytesIO(profile),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert moved is not None
    return moved
